"""The orders database: SQLite in a file beside the demo, or whatever ``DATABASE_URL`` names."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import orders
import sqlalchemy as sa
from periods import SUMMARISED
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine
from summary import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.ext.asyncio import AsyncEngine

logger = logging.getLogger("demo.database")

# Raised whenever the tables or the way orders are drawn change, so that an old file is not used.
EDITION = 2

metadata = sa.MetaData()

country = sa.Table(
    "country",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("region", sa.Text, nullable=False),
    sa.Column("iso", sa.Text, nullable=False),
    sa.Column("population", sa.BigInteger, nullable=False),
    sa.Column("income", sa.Integer, nullable=False),
)
product = sa.Table(
    "product",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("line", sa.Text, nullable=False),
    sa.Column("price", sa.Float, nullable=False),
)
customer = sa.Table(
    "customer",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("segment", sa.Text, nullable=False),
    sa.Column("country_id", sa.ForeignKey("country.id"), nullable=False),
)
# No index but the primary key: the pages are meant to show queries that have work to do.
order = sa.Table(
    "orders",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    # The parts of the date stand beside it: grouping by them needs no function that SQLite and
    # Postgres would spell differently.
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("month", sa.Date, nullable=False),
    sa.Column("weekday", sa.SmallInteger, nullable=False),
    sa.Column("hour", sa.SmallInteger, nullable=False),
    sa.Column("country_id", sa.ForeignKey("country.id"), nullable=False),
    sa.Column("product_id", sa.ForeignKey("product.id"), nullable=False),
    sa.Column("customer_id", sa.ForeignKey("customer.id"), nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("quantity", sa.Integer, nullable=False),
    sa.Column("cents", sa.BigInteger, nullable=False),
)
# The key figures of the overview, so that they are there at once; see `summary`.
summary = sa.Table(
    "summary",
    metadata,
    sa.Column("first", sa.Date, primary_key=True),
    sa.Column("last", sa.Date, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("orders", sa.Integer, nullable=False),
    sa.Column("cents", sa.BigInteger, nullable=False),
    sa.Column("buyers", sa.Integer, nullable=False),
    sa.Column("returned", sa.Integer, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of one query, and when it ran on the clock of ``time.perf_counter``."""

    rows: Sequence[sa.Row[Any]]
    started: float
    ended: float


@dataclass(slots=True)
class Preparation:
    """How far the database is filled; pages ask it before they ask the database."""

    total: int
    done: int = 0
    ready: bool = False
    error: str | None = None


