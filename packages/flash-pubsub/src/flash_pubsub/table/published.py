"""Tables for publishers: their settings come from the app, over the broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from flash import ConfigurationError
from flash_pubsub.table.declared import TABLES_CHANNEL, TABLES_FIELD, DeclaredTables

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from flash_pubsub.table.columns import TableSettings
    from flash_pubsub.table.writer import TableWriter

# Seconds after which the tables of the app are read again.
_MAX_AGE = 60.0


class ValueStore(Protocol):
    """The part of a broker from which the tables of an app are read."""

    async def value(self, channel: str, name: str) -> bytes | None:
        """Return one value of a channel's snapshot; see `Broker.value`."""
        ...


class TablesOfApp:
    """The tables that an app has declared; read when first needed, and again once a minute."""

    def __init__(self, store: Callable[[], ValueStore], address: object) -> None:
        self._store = store
        self._address = address
        self._tables = DeclaredTables()
        # The time of the loop's clock at which they are read again; 0 before the first time.
        self._next_read_at = 0.0
        self._lock = asyncio.Lock()

    async def settings(self, table: str) -> TableSettings:
        """Return the settings of a table; raises `ConfigurationError` if no app has declared it."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            found = self._tables.settings(table)
            if found is None or loop.time() >= self._next_read_at:
                packed = await self._store().value(TABLES_CHANNEL, TABLES_FIELD)
                if packed is not None:
                    self._tables = DeclaredTables.unpack(packed)
                self._next_read_at = loop.time() + _MAX_AGE
                found = self._tables.settings(table)
        if found is None:
            raise ConfigurationError(
                f"no app at {self._address} has declared the table {table!r}: start the app whose "
                f"pubsub.table({table!r}, …) declares it once before anything is written to it"
            )
        return found


class BlockingTableWriter:
    """Writes rows of one table from code that is not async; `Publisher.table` makes it.

    Each method blocks until the rows are written, and raises as those of `TableWriter` do.
    """

    def __init__(
        self, writer: TableWriter, run: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        self._writer = writer
        self._run = run

    @property
    def name(self) -> str:
        """The name of the table."""
        return self._writer.name

    def upsert(self, rows: object) -> None:
        """Insert or replace rows; see `TableWriter.upsert`."""
        self._run(self._writer.upsert(rows))

    def remove(self, keys: object) -> None:
        """Remove rows by their keys; see `TableWriter.remove`."""
        self._run(self._writer.remove(keys))

    def replace(self, rows: object) -> None:
        """Make these the rows of the table; see `TableWriter.replace`."""
        self._run(self._writer.replace(rows))

    def clear(self) -> None:
        """Remove all rows; see `TableWriter.clear`."""
        self._run(self._writer.clear())
