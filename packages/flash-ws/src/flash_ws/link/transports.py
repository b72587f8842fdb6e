"""The transports of a link: a WebSocket, or an event stream with posts in the other direction.

Both use ASGI directly, since Quart's inbound WebSocket queue is unbounded and a link does not need
its other work for each message.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from flash.http.gateway import Receive, Send

# Posted messages that may wait for earlier ones; a post beyond them is answered with 429.
MAX_POSTS_WAITING = 64

# Bytes that are added to a message for a page behind a proxy that buffers its output.
# nginx collects up to two buffers of 4 or 8 KiB.
PADDING = 16 * 1024

# Characters of a reason; a WebSocket close frame has room for 123 bytes.
MAX_REASON = 100


class WebSocketTransport:
    """The transport of a link over an accepted WebSocket."""

    __slots__ = (
        "_is_open",
        "_max_message_bytes",
        "_receive",
        "_send",
        "closed_with",
        "id",
    )

    def __init__(self, receive: Receive, send: Send, *, max_message_bytes: int) -> None:
        self.id = secrets.token_urlsafe(16)
        self._receive = receive
        self._send = send
        self._max_message_bytes = max_message_bytes
        self._is_open = True
        # The code with which the server closed it, if it did.
        self.closed_with: CloseCode | None = None

    async def receive(self) -> str | None:
        """Return the page's next message; raises `ProtocolError` if it is too long or binary."""
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            self._is_open = False
            return None
        text = event.get("text")
        if text is None:
            raise ProtocolError(CloseCode.MALFORMED, "the message is binary")
        if len(text) > self._max_message_bytes or len(text.encode()) > self._max_message_bytes:
            raise ProtocolError(CloseCode.TOO_LARGE)
        return text

    def send(self, message: str) -> Awaitable[None]:
        """Send a message."""
        return self._send({"type": "websocket.send", "text": message})

    async def close(self, code: CloseCode, reason: str) -> None:
        """Close with the code."""
        self.closed_with = self.closed_with or code
        if self._is_open:
            self._is_open = False
            await self._send(
                {"type": "websocket.close", "code": code.number, "reason": reason[:MAX_REASON]}
            )


class EventStreamTransport:
    """The transport of a link over server-sent events; `post` takes what the page posts."""

    def __init__(self, receive: Receive, send: Send, first: str, *, padding: int = 0) -> None:
        self.id = secrets.token_urlsafe(16)
        self._receive = receive
        self._send = send
        # Bytes that follow each message, so that a proxy that buffers as many forwards it.
        self._padding = f":{' ' * padding}\n\n".encode() if padding else b""
        # The page's messages. The first came with the request that opened the stream.
        self._posted: asyncio.Queue[str | None] = asyncio.Queue(MAX_POSTS_WAITING)
        self._posted.put_nowait(first)
        self._is_open = True
        # The code with which the server closed it, if it did.
        self.closed_with: CloseCode | None = None
        # Waits for the end of the request. One for the whole stream: a ``receive`` that is
        # cancelled and called again reports a disconnect on granian.
        self._departure: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Send the head of the response."""
        await self._send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"text/event-stream; charset=utf-8"),
                    (b"cache-control", b"no-cache, no-transform"),
                    # Tells nginx not to buffer the response.
                    (b"x-accel-buffering", b"no"),
                ],
            }
        )

    def post(self, message: str) -> bool:
        """Queue a message that the page posted; returns False if too many wait."""
        try:
            self._posted.put_nowait(message)
        except asyncio.QueueFull:
            return False
        return True

    async def receive(self) -> str | None:
        """Return the page's next message."""
        if not self._is_open:
            return None
        posted = asyncio.ensure_future(self._posted.get())
        if self._departure is None:
            self._departure = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait({posted, self._departure}, return_when=asyncio.FIRST_COMPLETED)
            if posted.done():
                return posted.result()
            self._is_open = False
            return None
        finally:
            posted.cancel()

    async def end(self) -> None:
        """Stop waiting for the end of the request; call it when the stream is served no more."""
        departure, self._departure = self._departure, None
        if departure is not None:
            departure.cancel()
            await asyncio.wait({departure})
            if not departure.cancelled():
                departure.exception()

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def send(self, message: str) -> None:
        """Send a message as one line of data; its JSON has no line breaks."""
        await self._write(f"data: {message}\n\n")

    async def close(self, code: CloseCode, reason: str) -> None:
        """Send an event with code and reason, and end the response."""
        self.closed_with = self.closed_with or code
        if self._is_open:
            self._is_open = False
            data = f'{{"code":{code.number},"reason":"{_plain(reason)}"}}'
            await self._write(f"event: close\ndata: {data}\n\n")
            await self._send({"type": "http.response.body", "body": b""})

    async def _write(self, text: str) -> None:
        data = text.encode() + self._padding
        body: dict[str, Any] = {"type": "http.response.body", "body": data}
        await self._send({**body, "more_body": True})


def _plain(reason: str) -> str:
    """Return a reason without the characters that JSON would escape."""
    return "".join(c for c in reason[:MAX_REASON] if c.isprintable() and c not in '"\\')
