"""Logging stays the user's."""

from __future__ import annotations

import logging

import pytest

from flash.errors import ConfigurationError
from flash.serving.logs import (
    AccessLog,
    FallbackHandler,
    access_logger,
    configure_logs,
    requested_level,
)
from flash.serving.options import ServeOptions

NAMES = ("flash", "flash.access", "hypercorn.error", "uvicorn.error", "_granian")


@pytest.fixture(autouse=True)
def loggers(monkeypatch):
    """Every logger as a fresh interpreter has it."""
    for name in NAMES:
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)


def test_without_configuration_flash_speaks_until_the_user_configures_logging(monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure_logs(ServeOptions())
    (handler,) = logging.getLogger("flash").handlers
    assert isinstance(handler, FallbackHandler)
    record = logging.makeLogRecord({"msg": "hello", "name": "flash"})
    assert handler.filter(record)
    logging.getLogger().addHandler(logging.NullHandler())
    assert not handler.filter(record)


def test_configuring_twice_adds_one_handler(monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure_logs(ServeOptions())
    configure_logs(ServeOptions())
    assert [len(logging.getLogger(name).handlers) for name in NAMES] == [1, 0, 1, 1, 1]


def test_the_users_configuration_is_left_alone():
    logging.getLogger().addHandler(logging.NullHandler())
    mine = logging.getLogger("mine")
    configure_logs(ServeOptions())
    assert not any(logging.getLogger(name).handlers for name in NAMES)
    assert logging.getLogger("flash").level == logging.NOTSET
    assert not mine.disabled


def test_an_explicit_level_is_set_even_then():
    logging.getLogger().addHandler(logging.NullHandler())
    configure_logs(ServeOptions(log_level="debug"))
    assert logging.getLogger("flash").level == logging.DEBUG
    assert logging.getLogger("uvicorn.error").level == logging.DEBUG


def test_the_environment_names_the_level_unless_an_option_does(monkeypatch):
    monkeypatch.setenv("FLASH_LOG_LEVEL", "Warning")
    assert requested_level(ServeOptions()) == "warning"
    assert requested_level(ServeOptions(log_level="error")) == "error"
    monkeypatch.setenv("FLASH_LOG_LEVEL", "loud")
    with pytest.raises(ConfigurationError, match="FLASH_LOG_LEVEL='loud'"):
        requested_level(ServeOptions())


async def test_the_access_log_has_one_line_for_each_request_except_polling(monkeypatch):
    lines = []

    class Recorder(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    monkeypatch.setattr(access_logger, "handlers", [Recorder()])
    monkeypatch.setattr(access_logger, "level", logging.INFO)

    async def app(scope, receive, send):
        if scope["path"] != "/silent":
            await send({"type": "http.response.start", "status": 204})

    async def send(message):
        return None

    for path in ("/a\nb", "/silent", "/_reload-hash"):
        scope = {"type": "http", "method": "GET", "path": path, "client": ("1.2.3.4", 5)}
        await AccessLog(app)(scope, send, send)
    assert [line.rsplit(" ", 2)[0] for line in lines] == [
        "1.2.3.4 GET /a%0Ab 204",
        "1.2.3.4 GET /silent -",
    ]
