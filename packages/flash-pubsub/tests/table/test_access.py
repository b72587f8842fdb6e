"""Who may be sent a table: asked at the start, again later, and taken back at any time."""

import asyncio

from pubsub_worlds import World, pages, until
from table_pages import ask, shown, status

from flash_pubsub.channels.subscription import sign
from flash_pubsub.table.changes import channel_of


def desks(may_see):
    """An app with a table for each desk."""

    def define(pubsub):
        pubsub.orders = pubsub.table("orders/{desk}", key="id", columns=["id"])
        pubsub.authorize("orders/{desk}")(may_see)

    return define


def access_of(pubsub):
    """What decides on the tables of a worker."""
    return pubsub._backplane.on_unsubscribe[-1].__self__


async def test_a_table_is_asked_for_again_and_a_failure_is_no_permission(caplog):
    desks_of_page = {"oslo", "rome"}

    def may_see(client, desk):
        if "fails" in desks_of_page:
            raise ConnectionError("the store is away")
        return desk in desks_of_page

    def define(pubsub):
        desks(may_see)(pubsub)
        pubsub.live._recheck_interval = 0.01

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        (pubsub,) = world.pubsubs
        for desk in ("oslo", "rome"):
            ask(page, pubsub.app, f"orders/{desk}")
            assert await status(page) == "subscribed"
        desks_of_page.remove("oslo")
        assert await status(page) == "denied"
        assert not pubsub.tables._open["orders/oslo"].readers
        desks_of_page.add("fails")
        assert await status(page) == "denied"
        assert caplog.text.count("a recheck failed") == 3
        # Nothing was taken for good.
        desks_of_page.remove("fails")
        ask(page, pubsub.app, "orders/rome")
        assert await status(page) == "subscribed"
        page.send({"t": "table-end", "table": "orders/rome"})
        await until(lambda: not access_of(pubsub)._shown)


async def test_a_table_that_is_taken_while_the_app_is_asked_is_denied():
    asked, answer = asyncio.Event(), asyncio.Event()

    async def may_see(client, desk):
        asked.set()
        await answer.wait()
        return True

    async with World(desks(may_see), workers=1) as world, pages(world, 0) as (page,):
        (pubsub,) = world.pubsubs
        ask(page, pubsub.app, "orders/oslo")
        await asked.wait()
        await pubsub.unsubscribe(page.welcome["id"], "orders/oslo")
        assert await status(page) == "denied"
        answer.set()
        await until(lambda: not access_of(pubsub)._requests)
        assert "orders/oslo" not in pubsub.tables._open


async def test_other_frames_of_a_page_do_not_wait_for_the_app():
    answer = asyncio.Event()

    async def may_see(client, desk):
        await answer.wait()
        return True

    async with World(desks(may_see), workers=1) as world, pages(world, 0) as (page,):
        (pubsub,) = world.pubsubs
        ask(page, pubsub.app, "orders/oslo")
        page.send({"t": "beat", "rtt": None})
        while (frame := await page.frame())["t"] != "beat":
            assert frame["t"] != "table"
        answer.set()
        assert await status(page) == "subscribed"


async def test_a_page_shows_so_many_tables_at_most(monkeypatch, caplog):
    monkeypatch.setattr("flash_pubsub.table.access.MAX_TABLES", 3)

    def may_see(client, desk):
        return True

    async with World(desks(may_see), workers=1) as world, pages(world, 0) as (page,):
        (pubsub,) = world.pubsubs
        for number in range(3):
            ask(page, pubsub.app, f"orders/d{number}")
            assert await status(page) == "subscribed"
        ask(page, pubsub.app, "orders/d3")
        assert await status(page) == "denied"
        # One that is shown may be asked for again.
        ask(page, pubsub.app, "orders/d1")
        assert await status(page) == "subscribed"
        assert "shows 3 tables already" in caplog.text


async def test_tables_taken_from_pages_are_kept_up_to_a_bound(monkeypatch):
    monkeypatch.setattr("flash_pubsub.channels.permission.MAX_WITHDRAWN", 3)
    async with World(desks(lambda client, desk: True), workers=1) as world:
        access = access_of(world.pubsubs[0])
        for number in range(10):
            access.withdraw("nobody", f"orders/{number}")
            # A channel of another name is not its concern.
            access.withdraw("nobody", f"room/{number}")
        assert len(access._permissions._withdrawn) == 3


async def test_requests_without_a_signature_are_logged_a_few_times(caplog):
    def define(pubsub):
        pubsub.table("orders", key="id", columns=["id"])

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        page.send(*({"t": "table", "table": f"t{n}"} for n in range(1_000)))
        for _ in range(1_000):
            assert await status(page) == "denied"
    assert caplog.text.count("without a valid signature") == 30


async def test_a_page_that_is_gone_is_forgotten():
    def define(pubsub):
        pubsub.live._resume_window = 0.01
        pubsub.orders = pubsub.table("orders", key="id", columns=["id"])

    async with World(define, workers=1) as world:
        (pubsub,) = world.pubsubs
        page = await world.page()
        ask(page, pubsub.app)
        await shown(page, [])
        await page.leave()
        await until(lambda: not access_of(pubsub)._shown)
        assert not pubsub.tables._open["orders"].readers


async def test_a_subscription_is_no_permission_for_a_table():
    """The names that are signed are different, whatever an app calls its channels."""

    def define(pubsub):
        pubsub.table("orders", key="id", columns=["id"])

    async with World(define, workers=1) as world:
        app = world.apps[0]
        assert sign(app, "orders") != sign(app, channel_of("orders"))
        assert sign(app, "table:orders") != sign(app, channel_of("orders"))


async def test_a_page_that_left_while_it_was_asked_about_is_sent_nothing():
    asked, left = asyncio.Event(), asyncio.Event()

    async def may_see(client, desk):
        asked.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            # A function that does not let itself be cancelled.
            left.set()
        return True

    async with World(desks(may_see), workers=1) as world, pages(world, 0) as (page,):
        (pubsub,) = world.pubsubs
        ask(page, pubsub.app, "orders/oslo")
        await asyncio.wait_for(asked.wait(), 10)
        page.send({"t": "table-end", "table": "orders/oslo"})
        await asyncio.wait_for(left.wait(), 10)
        access = access_of(pubsub)
        async with asyncio.timeout(10):
            while access._backplane._tasks:  # noqa: ASYNC110 — nothing tells of their end
                await asyncio.sleep(0.01)
        assert not access._shown
        assert not pubsub.tables._open
