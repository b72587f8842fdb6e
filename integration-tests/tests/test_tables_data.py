"""Rows of tables from DataFrames, whichever library made them."""

import datetime
from decimal import Decimal

import numpy
import pandas
import polars
import pytest

from flash import Flash, html
from flash_pubsub import InvalidRow, MemoryBroker, PubSub

AT = [datetime.datetime(2026, 1, 1, 10, 30), None, datetime.datetime(2026, 1, 2)]
COLUMNS = {
    "price": [1.5, float("nan"), 3.25],
    "id": ["a", "b", "c"],
    "size": [1, 2, 3],
    "at": AT,
    "name": ["x", None, "z"],
}


@pytest.fixture
async def table():
    app = Flash("data")
    app.layout = html.Div()
    pubsub = PubSub(app, broker=MemoryBroker())
    made = pubsub.table("orders", key="id", columns=["id", "size", "price", "at", "name"])
    await app.server.startup()
    yield made
    await app.server.shutdown()


LIBRARIES = {"pandas": pandas.DataFrame, "polars": polars.DataFrame}


@pytest.mark.parametrize("library", LIBRARIES)
async def test_9_a_data_frame_is_rows_whatever_the_order_of_its_columns(table, library):
    await table.upsert(LIBRARIES[library](COLUMNS))
    assert await table.rows() == [
        {"id": "a", "size": 1, "price": 1.5, "at": "2026-01-01T10:30:00", "name": "x"},
        {"id": "b", "size": 2, "price": None, "at": None, "name": None},
        {"id": "c", "size": 3, "price": 3.25, "at": "2026-01-02T00:00:00", "name": "z"},
    ]
    await table.replace(LIBRARIES[library](COLUMNS)[1:])
    assert [row["id"] for row in await table.rows()] == ["b", "c"]


async def test_a_lazy_frame_is_refused_since_computing_it_would_block_the_loop(table):
    with pytest.raises(InvalidRow, match=r"a LazyFrame has no rows yet; give its \.collect\(\)"):
        await table.upsert(polars.LazyFrame(COLUMNS))


@pytest.mark.parametrize("library", LIBRARIES)
async def test_columns_of_a_data_frame_that_do_not_fit_are_named(table, library):
    frame = LIBRARIES[library]
    with pytest.raises(InvalidRow, match="there is no column 'pryce'; did you mean 'price'"):
        await table.upsert(frame({**COLUMNS, "pryce": [1, 2, 3]}))
    with pytest.raises(InvalidRow, match="the column 'name' is missing"):
        await table.upsert(frame({k: v for k, v in COLUMNS.items() if k != "name"}))
    with pytest.raises(InvalidRow, match=r"the key None in the column 'id'"):
        await table.upsert(polars.DataFrame({**COLUMNS, "id": ["a", None, "c"]}))
    assert await table.rows() == []


async def test_scalars_of_numpy_pandas_and_decimal_are_written(table):
    await table.upsert(
        {
            "id": numpy.int64(1),
            "size": numpy.uint8(7),
            "price": Decimal("1.5"),
            "at": pandas.Timestamp("2026-01-01 10:00"),
            "name": numpy.str_("x"),
        }
    )
    await table.upsert(
        {"id": 2, "size": pandas.NA, "price": numpy.float64("nan"), "at": pandas.NaT, "name": None}
    )
    assert await table.rows() == [
        {"id": 1, "size": 7, "price": 1.5, "at": "2026-01-01T10:00:00", "name": "x"},
        {"id": 2, "size": None, "price": None, "at": None, "name": None},
    ]
