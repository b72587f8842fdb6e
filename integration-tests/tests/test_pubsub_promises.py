"""What PubSub promises, kept by two workers around a real Redis that is killed and started."""

import asyncio
import importlib.util
import random
import sys
from pathlib import Path

import pytest

from flash import Output
from flash.serialize import dumps
from flash_pubsub import BrokerError

_TESTS = Path(__file__).parents[2] / "packages" / "flash-pubsub" / "tests"


def _load(name):
    spec = importlib.util.spec_from_file_location(name, _TESTS / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


World, pages, until = (getattr(_load("pubsub_worlds"), n) for n in ("World", "pages", "until"))
RedisServer = _load("broker_worlds").RedisServer


@pytest.fixture
def server(tmp_path):
    with RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


def tape(pubsub):
    """An app whose pages are sent each message of a channel, none in the place of another."""

    @pubsub.channel_callback("prices", Output("tape", "extendData"))
    async def tape(message):
        return message


async def frame_of(page, channel):
    while True:
        frame = await page.frame()
        if frame.get("c") == channel:
            return frame


async def readiness(app):
    return (await app.server.test_client().get("/_flash/ready")).status_code


async def become(condition):
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110  what a server answers sets no event
            await asyncio.sleep(0.05)


async def publish_until_done(pubsub, number):
    """Publish as a careful program does: again, with the same key, until it is acknowledged."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await pubsub.publish("prices", number, key=f"price-{number}")
            except BrokerError:
                await asyncio.sleep(0.05)


async def test_b1_readiness_is_red_while_redis_is_away_and_delivery_resumes(server):
    async with World(tape, url=server.url) as world, pages(world, 0, 1) as opened:
        for app in world.apps:
            assert await readiness(app) == 200
        server.kill()
        for app in world.apps:

            async def is_red(app=app):
                return await readiness(app) == 503

            await become(is_red)
        server.start()
        for app in world.apps:

            async def is_green(app=app):
                return await readiness(app) == 200

            await become(is_green)
        await publish_until_done(world.pubsubs[0], 1)
        for page in opened:
            assert (await frame_of(page, "channel:prices"))["u"] == [["tape", {"extendData": 1}]]
        assert all(pubsub.status.reconnects for pubsub in world.pubsubs)


async def test_b1_every_connection_killed_loses_nothing(server):
    async with World(tape, url=server.url) as world, pages(world, 0, 1) as opened:
        for number in range(1, 41):
            await publish_until_done(world.pubsubs[number % 2], number)
            if number % 10 == 5:
                with server.client() as client:
                    client.client_kill_filter(_type="pubsub")
        for page in opened:
            got = [(await frame_of(page, "channel:prices"))["u"][0][1] for _ in range(40)]
            assert got == [{"extendData": number} for number in range(1, 41)]


async def test_b6_acknowledged_is_delivered_once_and_in_order_across_an_outage(server):
    async with World(tape, url=server.url) as world, pages(world, 0, 1) as opened:

        async def outage():
            await asyncio.sleep(0.3)
            server.kill()
            await asyncio.sleep(3)
            server.start()

        away = asyncio.ensure_future(outage())
        failed = 0
        for number in range(1, 101):
            try:
                await world.pubsubs[0].publish("prices", number, key=f"price-{number}")
            except BrokerError:
                failed += 1
                await publish_until_done(world.pubsubs[0], number)
            await asyncio.sleep(0.01)
        await away
        for page in opened:
            got = [(await frame_of(page, "channel:prices"))["u"][0][1] for _ in range(100)]
            assert got == [{"extendData": number} for number in range(1, 101)]


async def test_b2_a_store_that_lost_everything_is_told_to_every_page(server):
    async with World(tape, url=server.url) as world, pages(world, 0, 1) as opened:
        await world.pubsubs[0].publish("prices", 1)
        for page in opened:
            await frame_of(page, "channel:prices")
        server.flush()

        async def is_told(page):
            told = set()
            while not told >= {"all", "shared", "channel:prices"}:
                frame = await page.frame()
                if frame.get("recovered") is False:
                    told.add(frame["c"])

        async with asyncio.timeout(30):
            await asyncio.gather(*(is_told(page) for page in opened))
        await world.pubsubs[1].publish("prices", 2)
        for page in opened:
            assert (await frame_of(page, "channel:prices"))["u"] == [["tape", {"extendData": 2}]]


class Joiner:
    """Keeps the state as a page does: the snapshot, then changes."""

    def __init__(self, page):
        self.page = page
        self.state = {}

    async def follow(self, count):
        """Apply what comes until ``count`` changes after the snapshot; returns the number."""
        first = None
        while True:
            frame = await self.page.frame()
            if frame.get("c") != "shared":
                continue
            for component, props in frame["u"]:
                self.state[component] = props["children"]
            first = frame["n"] if first is None else first
            # Values that a later one replaced on its way are not sent: all is up to date at the
            # end of a message.
            if frame["n"] >= first + count and not self.page.waiting:
                return frame["n"]


@pytest.mark.timeout(240)
async def test_b3_a_thousand_joiners_during_500_updates_a_second_end_byte_identical(server):
    joiners, at_a_time, per_second = 1000, 20, 500
    chance = random.Random(3)
    # What was set, one after the other: the numbers of the channel count it.
    log = []
    async with World(url=server.url) as world:
        joined = asyncio.Event()

        async def update():
            loop = asyncio.get_running_loop()
            begin = loop.time()
            while not joined.is_set():
                cell, value = f"cell{chance.randrange(40)}", [len(log), "x" * chance.randrange(20)]
                log.append((cell, value))
                await world.pubsubs[len(log) % 2].shared[cell, "children"].set(value)
                await asyncio.sleep(max(0.0, begin + len(log) / per_second - loop.time()))

        async def join(worker):
            joiner = Joiner(await world.page(worker))
            async with asyncio.timeout(60):
                number = await joiner.follow(10)
            await joiner.page.leave()
            return number, dumps(dict(sorted(joiner.state.items())))

        updating = asyncio.ensure_future(update())
        ended = []
        while len(ended) < joiners:
            ended += await asyncio.gather(*(join(number % 2) for number in range(at_a_time)))
        joined.set()
        await updating
    truth, state = [dumps({})], {}
    for cell, value in log:
        state[cell] = value
        truth.append(dumps(dict(sorted(state.items()))))
    for number, seen in ended:
        assert seen == truth[number]
    # They did come one after the other, while it went on.
    assert len({number for number, _ in ended}) > joiners / at_a_time / 2


async def test_b11_a_page_comes_back_on_the_other_worker_and_misses_nothing(server):
    async with World(tape, url=server.url) as world:
        page = await world.page(0)
        await world.pubsubs[0].publish("prices", 1)
        await frame_of(page, "channel:prices")
        await page.leave()
        for number in (2, 3):
            await world.pubsubs[1].publish("prices", number)
            await world.pubsubs[1].live.send_event("news", number)
        back = await world.page(1, page.token, page.positions)
        assert back.welcome["recovered"] is True
        got = []
        while len(got) < 4:
            frame = await back.frame()
            if frame.get("c") in ("all", "channel:prices"):
                got.append((frame["c"], frame["n"]))
        assert sorted(got) == [("all", 1), ("all", 2), ("channel:prices", 2), ("channel:prices", 3)]
        await until(lambda: not world.pubsubs[0].live.hub.clients)
        await back.leave()


async def test_b10_a_worker_that_stops_leaves_its_pages_to_the_others(server):
    gone = []

    def define(pubsub):
        pubsub.live.on_disconnect(lambda client: gone.append(client.id))

        @pubsub.live.on_connect
        async def joined(client):
            await client.join("desk")

    async with World(define, url=server.url) as world:
        page = await world.page(0)
        await until(lambda: world.pubsubs[0]._listeners.position("live:group:desk"))
        await world.pubsubs[1].live.send_event("old", to=world.pubsubs[1].live.group("desk"))
        await frame_of(page, "group:desk")
        positions = page.positions
        await world.apps[0].server.shutdown()
        world.frozen.append(0)
        live = world.pubsubs[1].live
        await live.send_event("news", 1, to=live.group("desk"))
        back = await world.page(1, page.token, positions)
        assert back.welcome["recovered"] is True
        assert (await frame_of(back, "group:desk"))["data"] == 1
        assert not gone
        await back.leave()
