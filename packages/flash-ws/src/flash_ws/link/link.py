"""One connection of one page: a thin shell between a transport and an outbox."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.errors import LinkClosed, ProtocolError
from flash_ws.protocol.frames import Frame, connection_frame, parse_message
from flash_ws.protocol.limits import RateLimit, TokenBucket
from flash_ws.protocol.outbox import Outbox

if TYPE_CHECKING:
    from flash_ws.link.flushing import FlushScheduler

logger = logging.getLogger(__name__)

_BEAT = connection_frame("beat")

# Seconds that a page has to take the reason why its link is closed.
_CLOSE_TIMEOUT = 5.0


class Transport(Protocol):
    """What carries messages to one page and from it; belongs to one task for each direction."""

    # Hard to guess.
    id: str

    async def receive(self) -> str | None:
        """Return the page's next message, or None once it is gone. Raises `ProtocolError`."""
        ...

    def send(self, message: str) -> Awaitable[None]:
        """Send a message; waits while the page does not take what was sent before."""
        ...

    async def close(self, code: CloseCode, reason: str) -> None:
        """Close from this side; does nothing once the page is gone."""
        ...


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """What one page may use."""

    # Seconds between heartbeats; a page not heard for twice as long is taken to be gone.
    heartbeat: float = 25.0
    # Messages from the page.
    rate: RateLimit = RateLimit(per_second=50.0, burst=200)  # noqa: RUF009  frozen itself
    # Bytes waiting for the page; one frame more closes the link as too slow.
    max_outbox_bytes: int = 1 << 20
    # Seconds that the first frame waiting may wait for company.
    max_batch_delay: float = 0.005
    # Bytes of a message at which it no longer waits.
    max_batch_bytes: int = 1 << 16


Handle = Callable[[dict[str, Any]], Awaitable[None]]


