"""Tables, as pages of several workers see them."""

import asyncio
import json
from functools import partial

import pytest
from page import Page
from pubsub_worlds import World, pages, until
from table_pages import PageTable, ask, shown, status

from flash import ConfigurationError, Flash, html
from flash.testing import FlashClient
from flash_pubsub import InvalidRow, MemoryBroker, PubSub, TableFeed
from flash_pubsub.channels.subscription import sign
from flash_pubsub.table.changes import channel_of
from flash_ws import CloseCode, LinkLimits, Live


def orders(**options):
    """An app with a table of orders."""

    def define(pubsub):
        pubsub.orders = pubsub.table("orders", key="id", columns=["id", "price"], **options)

    return define


def desks(pubsub):
    pubsub.orders = pubsub.table("orders/{desk}", key="id", columns=["id", "price"])


def row(key, price):
    return {"id": key, "price": price}


async def test_rows_of_any_worker_show_on_pages_of_all():
    async with World(orders()) as world, pages(world, 0, 1) as opened:
        first, second = (each.orders for each in world.pubsubs)
        await first.upsert([row("a", 1), row("b", 2)])
        tables = []
        for page, pubsub in zip(opened, world.pubsubs, strict=True):
            ask(page, pubsub.app)
            assert await status(page) == "subscribed"
            tables.append(await shown(page, [["a", 1], ["b", 2]]))
        await second.upsert(row("a", 10))
        await first.remove("b")
        await second.upsert(row(number, number) for number in range(3))
        wanted = [["a", 10], [0, 0], [1, 1], [2, 2]]
        for page, table in zip(opened, tables, strict=True):
            await shown(page, wanted, table)
        for table in (first, second):
            assert await table.rows() == [row(key, price) for key, price in wanted]
            assert await table.get(1) == await table.get("1") == row(1, 1)
            assert await table.get("b") is None


async def test_replace_and_clear_leave_exactly_what_they_say():
    async with World(orders()) as world, pages(world, 1) as (page,):
        table = world.pubsubs[0].orders
        await table.upsert([row(1, 1), row(2, 2), row(3, 3)])
        ask(page, world.apps[1])
        known = await shown(page, [[1, 1], [2, 2], [3, 3]])
        await table.replace([row(4, 4), row(2, 20), row(3, 3)])
        known = await shown(page, [[2, 20], [3, 3], [4, 4]], known)
        await table.clear()
        await shown(page, [], known)
        assert await table.rows() == []


