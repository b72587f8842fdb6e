"""`Table`: the rows of one table in an app."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import orjson

from flash import ConfigurationError
from flash.settings import here, nearest
from flash_pubsub.table.columns import TableSettings, encoder_of
from flash_pubsub.table.writer import TableWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from flash.tracing import Tracing
    from flash_pubsub.channels.declaration import ChannelPattern
    from flash_pubsub.table.replica import TableReplica
    from flash_pubsub.table.writer import RowStore

T = TypeVar("T")

# Rows that are decoded in a row before other tasks on the event loop run.
_ROWS_PER_SLICE = 2000


@dataclass(frozen=True, slots=True)
class Declaration:
    """A table, or all tables of a pattern, as the app has declared it."""

    pattern: ChannelPattern
    settings: TableSettings
    # Seconds between two messages to a page.
    interval: float


class TableHost(Protocol):
    """What a `Table` needs of the worker that it runs on."""

    @property
    def is_starting(self) -> bool:
        """Whether the app is starting, so that there are no rows yet."""
        ...

    def store(self) -> RowStore:
        """Return the broker."""
        ...

    @property
    def tracing(self) -> Tracing | None:
        """What traces the app; None if nothing does."""
        ...

    async def replica(self, name: str) -> TableReplica:
        """Return the rows of a table, fetched if this worker has not got them yet."""
        ...

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait in a thread for what runs on the app's event loop."""
        ...

    def begin(self, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Do work on the app's event loop whether or not somebody awaits the result."""
        ...


class Table(TableWriter):
    """Rows by key that any process writes, and that grids and graphs of all pages show.

    `PubSub.table` makes it. For a pattern such as ``"orders/{desk}"`` it stands for all tables of
    the pattern: ``orders.named(desk="oslo")`` is one of them.

    What `upsert`, `remove`, `replace` and `clear` return may be awaited, and need not be: then an
    error is logged. In a thread it is done when the call returns.
    """

    def __init__(self, declaration: Declaration, name: str, host: Callable[[], TableHost]) -> None:
        super().__init__(
            name,
            self._own_settings,
            lambda: host().store(),
            lambda: host().tracing,
            self._begin_on_host,
        )
        self._declaration = declaration
        # Asked when it is needed: the app may be made after the table is declared.
        self._host = host

    def _begin_on_host(self, work: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
        try:
            host = self._host()
        except ConfigurationError:
            work.close()
            raise
        return host.begin(work)

    def __repr__(self) -> str:
        return f"<Table {self.name!r}>"

    def named(self, **variables: str) -> Table:
        """Return the table of a pattern with these values of its variables."""
        pattern = self._declaration.pattern
        wanted = sorted(pattern.variables)
        if sorted(variables) != wanted:
            raise ConfigurationError(
                f"the table {pattern.text!r} has the variables {', '.join(wanted) or 'none'}, and "
                f"{', '.join(sorted(variables)) or 'none'} came{here()}"
            )
        name = pattern.text
        for variable, value in variables.items():
            name = name.replace(f"{{{variable}}}", str(value))
        if pattern.match(name) != variables:
            raise ConfigurationError(
                f"{name!r} is no table of {pattern.text!r}: a variable is a text of at least one "
                f"character without a slash{here()}"
            )
        return Table(self._declaration, name, self._host)

    def check_shown(self, names: Iterable[str]) -> None:
        """Raise `ConfigurationError` for a pattern, or a name that is no column of the table."""
        if self._is_pattern:
            raise self._pattern_error(here())
        columns = self._declaration.settings.columns
        for name in names:
            if name not in columns:
                raise ConfigurationError(
                    f"the table {self.name!r} has no column {name!r}{nearest(name, columns)}; it "
                    f"has {', '.join(columns)}{here()}"
                )

    @property
    def _is_pattern(self) -> bool:
        pattern = self._declaration.pattern
        return not pattern.is_single and self.name == pattern.text

    def _pattern_error(self, place: str = "") -> ConfigurationError:
        variables = "=…, ".join(self._declaration.pattern.variables)
        return ConfigurationError(
            f"{self.name!r} is a pattern of tables; choose one of them with "
            f".named({variables}=…){place}"
        )

    async def _own_settings(self) -> TableSettings:
        if self._is_pattern:
            raise self._pattern_error()
        return self._declaration.settings

    async def rows(self) -> list[dict[str, Any]]:
        """Return all rows, in the order in which they were inserted.

        They include everything that was written before the call, by any process. While the app
        starts, which calls its layout once to check it, there are none.
        """
        settings = await self._own_settings()
        if self._host().is_starting:
            return []
        replica = await self._host().replica(self.name)
        await replica.up_to_date()
        # All of one moment; they change while other tasks run.
        texts = [row.text for row in replica.rows]
        rows: list[dict[str, Any]] = []
        for number, text in enumerate(texts, start=1):
            rows.append(_as_dictionary(text, settings))
            if number % _ROWS_PER_SLICE == 0:
                await asyncio.sleep(0)
        return rows

    async def get(self, key: object) -> dict[str, Any] | None:
        """Return the row with a key, None if there is none; as up to date as `rows`."""
        settings = await self._own_settings()
        text = encoder_of(self.name, settings).key_of(key)
        if self._host().is_starting:
            return None
        replica = await self._host().replica(self.name)
        await replica.up_to_date()
        row = replica.rows.get(text)
        return None if row is None else _as_dictionary(row.text, settings)

    def upsert_threadsafe(self, rows: object) -> None:
        """Insert or replace rows from a thread, as `upsert` does; blocks until it is done."""
        self._host().wait_for(self._upsert(rows))

    def remove_threadsafe(self, keys: object) -> None:
        """Remove rows from a thread, as `remove` does; blocks until it is done."""
        self._host().wait_for(self._remove(keys))

    def replace_threadsafe(self, rows: object) -> None:
        """Replace all rows from a thread, as `replace` does; blocks until it is done."""
        self._host().wait_for(self._replace(rows))

    def rows_threadsafe(self) -> list[dict[str, Any]]:
        """Return all rows in a thread, as `rows` does."""
        return self._host().wait_for(self.rows())


def _as_dictionary(text: str, settings: TableSettings) -> dict[str, Any]:
    return dict(zip(settings.columns, orjson.loads(text), strict=True))
