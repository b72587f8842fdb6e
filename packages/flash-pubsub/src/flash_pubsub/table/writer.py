"""Writing rows of a table to the broker, from an app or from another process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from flash_pubsub.broker.spans import publish_span
from flash_pubsub.errors import InvalidRow
from flash_pubsub.table.changes import channel_of, rows_of, split
from flash_pubsub.table.columns import encoder_of
from flash_pubsub.table.data import encoded_rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence

    from flash.tracing import Tracing
    from flash_pubsub.broker.seam import Retention, Snapshot
    from flash_pubsub.table.columns import TableSettings
    from flash_ws.protocol.position import Position


# Rows that are written in a row before other tasks on the event loop run.
_KEYS_PER_SLICE = 100


class RowStore(Protocol):
    """The part of a broker to which rows are written."""

    async def publish(
        self,
        channel: str,
        payload: bytes,
        *,
        changes: Mapping[str, bytes | None],
        retention: Retention,
    ) -> Position:
        """Publish changes and set them in the channel's snapshot; see `Broker.publish`."""
        ...

    async def snapshot(self, channel: str) -> Snapshot:
        """Return the values of a channel; see `Broker.snapshot`."""
        ...


class TableWriter:
    """Writes the rows of one table; all pages that show the table follow.

    Rows are dictionaries with all columns of the table, one or a list of them, or a DataFrame of
    pandas, polars or any library that narwhals reads. All of them are checked before the first one
    is written; `InvalidRow` names the value that does not fit.

    A call is one publication for up to 1,000 rows and 256 KiB, and several beyond that: pages may
    then show a part of it for a moment. Of two writers of one row, the one that was published last
    counts, on every page. Raises as `PubSub.publish` does; writing again is safe.
    """

    def __init__(
        self,
        name: str,
        settings: Callable[[], Awaitable[TableSettings]],
        store: Callable[[], RowStore],
        tracing: Callable[[], Tracing | None],
        begin: Callable[[Coroutine[Any, Any, None]], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self.name = name
        self._settings = settings
        self._store = store
        self._tracing = tracing
        # Begins what has to be done even if nobody awaits it; None where somebody has to.
        self._begin = begin or _unchanged
        # Since other tasks of the event loop could run.
        self._keys_written = 0

    def upsert(self, rows: object) -> Coroutine[Any, Any, None]:
        """Insert rows, and replace those whose key is there; new rows come after all others."""
        return self._begin(self._upsert(rows))

    def remove(self, keys: object) -> Coroutine[Any, Any, None]:
        """Remove the rows with these keys, one or a list; a key without a row is ignored."""
        return self._begin(self._remove(keys))

    def replace(self, rows: object) -> Coroutine[Any, Any, None]:
        """Make these the rows of the table: others are removed, and equal ones are not written.

        Rows that others insert meanwhile may stay. Reads the whole table from the broker.
        """
        return self._begin(self._replace(rows))

    def clear(self) -> Coroutine[Any, Any, None]:
        """Remove all rows; rows that others insert meanwhile may stay."""
        return self._begin(self._clear())

    async def _upsert(self, rows: object) -> None:
        settings = await self._settings()
        encoder = encoder_of(self.name, settings)
        await self._publish(await encoded_rows(rows, self.name, settings, encoder), (), settings)

    async def _remove(self, keys: object) -> None:
        settings = await self._settings()
        await self._publish({}, await self._keys(keys, settings), settings)

    async def _replace(self, rows: object) -> None:
        settings = await self._settings()
        encoder = encoder_of(self.name, settings)
        wanted = await encoded_rows(rows, self.name, settings, encoder)
        present = await self._present()
        changed = {key: row for key, row in wanted.items() if present.get(key) != row}
        await self._publish(changed, [key for key in present if key not in wanted], settings)

    async def _clear(self) -> None:
        await self._publish({}, list(await self._present()), await self._settings())

    async def _present(self) -> dict[str, bytes]:
        return rows_of((await self._store().snapshot(channel_of(self.name))).values)

    async def _keys(self, keys: object, settings: TableSettings) -> list[str]:
        encoder = encoder_of(self.name, settings)
        if isinstance(keys, str) or not hasattr(keys, "__iter__"):
            return [encoder.key_of(keys)]
        if hasattr(keys, "items"):
            raise InvalidRow(self.name, "", "remove() takes keys, one or a list, and got a row")
        given: Iterable[object] = keys  # pyright: ignore[reportAssignmentType]
        return [encoder.key_of(key) for key in given]

    async def _publish(
        self, rows: Mapping[str, bytes], removed: Sequence[str], settings: TableSettings
    ) -> None:
        tracing = self._tracing()
        if tracing is None:
            await self._publish_parts(rows, removed, settings)
            return
        attributes = {"flash.table.rows": len(rows), "flash.table.removed": len(removed)}
        with publish_span(tracing, self.name, attributes):
            await self._publish_parts(rows, removed, settings)

    async def _publish_parts(
        self, rows: Mapping[str, bytes], removed: Sequence[str], settings: TableSettings
    ) -> None:
        for changes in split(rows, removed):
            await self._store().publish(
                channel_of(self.name),
                changes.pack(),
                changes=changes.values(),
                retention=settings.retention,
            )
            self._keys_written += len(changes.rows) + len(changes.removed)
            if self._keys_written >= _KEYS_PER_SLICE:
                # The broker in memory does not let other tasks run.
                self._keys_written = 0
                await asyncio.sleep(0)


def _unchanged(work: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
    return work
