"""The logs of serving, and their handler if the user has not configured logging.

This module disables no logger, replaces no handler and leaves the root logger unchanged. If the
user has configured logging, it sets only levels that were requested.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flash.errors import ConfigurationError

from .options import LOG_LEVELS, ServeOptions

if TYPE_CHECKING:
    from .target import ASGIApp, Message, Receive, Scope, Send

LEVEL_VARIABLE = "FLASH_LOG_LEVEL"

access_logger = logging.getLogger("flash.access")

# Pages poll this path every few seconds while hot reload is on.
_POLLED = "/_reload-hash"

_SERVER_LOGGERS = ("hypercorn.error", "uvicorn.error", "_granian")


class FallbackHandler(logging.StreamHandler[Any]):
    """Writes to standard error while the root logger has no handler."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def filter(self, record: logging.LogRecord) -> Any:
        """Drop the record if the root logger has handlers, because they handle it."""
        return not logging.getLogger().handlers and super().filter(record)


def requested_level(options: ServeOptions) -> str | None:
    """The level requested by the options or by FLASH_LOG_LEVEL; None if neither is set.

    Raises ConfigurationError if the variable is not a level.
    """
    if options.log_level is not None:
        return options.log_level
    level = os.environ.get(LEVEL_VARIABLE, "").strip().lower()
    if level and level not in LOG_LEVELS:
        raise ConfigurationError(f"{LEVEL_VARIABLE}={level!r}: choose one of {LOG_LEVELS}")
    return level or None


def configure_logs(options: ServeOptions) -> None:
    """Make the logs of Flash and of the server visible at the requested level.

    Call it after the app was imported, so that the app's logging configuration comes first.
    """
    level = requested_level(options)
    configured = bool(logging.getLogger().handlers)
    # At "info" the servers repeat, in several lines, what Flash prints in one.
    server_level = "warning" if level in {None, "info"} else level
    for name, wanted in [("flash", level or "info"), *[(n, server_level) for n in _SERVER_LOGGERS]]:
        named = logging.getLogger(name)
        if wanted is not None and (level is not None or not configured):
            named.setLevel(wanted.upper())
        if not configured and not named.handlers:
            named.addHandler(FallbackHandler())
    if options.access_log and configured and level is None:
        access_logger.setLevel(logging.INFO)


class AccessLog:
    """An ASGI middleware that logs one line per HTTP request.

    The line holds client, method, path, status (``-`` if none was sent) and milliseconds. The
    polls of hot reload are not logged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI defines it."""
        if (
            scope["type"] != "http"
            or not access_logger.isEnabledFor(logging.INFO)
            or scope["path"].endswith(_POLLED)
        ):
            await self._app(scope, receive, send)
            return
        status: object = "-"

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, note_status)
        finally:
            access_logger.info(
                "%s %s %s %s %.1f ms",
                (scope.get("client") or ("-",))[0],
                scope["method"],
                quote(scope["path"], safe="/:@!$&'()*+,;=~"),
                status,
                (time.perf_counter() - started) * 1000,
            )