async def test_changes_of_an_interval_come_as_one_frame_that_is_made_once():
    async with World(orders(interval=0.2), workers=1) as world, pages(world, 0, 0) as opened:
        table = world.pubsubs[0].orders
        await table.upsert(row(1, 0))
        known = []
        for page in opened:
            ask(page, world.apps[0])
            known.append(await shown(page, [[1, 0]]))
        for price in range(1, 200):
            await table.upsert(row(1, price))
        frames = []
        for page, each in zip(opened, known, strict=True):
            count = 0
            while each.as_lists() != [[1, 199]]:
                frame = await page.frame()
                if frame["t"] == "rows":
                    each.take(frame)
                    frames.append(frame)
                    count += 1
            # The first change is sent at once, the others together.
            assert count <= 3
        assert frames[: len(frames) // 2] == frames[len(frames) // 2 :]


async def test_a_page_that_comes_while_rows_change_ends_like_the_others():
    async with World(orders(interval=0.001)) as world:
        writers = [each.orders for each in world.pubsubs]
        done = asyncio.Event()

        async def write(table, offset):
            for number in range(300):
                await table.upsert([row((number * 7 + offset) % 120, number), row("same", number)])
                if number % 5 == 0:
                    await table.remove([(number * 3) % 120])

        async def join(worker, after):
            for _ in range(after):
                await asyncio.sleep(0.001)
            page = await world.page(worker)
            ask(page, world.apps[worker])
            table = PageTable()
            while not (done.is_set() and table.position == position()):
                try:
                    async with asyncio.timeout(0.5):
                        frame = await page.frame()
                except TimeoutError:
                    continue
                if frame["t"] == "rows":
                    table.take(frame)
            await page.leave()
            return table.as_lists()

        def position():
            return world.pubsubs[0].tables._open["orders"].replica.rows.position

        joins = [asyncio.ensure_future(join(n % 2, 20 * n)) for n in range(8)]
        await asyncio.gather(*(write(table, 31 * n) for n, table in enumerate(writers)))
        done.set()
        async with asyncio.timeout(30):
            ends = await asyncio.gather(*joins)
        final = [list(each.values()) for each in await writers[0].rows()]
        assert all(json.dumps(each) == json.dumps(final) for each in ends)
        assert await writers[1].rows() == await writers[0].rows()


async def test_a_page_that_returns_gets_what_it_missed_on_any_worker():
    async with World(orders()) as world, pages(world, 0) as (page,):
        table = world.pubsubs[0].orders
        await table.upsert([row(n, n) for n in range(100)])
        ask(page, world.apps[0])
        known = await shown(page, [[n, n] for n in range(100)])
        await page.leave()
        await table.upsert(row(5, 50))
        await table.remove(7)
        back = await world.page(1, token=page.token)
        ask(back, world.apps[1], at=[known.position.epoch, known.position.number])
        frame = await back.frame()
        while frame["t"] != "rows":
            frame = await back.frame()
        assert "first" not in frame
        assert (frame["u"], frame["r"]) == ([[5, 50]], ["7"])
        await back.leave()


@pytest.mark.parametrize("at", [["other", 3], ["", 0]])
async def test_a_page_with_a_position_that_is_not_known_gets_all_rows(at):
    async with World(orders(), workers=1) as world, pages(world, 0) as (page,):
        await world.pubsubs[0].orders.upsert(row(1, 1))
        ask(page, world.apps[0], at=at)
        await shown(page, [[1, 1]])


async def test_a_slow_page_is_sent_less_and_never_closed_for_it():
    limits = LinkLimits(heartbeat=600.0, max_outbox_bytes=100_000)
    app = Flash("slow")
    app.layout = html.Div()
    Live(app, limits=limits)
    pubsub = PubSub(app, broker=MemoryBroker())
    table = pubsub.table("orders", key="id", columns=["id", "price"], interval=0.001)
    await app.server.startup()
    page = await Page(app).open()
    await page.hello()
    ask(page, pubsub.app)
    assert await status(page) == "subscribed"
    page.taking.clear()
    for turn in range(30):
        await table.upsert([row(n, f"{turn}" * 200) for n in range(500)])
        await asyncio.sleep(0.002)
    page.taking.set()
    known = await shown(page, [[n, "29" * 200] for n in range(500)])
    # 30 turns of about 200 KB each were written, and the page got what the link could hold.
    assert known.frames < 30
    await page.leave()
    await app.server.shutdown()


async def test_rows_that_the_store_has_lost_are_written_again():
    async with World(orders()) as world, pages(world, 0, 1) as opened:
        first, second = (each.orders for each in world.pubsubs)
        await first.upsert([row(n, n) for n in range(5)])
        tables = []
        for page, pubsub in zip(opened, world.pubsubs, strict=True):
            ask(page, pubsub.app)
            tables.append(await shown(page, [[n, n] for n in range(5)]))
        world.store.flush()
        await second.upsert(row(2, 200))

        async def restored():
            return sorted((await first.rows()), key=lambda each: each["id"]) == [
                *(row(0, 0), row(1, 1), row(2, 200), row(3, 3), row(4, 4))
            ]

        await until(restored)
        assert await second.rows() == await first.rows()
        final = [list(each.values()) for each in await first.rows()]
        for page, table in zip(opened, tables, strict=True):
            await shown(page, final, table)


async def test_a_row_that_does_not_fit_is_refused_before_any_is_written():
    async with World(orders(), workers=1) as world:
        table = world.pubsubs[0].orders
        with pytest.raises(InvalidRow, match="'price' is missing"):
            await table.upsert([row(1, 1), {"id": 2}])
        assert await table.rows() == []
        for rows in (3, "text", None, object()):
            with pytest.raises(InvalidRow, match="holds no rows"):
                await table.upsert(rows)
        with pytest.raises(InvalidRow, match="takes keys"):
            await table.remove({"id": 1})


async def test_rows_over_the_bound_are_dropped_everywhere_and_counted():
    async with World(orders(max_rows=20)) as world, pages(world, 0) as (page,):
        table = world.pubsubs[0].orders
        ask(page, world.apps[0])
        for number in range(50):
            await table.upsert(row(number, number))
            assert len(await table.rows()) <= 22

        async def is_within_bounds():
            return len(await table.rows()) <= 20

        await until(is_within_bounds)
        rows = await table.rows()
        assert rows == await world.pubsubs[1].orders.rows()
        assert rows[-1] == row(49, 49)
        # Those that were inserted first are gone.
        assert rows == [row(number, number) for number in range(50 - len(rows), 50)]
        await shown(page, [list(each.values()) for each in rows])
        metrics = {each.name: each.value for each in world.pubsubs[0].tables._metrics()}
        assert metrics["flash_table_rows"] == len(rows)
        assert metrics["flash_table_dropped_total"] > 0
        assert metrics["flash_table_pages"] == 1
        assert metrics["flash_table_changes_total"] >= 50


async def test_a_worker_drops_rows_though_others_write_all_the_time():
    async with World(orders(max_rows=100)) as world:
        tables = [each.orders for each in world.pubsubs]

        async def write(table, seed):
            for number in range(1000):
                await table.upsert(row(f"{seed}-{number}", number))
                await asyncio.sleep(0)

        await asyncio.gather(*(write(table, seed) for seed, table in enumerate(tables)))

        async def is_within_bounds():
            return len(await tables[0].rows()) <= 100

        await until(is_within_bounds)
        rows = await tables[0].rows()
        assert rows == await tables[1].rows()
        assert {"0-999", "1-999"} <= {each["id"] for each in rows}


async def test_a_table_of_a_pattern_is_denied_without_authorize():
    async with World(desks, workers=1) as world, pages(world, 0) as (page,):
        ask(page, world.apps[0], "orders/oslo")
        assert await status(page) == "denied"


async def test_authorize_decides_who_may_show_a_table():
    def define(pubsub):
        desks(pubsub)

        @pubsub.authorize("orders/{desk}")
        async def may_see(client, desk):
            return desk == "oslo"

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        pubsub = world.pubsubs[0]
        await pubsub.orders.named(desk="oslo").upsert(row(1, 1))
        await pubsub.orders.named(desk="rome").upsert(row(2, 2))
        ask(page, pubsub.app, "orders/rome")
        assert await status(page) == "denied"
        ask(page, pubsub.app, "orders/oslo")
        assert await status(page) == "subscribed"
        await shown(page, [[1, 1]])
        await pubsub.unsubscribe(page.welcome["id"], "orders/oslo")
        assert await status(page) == "denied"
        ask(page, pubsub.app, "orders/oslo")
        assert await status(page) == "denied"


async def test_a_function_that_raises_denies_the_table():
    def define(pubsub):
        orders()(pubsub)

        @pubsub.authorize("orders")
        def may_see(client):
            raise RuntimeError("no")

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        ask(page, world.apps[0])
        assert await status(page) == "denied"


async def test_frames_of_pages_are_checked():
    async with World(orders(), workers=1) as world:
        pubsub = world.pubsubs[0]
        token = sign(pubsub.app, channel_of("orders"))
        async with pages(world, 0) as (page,):
            ask(page, pubsub.app, token="wrong")
            assert await status(page) == "denied"
            ask(page, pubsub.app, token=sign(pubsub.app, "orders"))
            assert await status(page) == "denied"
            ask(page, pubsub.app, "none", token=sign(pubsub.app, channel_of("none")))
            assert await status(page) == "denied"
        for frame in (
            {"t": "table"},
            {"t": "table", "table": 3, "token": token},
            {"t": "table", "table": "orders", "token": token, "at": "x"},
            {"t": "table", "table": "orders", "token": token, "at": [1, 2]},
            {"t": "table-end"},
        ):
            page = await world.page()
            page.send(frame)
            assert await page.closed() == CloseCode.MALFORMED.number


async def test_a_page_that_has_ended_its_table_is_sent_nothing_more():
    async with World(orders(), workers=1) as world, pages(world, 0) as (page,):
        pubsub = world.pubsubs[0]
        ask(page, pubsub.app)
        await shown(page, [])
        page.send({"t": "table-end", "table": "orders"})
        await until(lambda: not pubsub.tables._open["orders"].readers)
        await pubsub.orders.upsert(row(1, 1))
        page.send({"t": "beat", "rtt": None})
        assert (await page.frame())["t"] == "beat"


def test_declaring_is_checked_where_it_is_done():
    app = Flash("declared")
    pubsub = PubSub(app, broker="memory://")
    table = pubsub.table("orders/{desk}", key="id", columns=["id"])
    with pytest.raises(ConfigurationError, match="declared already"):
        pubsub.table("orders/{desk}", key="id", columns=["id"])
    with pytest.raises(ConfigurationError, match="interval=0"):
        pubsub.table("other", key="id", columns=["id"], interval=0)
    with pytest.raises(ConfigurationError, match="has the variables desk, and none came"):
        table.named()
    with pytest.raises(ConfigurationError, match="without a slash"):
        table.named(desk="a/b")
    assert table.named(desk="oslo").name == "orders/oslo"
    assert any(
        each.get("relative_package_path") == "flash_table.js"
        for each in app.scripts.get_all_scripts()
    )


async def test_a_pattern_itself_has_no_rows():
    async with World(desks, workers=1) as world:
        table = world.pubsubs[0].orders
        for call in (table.rows, table.clear):
            with pytest.raises(ConfigurationError, match=r"choose one of them with \.named\(desk="):
                await call()


async def test_a_table_cannot_be_declared_once_the_app_has_started():
    async with World(orders(), workers=1) as world:
        declare = partial(world.pubsubs[0].table, "late", key="id", columns=["id"])
        with pytest.raises(ConfigurationError, match="after the app has started"):
            await asyncio.to_thread(declare)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either grid= or graph="),
        ({"grid": "g", "graph": "h"}, "either grid= or graph="),
        ({"graph": "h"}, "x= and y="),
        ({"graph": "h", "x": "id", "y": "prise"}, r"no column 'prise'; did you mean 'price'\?"),
        ({"grid": "g", "x": "id"}, "are for graph="),
        ({"graph": "h", "x": "id", "y": "price", "max_points": 0}, "max_points=0"),
    ],
)
def test_a_feed_is_checked_where_it_is_made(options, words):
    pubsub = PubSub(Flash("feed"), broker="memory://")
    table = pubsub.table("orders", key="id", columns=["id", "price"])
    with pytest.raises(ConfigurationError, match=words) as wrong:
        TableFeed(table, **options)
    assert "test_tables.py" in str(wrong.value)


