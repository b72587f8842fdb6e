"""A worker's copy of one table: the broker's snapshot, and every publication after it."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from flash.log_limit import limited_logger
from flash_pubsub.broker.replica import ChannelReplica
from flash_pubsub.broker.seam import values_kept
from flash_pubsub.errors import Overtaken, UnsupportedEnvelope
from flash_pubsub.table.changes import MAX_KEYS, Changes, channel_of, rows_of, split
from flash_pubsub.table.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.broker.seam import Publication, Snapshot
    from flash_pubsub.table.columns import TableSettings
    from flash_ws.protocol.position import Position

logger = limited_logger(__name__)

# Rows that are loaded in a row before other tasks on the event loop run.
_ROWS_PER_SLICE = 2000

# Seconds within which a worker removes rows of a table that has too many.
_DROP_WITHIN = 0.05


class TableReplica(ChannelReplica):
    """The rows of one table on one worker.

    A row that was written or removed since the store has lost its data stays so.
    """

    def __init__(
        self, name: str, settings: TableSettings, listeners: Listeners, backplane: BrokerBackplane
    ) -> None:
        super().__init__(channel_of(name), listeners, backplane)
        self.name = name
        self.settings = settings
        self.rows = Rows(settings.most_rows)
        # Rows that this worker has removed because there were more than ``max_rows``.
        self.dropped = 0
        self._is_dropping = False
        # Rows that the store has lost and this worker still has.
        self._lost: dict[str, bytes] = {}
        # Called after every publication, and after the rows were fetched again.
        self.on_change: Callable[[], object] = _nothing

    @property
    def position(self) -> Position:
        """The position up to which the rows have all publications."""
        return self.rows.position

    def _apply(self, publication: Publication) -> None:
        try:
            changes = Changes.unpack(publication.payload)
        except UnsupportedEnvelope as error:
            logger.warning("table %r: %s", self.name, error)
            changes = Changes()
        self.rows.apply(publication.position.number, changes)
        if self._lost:
            for key in (*(key for key, _ in changes.rows), *changes.removed):
                self._lost.pop(key, None)
        if len(self.rows) > self.settings.max_rows and not self._is_dropping:
            self._is_dropping = True
            self._backplane.spawn(self._drop())
        self.on_change()

    async def _prepare(self, snapshot: Snapshot) -> Callable[[], None]:
        rows = rows_of(snapshot.values)
        # Not in the rows that pages are being sent, since other tasks run meanwhile.
        loaded = Rows(self.settings.most_rows, counted=self.rows)
        loaded.begin(snapshot.position, {})
        items = iter(rows.items())
        while part := list(islice(items, _ROWS_PER_SLICE)):
            loaded.load(part)
            await asyncio.sleep(0)
        return partial(self._begin, rows.keys(), loaded)

    def _begin(self, keys: Collection[str], loaded: Rows) -> None:
        if self.rows.position.epoch not in ("", loaded.position.epoch):
            self._lost.update(
                (row.key, row.text.encode()) for row in self.rows if row.key not in keys
            )
        for key in keys:
            self._lost.pop(key, None)
        self.rows = loaded

    def _reloaded(self) -> None:
        """Do nothing: readers are told once publications that have waited are applied, too."""

    def _resumed(self, position: Position) -> None:
        del position
        self.on_change()

    async def _drop(self) -> None:
        """Remove the rows that were inserted first until a tenth fewer than allowed are there."""
        try:
            # Of several workers, mostly one does it.
            await asyncio.sleep(random.uniform(0, _DROP_WITHIN))
            settings = self.settings
            if len(self.rows) <= settings.max_rows:
                return
            while (surplus := len(self.rows) - values_kept(settings.max_rows)) > 0:
                changes = Changes(removed=self.rows.first(min(surplus, MAX_KEYS)))
                try:
                    # A key may have been removed and written again by others.
                    await self._publish(changes, after=self.rows.position)
                    self.dropped += len(changes.removed)
                except Overtaken:
                    logger.debug("another process has published first; trying again")
                await self.up_to_date()
        finally:
            self._is_dropping = False

    async def _publish(self, changes: Changes, *, after: Position) -> None:
        await self._listeners.broker.publish(
            self.channel,
            changes.pack(),
            changes=changes.values(),
            after=after,
            retention=self.settings.retention,
        )

    @property
    def _lost_count(self) -> int:
        return len(self._lost)

    async def _restore_part(self) -> None:
        await self._publish(next(split(self._lost)), after=self.rows.position)

    def _give_up(self, error: Exception) -> None:
        logger.warning("%d rows of %r are not restored: %s", len(self._lost), self.name, error)
        self._lost.clear()

    async def _restore(self) -> None:
        restored = len(self._lost)
        await super()._restore()
        if restored and not self._lost:
            logger.warning(
                "table %r: %d rows that the store had lost were kept", self.name, restored
            )


def _nothing() -> None:
    """Do nothing; stands for the function that the readers set."""
