"""`Link`: one connection of one page, between a transport and an outbox."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from flash.log_limit import limited_logger
from flash.settings import COUNT, DURATION, SECONDS, Instance, check
from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.errors import LinkClosed, ProtocolError
from flash_ws.protocol.frames import Frame, connection_frame, parse_message
from flash_ws.protocol.limits import RateLimit, TokenBucket
from flash_ws.protocol.outbox import Outbox, counted_size

if TYPE_CHECKING:
    from flash_ws.link.flushing import FlushScheduler

logger = limited_logger(__name__)

_BEAT = connection_frame("beat")

# Seconds within which a page has to accept the close message.
CLOSE_TIMEOUT = 5.0


class Transport(Protocol):
    """Carries messages to and from one page. One task reads and one task at a time writes."""

    # Secret; hard to guess.
    id: str

    async def receive(self) -> str | None:
        """Return the page's next message, or None once the page is gone; raises `ProtocolError`."""
        ...

    def send(self, message: str) -> Awaitable[None]:
        """Send a message; waits until the page has accepted what was sent before."""
        ...

    async def close(self, code: CloseCode, reason: str) -> None:
        """Close from the server's side; does nothing once the page is gone."""
        ...


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """The limits of one page's link."""

    # Seconds between heartbeats. A link that is silent for twice as long is closed.
    heartbeat: float = 25.0
    # Messages from the page.
    rate: RateLimit = RateLimit(per_second=50.0, burst=200)  # noqa: RUF009  frozen itself
    # Bytes waiting for the page; one frame more closes the link as too slow.
    max_outbox_bytes: int = 1 << 20
    # Seconds that a frame may wait, so that later frames are sent in the same message.
    max_batch_delay: float = 0.005
    # Bytes of one push, event or update; a larger one raises `PayloadTooLarge`.
    max_push_bytes: int = 16 << 20
    # Bytes waiting at which the message is sent without delay.
    max_batch_bytes: int = 1 << 16

    def __post_init__(self) -> None:
        check(
            heartbeat=(self.heartbeat, SECONDS),
            rate=(self.rate, Instance(RateLimit)),
            max_outbox_bytes=(self.max_outbox_bytes, COUNT),
            max_push_bytes=(self.max_push_bytes, COUNT),
            max_batch_delay=(self.max_batch_delay, DURATION),
            max_batch_bytes=(self.max_batch_bytes, COUNT),
        )


Handle = Callable[[dict[str, Any]], Awaitable[None]]


