"""The refusal of a connection, with its HTTP status, its WebSocket close code and its reason."""

from __future__ import annotations

from flash.errors import FlashError

Header = tuple[bytes, bytes]

# The standard codes with which a refused WebSocket is closed.
FAILED = 1011
TRY_LATER = 1013

_CLIENT_ERROR = range(400, 500)
_TOO_MANY_REQUESTS = 429
_TOO_FAST = 4529
_UNAVAILABLE = 503


class Refused(FlashError):
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
