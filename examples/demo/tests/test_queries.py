import asyncio
import re
from collections import Counter
from dataclasses import replace
from datetime import date

import amounts
import figures
import orders
import pytest
import queries
import sqlalchemy as sa
import theme
from catalogue import LINES
from database import Database
from queries import Scope

COUNT = 4_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder whose database is filled once, for all tests of this module."""
    folder = tmp_path_factory.mktemp("orders")

    async def fill():
        async with Database(count=COUNT, folder=folder) as database:
            await ready(database)

    asyncio.run(fill())
    return folder


@pytest.fixture
async def database(folder):
    async with Database(count=COUNT, folder=folder) as database:
        await ready(database)
        yield database


async def until(condition):
    async with asyncio.timeout(30):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def ready(database):
    await until(lambda: database.preparation.ready or database.preparation.error)
    assert database.preparation.error is None


async def rows(database, statement):
    return (await database.fetch(statement)).rows


@pytest.fixture(scope="module")
def market():
    return orders.open_market(customers=500)


def drawn(market, count=COUNT, **options):
    return [row for batch in orders.draw_orders(market, count, **options) for row in batch]


def test_orders_are_the_same_on_every_machine(market):
    assert drawn(market, 500) == drawn(orders.open_market(customers=500), 500)


def test_orders_come_in_batches_of_the_size_asked_for(market):
    sizes = [len(batch) for batch in orders.draw_orders(market, 250, batch=100)]
    assert sizes == [100, 100, 50]


def test_orders_are_numbered_from_one_in_the_order_they_were_placed(market):
    placed = drawn(market)
    days = [row[orders.ORDER_COLUMNS.index("day")] for row in placed]
    assert [row[0] for row in placed] == list(range(1, COUNT + 1))
    assert days == sorted(days)
    assert min(days) >= orders.FIRST_DAY.isoformat()
    assert max(days) <= orders.LAST_DAY.isoformat()


def test_large_economies_buy_more_than_small_ones(market):
    names = [row["name"] for row in market.countries]
    bought = Counter(names[row[orders.ORDER_COLUMNS.index("country_id")]] for row in drawn(market))
    assert bought["United States"] > bought["Portugal"] > 0


def test_an_order_belongs_to_a_customer_of_its_country(market):
    country = orders.ORDER_COLUMNS.index("country_id")
    customer = orders.ORDER_COLUMNS.index("customer_id")
    for row in drawn(market):
        assert market.customers[row[customer]]["country_id"] == row[country]


def test_prices_start_at_their_base_and_follow_the_shares(market):
    apple = market.price_index[list(LINES).index("Devices")]
    assert apple[0] == pytest.approx(1)
    assert apple[-1] > 1.2


async def test_the_database_holds_every_order_once(database):
    [(found,)] = await rows(database, queries.count(Scope()))
    assert found == COUNT


async def test_a_second_start_uses_the_file_of_the_first(folder):
    before = [(file.name, file.stat().st_mtime_ns) for file in folder.iterdir()]
    async with Database(count=COUNT, folder=folder) as database:
        await ready(database)
        assert database.preparation.done == 0
    assert [(file.name, file.stat().st_mtime_ns) for file in folder.iterdir()] == before


async def test_an_interrupted_start_leaves_no_database_behind(tmp_path):
    async with Database(count=200_000, folder=tmp_path) as database:
        await until(lambda: database.preparation.done)
    assert list(tmp_path.iterdir()) == []


async def test_a_database_that_cannot_be_made_says_why(tmp_path):
    (tmp_path / "data").write_text("a file where a folder should be")
    async with Database(count=COUNT, folder=tmp_path / "data") as database:
        await until(lambda: database.preparation.error)
    assert not database.preparation.ready


@pytest.mark.parametrize("by", queries.BREAKDOWNS)
async def test_every_breakdown_adds_up_to_the_total(database, by):
    scope = Scope.of("year", region="Europe")
    [total] = await rows(database, queries.totals(scope))
    parts = await rows(database, queries.breakdown(scope, by, limit=1000))
    assert sum(row.orders for row in parts) == total.orders
    assert sum(row.cents for row in parts) == total.cents


@pytest.mark.parametrize(
    "question",
    [
        queries.by_month,
        queries.course,
        queries.by_region,
        queries.by_country,
        queries.by_line_and_month,
    ],
)
async def test_every_view_adds_up_to_the_same_revenue(database, question):
    [total] = await rows(database, queries.totals(Scope()))
    assert sum(row.cents for row in await rows(database, question(Scope()))) == total.cents


async def test_every_order_has_its_weekday_and_hour(database):
    found = await rows(database, queries.by_hour(Scope()))
    assert sum(row.orders for row in found) == COUNT
    assert {row.weekday for row in found} <= set(range(7))
    assert {row.hour for row in found} <= set(range(24))


async def test_a_filter_leaves_only_what_it_names(database):
    scope = Scope.of("year", line="Games", channel="Web", status="Delivered")
    found = await rows(database, queries.page_of_orders(scope, "oldest", 0, 50))
    games = {name for name, _, _ in LINES["Games"][1]}
    assert found
    for row in found:
        assert row.day >= date(2019, 1, 1)
        assert (row.product in games, row.channel, row.status) == (True, "Web", "Delivered")


@pytest.mark.parametrize("sort", queries.SORTS)
async def test_pages_show_every_order_once_and_in_order(database, sort):
    scope = Scope(region="Oceania")
    column, descending = queries.SORTS[sort]
    seen = []
    for page in range(100):
        found = await rows(database, queries.page_of_orders(scope, sort, page, 7))
        if not found:
            break
        seen += found
    values = [getattr(row, column) for row in seen]
    [(count,)] = await rows(database, queries.count(scope))
    assert len({row.id for row in seen}) == len(seen) == count
    assert values == sorted(values, reverse=descending)


async def test_nothing_found_is_an_answer_too(database):
    nothing = Scope(first=date(2019, 12, 31), last=date(2019, 1, 1))
    [total] = await rows(database, queries.totals(nothing))
    assert (total.orders, total.cents) == (0, None)
    assert await rows(database, queries.breakdown(nothing, "country", limit=5)) == []


async def test_an_order_leads_to_its_customer_and_everything_they_bought(database):
    [order] = await rows(database, queries.order_with_customer(COUNT // 2))
    history = await rows(database, queries.customer_by_month(order.customer_id))
    assert order.id == COUNT // 2
    assert sum(row.orders for row in history) >= 1
    assert order.day.replace(day=1) in {row.month for row in history}


async def test_the_blocking_way_gives_the_same_answer(database):
    statement = queries.best_customers(limit=5)
    blocking = await asyncio.to_thread(database.fetch_blocking, statement)
    assert blocking == await rows(database, statement)
    assert len({row.country for row in blocking}) == 5


async def test_a_cancelled_query_ends_at_once_and_its_connection_serves_on(database):
    numbers = sa.select(sa.literal(1).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(sa.select(numbers.c.n + 1))
    endless = sa.select(sa.func.count()).select_from(numbers)
    for turns in range(8):  # more often than there are connections, and at any moment
        query = asyncio.create_task(database.fetch(endless))
        for _ in range(turns):
            await asyncio.sleep(0.005)
        query.cancel()
        async with asyncio.timeout(30):
            with pytest.raises(asyncio.CancelledError):
                await query
    [(found,)] = await rows(database, queries.count(Scope()))
    assert found == COUNT


async def test_a_country_is_found_by_its_name(database):
    [(portugal,)] = await rows(database, queries.country_named("Portugal"))
    europe = await rows(database, queries.countries("Europe"))
    assert (portugal, "Portugal") in europe
    assert len(europe) < len(await rows(database, queries.countries()))


def test_the_year_before_is_known_for_the_second_year_only():
    assert Scope.of("all").a_year_earlier() is None
    assert Scope.of("quarter", line="Home").a_year_earlier() == Scope(
        first=date(2018, 10, 1), last=date(2018, 12, 31), line="Home"
    )


def test_statements_are_valid_for_postgres_too():
    from sqlalchemy.dialects import postgresql

    statement = queries.page_of_orders(Scope.of("year", region="Asia"), "largest", 2, 12)
    assert re.search(r"LIMIT .* OFFSET", str(statement.compile(dialect=postgresql.dialect())))


@pytest.mark.parametrize("name", theme.PALETTES)
async def test_figures_take_every_colour_from_the_template(database, name):
    found = {
        query: await rows(database, query(Scope.of("year")))
        for query in (queries.by_month, queries.by_region, queries.by_country, queries.by_hour)
    }
    drawings = [
        figures.revenue_by_month(found[queries.by_month], found[queries.by_month], name),
        figures.revenue_by_region(found[queries.by_region], [], name),
        figures.revenue_by_country(found[queries.by_country], name),
        figures.orders_by_hour(found[queries.by_hour], name),
    ]
    for drawing in drawings:
        assert drawing.layout.template.layout.font.color == theme.PALETTES[name].text
        assert "color" not in str([trace.to_plotly_json() for trace in drawing.data])


def test_figures_without_rows_are_figures():
    for theme_name in theme.PALETTES:
        assert figures.largest([], theme_name).layout.xaxis.visible is False
        assert figures.revenue_by_month([], [], theme_name).layout.hovermode == "x unified"
        assert figures.empty("Nothing", theme_name).layout.annotations[0].text == "Nothing"


@pytest.mark.parametrize(
    ("cents", "words"),
    [
        (None, "$0"),
        (99_900, "$999"),
        (99_999, "$1.00k"),
        (123_456_789, "$1.23M"),
        (99_950_000_00, "$100M"),
        (123_456_789_000, "$1.23B"),
    ],
)
def test_money_has_three_digits_and_a_unit(cents, words):
    assert amounts.money(cents) == words


def test_growth_needs_something_to_grow_from():
    assert amounts.change(3, 2) == pytest.approx(0.5)
    assert amounts.change(3, 0) is None
    assert amounts.change(3, None) is None


def test_the_tables_of_the_metadata_match_the_drawn_columns():
    from database import order

    assert tuple(order.columns.keys()) == orders.ORDER_COLUMNS
    assert isinstance(order.c.cents.type, sa.BigInteger)


@pytest.mark.parametrize("period", queries.PERIODS)
@pytest.mark.parametrize("region", ["", *queries.REGIONS])
async def test_figures_summed_up_beforehand_are_those_of_the_orders(
    database, monkeypatch, period, region
):
    scope = Scope.of(period, region=region)
    scopes = [each for each in (scope, scope.a_year_earlier()) if each]
    assert all(each.is_summarised for each in scopes)
    summed = [
        [tuple(row) for row in await rows(database, question(each))]
        for each in scopes
        for question in (queries.totals, queries.course)
    ]
    monkeypatch.setattr(queries, "SUMMARISED", frozenset())
    counted = [
        [tuple(row) for row in await rows(database, question(each))]
        for each in scopes
        for question in (queries.totals, queries.course)
    ]
    assert summed == counted


def test_other_questions_are_asked_of_the_orders():
    assert not Scope.of("year", line="Media").is_summarised
    assert not Scope.of("year", country=3).is_summarised
    assert not replace(Scope.of("year"), last=date(2019, 12, 30)).is_summarised
