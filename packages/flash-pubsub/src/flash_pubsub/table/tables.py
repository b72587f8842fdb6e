"""The tables of one app on one worker."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from flash import ConfigurationError
from flash.settings import here
from flash_pubsub.broker.memory import MemoryBroker
from flash_pubsub.registry import PubSubRegistry
from flash_pubsub.table.access import TableAccess
from flash_pubsub.table.declared import DeclaredTables, published_tables
from flash_pubsub.table.readers import TableReaders
from flash_pubsub.table.replica import TableReplica
from flash_pubsub.table.table import Declaration, Table
from flash_ws import Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from flash import Flash
    from flash.tracing import Tracing
    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.channels.declaration import ChannelPattern, Declarations
    from flash_pubsub.table.columns import TableSettings
    from flash_pubsub.table.table import TableHost
    from flash_pubsub.table.writer import RowStore
    from flash_ws import Live
    from flash_ws.clients.client import LinkedClient as Client
    from flash_ws.protocol.position import Position

T = TypeVar("T")

# Tables of patterns that a worker keeps without a page that shows them; the one that was used
# longest ago is dropped first.
_MAX_UNUSED = 100


class _OpenTable:
    """A table that this worker has: its rows, and the pages that show it."""

    def __init__(self, replica: TableReplica, interval: float) -> None:
        self.replica = replica
        self.readers = TableReaders(replica, interval)
        # Done when the rows are there.
        self.starting: asyncio.Future[None] = asyncio.ensure_future(replica.start())

    async def close(self) -> None:
        self.readers.close()
        self.starting.cancel()
        await asyncio.wait({self.starting})
        await self.replica.stop()


class Tables:
    """Declares the tables of an app, has their rows, and sends them to pages.

    The rows of a table without variables are fetched at the start, those of others when they are
    first needed.
    """

    def __init__(self, listeners: Listeners, backplane: BrokerBackplane) -> None:
        self._listeners = listeners
        self._backplane = backplane
        self._declared: list[Declaration] = []
        # The one that was used last is at the end.
        self._open: dict[str, _OpenTable] = {}
        self._app: Flash | None = None
        self._live: Live | None = None
        # Prepares the app for tables; set by `connect`.
        self._serve: Callable[[], None] = _nothing

    def connect(self, app: Flash, live: Live, declarations: Declarations) -> None:
        """Serve the pages of an app; called once, before it is served."""
        self._app, self._live = app, live
        self._serve = partial(self._begin, app, live, declarations)
        if self._declared:
            self._serve()

    def _begin(self, app: Flash, live: Live, declarations: Declarations) -> None:
        """Prepare an app for its first table; an app without tables needs nothing of this."""
        access = TableAccess(app, live, declarations, self._backplane, self)
        live.on_frame("table", access.subscribe)
        live.on_frame("table-end", access.unsubscribe)
        live.on_forget(access.forget)
        self._backplane.on_unsubscribe.append(access.withdraw)
        self._backplane.on_close.append(self.close)
        live.metrics.add(self._metrics)
        app.scripts.append_script(
            {"relative_package_path": "flash_table.js", "namespace": "flash_pubsub"}
        )

    def declare(self, pattern: ChannelPattern, settings: TableSettings, interval: float) -> Table:
        """Declare a table; raises `ConfigurationError` for one that is there, or too late."""
        if any(each.pattern.text == pattern.text for each in self._declared):
            raise ConfigurationError(
                f"the table {pattern.text!r} is declared already; use the result of that call"
                f"{here()}"
            )
        if self._app is not None:
            if self._app.has_started:
                raise ConfigurationError(
                    f"the table {pattern.text!r} is declared after the app has started; declare it "
                    f"where the app is made{here()}"
                )
            if not self._declared:
                self._serve()
        declaration = Declaration(pattern, settings, interval)
        self._declared.append(declaration)
        return Table(declaration, pattern.text, self._of_app)

    def _of_app(self) -> TableHost:
        """Return these tables, or those of the current app for a declaration made before it."""
        if self._app is not None:
            return self
        registry = PubSubRegistry.of_current_app()
        if registry is None or registry.part is None:
            raise ConfigurationError(
                "a table is used before its app is served: write and read rows in functions that "
                "run while the app is served, or use a Publisher"
            )
        return cast("TableHost", registry.part.tables)

    async def start(self) -> None:
        """Fetch the rows of all tables without variables."""
        if not self._declared:
            return
        if not isinstance(self._listeners.broker, MemoryBroker):
            declared = DeclaredTables.of(self._declared)
            await published_tables(declared, self._listeners, self._backplane).start()
        for declaration in self._declared:
            if declaration.pattern.is_single:
                await self.replica(declaration.pattern.text)

    async def close(self) -> None:
        """Stop all tables; `start` may be called again."""
        opened, self._open = list(self._open.values()), {}
        for each in opened:
            await each.close()

    # -- for tables ------------------------------------------------------------------------------

    @property
    def is_starting(self) -> bool:
        """Whether the app is starting, and the broker with it."""
        return self._app is not None and self._app.is_serving and not self._app.has_started

    def store(self) -> RowStore:
        """Return the broker."""
        return self._listeners.broker

    @property
    def tracing(self) -> Tracing | None:
        """What traces the app; None if nothing does."""
        return None if self._app is None else self._app.tracing

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait in a thread for what runs on the app's event loop."""
        assert self._app is not None
        return self._app.wait_for(work)

    def begin(self, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Do work on the app's event loop whether or not somebody awaits the result."""
        assert self._live is not None
        return self._live.begin(work)

    async def replica(self, name: str) -> TableReplica:
        """Return the rows of a table, fetched if this worker has not got them yet."""
        return (await self._opened(name)).replica

    async def _opened(self, name: str) -> _OpenTable:
        declaration = self._declaration(name)
        assert declaration is not None
        opened = self._open.pop(name, None)
        if opened is None or _has_failed(opened):
            replica = TableReplica(name, declaration.settings, self._listeners, self._backplane)
            opened = _OpenTable(replica, declaration.interval)
        self._open[name] = opened
        await asyncio.shield(opened.starting)
        await self._drop_unused()
        return opened

    async def _drop_unused(self) -> None:
        unused = [
            name
            for name, opened in self._open.items()
            if not opened.readers and opened.starting.done() and not self._is_single(name)
        ]
        for name in unused[:-_MAX_UNUSED]:
            await self._open.pop(name).close()

    def _is_single(self, name: str) -> bool:
        declaration = self._declaration(name)
        return declaration is not None and declaration.pattern.is_single

    def _declaration(self, name: str) -> Declaration | None:
        for each in self._declared:
            if each.pattern.match(name) is not None:
                return each
        return None

    # -- for pages -------------------------------------------------------------------------------

    def is_open_to_all(self, name: str) -> bool | None:
        """Tell whether a table needs no `authorize`; None if there is no table of this name."""
        declaration = self._declaration(name)
        return None if declaration is None else declaration.pattern.is_single

    async def open(self, client: Client, name: str, position: Position | None) -> None:
        """Send a table to a page; raises `BrokerError`."""
        opened = await self._opened(name)
        opened.readers.add(client, position)

    async def shut(self, client_id: str, name: str) -> None:
        """Send a table to a page no more; idempotent."""
        opened = self._open.get(name)
        if opened is not None:
            opened.readers.discard(client_id)

    # -- for operators ---------------------------------------------------------------------------

    def _metrics(self) -> Iterable[Metric]:
        opened = list(self._open.values())
        rows = [each.replica.rows for each in opened]
        yield Metric("flash_table_rows", sum(map(len, rows)), "Rows of tables on this worker.")
        yield Metric(
            "flash_table_pages",
            sum(len(each.readers) for each in opened),
            "Tables that pages of this worker show, counted for each page.",
        )
        for name, value, meaning in (
            ("changes", sum(each.changes for each in rows), "Changes of rows that arrived."),
            (
                "dropped",
                sum(each.replica.dropped + each.replica.rows.dropped for each in opened),
                "Rows that this worker has dropped because a table had more than max_rows.",
            ),
            (
                "frames",
                sum(each.readers.frames for each in opened),
                "Messages with rows that pages were sent.",
            ),
        ):
            yield Metric(f"flash_table_{name}_total", value, meaning, "counter")


def _nothing() -> None:
    """Do nothing; stands for the function that `Tables.connect` sets."""


def _has_failed(opened: _OpenTable) -> bool:
    starting = opened.starting
    return starting.done() and (starting.cancelled() or starting.exception() is not None)
