"""uvicorn's WebSocket protocol with limits that hold before a message costs memory.

uvicorn inflates all messages of what it has read at once, up to 256 KiB that may become hundreds of
MiB. `LimitedWebSocket` passes such data on in small pieces, and only while the app takes messages.

It also writes short messages itself, since a push sends one to every page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode
from websockets.protocol import OPEN

from .message_limit import (
    DISCARD_TIME,
    HELD,
    MAX_EARLY_BYTES,
    MAX_INCOMPLETE_IN_ALL,
    MAX_WAITING_BYTES,
    MessageLimit,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.frames import Frame

# Bytes that are parsed at once: deflate makes at most 1,032 bytes of one.
_PIECE = 512

# Characters from which a message is compressed where the browser accepts that. To deflate a shorter
# one takes a third of what its delivery costs, and saves no packet.
_SHORT = 1024

# Text in one frame, with its length in one byte or, after this number, in two.
_TEXT = 0x81
_LONGEST_IN_A_BYTE = 125
_TWO_BYTES = 126


class LimitedWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket whose messages have the limit that the app names when it accepts."""

    # Beside the dictionary that the base class has: it is found faster.
    __slots__ = ("_write",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Writes a frame at once; None while `send` has to wait, or may not write.
        self._write: Callable[[bytes], None] | None = None
        self._limit = MessageLimit(MAX_EARLY_BYTES)
        self.conn.max_message_size = self._limit.max_bytes
        self._send_failure = self.conn.fail
        self.conn.fail = self._fail  # type: ignore[method-assign]
        # What has been read and not parsed.
        self._unparsed = bytearray()
        # Bytes of messages that the app has not taken, and of the one that is incomplete.
        self._waiting_bytes = 0
        self._incomplete_bytes = 0
        # Frames that continue the incomplete message.
        self._parts = 0
        self._has_failed = False

    def data_received(self, data: bytes) -> None:
        """Parse data at once if little can become of it, else in pieces."""
        if self._has_failed:
            return
        if len(data) <= _PIECE and not self._unparsed:
            super().data_received(data)
            self._count_incomplete()
            self._find_writer()
            return
        self._unparsed += data
        self._parse()

    def _parse(self) -> None:
        while self._unparsed and not self._must_wait:
            piece = bytes(self._unparsed[:_PIECE])
            del self._unparsed[:_PIECE]
            super().data_received(piece)
            if self._has_failed or self.transport.is_closing():
                self._unparsed.clear()
        self._count_incomplete()
        if self._unparsed:
            if not self._waiting_bytes:
                # The messages of other sockets wait; no `receive` of this one goes on.
                HELD.call_with_room(self._parse_and_resume)
            if not self.read_paused:
                self.read_paused = True
                self.transport.pause_reading()
        self._find_writer()

    @property
    def _must_wait(self) -> bool:
        """Whether too much waits for the app."""
        return self._waiting_bytes >= MAX_WAITING_BYTES or (self._limit.is_large and HELD.is_full)

    def _parse_and_resume(self) -> None:
        if not self.disconnected:
            self._parse()
            self._resume_reading()

    def _resume_reading(self) -> None:
        if self.read_paused and self.queue.empty() and not self._unparsed:
            self.read_paused = False
            self.transport.resume_reading()

    def _count_incomplete(self) -> None:
        """Count the bytes of the incomplete message; close if there are too many of all sockets."""
        size = 0
        if not self._has_failed and not self.disconnected:
            size = len(self.conn.reader.buffer) + sum(map(len, self.frames))
        if size != self._incomplete_bytes:
            HELD.incomplete += size - self._incomplete_bytes
            has_grown = size > self._incomplete_bytes
            self._incomplete_bytes = size
            if has_grown and HELD.incomplete > MAX_INCOMPLETE_IN_ALL:
                self._limit = MessageLimit.incomplete()
                self.conn.fail(CloseCode.MESSAGE_TOO_BIG)
                self.handle_parser_exception()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free what the connection holds."""
        super().connection_lost(exc)
        self._find_writer()
        self._unparsed.clear()
        self._count_incomplete()
        self._count_handled()

    def handle_cont(self, event: Frame) -> None:
        """Join the parts of a message in one buffer: a list of them costs many times more."""
        if self._has_failed:
            return
        self._parts = 0 if event.fin else self._parts + 1
        if self._parts > self._limit.max_frames:
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG)
            self.handle_parser_exception()
            return
        first = self.frames[0] if self.frames else b""
        joined: Any = first if isinstance(first, bytearray) else bytearray(first)
        joined += event.data
        self.frames = [bytes(joined) if event.fin else joined]
        if event.fin:
            self.send_receive_event_to_app()

    def send_receive_event_to_app(self) -> None:
        """Queue a message for the app."""
        if not self.close_sent:
            size = len(self.frames[0])
            self._waiting_bytes += size
            if self._limit.is_large:
                HELD.waiting += size
        super().send_receive_event_to_app()

    def _count_handled(self) -> None:
        size, self._waiting_bytes = self._waiting_bytes, 0
        if self._limit.is_large:
            HELD.handled(size)

    async def receive(self) -> Any:
        """Return the next event for the app; parse what waits once it has handled all messages.

        The app has handled a message when it asks for the next event.
        """
        if self.read_paused and self.queue.empty():
            self._count_handled()
            if self._unparsed:
                self._parse()
            self._resume_reading()
        return await self.queue.get()

    async def send(self, message: Any) -> None:
        """Send an event of the app; one that accepts the socket sets the limit of its messages."""
        kind = message["type"]
        if kind == "websocket.send" and (write := self._write) is not None:
            text = message.get("text")
            if text is not None and len(text) < _SHORT:
                data = text.encode()
                size = len(data)
                if size <= _LONGEST_IN_A_BYTE:
                    write(bytes((_TEXT, size)) + data)
                else:
                    write(bytes((_TEXT, _TWO_BYTES, size >> 8, size & 0xFF)) + data)
                return
        elif kind == "websocket.accept":
            self._limit = MessageLimit.accepted(message, self.config.ws_max_size)
            self.conn.max_message_size = self._limit.max_bytes
        await super().send(message)
        if self.close_sent:
            # Messages are discarded from now on; the page's close frame may be among them.
            self._count_handled()
            self._parse()
        self._find_writer()

    def _find_writer(self) -> None:
        """Set `_write`; called after each event that may change whether the app may write.

        `send` reads this one attribute for each page of each push. To read the six states it
        depends on each time would cost more than the write.
        """
        may_write = (
            self.handshake_complete
            and not self.close_sent
            and not self.disconnected
            and self.conn.state is OPEN
            and self.writable.is_set()
        )
        self._write = self.transport.write if may_write else None

    def pause_writing(self) -> None:
        """Let the app wait."""
        super().pause_writing()
        self._find_writer()

    def resume_writing(self) -> None:
        """Let the app go on."""
        super().resume_writing()
        self._find_writer()

    def shutdown(self) -> None:
        """Close, since the server stops."""
        super().shutdown()
        self._find_writer()

    def keepalive_timeout(self) -> None:
        """Close, since the page has not answered."""
        super().keepalive_timeout()
        self._find_writer()

    def _fail(self, code: int, reason: str = "") -> None:
        """Close with the app's own code where a message is too large."""
        if code == CloseCode.MESSAGE_TOO_BIG:
            code, reason = self._limit.code, self._limit.reason
        self._send_failure(code, reason)

    def handle_parser_exception(self) -> None:
        """Close after a frame that is refused; the page has a moment to read why."""
        if self._has_failed:
            return
        self._has_failed = True
        if self.conn.parser_exc is not None:
            # Its traceback holds what has been inflated.
            self.conn.parser_exc.__traceback__ = None
        closed = self.conn.close_sent
        assert closed is not None
        self.queue.put_nowait(
            {"type": "websocket.disconnect", "code": closed.code, "reason": closed.reason}
        )
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.frames = []
        self._count_incomplete()
        self.close_sent = True
        self.close_timer = self.loop.call_later(DISCARD_TIME, self.transport.close)
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
