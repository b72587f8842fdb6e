"""Server push, events and event callbacks over a live link; WebSocket and SSE endpoints."""

from flash.collector import paused_collector as _paused_collector

with _paused_collector():
    from flash.access.opening_request import OpeningRequest
    from flash.access.refusal import Refused
    from flash.moved import renamed_exports as _renamed_exports

    # Registers what runs when an app starts.
    from flash_ws import current as _current  # noqa: F401  # pyright: ignore[reportUnusedImport]
    from flash_ws.callbacks.deferred import event_callback
    from flash_ws.callbacks.event_callbacks import StreamedProps, stream_props
    from flash_ws.clients.backplane import Backplane, ClientInfo, Disconnect, MemoryBackplane
    from flash_ws.clients.client import Client
    from flash_ws.clients.groups import ConnectionGroup
    from flash_ws.clients.recipients import EVERYBODY, PageRecipients, Recipients
    from flash_ws.endpoints.event_stream import StreamRequest
    from flash_ws.endpoints.registration import Endpoints
    from flash_ws.endpoints.sse import ServerSentEvent
    from flash_ws.endpoints.websocket import (
        Connection,
        ConnectionLimits,
        ConnectionStatistics,
        Heartbeat,
    )
    from flash_ws.errors import (
        ConnectionClosed,
        ForkedProcess,
        LiveError,
        NoCaller,
        NotServing,
        PayloadTooLarge,
        TextTooLong,
        TooManyUnawaited,
    )
    from flash_ws.link.link import LinkLimits
    from flash_ws.link.link_status import LinkStatus
    from flash_ws.live import Live
    from flash_ws.operating.readiness import Readiness
    from flash_ws.operating.statistics import (
        CustomMetrics,
        EndpointStatistics,
        LiveStatistics,
        Metric,
    )
    from flash_ws.protocol.codes import CloseCode
    from flash_ws.protocol.errors import LinkClosed, ProtocolError
    from flash_ws.protocol.limits import RateLimit

__all__ = [
    "EVERYBODY",
    "Backplane",
    "Client",
    "ClientInfo",
    "CloseCode",
    "Connection",
    "ConnectionClosed",
    "ConnectionGroup",
    "ConnectionLimits",
    "ConnectionStatistics",
    "CustomMetrics",
    "Disconnect",
    "EndpointStatistics",
    "Endpoints",
    "ForkedProcess",
    "Heartbeat",
    "LinkClosed",
    "LinkLimits",
    "LinkStatus",
    "Live",
    "LiveError",
    "LiveStatistics",
    "MemoryBackplane",
    "Metric",
    "NoCaller",
    "NotServing",
    "OpeningRequest",
    "PageRecipients",
    "PayloadTooLarge",
    "ProtocolError",
    "RateLimit",
    "Readiness",
    "Recipients",
    "Refused",
    "ServerSentEvent",
    "StreamRequest",
    "StreamedProps",
    "TextTooLong",
    "TooManyUnawaited",
    "__version__",
    "event_callback",
    "stream_props",
]

__version__ = "0.1.0"

__getattr__ = _renamed_exports(
    __name__,
    {
        "Audience": "Recipients",
        "Figure": "Metric",
        "Figures": "CustomMetrics",
        "PageAudience": "PageRecipients",
        "Visit": "OpeningRequest",
    },
)

# Dash looks here for the scripts of the package's components.
_js_dist = [{"relative_package_path": "flash_ws.js", "namespace": "flash_ws"}]
