"""One broker, shared among the parts of a worker: each hears the channels that it asked for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from flash_pubsub.broker.seam import Broker, Publication
    from flash_ws.protocol.position import Position

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """Who hears a channel. Called on the loop; returns at once and does not raise."""

    def deliver(self, publication: Publication) -> None:
        """Take the next publication of a channel."""
        ...

    def reset(self, channel: str, position: Position) -> None:
        """Learn that something is lost; what is delivered next comes after ``position``."""
        ...


class Listeners:
    """Hands publications on to whoever listens. Belongs to the loop on which the broker runs."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._by_channel: dict[str, list[Listener]] = {}
        # How far delivery has come, for each channel that somebody listens to.
        self._positions: dict[str, Position] = {}
        # One subscribes or unsubscribes a channel at a time.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # By channel, who waits for delivery to come somewhere.
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    async def start(self) -> None:
        """Begin; again only after `close`."""
        await self.broker.start(self._deliver, self._reset)

    async def close(self) -> None:
        """End; nobody hears anything more."""
        self._by_channel.clear()
        await self.broker.close()
        self._positions.clear()
        for channel in list(self._waiting):
            self._wake(channel)

    async def listen(self, channel: str, listener: Listener) -> Position:
        """Let ``listener`` hear a channel, from the position returned on; idempotent."""
        listeners = self._by_channel.setdefault(channel, [])
        if listener not in listeners:
            listeners.append(listener)
        async with self._lock(channel):
            position = self._positions.get(channel)
            if position is None:
                try:
                    position = await self.broker.subscribe(channel)
                except BaseException:
                    self._by_channel.pop(channel, None)
                    raise
                # What was delivered meanwhile has moved it already.
                position = self._positions.setdefault(channel, position)
            return position

    async def unlisten(self, channel: str, listener: Listener) -> None:
        """Let it hear the channel no more; idempotent."""
        listeners = self._by_channel.get(channel, [])
        if listener in listeners:
            listeners.remove(listener)
        async with self._lock(channel):
            # Somebody may have come while this waited.
            if self._by_channel.get(channel):
                return
            self._by_channel.pop(channel, None)
            await self.broker.unsubscribe(channel)
            self._positions.pop(channel, None)
            # Nobody is told any more how far it has come.
            self._wake(channel)

    def _lock(self, channel: str) -> asyncio.Lock:
        lock = self._locks.get(channel)
        if lock is None:
            lock = self._locks[channel] = asyncio.Lock()
        return lock

    def position(self, channel: str) -> Position | None:
        """Return how far delivery has come; None for a channel that nobody listens to."""
        return self._positions.get(channel)

    async def reached(self, channel: str, position: Position) -> None:
        """Wait until everything up to ``position`` is delivered, or the channel begins anew."""
        while (here := self._positions.get(channel)) is not None:
            if here.epoch != position.epoch or here.number >= position.number:
                return
            moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting = self._waiting.setdefault(channel, [])
            waiting.append(moved)
            try:
                await moved
            finally:
                with contextlib.suppress(ValueError):
                    waiting.remove(moved)

    def _deliver(self, publication: Publication) -> None:
        self._moved(publication.channel, publication.position)
        for listener in tuple(self._by_channel.get(publication.channel, ())):
            try:
                listener.deliver(publication)
            except Exception:  # one part of the worker must not keep others from hearing
                logger.exception("%r failed on channel %r", listener, publication.channel)

    def _reset(self, channel: str, position: Position) -> None:
        logger.warning("channel %r: something is lost; its pages are told", channel)
        self._moved(channel, position)
        for listener in tuple(self._by_channel.get(channel, ())):
            try:
                listener.reset(channel, position)
            except Exception:  # as above
                logger.exception("%r failed on channel %r", listener, channel)

    def _moved(self, channel: str, position: Position) -> None:
        self._positions[channel] = position
        self._wake(channel)

    def _wake(self, channel: str) -> None:
        for each in self._waiting.pop(channel, ()):
            if not each.done():
                each.set_result(None)
