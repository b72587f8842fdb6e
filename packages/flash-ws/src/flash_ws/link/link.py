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
from flash_ws.protocol.frames import Frame, own_frame, parse_message
from flash_ws.protocol.limits import RateLimit, TokenBucket
from flash_ws.protocol.outbox import Outbox

if TYPE_CHECKING:
    from flash_ws.link.flushing import Departures

logger = logging.getLogger(__name__)

_BEAT = own_frame("beat")

# Seconds that a page has to take the reason why its link is closed.
_LINGER = 5.0


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
    its own: ``departures`` says when.
    """

    # One per page: without slots a dictionary each.
    __slots__ = (
        "_closing",
        "_departures",
        "_drainer",
        "_has_asked",
        "_heard_at",
        "_held",
        "_held_bytes",
        "_is_called",
        "_is_listening",
        "_is_open",
        "_limits",
        "_loop",
        "_reading",
        "_room",
        "_silence",
        "_transport",
        "id",
        "outbox",
    )

    def __init__(self, transport: Transport, limits: LinkLimits, departures: Departures) -> None:
        # Names this connection to the page; a secret, since whoever shows it may send frames here.
        self.id = transport.id
        self._transport = transport
        self._limits = limits
        self._departures = departures
        self._loop = asyncio.get_running_loop()
        self.outbox = Outbox(
            max_bytes=limits.max_outbox_bytes, max_batch_bytes=limits.max_batch_bytes
        )
        # Live frames of channels that are being caught up with; bounded by the outbox's bytes.
        self._held: dict[str, list[Frame]] = {}
        self._held_bytes = 0
        # Whether what comes may be written: neither before `run` nor after it.
        self._is_open = False
        # Whether the courier is here, or on its way at once.
        self._is_called = False
        # The courier's task while it is here.
        self._drainer: asyncio.Task[None] | None = None
        # Done when there is room again; made when somebody waits for that.
        self._room: asyncio.Future[None] | None = None
        # Why the link is to be closed from this side, once it is.
        self._closing: tuple[CloseCode, str] | None = None
        # Ends the reading, while that lasts.
        self._reading: asyncio.Timeout | None = None
        # Runs while the link does, to notice a page that says nothing.
        self._silence: asyncio.TimerHandle | None = None
        # The loop's time when listening for a message began.
        self._heard_at = 0.0
        self._is_listening = False
        # Whether the page has been asked to say something, and has not.
        self._has_asked = False

    # -- from the server -------------------------------------------------------------------------

    def hold(self, channel: str) -> list[Frame]:
        """Keep the channel's frames back, in the list returned, until `release` or `forget`."""
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
            if frame.begins:
                after = 0
            if frame.number > after or frame.begins:
                self.deliver(frame)

    def forget(self, channel: str) -> None:
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
        elif self._is_open and not self._is_called:
            self._announce()

    def _announce(self) -> None:
        """Have what waits written, soon."""
        if self.outbox.is_batch:
            self._is_called = True
            self._departures.hurry(self)
        else:
            self._departures.add(self)

    def hurry(self) -> None:
        """Have what waits written now rather than with the next departure."""
        if self._is_open and not self._is_called and len(self.outbox):
            self._is_called = True
            self._departures.hurry(self)

    async def room(self) -> None:
        """Wait until the outbox is less than half full, or the link is closed."""
        while self.outbox.is_half_full and self._closing is None:
            if self._room is None:
                self._room = self._loop.create_future()
            await asyncio.shield(self._room)

    def _make_room(self) -> None:
        """Let go on who waited for room."""
        room, self._room = self._room, None
        if room is not None:
            room.set_result(None)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Close from this side; the first reason stands."""
        if self._closing is None:
            self._closing = (code, reason or code.meaning)
            self._make_room()
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
            self._announce()
        self._watch_silence(self._limits.heartbeat)
        try:
            # Closed before it ran: the timeout is over at once.
            async with asyncio.timeout(None if self._closing is None else 0) as self._reading:
                await self._read(handle)
        except TimeoutError:
            if self._reading is None or not self._reading.expired():
                raise
        finally:
            self._reading = None
            if self._silence is not None:
                self._silence.cancel()
            await self._stop_writing()
            if self._closing is not None:
                code, reason = self._closing
                # The page may be gone in the same moment, or take nothing, not even this.
                with contextlib.suppress(OSError, RuntimeError, TimeoutError):
                    async with asyncio.timeout(_LINGER):
                        await self._transport.close(code, reason)

    async def drain(self, task: asyncio.Task[None]) -> None:
        """Write what waits; for the courier, whose ``task`` this is."""
        if self._drainer is not None or not self._is_open:
            return
        self._is_called = True
        self._drainer = task
        try:
            while (message := self.outbox.take()) is not None:
                await self._transport.send(message)
                if self._room is not None and not self.outbox.is_half_full:
                    self._make_room()
        except Exception as error:  # noqa: BLE001  each server has its own for a socket that is gone
            # What the page missed is in the channels' histories.
            logger.debug("a page cannot be written to: %r", error)
            self._stop_reading()
        finally:
            self._drainer = None
            self._is_called = False

    async def _stop_writing(self) -> None:
        self._is_open = False
        self._departures.remove(self)
        self._make_room()
        drainer = self._drainer
        if drainer is not None:
            # A page that does not take what it is sent.
            self._departures.courier.detach(drainer)
            drainer.cancel()
            await asyncio.wait({drainer})

    def _stop_reading(self) -> None:
        if self._reading is not None and not self._reading.expired():
            self._reading.reschedule(self._loop.time())

    async def _read(self, handle: Handle) -> None:
        bucket = TokenBucket(self._limits.rate, self._loop.time())
        try:
            while True:
                self._heard_at = self._loop.time()
                self._is_listening = True
                message = await self._transport.receive()
                self._is_listening = self._has_asked = False
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

    def _watch_silence(self, seconds: float) -> None:
        self._silence = self._loop.call_later(seconds, self._mind_silence)

    def _mind_silence(self) -> None:
        """Ask a page that has said nothing for a heartbeat, and give it up after another.

        A browser slows the timers of hidden pages, but answers what it hears.
        """
        patience = self._limits.heartbeat
        silent = self._loop.time() - self._heard_at if self._is_listening else 0.0
        if silent < patience:
            self._watch_silence(patience - silent)
        elif not self._has_asked:
            self._has_asked = True
            self.deliver(_BEAT)
            self._watch_silence(patience)
        else:
            self.close(CloseCode.SILENT)
