"""Hypercorn's WebSocket stream with limits that hold before a message costs memory.

Hypercorn inflates whatever a page sends, and looks at a message's size after that.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, cast

from hypercorn.protocol import h2, h11
from hypercorn.protocol.events import Body, Data, Event, StreamClosed
from hypercorn.protocol.ws_stream import ASGIWebsocketState, Handshake, WSStream
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection, Message, Ping, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason
from wsproto.handshake import server_extensions_handshake

from .message_limit import (
    DISCARD_TIME,
    HELD,
    MAX_EARLY_BYTES,
    MAX_INCOMPLETE_IN_ALL,
    MAX_WAITING_BYTES,
    MessageLimit,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable


def install_limits() -> None:
    """Make Hypercorn serve WebSockets of this process with `LimitedWebSocket`."""
    for protocol in (h11, h2):
        cast("Any", protocol).WSStream = LimitedWebSocket


class CappedDeflate(PerMessageDeflate):
    """Compression that stops to inflate a message beyond its limit."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        # Bytes that the current message has become so far.
        self._inflated = 0

    def frame_inbound_header(self, proto: Any, opcode: Any, rsv: Any, payload_length: int) -> Any:
        """Take the head of a frame."""
        if payload_length > self._max_bytes:
            return CloseReason.MESSAGE_TOO_BIG
        if self._inbound_compressed is None:
            self._inflated = 0
        return super().frame_inbound_header(proto, opcode, rsv, payload_length)

    def frame_inbound_payload_data(self, proto: Any, data: bytes) -> Any:
        """Inflate a part of a frame; `CloseReason.MESSAGE_TOO_BIG` if it is too large."""
        inflate = self._decompressor
        if not self._inbound_compressed or not self._inbound_is_compressible or inflate is None:
            return super().frame_inbound_payload_data(proto, data)
        most = self._max_bytes - self._inflated + 1
        try:
            inflated = inflate.decompress(bytes(data), most)
        except Exception:  # noqa: BLE001  zlib.error, which the module hides
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._inflated += len(inflated)
        if self._inflated > self._max_bytes:
            return CloseReason.MESSAGE_TOO_BIG
        return inflated


class _LimitedHandshake(Handshake):
    """A handshake that agrees on `CappedDeflate`."""

    def __init__(self, handshake: Handshake, limit: MessageLimit) -> None:
        vars(self).update(vars(handshake))
        self._limit = limit

    def accept(
        self, subprotocol: str | None, additional_headers: Iterable[tuple[bytes, bytes]]
    ) -> tuple[int, list[tuple[bytes, bytes]], Connection]:
        """Return status, headers and connection."""
        offered, self.extensions = self.extensions, None
        status, headers, _ = super().accept(subprotocol, additional_headers)
        deflate = CappedDeflate(self._limit.max_bytes)
        accepted = server_extensions_handshake(offered, [deflate]) if offered else None
        if accepted:
            headers.append((b"sec-websocket-extensions", accepted))
        return status, headers, Connection(ConnectionType.SERVER, [deflate])


class _Parts:
    """The parts of one message."""

    def __init__(self) -> None:
        # Joined, since a list of small parts costs many times more; text is encoded.
        self._joined = bytearray()
        self._is_text = False
        # The number of frames so far.
        self.frames = 0

    def add(self, event: Message[Any]) -> int:
        """Add a part; return the bytes of all parts."""
        part = event.data
        self.frames += event.frame_finished
        self._is_text = isinstance(event, TextMessage)
        self._joined += part.encode() if isinstance(part, str) else part
        return len(self._joined)

    def take(self) -> dict[str, Any]:
        """Return the whole message as an event for the app, and begin the next one."""
        joined, self._joined = self._joined, bytearray()
        self.frames = 0
        if self._is_text:
            return {"type": "websocket.receive", "text": joined.decode(), "bytes": None}
        return {"type": "websocket.receive", "bytes": bytes(joined), "text": None}


class _CountedApps:
    """A task group that tells how many bytes of messages its apps have handled, and when they end.

    An app has handled a message when it asks for the next event.
    """

    def __init__(
        self,
        task_group: Any,
        on_handled: Callable[[int], None],
        on_end: Callable[[Callable[[], Awaitable[Any]]], Awaitable[None]],
    ) -> None:
        self._task_group = task_group
        self._on_handled = on_handled
        self._on_end = on_end
        self.spawn = task_group.spawn

    async def spawn_app(self, app: Any, config: Any, scope: Any, send: Any) -> Any:
        """Start the app; return the function that gives it an event."""

        async def counted(scope: Any, receive: Any, *rest: Any) -> None:
            given = 0

            async def receive_counted() -> Any:
                nonlocal given
                if given:
                    self._on_handled(given)
                    given = 0
                event = await receive()
                given = _size_of(event)
                return event

            try:
                await app(scope, receive_counted, *rest)
            except Exception:
                await self._on_end(receive)
                raise
            await self._on_end(receive)

        return await self._task_group.spawn_app(counted, config, scope, send)


def _size_of(event: Any) -> int:
    return len(event.get("text") or event.get("bytes") or b"")


