"""What flash-ws raises.

LiveError (flash.FlashError)
├── NotServing (RuntimeError)      the app is not being served, or not yet
├── NoCaller (RuntimeError)        `Live.client` where no page is calling
├── Refused                        a connection that is not opened; ``status`` says why
├── ConnectionClosed               an endpoint's WebSocket that has ended
└── LinkClosed                     a page's link that has ended; ``code`` says why
    └── ProtocolError                  because the page sent what the protocol does not know

What is put together wrongly is a `flash.ConfigurationError`, as everywhere in Flash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash import FlashError

if TYPE_CHECKING:
    from flash_ws.codes import CloseCode
    from flash_ws.origin import Header

# The standard codes with which a refused WebSocket is closed.
FAILED = 1011
TRY_LATER = 1013

_CLIENT_ERROR = range(400, 500)
_TOO_MANY_REQUESTS = 429
_TOO_FAST = 4529
_UNAVAILABLE = 503


class LiveError(FlashError):
    """The base of every error of flash-ws."""


class NotServing(LiveError, RuntimeError):
    """The live link is needed where the app is not being served."""

    def __str__(self) -> str:
        return "the live link has not started: it does when the app is served"


class NoCaller(LiveError, RuntimeError):
    """``live.client`` was read where no page is calling."""

    def __str__(self) -> str:
        return "live.client: no page is calling; name whom to reach with to=live.group(…)"


class Refused(LiveError):
    """A connection that is not opened; ``reason`` is one line, sent to the browser.

    ``status`` is the HTTP status of the answer, ``close_code`` tells a browser's WebSocket the
    same: 4000 and the status for what is the browser's fault, 1011 and 1013 for the server's own.
    """

    def __init__(
        self, status: int, reason: str, *headers: Header, close_code: int | None = None
    ) -> None:
        super().__init__(status, reason)
        self.status = int(status)
        self.reason = reason
        self.headers = headers
        self.close_code = close_code or _close_code(self.status)

    def __str__(self) -> str:
        return f"{self.reason} (HTTP status {self.status})"


def _close_code(status: int) -> int:
    if status == _TOO_MANY_REQUESTS:
        return _TOO_FAST
    if status in _CLIENT_ERROR:
        return 4000 + status
    return TRY_LATER if status == _UNAVAILABLE else FAILED


class ConnectionClosed(LiveError):
    """The WebSocket has ended; ``code`` and ``reason`` are those of its close frame.

    A handler need not catch it: ending with it is as good as returning.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"the WebSocket is closed: {self.reason or 'no reason given'} (code {self.code})"


class LinkClosed(LiveError):
    """A link that has ended; ``reason`` is one line."""

    def __init__(self, code: CloseCode, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason or code.meaning

    def __str__(self) -> str:
        return f"{self.reason} (close code {self.code.number})"


class ProtocolError(LinkClosed):
    """The page sent something that no page of this version sends."""
