"""What carries a link's messages: a WebSocket, or an event stream and posts the other way.

Both are ASGI, spoken directly: Quart's inbound WebSocket queue has no bound, and a link needs none
of its machinery per message.
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

# Messages of a page that wait while earlier ones are handled; with one more, a post gets 429.
MAX_POSTS_WAITING = 64

# Characters: a WebSocket close frame has room for 123 bytes.
MAX_REASON = 100


class WebSocketTransport:
    """A link over a WebSocket that has been accepted."""

    def __init__(self, receive: Receive, send: Send, *, max_message_bytes: int) -> None:
        self.id = secrets.token_urlsafe(16)
        self._receive = receive
        self._send = send
        self._max_message_bytes = max_message_bytes
        self._is_open = True

    async def receive(self) -> str | None:
        """Return the page's next message; raises `ProtocolError` for one too long or binary."""
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
        if self._is_open:
            self._is_open = False
            await self._send(
                {"type": "websocket.close", "code": code.number, "reason": reason[:MAX_REASON]}
            )


class EventStreamTransport:
    """A link over server-sent events; what the page posts comes in through `post`."""

    def __init__(self, receive: Receive, send: Send, hello: str) -> None:
        self.id = secrets.token_urlsafe(16)
        self._receive = receive
        self._send = send
        # The page's messages, then None once it is gone. The hello came with the address.
        self._posted: asyncio.Queue[str | None] = asyncio.Queue(MAX_POSTS_WAITING)
        self._posted.put_nowait(f"[{hello}]")
        self._is_open = True

    async def open(self) -> None:
        """Begin the response."""
        await self._send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"text/event-stream; charset=utf-8"),
                    (b"cache-control", b"no-cache, no-transform"),
                    # Asks nginx not to collect the response before passing it on.
                    (b"x-accel-buffering", b"no"),
                ],
            }
        )

    def post(self, message: str) -> bool:
        """Take a message that the page posted; False if too many wait."""
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
        gone = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait({posted, gone}, return_when=asyncio.FIRST_COMPLETED)
            if posted.done():
                return posted.result()
            self._is_open = False
            return None
        finally:
            posted.cancel()
            gone.cancel()

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def send(self, message: str) -> None:
        """Send a message; JSON has no line breaks, so it is one line of data."""
        await self._write(f"data: {message}\n\n")

    async def close(self, code: CloseCode, reason: str) -> None:
        """Say why, and end the response."""
        if self._is_open:
            self._is_open = False
            data = f'{{"code":{code.number},"reason":"{_plain(reason)}"}}'
            await self._write(f"event: close\ndata: {data}\n\n")
            await self._send({"type": "http.response.body", "body": b""})

    async def _write(self, text: str) -> None:
        body: dict[str, Any] = {"type": "http.response.body", "body": text.encode()}
        await self._send({**body, "more_body": True})


def _plain(reason: str) -> str:
    """Return a reason as it can stand in a JSON string without escapes."""
    return "".join(c for c in reason[:MAX_REASON] if c.isprintable() and c not in '"\\')