class Link:
    """One connection of a page.

    It reads in the task that calls `run`. ``flush_scheduler`` decides when it writes, and provides
    the task.
    """

    # There is one for each page; slots save a dictionary each.
    __slots__ = (
        "_closing",
        "_flush_scheduler",
        "_flush_task",
        "_held",
        "_held_bytes",
        "_is_beat_requested",
        "_is_flush_pending",
        "_is_listening",
        "_is_open",
        "_limits",
        "_listening_since",
        "_loop",
        "_reading",
        "_room",
        "_silence_timer",
        "_transport",
        "id",
        "outbox",
    )

    def __init__(
        self, transport: Transport, limits: LinkLimits, flush_scheduler: FlushScheduler
    ) -> None:
        # Identifies the connection to the page. Secret, since it authorises posted frames.
        self.id = transport.id
        self._transport = transport
        self._limits = limits
        self._flush_scheduler = flush_scheduler
        self._loop = asyncio.get_running_loop()
        self.outbox = Outbox(
            max_bytes=limits.max_outbox_bytes, max_batch_bytes=limits.max_batch_bytes
        )
        # Frames held while the page catches up with a channel; at most ``max_outbox_bytes``. None
        # while there is no such channel, as mostly.
        self._held: dict[str, list[Frame]] | None = None
        self._held_bytes = 0
        # Whether frames may be written: only during `run`.
        self._is_open = False
        # Whether the flusher writes this link, or will without delay.
        self._is_flush_pending = False
        # The flusher's task while it writes this link.
        self._flush_task: asyncio.Task[None] | None = None
        # Set when the outbox has room again; exists only while a task waits for that.
        self._room: asyncio.Future[None] | None = None
        # The code and reason with which the server closes the link; None while it is open.
        self._closing: tuple[CloseCode, str] | None = None
        # The timeout that ends the reading; None outside of `run`.
        self._reading: asyncio.Timeout | None = None
        # The timer that detects a silent page.
        self._silence_timer: asyncio.TimerHandle | None = None
        # The loop's time when waiting for the next message began.
        self._listening_since = 0.0
        self._is_listening = False
        # Whether a heartbeat was sent to a silent page and no message has come since.
        self._is_beat_requested = False

    # -- from the server -------------------------------------------------------------------------

    def hold(self, channel: str) -> list[Frame]:
        """Collect the channel's frames in the returned list until `release` or `discard_held`."""
        if self._held is None:
            self._held = {}
        return self._held.setdefault(channel, [])

    def is_held(self, channel: str, held: list[Frame] | None) -> bool:
        """Return whether the channel's frames are still held in this list."""
        return self._held_of(channel) is held

    def holds(self, channel: str) -> bool:
        """Return whether the channel's frames are held."""
        return self._held_of(channel) is not None

    def first_held(self, channel: str) -> int | None:
        """Return the number of the first held frame, or None if there is none."""
        held = self._held_of(channel)
        return held[0].number if held else None

    def holds_new_epoch(self, channel: str) -> bool:
        """Return whether a new epoch of the channel has started while its frames were held."""
        return any(frame.starts_epoch for frame in self._held_of(channel) or ())

    def release(self, channel: str, after: int, first: Iterable[Frame] = ()) -> None:
        """Send the frames ``first``, then the held frames above ``after`` or of a newer epoch."""
        held = self._take_held(channel)
        for frame in first:
            self.deliver(frame)
        for frame in held:
            self._held_bytes -= self._counted(frame)
            if frame.starts_epoch:
                after = 0
            if frame.number > after or frame.starts_epoch:
                self.deliver(frame)

    def discard_held(self, channel: str) -> None:
        """Drop the held frames of a channel that the page no longer follows."""
        self._held_bytes -= sum(map(self._counted, self._take_held(channel)))

    def _held_of(self, channel: str) -> list[Frame] | None:
        return None if self._held is None else self._held.get(channel)

    def _take_held(self, channel: str) -> list[Frame]:
        """Hold the channel's frames no longer, and return those that were held."""
        if self._held is None:
            return []
        held = self._held.pop(channel, [])
        if not self._held:
            self._held = None
        return held

    def _counted(self, frame: Frame) -> int:
        return counted_size(frame, self._limits.max_outbox_bytes)

    def deliver(self, frame: Frame) -> None:
        """Queue a frame; closes the link with `CloseCode.TOO_SLOW` if there is no room for it."""
        if self._closing is not None:
            held = self._held_of(frame.channel or "")
            if held is not None and not held:
                # Its number tells where the page has to start when it returns.
                held.append(frame)
                self._held_bytes += self._counted(frame)
            return
        if self._held is not None and frame.channel in self._held:
            assert frame.channel is not None
            self._held[frame.channel].append(frame)
            self._held_bytes += self._counted(frame)
            if self._held_bytes > self._limits.max_outbox_bytes:
                self.close(CloseCode.TOO_SLOW)
            return
        if not self.outbox.add(frame):
            self.close(CloseCode.TOO_SLOW)
        elif self._is_open and not self._is_flush_pending:
            self._schedule_flush()

    def _schedule_flush(self) -> None:
        """Schedule the writing of what waits."""
        if self.outbox.is_batch:
            self._is_flush_pending = True
            self._flush_scheduler.flush_now(self)
        else:
            self._flush_scheduler.schedule(self)

    def flush_now(self) -> None:
        """Write what waits without the usual delay."""
        if self._is_open and not self._is_flush_pending and len(self.outbox):
            self._is_flush_pending = True
            self._flush_scheduler.flush_now(self)

    async def wait_for_room(self) -> None:
        """Wait until the outbox is less than half full, or the link is closed."""
        while self.outbox.is_half_full and self._closing is None:
            if self._room is None:
                self._room = self._loop.create_future()
            await asyncio.shield(self._room)

    def _wake_waiting_for_room(self) -> None:
        """Resume the tasks that are in `wait_for_room`."""
        room, self._room = self._room, None
        if room is not None:
            room.set_result(None)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Close from the server's side; later calls do not change code and reason."""
        if self._closing is None:
            self._closing = (code, reason or code.meaning)
            self._wake_waiting_for_room()
            self._stop_reading()

    @property
    def close_code(self) -> CloseCode | None:
        """The code with which the server closed it; None while it is open, or if the page left."""
        return None if self._closing is None else self._closing[0]

    @property
    def undelivered(self) -> int:
        """The number of frames not written, including the one for which there was no room."""
        held = sum(map(len, self._held.values())) if self._held is not None else 0
        return len(self.outbox) + held + (self.close_code is CloseCode.TOO_SLOW)

    # -- moving messages -------------------------------------------------------------------------

    async def send_first(self, frames: Iterable[Frame]) -> None:
        """Send frames before `run`, in messages of the usual size, without the outbox."""
        batch: list[str] = []
        size = 0
        for frame in frames:
            if batch and size + frame.size > self._limits.max_batch_bytes:
                await self._transport.send(f"[{','.join(batch)}]")
                batch, size = [], 0
            batch.append(frame.text)
            size += frame.size
        if batch:
            await self._transport.send(f"[{','.join(batch)}]")

    async def run(self, handle: Handle) -> None:
        """Read and write until the page is gone or the link is closed; ``handle`` gets each frame.

        Raises what ``handle`` raises, except `LinkClosed`, which closes the link with its code.
        """
        self._is_open = True
        if len(self.outbox):
            self._schedule_flush()
        self._check_silence_in(self._limits.heartbeat)
        try:
            # If the link was closed before, the timeout expires at once.
            async with asyncio.timeout(None if self._closing is None else 0) as self._reading:
                await self._read(handle)
        except TimeoutError:
            if self._reading is None or not self._reading.expired():
                raise
        finally:
            self._reading = None
            if self._silence_timer is not None:
                self._silence_timer.cancel()
            await self._stop_writing()
            if self._closing is not None:
                code, reason = self._closing
                # The page may be gone by now, or accept no more messages.
                with contextlib.suppress(OSError, RuntimeError, TimeoutError):
                    async with asyncio.timeout(CLOSE_TIMEOUT):
                        await self._transport.close(code, reason)

    async def write_waiting(self, task: asyncio.Task[None]) -> None:
        """Write what waits; called by the flusher in its ``task``."""
        if self._flush_task is not None or not self._is_open:
            return
        self._is_flush_pending = True
        self._flush_task = task
        try:
            while (message := self.outbox.take()) is not None:
                await self._transport.send(message)
                if self._room is not None and not self.outbox.is_half_full:
                    self._wake_waiting_for_room()
        except Exception as error:  # noqa: BLE001  each server has its own for a socket that is gone
            # The channels' histories keep what the page missed.
            logger.debug("cannot write to a page: %r", error)
            self._stop_reading()
        finally:
            self._flush_task = None
            self._is_flush_pending = False

    async def _stop_writing(self) -> None:
        self._is_open = False
        self._flush_scheduler.cancel(self)
        self._wake_waiting_for_room()
        flush_task = self._flush_task
        if flush_task is not None:
            # The page does not accept what it is sent.
            self._flush_scheduler.flusher.detach(flush_task)
            flush_task.cancel()
            await asyncio.wait({flush_task})

    def _stop_reading(self) -> None:
        if self._reading is not None and not self._reading.expired():
            self._reading.reschedule(self._loop.time())

    async def _read(self, handle: Handle) -> None:
        bucket = TokenBucket(self._limits.rate, self._loop.time())
        try:
            while True:
                self._listening_since = self._loop.time()
                self._is_listening = True
                message = await self._transport.receive()
                self._is_listening = self._is_beat_requested = False
                if message is None:
                    return
                if not bucket.take(self._loop.time()):
                    raise ProtocolError(CloseCode.TOO_FAST)
                has_beat = False
                for frame in parse_message(message):
                    if frame["t"] != "beat":
                        await handle(frame)
                    elif not has_beat:
                        # One answer for each message, however many heartbeats it holds.
                        has_beat = True
                        self.deliver(_BEAT)
        except LinkClosed as closed:
            logger.info("link closed: %s", closed)
            self.close(closed.code, closed.reason)

    def _check_silence_in(self, seconds: float) -> None:
        self._silence_timer = self._loop.call_later(seconds, self._check_silence)

    def _check_silence(self) -> None:
        """Send a heartbeat to a page that was silent for one interval; close the link after two.

        Browsers slow down the timers of hidden pages, but such a page still answers a heartbeat.
        """
        heartbeat = self._limits.heartbeat
        silent = self._loop.time() - self._listening_since if self._is_listening else 0.0
        if silent < heartbeat:
            self._check_silence_in(heartbeat - silent)
        elif not self._is_beat_requested:
            self._is_beat_requested = True
            self.deliver(_BEAT)
            self._check_silence_in(heartbeat)
        else:
            self.close(CloseCode.SILENT)
