"""What `flash_ws` offers is a decision: a name more or less is one, too."""

import inspect

import pytest

import flash_ws
from flash import FlashError
from flash_ws import errors

OFFERED = {
    "Recipients",
    "Backplane",
    "Client",
    "ClientInfo",
    "CloseCode",
    "Connection",
    "ConnectionClosed",
    "ConnectionGroup",
    "ConnectionLimits",
    "ConnectionStatistics",
    "Disconnect",
    "EVERYBODY",
    "EndpointStatistics",
    "Endpoints",
    "Metric",
    "CustomMetrics",
    "Heartbeat",
    "LinkClosed",
    "LinkLimits",
    "LinkStatus",
    "Live",
    "LiveError",
    "LiveStatistics",
    "MemoryBackplane",
    "NoCaller",
    "NotServing",
    "ForkedProcess",
    "PayloadTooLarge",
    "OpeningRequest",
    "PageRecipients",
    "ProtocolError",
    "RateLimit",
    "Readiness",
    "Refused",
    "ServerSentEvent",
    "StreamRequest",
    "StreamedProps",
    "TextTooLong",
    "TooManyUnawaited",
    "__version__",
    "event_callback",
    "stream_props",
}


def test_the_names_offered_are_these():
    assert set(flash_ws.__all__) == OFFERED
    assert all(hasattr(flash_ws, name) for name in OFFERED)


def test_every_error_is_a_flash_error_and_stands_in_the_tree():
    for name, error in inspect.getmembers(errors, inspect.isclass):
        if issubclass(error, Exception) and error.__module__ == errors.__name__:
            assert issubclass(error, FlashError)
            assert name in errors.__doc__
            assert getattr(flash_ws, name) is error


def test_visit_is_the_old_name_of_opening_request():
    with pytest.warns(DeprecationWarning, match=r"flash_ws\.Visit is now flash_ws\.OpeningRequest"):
        assert flash_ws.Visit is flash_ws.OpeningRequest
