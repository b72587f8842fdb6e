"""A worker's copy of one table: the broker's snapshot, and every publication after it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from itertools import islice
from typing import TYPE_CHECKING

from flash.log_limit import limited_logger
from flash_pubsub.broker.seam import values_kept
from flash_pubsub.errors import (
    BrokerError,
    BrokerRefused,
    Overtaken,
    PayloadTooLarge,
    UnsupportedEnvelope,
)
from flash_pubsub.table.changes import MAX_KEYS, Changes, channel_of, rows_of, split
from flash_pubsub.table.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.broker.seam import Publication
    from flash_pubsub.table.columns import TableSettings
    from flash_ws.protocol.position import Position

logger = limited_logger(__name__)

# Publications that wait while the rows are fetched. With one more, they are fetched again.
_MAX_WAITING = 10_000

# Rows that are loaded in a row before other tasks on the event loop run.
_ROWS_PER_SLICE = 2000

# Seconds within which a worker removes rows of a table that has too many.
_DROP_WITHIN = 0.05


class TableReplica:
    """The rows of one table on one worker; a `Listener`.

    When the store has lost its data, the workers write the rows that they have and the store has
    not. A row that was written or removed since the loss stays so.
    """

    def __init__(
        self, name: str, settings: TableSettings, listeners: Listeners, backplane: BrokerBackplane
    ) -> None:
        self.name = name
        self.settings = settings
        self.rows = Rows(settings.most_rows)
        # Rows that this worker has removed because there were more than ``max_rows``.
        self.dropped = 0
        self._is_dropping = False
        self._channel = channel_of(name)
        self._listeners = listeners
        self._backplane = backplane
        # Publications that arrive while the rows are fetched, _MAX_WAITING at most; else None.
        self._waiting: list[Publication] | None = []
        self._loaded = asyncio.Event()
        # The number of resets, and of times that too many publications waited. If it increases
        # while the rows are fetched, they are fetched again.
        self._resets = 0
        # Rows that the store has lost and this worker still has.
        self._lost: dict[str, bytes] = {}
        # Called after every publication, and after the rows were fetched again.
        self.on_change: Callable[[], object] = _nothing

    async def start(self) -> None:
        """Fetch the rows, and receive all changes from now on."""
        await self._listeners.listen(self._channel, self)
        try:
            await self._load()
        except BaseException:
            await self.stop()
            raise
        self._resume_delivery()

    async def stop(self) -> None:
        """Receive no more changes."""
        with contextlib.suppress(BrokerError):
            await self._listeners.unlisten(self._channel, self)

    async def up_to_date(self) -> None:
        """Wait until this worker has received everything that was published before the call."""
        position = await self._listeners.broker.position(self._channel)
        await self._listeners.wait_until_delivered(self._channel, position)
        await self._loaded.wait()

    # -- from the broker -------------------------------------------------------------------------

    def deliver(self, publication: Publication) -> None:
        """Apply a publication to the rows."""
        if self._waiting is not None:
            if len(self._waiting) >= _MAX_WAITING:
                self._waiting.clear()
                self._resets += 1
            self._waiting.append(publication)
            return
        position, known = publication.position, self.rows.position
        if position.epoch != known.epoch or position.number <= known.number:
            return
        try:
            changes = Changes.unpack(publication.payload)
        except UnsupportedEnvelope as error:
            logger.warning("table %r: %s", self.name, error)
            changes = Changes()
        self.rows.apply(position.number, changes)
        if self._lost:
            for key in (*(key for key, _ in changes.rows), *changes.removed):
                self._lost.pop(key, None)
        if len(self.rows) > self.settings.max_rows and not self._is_dropping:
            self._is_dropping = True
            self._backplane.spawn(self._drop())
        self.on_change()

    def reset(self, channel: str, position: Position) -> None:
        """Fetch the rows again, because publications are lost."""
        del channel, position
        self._resets += 1
        if self._waiting is None:
            self._waiting = []
            self._loaded.clear()
            self._backplane.spawn(self._reload())

    async def _load(self) -> None:
        """Fetch the rows; fetch them again if a reset happened meanwhile."""
        while True:
            resets = self._resets
            snapshot = await self._listeners.broker.snapshot(self._channel)
            rows = rows_of(snapshot.values)
            # Not in the rows that pages are being sent, since other tasks run meanwhile.
            loaded = Rows(self.settings.most_rows, counted=self.rows)
            loaded.begin(snapshot.position, {})
            items = iter(rows.items())
            while part := list(islice(items, _ROWS_PER_SLICE)):
                loaded.load(part)
                await asyncio.sleep(0)
            if resets == self._resets:
                break
        if self.rows.position.epoch not in ("", snapshot.position.epoch):
            self._lost.update(
                (row.key, row.text.encode()) for row in self.rows if row.key not in rows
            )
        for key in rows:
            self._lost.pop(key, None)
        self.rows = loaded

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
            self._channel,
            changes.pack(),
            changes=changes.values(),
            after=after,
            retention=self.settings.retention,
        )

    def _resume_delivery(self) -> None:
        """Deliver the publications that waited, and do not queue later ones."""
        self._loaded.set()
        waiting, self._waiting = self._waiting or [], None
        for publication in waiting:
            self.deliver(publication)

    async def _reload(self) -> None:
        await self._backplane.retry_until_available(self._load)
        self._resume_delivery()
        self.on_change()
        await self._backplane.retry_until_available(self._restore)

    async def _restore(self) -> None:
        """Write the rows that the store has lost, except those that were written since."""
        restored = len(self._lost)
        while self._lost:
            here = self.rows.position
            changes = next(split(self._lost))
            try:
                # A publication that this worker has not received must not be overwritten.
                await self._publish(changes, after=here)
            except Overtaken:
                logger.debug("another worker has published first; trying again")
            except (BrokerRefused, PayloadTooLarge) as error:
                logger.warning("%d rows of %r are not restored: %s", restored, self.name, error)
                self._lost.clear()
            position = await self._listeners.broker.position(self._channel)
            await self._listeners.wait_until_delivered(self._channel, position)
            if self._waiting is not None:
                # `reset` was called, and starts the restoring again.
                return
        if restored:
            logger.warning(
                "table %r: %d rows that the store had lost were kept", self.name, restored
            )


def _nothing() -> None:
    """Do nothing; stands for the function that the readers set."""