def test_a_feed_shows_one_table_and_no_pattern():
    pubsub = PubSub(Flash("feed"), broker="memory://")
    table = pubsub.table("orders/{desk}", key="id", columns=["id", "price"])
    with pytest.raises(ConfigurationError, match=r"choose one of them with \.named\(desk=…\)"):
        TableFeed(table, grid="grid")
    assert TableFeed(table.named(desk="oslo"), grid="grid").table == "orders/oslo"


def test_an_app_without_tables_loads_no_script_for_them():
    app = Flash("none")
    PubSub(app, broker="memory://")
    scripts = [each.get("relative_package_path") for each in app.scripts.get_all_scripts()]
    assert "flash_pubsub.js" in scripts
    assert "flash_table.js" not in scripts


async def test_feeds_of_a_layout_are_signed():
    def define(pubsub):
        orders()(pubsub)
        pubsub.app.layout = html.Div([html.Div(TableFeed("orders", grid="grid"))])

    async with World(define, workers=1) as world:
        app = world.apps[0]
        layout = await app.render_layout()
        assert layout.children[0].children.token == sign(app, channel_of("orders"))
        assert not hasattr(app.raw_layout.children[0].children, "token")


async def test_a_thread_writes_and_reads_and_waits_for_it():
    async with World(orders(), workers=1) as world:
        table = world.pubsubs[0].orders

        def work():
            table.upsert_threadsafe([row(1, 1), row(2, 2)])
            table.remove_threadsafe([1])
            return table.rows_threadsafe()

        assert await asyncio.to_thread(work) == [row(2, 2)]


async def test_tables_of_patterns_that_nobody_shows_are_let_go():
    async with World(desks, workers=1) as world:
        tables = world.pubsubs[0].tables
        for number in range(120):
            await world.pubsubs[0].orders.named(desk=f"d{number}").rows()
        assert len(tables._open) == 100


async def test_a_layout_of_rows_is_checked_at_the_start_like_any_other(caplog):
    app = Flash(__name__)
    pubsub = PubSub(app)
    table = pubsub.table("orders", key="id", columns=["id", "price"])
    drawn = []

    async def layout():
        rows = await table.rows()
        drawn.append((rows, await table.get("a")))
        return html.P(f"{len(rows)} rows", id="count")

    app.layout = layout
    async with FlashClient(app) as client:
        assert not caplog.records
        assert drawn == [([], None)]
        await table.upsert(row("a", 1))
        page = await client.layout("/")
        assert page.find("count").text == "1 rows"
        assert drawn[-1] == ([row("a", 1)], row("a", 1))