class Link:
    """A page's connection while it lasts. Reads in the task that runs it, and writes in no task of
    its own: ``flush_scheduler`` says when.
    """

    # One per page: without slots a dictionary each.
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
        # Names this connection to the page; a secret, since whoever shows it may send frames here.
        self.id = transport.id
        self._transport = transport
        self._limits = limits
        self._flush_scheduler = flush_scheduler
        self._loop = asyncio.get_running_loop()
        self.outbox = Outbox(
            max_bytes=limits.max_outbox_bytes, max_batch_bytes=limits.max_batch_bytes
        )
        # Live frames of channels that are being caught up with; bounded by the outbox's bytes.
        self._held: dict[str, list[Frame]] = {}
        self._held_bytes = 0
        # Whether what comes may be written: neither before `run` nor after it.
        self._is_open = False
        # Whether the flusher is here, or on its way at once.
        self._is_flush_pending = False
        # The flusher's task while it is here.
        self._flush_task: asyncio.Task[None] | None = None
        # Done when there is room again; made when somebody waits for that.
        self._room: asyncio.Future[None] | None = None
        # Why the link is to be closed from this side, once it is.
        self._closing: tuple[CloseCode, str] | None = None
        # Ends the reading, while that lasts.
        self._reading: asyncio.Timeout | None = None
        # Runs while the link does, to notice a page that says nothing.
        self._silence_timer: asyncio.TimerHandle | None = None
        # The loop's time when listening for a message began.
        self._listening_since = 0.0
        self._is_listening = False
        # Whether the page has been asked to say something, and has not.
        self._is_beat_requested = False

    # -- from the server -------------------------------------------------------------------------

    def hold(self, channel: str) -> list[Frame]:
        """Collect the channel's frames in the list returned, until `release` or `discard_held`."""
        return self._held.setdefault(channel, [])

    def is_held(self, channel: str, held: list[Frame] | None) -> bool:
        """Tell whether the channel's frames are still kept back in this list."""
        return self._held.get(channel) is held

    def first_held(self, channel: str) -> int | None:
        """Return the number of the first frame held back, or None if there is none."""
        held = self._held.get(channel)
        return held[0].number if held else None

    def release(self, channel: str, after: int, first: Iterable[Frame] = ()) -> None:
        """Send what was held back, but for the numbers up to ``after``, which the page has.

        ``first`` goes before it.
        """
        held = self._held.pop(channel, [])
        for frame in first:
            self.deliver(frame)
        for frame in held:
            self._held_bytes -= frame.size
            if frame.starts_epoch:
                after = 0
            if frame.number > after or frame.starts_epoch:
                self.deliver(frame)

    def discard_held(self, channel: str) -> None:
        """Throw away what was held back, for a page that does not want it any more."""
        self._held_bytes -= sum(frame.size for frame in self._held.pop(channel, ()))

    def deliver(self, frame: Frame) -> None:
        """Put a frame on its way; a page too slow for it is disconnected."""
        if self._closing is not None:
            return
        if self._held and frame.channel in self._held:
            assert frame.channel is not None
            self._held[frame.channel].append(frame)
            self._held_bytes += frame.size
            if self._held_bytes > self._limits.max_outbox_bytes:
                self.close(CloseCode.TOO_SLOW)
            return
        if not self.outbox.add(frame):
            self.close(CloseCode.TOO_SLOW)
        elif self._is_open and not self._is_flush_pending:
            self._schedule_flush()

    def _schedule_flush(self) -> None:
        """Have what waits written, soon."""
        if self.outbox.is_batch:
            self._is_flush_pending = True
            self._flush_scheduler.flush_now(self)
        else:
            self._flush_scheduler.schedule(self)

    def flush_now(self) -> None:
        """Have what waits written now rather than with the next departure."""
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
        """Resume the tasks in `wait_for_room`."""
        room, self._room = self._room, None
        if room is not None:
            room.set_result(None)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Close from this side; the first reason stands."""
        if self._closing is None:
            self._closing = (code, reason or code.meaning)
            self._wake_waiting_for_room()
            self._stop_reading()

    @property
    def close_code(self) -> CloseCode | None:
        """Why it was closed from this side; None while it is open, or if the page left."""
        return None if self._closing is None else self._closing[0]

    @property
    def undelivered(self) -> int:
        """Frames that have not been written, the one included for which there was no room."""
        held = sum(len(frames) for frames in self._held.values())
        return len(self.outbox) + held + (self.close_code is CloseCode.TOO_SLOW)

    # -- moving messages -------------------------------------------------------------------------

    async def send_first(self, frames: Iterable[Frame]) -> None:
        """Send frames before `run`, in messages of the usual size, past the outbox."""
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
        """Move messages until the page is gone or the link is closed; ``handle`` gets each frame.

        Raises what ``handle`` raises, but for `LinkClosed`, which closes the link with its code.
        """
        self._is_open = True
        if len(self.outbox):
            self._schedule_flush()
        self._check_silence_in(self._limits.heartbeat)
        try:
            # Closed before it ran: the timeout is over at once.
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
                # The page may be gone in the same moment, or take nothing, not even this.
                with contextlib.suppress(OSError, RuntimeError, TimeoutError):
                    async with asyncio.timeout(_CLOSE_TIMEOUT):
                        await self._transport.close(code, reason)

    async def write_waiting(self, task: asyncio.Task[None]) -> None:
        """Write what waits; for the flusher, whose ``task`` this is."""
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
            # What the page missed is in the channels' histories.
            logger.debug("a page cannot be written to: %r", error)
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
            # A page that does not take what it is sent.
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
                        # One answer to a message, however many it has.
                        has_beat = True
                        self.deliver(_BEAT)
        except LinkClosed as closed:
            logger.info("link closed: %s", closed)
            self.close(closed.code, closed.reason)

    def _check_silence_in(self, seconds: float) -> None:
        self._silence_timer = self._loop.call_later(seconds, self._check_silence)

    def _check_silence(self) -> None:
        """Ask a page that has said nothing for a heartbeat, and give it up after another.

        A browser slows the timers of hidden pages, but answers what it hears.
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
