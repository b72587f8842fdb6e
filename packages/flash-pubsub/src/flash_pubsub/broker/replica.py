"""A worker's copy of one channel: the broker's snapshot, and every publication after it."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from flash.log_limit import limited_logger
from flash_pubsub.errors import BrokerError, BrokerRefused, Overtaken, PayloadTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.broker.seam import Publication, Snapshot
    from flash_ws.protocol.position import Position

logger = limited_logger(__name__)

# Publications that wait while the snapshot is fetched. With one more, it is fetched again.
_MAX_WAITING = 10_000


class ChannelReplica(ABC):
    """A `Listener` that keeps a copy of what a channel has in the store.

    When publications are lost, it fetches the snapshot again. When the store has lost data, it
    writes what this worker has and the store has not; what was written since the loss stays so.
    All methods are called on the event loop.
    """

    def __init__(self, channel: str, listeners: Listeners, backplane: BrokerBackplane) -> None:
        # The name of the channel in the broker.
        self.channel = channel
        self._listeners = listeners
        self._backplane = backplane
        # Publications that arrive while the snapshot is fetched, _MAX_WAITING at most; else None.
        self._waiting: list[Publication] | None = []
        self._loaded = asyncio.Event()
        # The number of resets, and of times that too many publications waited. If it increases
        # while the snapshot is fetched, it is fetched again.
        self._resets = 0
        self._is_stopped = False

    @property
    @abstractmethod
    def position(self) -> Position:
        """The position up to which the copy has all publications."""

    async def start(self) -> None:
        """Fetch the snapshot, and receive all changes from now on; may follow a `stop`."""
        self._loaded = asyncio.Event()
        self._waiting = []
        self._is_stopped = False
        await self._listeners.listen(self.channel, self)
        try:
            await self._load()
        except BaseException:
            await self.stop()
            raise
        self._resume_delivery()

    async def stop(self) -> None:
        """Receive no more changes; the store keeps what it has."""
        self._is_stopped = True
        # Nothing arrives any more for which anybody could wait.
        self._loaded.set()
        with contextlib.suppress(BrokerError):
            await self._listeners.unlisten(self.channel, self)

    async def up_to_date(self) -> None:
        """Wait until this worker has received everything that was published before the call."""
        await self._catch_up_with_broker()
        await self._loaded.wait()

    async def _catch_up_with_broker(self) -> bool:
        """Wait until everything published so far is received; False if a `reset` has to follow."""
        position = await self._listeners.broker.position(self.channel)
        await self._listeners.wait_until_delivered(self.channel, position)
        return self._waiting is None and position.epoch == self.position.epoch

    # -- from the broker -------------------------------------------------------------------------

    def deliver(self, publication: Publication) -> None:
        """Apply a publication, unless the copy has it already."""
        if self._waiting is not None:
            if len(self._waiting) >= _MAX_WAITING:
                self._waiting.clear()
                self._resets += 1
            self._waiting.append(publication)
            return
        position, known = publication.position, self.position
        if position.epoch == known.epoch and position.number > known.number:
            self._apply(publication)

    def reset(self, channel: str, position: Position) -> None:
        """Fetch the snapshot again, because publications are lost."""
        del channel, position
        self._resets += 1
        if self._waiting is None:
            self._waiting = []
            self._loaded.clear()
            self._backplane.spawn(self._reload())

    async def _load(self) -> None:
        """Fetch the snapshot; fetch it again if a reset happened meanwhile."""
        while True:
            resets = self._resets
            snapshot = await self._listeners.broker.snapshot(self.channel)
            begin = await self._prepare(snapshot)
            if resets == self._resets:
                begin()
                return

    async def _reload(self) -> None:
        await self._backplane.retry_until_available(self._load)
        if self._is_stopped:
            # Another object may have the same channel by now.
            return
        position = self.position
        self._reloaded()
        self._resume_delivery()
        self._resumed(position)
        await self._backplane.retry_until_available(self._restore)

    def _resume_delivery(self) -> None:
        """Deliver the publications that waited, and do not queue later ones."""
        self._loaded.set()
        waiting, self._waiting = self._waiting or [], None
        for publication in waiting:
            self.deliver(publication)

    async def _restore(self) -> None:
        """Publish what the store has lost, except what was set since."""
        while self._lost_count and not self._is_stopped:
            try:
                await self._restore_part()
            except Overtaken:
                logger.debug("another worker has published first; trying again")
            except (BrokerRefused, PayloadTooLarge) as error:
                self._give_up(error)
            if not await self._catch_up_with_broker():
                # `reset` is called and starts the restoring again.
                return

    # -- of one kind of channel ------------------------------------------------------------------

    @abstractmethod
    async def _prepare(self, snapshot: Snapshot) -> Callable[[], None]:
        """Return what makes the copy begin with a snapshot, and finds what the store has lost.

        Until that is called, the copy stays as it is; after a reset it is not called.
        """

    @abstractmethod
    def _apply(self, publication: Publication) -> None:
        """Apply the next publication; afterwards `position` is that of this publication."""

    @abstractmethod
    def _reloaded(self) -> None:
        """Note that the copy began anew, before publications that have waited are applied."""

    @abstractmethod
    def _resumed(self, position: Position) -> None:
        """Note that the copy began anew at ``position``, and has what came since."""

    @property
    @abstractmethod
    def _lost_count(self) -> int:
        """How much this worker has that the store has lost."""

    @abstractmethod
    async def _restore_part(self) -> None:
        """Publish a part of what the store has lost, directly after `position`.

        A publication that this worker has not received must not be overwritten: raises `Overtaken`.
        """

    @abstractmethod
    def _give_up(self, error: Exception) -> None:
        """Forget what the store has lost, since it refuses it."""
