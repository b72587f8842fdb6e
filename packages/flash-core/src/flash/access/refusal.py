"""The refusal of a connection: HTTP status, WebSocket close code and reason."""

from __future__ import annotations

from flash.errors import FlashError

Header = tuple[bytes, bytes]

# Close codes of RFC 6455 for a WebSocket that is refused because of the server.
INTERNAL_ERROR = 1011
TRY_AGAIN_LATER = 1013

_CLIENT_ERROR = range(400, 500)
_TOO_MANY_REQUESTS = 429
_TOO_FAST = 4529
_UNAVAILABLE = 503


class Refused(FlashError):
    """A connection is not opened; ``reason`` is one line and is sent to the browser.

    ``status`` is the HTTP status of the response. ``close_code`` is the close code that a browser's
    WebSocket gets instead: 4000 plus the status for a client error (4529 for 429), 1013 for 503 and
    1011 for other server errors.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        *headers: Header,
        close_code: int | None = None,
        is_of_origin: bool = False,
    ) -> None:
        super().__init__(status, reason)
        self.status = int(status)
        self.reason = reason
        self.headers = headers
        self.close_code = close_code or _close_code(self.status)
        # Whether the page of another origin is the reason.
        self.is_of_origin = is_of_origin

    def __str__(self) -> str:
        return f"{self.reason} (HTTP status {self.status})"


def _close_code(status: int) -> int:
    if status == _TOO_MANY_REQUESTS:
        return _TOO_FAST
    if status in _CLIENT_ERROR:
        return 4000 + status
    return TRY_AGAIN_LATER if status == _UNAVAILABLE else INTERNAL_ERROR
