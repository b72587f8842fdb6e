"""Tables over a real Redis: several workers, and publishers in threads and on their own loops."""

import asyncio
import secrets
from contextlib import asynccontextmanager, suppress

import pytest
from broker_worlds import until
from pubsub_worlds import World, pages
from table_pages import PageTable, ask, shown

from flash import ConfigurationError
from flash_pubsub import AsyncPublisher, InvalidRow, Publisher


def define(pubsub):
    pubsub.orders = pubsub.table(
        "orders", key="id", columns={"id": None, "price": float}, max_rows=500
    )
    pubsub.desks = pubsub.table("desk/{desk}", key="id", columns=["id"])


@asynccontextmanager
async def world(server, workers=2):
    url = f"{server.url}?prefix=t{secrets.token_hex(4)}"
    async with World(define, workers=workers, url=url) as made:
        made.url = url
        yield made


def row(key, price):
    return {"id": key, "price": price}


async def test_9_writers_in_two_workers_and_two_publishers_leave_all_pages_equal(redis_server):
    async with world(redis_server) as deployment, pages(deployment, 0, 1) as opened:
        tables = [PageTable() for _ in opened]
        for page, app in zip(opened, deployment.apps, strict=True):
            ask(page, app)
        orders = [each.orders for each in deployment.pubsubs]

        async def write(table, seed):
            for number in range(60):
                await table.upsert(
                    [row((seed * 31 + number * 7 + n) % 300, number + seed / 10) for n in range(20)]
                )
                await table.remove([(number * 11 + seed) % 300, f"none {number}"])

        def write_in_thread():
            with Publisher(deployment.url) as publisher:
                table = publisher.table("orders")
                for number in range(60):
                    table.upsert([row((number * 5 + n) % 300, -number) for n in range(10)])
                    table.remove(number)

        async with AsyncPublisher(deployment.url) as publisher:
            await asyncio.gather(
                *(write(table, n) for n, table in enumerate(orders)),
                write(publisher.table("orders"), 7),
                asyncio.to_thread(write_in_thread),
            )
        rows = await orders[0].rows()
        assert rows == await orders[1].rows()
        assert len(rows) > 100
        wanted = [list(each.values()) for each in rows]
        for page, table in zip(opened, tables, strict=True):
            await shown(page, wanted, table)
        # A worker that starts now has the same rows in the same order.
        async with World(define, workers=1, url=deployment.url) as late:
            assert await late.pubsubs[0].orders.rows() == rows
            async with pages(late, 0) as (page,):
                ask(page, late.apps[0])
                await shown(page, wanted)


async def test_a_page_that_moves_to_another_worker_gets_what_it_missed(redis_server):
    async with world(redis_server) as deployment, pages(deployment, 0) as (page,):
        orders = deployment.pubsubs[0].orders
        await orders.upsert([row(n, n) for n in range(50)])
        ask(page, deployment.apps[0])
        known = await shown(page, [[n, n] for n in range(50)])
        await page.leave()
        await orders.upsert(row(50, 50))
        await deployment.pubsubs[1].orders.rows()
        back = await deployment.page(1, token=page.token)
        ask(back, deployment.apps[1], at=[known.position.epoch, known.position.number])
        frame = await back.frame()
        while frame["t"] != "rows":
            frame = await back.frame()
        assert "first" not in frame
        assert frame["a"] == [[50, 50]]
        await back.leave()


async def test_rows_survive_a_redis_that_has_lost_its_data(own_redis):
    async with world(own_redis) as deployment, pages(deployment, 1) as (page,):
        orders = deployment.pubsubs[0].orders
        await orders.upsert([row(n, n) for n in range(300)])
        ask(page, deployment.apps[1])
        known = await shown(page, [[n, n] for n in range(300)])
        await asyncio.to_thread(own_redis.flush)
        await orders.upsert([row(1, 1000), row("new", 1)])

        async def restored():
            found = {each["id"]: each["price"] for each in await orders.rows()}
            return found == {**{n: n for n in range(300)}, 1: 1000, "new": 1}

        await until(restored, seconds=30)
        rows = await orders.rows()
        assert await deployment.pubsubs[1].orders.rows() == rows
        await shown(page, [list(each.values()) for each in rows], known)
        async with AsyncPublisher(deployment.url) as publisher:

            async def written():
                # The app's tables are written again when a worker has noticed the loss.
                with suppress(ConfigurationError):
                    await publisher.table("orders").upsert(row("newer", 2))
                    return True

            await until(written, seconds=30)
        assert await orders.get("newer") == row("newer", 2)


async def test_rows_over_the_bound_are_dropped_by_redis_and_workers_alike(redis_server):
    async with world(redis_server) as deployment:
        orders = deployment.pubsubs[0].orders
        for start in range(0, 1700, 130):
            await orders.upsert([row(n, n) for n in range(start, start + 130)])
            await orders.remove([start + 3, start + 5])

        async def is_within_bounds():
            return len(await orders.rows()) <= 500

        await until(is_within_bounds)
        rows = await orders.rows()
        assert len(rows) > 400
        assert rows == await deployment.pubsubs[1].orders.rows()
        async with World(define, workers=1, url=deployment.url) as late:
            assert await late.pubsubs[0].orders.rows() == rows


async def test_a_publisher_replaces_clears_and_writes_tables_of_patterns(redis_server):
    async with world(redis_server, workers=1) as deployment:
        orders = deployment.pubsubs[0].orders
        async with AsyncPublisher(deployment.url) as publisher:
            table = publisher.table("orders")
            await table.upsert([row(n, n) for n in range(5)])
            await table.replace([row(4, 4), row(9, 9)])
            assert await orders.rows() == [row(4, 4), row(9, 9)]
            await table.clear()
            assert await orders.rows() == []
            await publisher.table("desk/oslo").upsert({"id": 1})
            assert await deployment.pubsubs[0].desks.named(desk="oslo").rows() == [{"id": 1}]


async def test_a_publisher_refuses_what_does_not_fit_the_apps_table(redis_server):
    async with world(redis_server, workers=1) as deployment:
        async with AsyncPublisher(deployment.url) as publisher:
            with pytest.raises(InvalidRow, match="the column takes float"):
                await publisher.table("orders").upsert(row(1, "dear"))
            with pytest.raises(ConfigurationError, match="has declared the table 'none'"):
                await publisher.table("none").upsert({"id": 1})
        assert await deployment.pubsubs[0].orders.rows() == []
