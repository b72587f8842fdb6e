"""The size of a WebSocket's messages, told to the server with the event that accepts the socket.

The server then refuses a longer message while it is read and inflated, not after that.
"""

from __future__ import annotations

from typing import Any

# Keys of a ``websocket.accept`` event, which `flash.serving` reads. Other servers ignore them.
_MAX_BYTES = "flash.max_message_bytes"
_TOO_LARGE_CODE = "flash.too_large_code"

# Bytes of a message from a page whose socket is accepted only so that it can be closed.
MAX_REFUSED_BYTES = 1024


def with_message_limit(event: dict[str, Any], max_bytes: int | None, code: int) -> dict[str, Any]:
    """Return a ``websocket.accept`` event that limits the messages of its socket.

    A longer message closes the socket with ``code``. None leaves the server's own limit.
    """
    if max_bytes is None:
        return event
    return {**event, _MAX_BYTES: max_bytes, _TOO_LARGE_CODE: code}
