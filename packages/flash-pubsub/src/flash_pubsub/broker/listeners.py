"""Several listeners on one broker: each receives the channels that it asked for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

from flash.exits import ends_task

if TYPE_CHECKING:
    from flash_pubsub.broker.seam import Broker, Publication
    from flash_ws.protocol.position import Position

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """Receives the publications of a channel.

    Both methods are called on the broker's event loop, return at once and do not raise.
    """

    def deliver(self, publication: Publication) -> None:
        """Receive the next publication of a channel."""
        ...

    def reset(self, channel: str, position: Position) -> None:
        """Note that publications are lost; the next one delivered comes after ``position``."""
        ...


class Listeners:
    """Passes a broker's publications to the listeners of their channel.

    All methods are called on the broker's event loop.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._by_channel: dict[str, list[Listener]] = {}
        # By channel with listeners: the position of the last publication delivered.
        self._positions: dict[str, Position] = {}
        # By channel: held while it is subscribed or unsubscribed.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # By channel: the futures of those who wait for delivery to reach a position.
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    async def start(self) -> None:
        """Start the broker; may be called again after `close`."""
        await self.broker.start(self._deliver, self._reset)

    async def close(self) -> None:
        """Close the broker; nothing is delivered any more."""
        self._by_channel.clear()
        await self.broker.close()
        self._positions.clear()
        for channel in list(self._waiting):
            self._wake(channel)

    async def listen(self, channel: str, listener: Listener) -> Position:
        """Deliver a channel to ``listener``, from the returned position on; idempotent."""
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
                # Publications that were delivered meanwhile have advanced it already.
                position = self._positions.setdefault(channel, position)
            return position

    async def unlisten(self, channel: str, listener: Listener) -> None:
        """Stop delivering a channel to ``listener``; idempotent."""
        listeners = self._by_channel.get(channel, [])
        if listener in listeners:
            listeners.remove(listener)
        async with self._lock(channel):
            # Another listener may have come while this waited.
            if self._by_channel.get(channel):
                return
            self._by_channel.pop(channel, None)
            await self.broker.unsubscribe(channel)
            self._positions.pop(channel, None)
            # Nothing is delivered any more that could end the waiting.
            self._wake(channel)

    def _lock(self, channel: str) -> asyncio.Lock:
        lock = self._locks.get(channel)
        if lock is None:
            lock = self._locks[channel] = asyncio.Lock()
        return lock

    def position(self, channel: str) -> Position | None:
        """Return the position of the last publication delivered; None without a listener."""
        return self._positions.get(channel)

    async def wait_until_delivered(self, channel: str, position: Position) -> None:
        """Wait until everything up to ``position`` is delivered, or the epoch changes."""
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
            except BaseException as error:
                # A fault in one listener must not stop delivery to the others.
                if ends_task(error):
                    raise
                logger.exception("%r failed on channel %r", listener, publication.channel)

    def _reset(self, channel: str, position: Position) -> None:
        logger.warning("channel %r: messages are lost; its listeners are reset", channel)
        self._moved(channel, position)
        for listener in tuple(self._by_channel.get(channel, ())):
            try:
                listener.reset(channel, position)
            except BaseException as error:
                if ends_task(error):
                    raise
                logger.exception("%r failed on channel %r", listener, channel)

    def _moved(self, channel: str, position: Position) -> None:
        self._positions[channel] = position
        self._wake(channel)

    def _wake(self, channel: str) -> None:
        for each in self._waiting.pop(channel, ()):
            if not each.done():
                each.set_result(None)
