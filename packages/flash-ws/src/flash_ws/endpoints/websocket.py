"""`Connection`: one WebSocket of an endpoint and the run of its handler.

Close codes, besides those that a handler chooses:

- 1000 the handler returned; 1011 it raised; 1012 the server is about to restart
- 4413, 4529, 4530, 4508: `CloseCode.TOO_LARGE`, `TOO_FAST`, `TOO_SLOW`, `SILENT`
- 4430, 4532: `CloseCode.KICKED` by `Live.disconnect`, `EXPIRED` when a recheck refuses
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flash.access.admission import CLOSE_TIMEOUT, truncate_reason
from flash.access.opening_request import OpeningRequest
from flash.access.refusal import INTERNAL_ERROR
from flash.exits import ends_task
from flash.log_limit import limited_logger
from flash.serialize import dumps
from flash.settings import COUNT, DURATION, SECONDS, SECONDS_OR_NONE, Instance, check
from flash_ws.clients.groups import MAX_GROUPS, ConnectionGroup, Groups
from flash_ws.errors import ConnectionClosed
from flash_ws.link.writer import Event, Writer, as_event, size_of
from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.inbox import Inbox, Message
from flash_ws.protocol.limits import RateLimit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flash.http.gateway import Receive, Scope, Send

logger = limited_logger(__name__)

# The codes of RFC 6455 that may be sent, besides 3000 to 4999 for applications.
_STANDARD_CODES = frozenset(
    {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}
)

NORMAL = 1000
SERVICE_RESTART = 1012
ABNORMAL = 1006


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A message that is sent when nothing else was sent for ``every`` seconds.

    The page receives it like any other message. To keep the connection open through proxies it is
    not needed: the server's pings do that, and the page does not see them.
    """

    every: float
    message: Any = ""

    def __post_init__(self) -> None:
        check(every=(self.every, SECONDS))


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits and timeouts of one connection; times are in seconds."""

    # The size of one message, after decompression; a larger one closes with 4413.
    max_message_bytes: int = 64 * 1024
    # The rate of messages from the browser; a higher one closes with 4529.
    rate: RateLimit = field(default_factory=lambda: RateLimit(per_second=100.0, burst=500))
    # Messages read before the handler takes them; then reading stops and the browser has to wait.
    max_waiting: int = 64
    # Bytes from groups that the browser has not accepted; more close with 4530.
    max_outbox_bytes: int = 1 << 20
    # Time without a message in either direction, then closed with 4508; None is no limit.
    idle_timeout: float | None = None
    # Time that sending one message may take (then 4530), and time that the handler may take no
    # message while the browser has to wait (then 4529).
    stall_timeout: float = 60.0
    # Time that the handler may continue after the connection ended; then it is cancelled.
    linger: float = 5.0
    heartbeat: Heartbeat | None = None

    def __post_init__(self) -> None:
        check(
            max_message_bytes=(self.max_message_bytes, COUNT),
            rate=(self.rate, Instance(RateLimit)),
            max_waiting=(self.max_waiting, COUNT),
            max_outbox_bytes=(self.max_outbox_bytes, COUNT),
            idle_timeout=(self.idle_timeout, SECONDS_OR_NONE),
            stall_timeout=(self.stall_timeout, SECONDS),
            linger=(self.linger, DURATION),
            heartbeat=(self.heartbeat, Instance(Heartbeat, optional=True)),
        )


@dataclass(frozen=True, slots=True)
class ConnectionStatistics:
    """Message counters and queue lengths of one connection."""

    received: int
    sent: int
    # Messages that the handler has not received yet.
    inbox: int
    # Messages that the browser has not accepted yet, and the bytes of those from groups.
    outbox: int
    outbox_bytes: int


@dataclass(frozen=True, slots=True)
class CloseInfo:
    """Why and how a connection ends."""

    code: int
    reason: str = ""
    # Whether the browser has disconnected, so that no close frame can be sent.
    is_browser_gone: bool = False
    # Whether messages that wait are still delivered, in both directions.
    is_orderly: bool = True

    @classmethod
    def violation(cls, code: CloseCode) -> CloseInfo:
        """Return the close for a broken limit or a refused recheck; it drops what waits."""
        return cls(code.number, code.meaning, is_orderly=False)


class Connection(OpeningRequest):
    """A browser's WebSocket, passed to the handler of an endpoint.

    Iterating yields the browser's messages in order, each once, until the connection ends. Belongs
    to the event loop it was opened on; to send from a thread, use a group.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        limits: ConnectionLimits,
        groups: Groups,
        subprotocol: str | None = None,
    ) -> None:
        super().__init__(scope)
        # The negotiated subprotocol, or None.
        self.subprotocol = subprotocol
        # For the application's use.
        self.data: dict[str, Any] = {}
        self._receive = receive
        self._send = send
        self._limits = limits
        self._groups = groups
        self._joined: set[str] = set()
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._inbox = Inbox(
            max_message_bytes=limits.max_message_bytes,
            rate=limits.rate,
            max_waiting=limits.max_waiting,
            now=now,
        )
        self._writer = Writer(
            send,
            max_bytes=limits.max_outbox_bytes,
            flusher=groups.flusher,
            on_failure=self._on_write_failure,
        )
        self._received = 0
        self._received_at = now
        # Futures of the handler that waits for a message, and of the reader that waits for room.
        self._receiver: asyncio.Future[None] | None = None
        self._inbox_room: asyncio.Future[None] | None = None
        # The loop's time when the handler last took a message, or when the inbox became full.
        self._handler_took_at = now
        self._close_info: CloseInfo | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._closed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Connection {self._scope['path']} {'closed' if self.is_closed else 'open'}>"

    # -- for handlers ----------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended or is closing."""
        return self._close_info is not None

    @property
    def close_code(self) -> int | None:
        """The close code, from either side; None while it is open."""
        return None if self._close_info is None else self._close_info.code

    def __aiter__(self) -> Connection:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.receive()
        except ConnectionClosed:
            raise StopAsyncIteration from None

    async def receive(self) -> Message:
        """Return the next message; raises `ConnectionClosed` when there are no more.

        Messages that arrived before the browser disconnected are still returned.
        """
        while not len(self._inbox):
            if self._close_info is not None:
                raise self._error(self._close_info)
            if self._receiver is not None:
                raise RuntimeError(
                    "another task is already receiving from this connection; receive in one task"
                )
            self._receiver = self._loop.create_future()
            try:
                await self._receiver
            finally:
                self._receiver = None
        message = self._inbox.take()
        if self._inbox_room is not None:
            self._handler_took_at = self._loop.time()
            if not self._inbox.is_full and not self._inbox_room.done():
                self._inbox_room.set_result(None)
        return message

    async def send(self, message: Any) -> None:
        """Send str as text, bytes as binary, anything else as JSON text.

        Waits until the browser has accepted what was sent before. Raises `ConnectionClosed`, and
        what `flash.serialize.dumps` raises.
        """
        await self._transmit(as_event(message))

    async def send_json(self, value: Any) -> None:
        """Send ``value`` as JSON text; a str becomes a JSON string."""
        await self._transmit({"type": "websocket.send", "text": dumps(value).decode()})

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close after sending what waits, and return when closed; later calls keep the first code.

        Raises ``ValueError`` for a code that may not be sent.
        """
        if code not in _STANDARD_CODES and not 3000 <= code <= 4999:
            raise ValueError(f"close code {code} cannot be sent: use 1000, or 4000 to 4999")
        self._begin_close(CloseInfo(code, reason))
        await self._closed.wait()

    def join(self, group: ConnectionGroup | str) -> None:
        """Join a group until `leave` or the end of the connection; idempotent.

        Raises ``ValueError`` above `MAX_GROUPS` groups.
        """
        name = group if isinstance(group, str) else group.name
        if self._close_info is not None or name in self._joined:
            return
        if len(self._joined) >= MAX_GROUPS:
            raise ValueError(f"a connection can be in {MAX_GROUPS} groups; leave one first")
        self._joined.add(name)
        self._groups.add(name, self)

    def leave(self, group: ConnectionGroup | str) -> None:
        """Leave a group; idempotent."""
        name = group if isinstance(group, str) else group.name
        self._joined.discard(name)
        self._groups.discard(name, self)

    def statistics(self) -> ConnectionStatistics:
        """Return the counters and queue lengths."""
        return ConnectionStatistics(
            received=self._received,
            sent=self._writer.sent,
            inbox=len(self._inbox),
            outbox=self._writer.waiting,
            outbox_bytes=self._writer.bytes_waiting,
        )

    # -- for groups and endpoints ----------------------------------------------------------------

    def offer(self, event: Event, size: int) -> bool:
        """Queue a message without waiting; without room, close with `CloseCode.TOO_SLOW`."""
        if self._close_info is not None:
            return False
        if self._writer.offer(event, size):
            return True
        self._begin_close(CloseInfo.violation(CloseCode.TOO_SLOW))
        return False

    def drain(self) -> None:
        """Close with 1012 because the server stops."""
        self._begin_close(CloseInfo(SERVICE_RESTART, "the server is about to restart"))

    def abort(self, code: CloseCode) -> None:
        """Close with ``code`` and drop what waits."""
        self._begin_close(CloseInfo.violation(code))

    async def serve(self, handler: Callable[[Connection], Awaitable[None]]) -> CloseInfo:
        """Run the handler until handler and connection have ended; returns how it ended."""
        handling = self._loop.create_task(self._run_handler(handler), context=self.context())
        handling.add_done_callback(self._on_handler_done)
        reading = self._loop.create_task(self._read_ahead())
        self._timer = self._loop.call_later(self._next_check_delay(), self._check_timeouts)
        try:
            await self._ended
            close_info = self._close_info or CloseInfo(ABNORMAL)
            if not close_info.is_browser_gone:
                await self._close_handshake(close_info, reading)
            await self._release(close_info)
            await asyncio.wait({handling}, timeout=self._limits.linger)
        finally:
            self._timer.cancel()
            self._begin_close(CloseInfo(ABNORMAL, "cut by the server", is_browser_gone=True))
            for name in tuple(self._joined):
                self.leave(name)
            await self._release(self._close_info or CloseInfo(ABNORMAL))
            await _cancel_and_wait(handling, reading)
        return close_info

    # -- within ----------------------------------------------------------------------------------

    def _begin_close(self, close_info: CloseInfo) -> None:
        """Begin to close; later calls do nothing."""
        if self._close_info is not None:
            return
        self._close_info = close_info
        if not close_info.is_orderly:
            self._inbox.clear()
        for waiting in (self._ended, self._receiver, self._inbox_room):
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    def _error(self, close_info: CloseInfo) -> ConnectionClosed:
        return ConnectionClosed(close_info.code, close_info.reason)

    def _on_write_failure(self, error: Exception) -> None:
        logger.debug("cannot write to a WebSocket: %r", error)
        self._begin_close(CloseInfo(ABNORMAL, "the browser is gone", is_browser_gone=True))

    async def _transmit(self, event: Event) -> None:
        if self._close_info is not None:
            raise self._error(self._close_info)
        try:
            await self._writer.send(event)
        except (ConnectionClosed, UnicodeError):
            raise
        except Exception as error:
            # Each server has its own error for a socket that is gone.
            self._on_write_failure(error)
            raise self._error(self._close_info or CloseInfo(ABNORMAL)) from error

    async def _run_handler(self, handler: Callable[[Connection], Awaitable[None]]) -> None:
        try:
            await handler(self)
        except ConnectionClosed:
            pass
        except BaseException as error:
            if ends_task(error):
                raise
            if not (isinstance(error, ExceptionGroup) and error.split(ConnectionClosed)[1] is None):
                logger.exception("the handler of %s failed", self._scope["path"])
                self._begin_close(CloseInfo(INTERNAL_ERROR, "the handler failed"))

    def _on_handler_done(self, handling: asyncio.Task[None]) -> None:
        cancelled = handling.cancelled()
        self._begin_close(
            CloseInfo(INTERNAL_ERROR, "the handler was cancelled")
            if cancelled
            else CloseInfo(NORMAL)
        )

    async def _read_ahead(self) -> None:
        """Read messages until the browser disconnects; drop them once the connection is closing."""
        try:
            while True:
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    self._begin_close(
                        CloseInfo(
                            message.get("code") or 1005,
                            message.get("reason") or "",
                            is_browser_gone=True,
                        )
                    )
                    return
                if self._close_info is None:
                    await self._receive_message(message)
        except Exception as error:  # noqa: BLE001  each server has its own for a socket that is gone
            self._on_write_failure(error)

    async def _receive_message(self, message: dict[str, Any]) -> None:
        now = self._received_at = self._loop.time()
        text = message.get("text")
        violation = self._inbox.put(message["bytes"] if text is None else text, now)
        if violation is not None:
            self._begin_close(CloseInfo.violation(violation))
            return
        self._received += 1
        if self._receiver is not None and not self._receiver.done():
            self._receiver.set_result(None)
        if self._inbox.is_full:
            self._handler_took_at = now
            self._inbox_room = self._loop.create_future()
            try:
                await self._inbox_room
            finally:
                self._inbox_room = None

    def _check_timeouts(self) -> None:
        """Close the connection at a timeout, send a heartbeat if due, and check again later."""
        limits, writer, now = self._limits, self._writer, self._loop.time()
        writing_since = writer.writing_since
        quiet_since = max(self._received_at, writer.wrote_at)
        heartbeat = limits.heartbeat
        if writing_since is not None and now - writing_since >= limits.stall_timeout:
            self._begin_close(CloseInfo.violation(CloseCode.TOO_SLOW))
        elif self._inbox_room is not None and now - self._handler_took_at >= limits.stall_timeout:
            self._begin_close(CloseInfo.violation(CloseCode.TOO_FAST))
        elif limits.idle_timeout is not None and now - quiet_since >= limits.idle_timeout:
            self._begin_close(CloseInfo(CloseCode.SILENT.number, "no message for too long"))
        else:
            if (
                heartbeat is not None
                and writing_since is None
                and now - writer.wrote_at >= heartbeat.every
            ):
                event = as_event(heartbeat.message)
                self.offer(event, size_of(event))
            self._timer = self._loop.call_later(self._next_check_delay(), self._check_timeouts)

    def _next_check_delay(self) -> float:
        """Return the seconds until the next check."""
        limits, now = self._limits, self._loop.time()
        waits = [limits.stall_timeout / 2]
        if limits.idle_timeout is not None:
            waits.append(max(self._received_at, self._writer.wrote_at) + limits.idle_timeout - now)
        if limits.heartbeat is not None:
            waits.append(self._writer.wrote_at + limits.heartbeat.every - now)
        return max(min(waits), 0.01)

    async def _close_handshake(self, close_info: CloseInfo, reading: asyncio.Task[None]) -> None:
        """Send what waits, then the close frame, and wait for the browser's close frame.

        Reading continues meanwhile: closing a socket with unread bytes resets it, and the browser
        would not receive the code. It stops only while the close frame is sent, since granian sends
        none while a receive is pending.
        """
        reason = truncate_reason(close_info.reason)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if close_info.is_orderly:
                    await self._writer.flush()
                else:
                    await self._writer.stop(self._error(close_info))
                reading.cancel()
                await asyncio.wait({reading})
                await self._send(
                    {"type": "websocket.close", "code": close_info.code, "reason": reason}
                )
                await self._read_ahead()
        except TimeoutError:
            logger.debug("a browser did not answer close code %d", close_info.code)
        except Exception as error:  # noqa: BLE001  each server has its own for a socket that is gone
            logger.debug("a WebSocket was gone before its close frame: %r", error)

    async def _release(self, close_info: CloseInfo) -> None:
        await self._writer.stop(self._error(close_info))
        self._closed.set()


async def _cancel_and_wait(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait for them; a task that does not end in time is logged and left."""
    for task in tasks:
        task.cancel()
    _, running = await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
    for task in running:
        logger.warning("%r still runs although it was cancelled", task.get_coro())