class Database:
    """The orders, filled in the background on the first start and read through asyncio.

    ``async with`` opens it and returns at once; ``preparation`` says when queries may be asked.
    """

    def __init__(self, url: str | None = None, *, count: int = 1_000_000, folder: Path) -> None:
        self._file = None if url else folder / f"orders-{EDITION}-{count}.sqlite"
        self._url = sa.make_url(url or f"sqlite+aiosqlite:///{self._file}")
        # As many queries at a time as the machine can work on; the others wait for their turn.
        self._engine = create_async_engine(
            self._url, pool_size=max(4, os.cpu_count() or 1), max_overflow=0
        )
        if self._file is not None:
            event.listen(self._engine.sync_engine, "connect", _map_file)
        self._filling: asyncio.Task[None] | None = None
        self.preparation = Preparation(total=count)
        # Queries asked since the start.
        self.asked = 0

    @classmethod
    def from_environment(cls) -> Self:
        """Open what ``DATABASE_URL`` names, or a file below ``examples/demo/data``.

        ``ORDERS`` says with how many orders an empty one is filled, instead of a million.
        """
        count = int(os.environ.get("ORDERS", "1000000"))
        folder = Path(__file__).parent / "data"
        return cls(os.environ.get("DATABASE_URL"), count=count, folder=folder)

    async def __aenter__(self) -> Self:
        self._filling = asyncio.create_task(self._prepare())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)
        await self._engine.dispose()

    async def prepared(self) -> Preparation:
        """Return how it went once the database is filled, or cannot be."""
        if self._filling is not None:
            await asyncio.shield(self._filling)
        return self.preparation

    async def fetch(self, statement: sa.Executable) -> Answer:
        """Run one query on a connection of its own, beside others; a cancelled one ends at once."""
        self.asked += 1
        async with self._engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            started = time.perf_counter()
            query = asyncio.create_task(connection.execute(statement))
            try:
                result = await asyncio.shield(query)
            except asyncio.CancelledError:
                # Nobody waits for the rows any more: spare the machine the rest of the work.
                await _stop(query, driver)
                raise
            rows = result.all()
        return Answer(rows, started, time.perf_counter())

    def fetch_blocking(self, statement: sa.Executable) -> Sequence[sa.Row[Any]]:
        """Run one query the old way: the calling thread waits for the rows."""
        # psycopg serves both kinds of engine under one name; SQLite has a driver for each.
        url = self._url.set(drivername=self._url.drivername.replace("+aiosqlite", ""))
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            return connection.execute(statement).all()

    async def _prepare(self) -> None:
        try:
            if self._file is None:
                await self._fill_server()
            elif not self._file.exists():
                await self._fill_file(self._file)
        except Exception as error:  # a boundary: the pages show what went wrong
            logger.exception("The orders could not be prepared")
            self.preparation.error = str(error)
        else:
            self.preparation.ready = True

    async def _fill_server(self) -> None:
        async with self._engine.connect() as connection:
            filled = await connection.run_sync(lambda sync: sa.inspect(sync).has_table(order.name))
        if not filled:
            await fill(self._engine, self.preparation.total, self._report)

    async def _fill_file(self, file: Path) -> None:
        # Filled beside its place and then moved there: a start that was interrupted, or a second
        # process that starts at the same time, never leaves half a database behind.
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}-{os.getpid()}")
        draft.unlink(missing_ok=True)
        engine = create_async_engine(self._url.set(database=str(draft)))
        try:
            await fill(engine, self.preparation.total, self._report)
            await engine.dispose()
            draft.replace(file)
        finally:
            await engine.dispose()
            draft.unlink(missing_ok=True)

    def _report(self, done: int) -> None:
        self.preparation.done = done
        _print_progress(done, self.preparation.total)


async def fill(engine: AsyncEngine, count: int, report: Callable[[int], None]) -> None:
    """Create the tables with ``count`` orders in one transaction; ``report`` hears the progress."""
    market = await asyncio.to_thread(orders.open_market, customers=max(200, count // 6))
    batches = orders.draw_orders(market, count)
    figures = Summary(market, SUMMARISED)
    # Handed to the driver as it stands, four times as fast as through SQLAlchemy's types.
    insert = sa.insert(order).compile(dialect=engine.dialect)
    done = 0
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.execute(sa.insert(country), market.countries)
        await connection.execute(sa.insert(product), market.products)
        await connection.execute(sa.insert(customer), market.customers)
        while batch := await asyncio.to_thread(next, batches, None):
            await connection.exec_driver_sql(
                str(insert),
                batch
                if insert.positional
                else [dict(zip(orders.ORDER_COLUMNS, row, strict=True)) for row in batch],
            )
            await asyncio.to_thread(figures.add, batch)
            done += len(batch)
            report(done)
        await connection.execute(sa.insert(summary), figures.rows())


async def _stop(query: asyncio.Task[Any], driver: Any) -> None:
    while not query.done():
        # SQLAlchemy leaves this to the drivers: aiosqlite's word for it, and psycopg's. Said again
        # until it is heard, since a query that has not begun yet does not hear it.
        await (driver.interrupt() if hasattr(driver, "interrupt") else driver.cancel_safe())
        await asyncio.wait([query], timeout=0.05)
    query.exception()  # that it was interrupted is no news


def _map_file(connection: DBAPIConnection, _record: object) -> None:
    # Reads a query's pages from memory shared by all connections: a third faster.
    cursor = connection.cursor()
    cursor.execute("PRAGMA mmap_size = 1073741824")
    cursor.close()


def _print_progress(done: int, total: int) -> None:
    width = 32
    bar = "█" * (width * done // total)
    if not sys.stdout.isatty() and done < total:
        return  # a log is told the end only
    ending = "\n" if done == total else ""
    print(
        f"\rPreparing {total:,} orders  {bar:░<{width}} {done / total:4.0%}", end=ending, flush=True
    )