class LimitedWebSocket(WSStream):
    """A WebSocket whose messages have the limit that the app names when it accepts."""

    def __init__(self, app: Any, config: Any, context: Any, task_group: Any, *rest: Any) -> None:
        counted: Any = _CountedApps(task_group, self._on_handled, self._discard_rest)
        super().__init__(app, config, context, counted, *rest)
        self._limit = MessageLimit(MAX_EARLY_BYTES)
        self._parts = _Parts()
        self._incomplete_bytes = 0
        # Bytes of messages that the app has not handled, and what is done when it has.
        self._waiting_bytes = 0
        self._room: asyncio.Future[None] | None = None
        # Whether a message was too large; what follows is discarded.
        self._has_failed = False

    def _on_handled(self, size: int) -> None:
        # None are counted once the socket is closed.
        size = min(size, self._waiting_bytes)
        self._waiting_bytes -= size
        if self._limit.is_large:
            HELD.handled(size)
        self._make_room()

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def _discard_rest(self, receive: Callable[[], Awaitable[Any]]) -> None:
        """Discard what the page sends after the app has ended, until it closes the socket, too.

        What nobody takes would fill the app's queue, and the reader would wait for room in it for
        ever: neither the page's close frame nor its end would be seen.
        """
        has_closed = self.state is ASGIWebsocketState.CLOSED
        if self.closed or self._has_failed:
            return
        if not has_closed and self.state is not ASGIWebsocketState.CONNECTED:
            return
        put = self.app_put
        assert put is not None

        async def discard(event: Any) -> None:
            if event["type"] == "websocket.disconnect":
                await put(event)
            else:
                self._on_handled(_size_of(event))

        self.app_put = discard
        self._on_handled(self._waiting_bytes)
        with contextlib.suppress(TimeoutError):
            # Without a close frame the page does not know yet: only what waits is discarded.
            async with asyncio.timeout(DISCARD_TIME if has_closed else 0):
                while (await receive())["type"] != "websocket.disconnect":
                    pass

    async def app_send(self, message: Any) -> None:
        """Send an event of the app; one that accepts the socket sets the limit of its messages."""
        if message is not None and message["type"] == "websocket.accept":
            self._limit = MessageLimit.accepted(message, self.config.websocket_max_message_size)
            self.handshake = _LimitedHandshake(self.handshake, self._limit)
        if not self._has_failed:
            await super().app_send(message)

    async def handle(self, event: Event) -> None:
        """Handle an event of the connection."""
        if isinstance(event, Body | Data) and not self.closed and self.handshake.accepted:
            if not self._has_failed:
                await self._receive(event.data)
            return
        if isinstance(event, StreamClosed):
            self._on_handled(self._waiting_bytes)
            self._drop_parts()
        if isinstance(event, StreamClosed) and self._has_failed:
            self.closed = True
        else:
            await super().handle(event)

    async def _receive(self, data: bytes) -> None:
        self.connection.receive_data(data)
        events = self.connection.events()
        while True:
            await self._wait_for_room()
            # The next event is made, and inflated, when it is asked for.
            event = next(events, None)
            if isinstance(event, Message):
                if not await self._take_part(event):
                    return
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                if event.code == CloseReason.MESSAGE_TOO_BIG and self._is_open:
                    await self._fail()
                    return
                if self.connection.state is ConnectionState.REMOTE_CLOSING:
                    await self._send_wsproto_event(event.response())
                await self.send(StreamClosed(stream_id=self.stream_id))
            elif event is None:
                return

    async def _take_part(self, event: Message[Any]) -> bool:
        """Add a part of a message, and give the app a whole one; False if it is too large."""
        size = self._parts.add(event)
        HELD.incomplete += size - self._incomplete_bytes
        self._incomplete_bytes = size
        if HELD.incomplete > MAX_INCOMPLETE_IN_ALL:
            self._limit = MessageLimit.incomplete()
        if size > self._limit.max_bytes or self._parts.frames > self._limit.max_frames:
            await self._fail()
            return False
        if event.message_finished:
            message = self._parts.take()
            self._count_parts_as_gone()
            size = _size_of(message)
            self._waiting_bytes += size
            if self._limit.is_large:
                HELD.waiting += size
            assert self.app_put is not None
            await self.app_put(message)
        return True

    async def _wait_for_room(self) -> None:
        """Wait while too much waits for the app."""
        while not self.closed and (
            self._waiting_bytes >= MAX_WAITING_BYTES or (self._limit.is_large and HELD.is_full)
        ):
            self._room = asyncio.get_running_loop().create_future()
            HELD.call_with_room(self._make_room)
            await self._room

    @property
    def _is_open(self) -> bool:
        return self.connection.state is ConnectionState.OPEN

    async def _fail(self) -> None:
        """Close because of a message that is too large; the page has a moment to read why."""
        await self._send_wsproto_event(
            CloseConnection(code=self._limit.code, reason=self._limit.reason)
        )
        self._has_failed = True
        self._drop_parts()
        self.state = ASGIWebsocketState.CLOSED
        assert self.app_put is not None
        await self.app_put({"type": "websocket.disconnect", "code": self._limit.code})
        self.task_group.spawn(self._close_soon)

    def _drop_parts(self) -> None:
        self._parts = _Parts()
        self._count_parts_as_gone()

    def _count_parts_as_gone(self) -> None:
        HELD.incomplete -= self._incomplete_bytes
        self._incomplete_bytes = 0

    async def _close_soon(self) -> None:
        await asyncio.sleep(DISCARD_TIME)
        await self.send(StreamClosed(stream_id=self.stream_id))
