"""One connection of one page: a thin shell between a transport and an outbox."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from flash_ws.codes import CloseCode
from flash_ws.errors import LinkClosed, ProtocolError
from flash_ws.frames import Frame, own_frame, parse_message
from flash_ws.limits import RateLimit, TokenBucket
from flash_ws.outbox import Outbox

logger = logging.getLogger(__name__)

_BEAT = own_frame("beat")


class Transport(Protocol):
    """What carries messages to one page and from it; belongs to one task for each direction."""

    # Hard to guess.
    id: str

    async def receive(self) -> str | None:
        """Return the page's next message, or None once it is gone. Raises `ProtocolError`."""
        ...

    async def send(self, message: str) -> None:
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
    """A page's connection while it lasts."""

    def __init__(self, transport: Transport, limits: LinkLimits) -> None:
        # Names this connection to the page; a secret, since whoever shows it may send frames here.
        self.id = transport.id
        self._transport = transport
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self.outbox = Outbox(
            max_bytes=limits.max_outbox_bytes,
            max_batch_bytes=limits.max_batch_bytes,
            max_batch_delay=limits.max_batch_delay,
        )
        # Live frames of channels that are being caught up with; bounded by the outbox's bytes.
        self._held: dict[str, list[Frame]] = {}
        self._held_bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        # Why the link is to be closed from this side, once it is.
        self._closing: tuple[CloseCode, str] | None = None
        self._closed = self._loop.create_future()

    # -- from the server -------------------------------------------------------------------------

    def hold(self, channel: str) -> None:
        """Keep the channel's frames back until `release`."""
        self._held.setdefault(channel, [])

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
            if frame.number > after:
                self.deliver(frame)

    def deliver(self, frame: Frame) -> None:
        """Put a frame on its way; a page too slow for it is disconnected."""
        if self._closing is not None:
            return
        if frame.channel is not None and frame.channel in self._held:
            self._held[frame.channel].append(frame)
            self._held_bytes += frame.size
            if self._held_bytes > self._limits.max_outbox_bytes:
                self.close(CloseCode.TOO_SLOW)
            return
        if not self.outbox.add(frame, self._loop.time()):
            self.close(CloseCode.TOO_SLOW)
            return
        if self.outbox.is_half_full:
            self._room.clear()
        self._wake.set()

    async def room(self) -> None:
        """Wait until the outbox is less than half full, or the link is closed."""
        await self._room.wait()

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Close from this side; the first reason stands."""
        if self._closing is None:
            self._closing = (code, reason or code.meaning)
            self._room.set()
            if not self._closed.done():
                self._closed.set_result(None)

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
        writer = asyncio.ensure_future(self._write())
        reader = asyncio.ensure_future(self._read(handle))
        try:
            await asyncio.wait({writer, reader, self._closed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writer, reader):
                task.cancel()
            results = await asyncio.gather(writer, reader, return_exceptions=True)
            self._room.set()
            if self._closing is not None:
                code, reason = self._closing
                with contextlib.suppress(OSError, RuntimeError):
                    # The page may be gone in the same moment.
                    await self._transport.close(code, reason)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _write(self) -> None:
        while True:
            wait = self.outbox.due(self._loop.time())
            if wait is None:
                self._wake.clear()
                await self._wake.wait()
            elif wait > 0:
                await asyncio.sleep(wait)
            else:
                message = self.outbox.take()
                if message is not None:
                    try:
                        await self._transport.send(message)
                    except OSError:
                        # Gone in the same moment; what it missed is in the channels' histories.
                        return
                if not self.outbox.is_half_full:
                    self._room.set()

    async def _read(self, handle: Handle) -> None:
        bucket = TokenBucket(self._limits.rate, self._loop.time())
        try:
            while True:
                message = await self._hear()
                if message is None:
                    return
                if not bucket.take(self._loop.time()):
                    raise ProtocolError(CloseCode.TOO_FAST)
                for frame in parse_message(message):
                    if frame["t"] == "beat":
                        self.deliver(_BEAT)
                    else:
                        await handle(frame)
        except LinkClosed as closed:
            logger.info("link closed: %s", closed)
            self.close(closed.code, closed.reason)

    async def _hear(self) -> str | None:
        """Return the page's next message; raises `LinkClosed` when there is none for too long.

        A browser slows the timers of hidden pages, but answers what it hears: so a silent page is
        asked once before it is given up.
        """
        hearing = asyncio.ensure_future(self._transport.receive())
        try:
            for question in (_BEAT, None):
                done, _ = await asyncio.wait({hearing}, timeout=self._limits.heartbeat)
                if done:
                    return hearing.result()
                if question is not None:
                    self.deliver(question)
            raise LinkClosed(CloseCode.SILENT)
        finally:
            hearing.cancel()
