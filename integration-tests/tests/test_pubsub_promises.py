"""What PubSub promises, kept by two workers around a real Redis that is killed and started."""

import asyncio
import json
import random

import pytest
from pubsub_worlds import World, pages, until
from redis_servers import RedisServer

import flash_pubsub.broker.redis  # noqa: F401  here, since it reads its scripts
from flash import Output
from flash.serialize import dumps
from flash_pubsub import BrokerError
from flash_pubsub.broker.envelope import Envelope
from flash_ws.callbacks.deferred import hub_of


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
        self.number = -1

    async def follow(self, number):
        """Apply what comes, to this number or beyond it."""
        # Values that a later one replaced on its way are not sent: all is up to date at the end of
        # a message.
        while self.number < number or self.page.waiting:
            frame = await self.page.frame()
            if frame.get("c") == "shared":
                for component, props in frame["u"]:
                    self.state[component] = props["children"]
                self.number = frame["n"]

    async def leave(self):
        """Return where it stood, and what it had."""
        await self.page.leave()
        return self.number, dumps(sorted(self.state.items()))


class Updates:
    """Sets shared values through two workers, so many a second."""

    def __init__(self, world, per_second):
        self._world = world
        self._per_second = per_second
        self._chance = random.Random(3)
        self.count = 0
        # While it is not behind its time.
        self.on_time = asyncio.Event()
        self.ended = asyncio.Event()

    async def run(self):
        loop = asyncio.get_running_loop()
        begin, proven_at = loop.time(), 0
        while not self.ended.is_set():
            due = int((loop.time() - begin) * self._per_second) - self.count
            if due <= 0:
                if self.count >= proven_at:
                    self.on_time.set()
                await asyncio.sleep(1 / self._per_second)
                continue
            if due > self._per_second / 5:
                # Begun anew, and to be kept up for a while before it counts.
                self.on_time.clear()
                begin = loop.time() - self.count / self._per_second
                proven_at = self.count + self._per_second / 10
            # On their way together, as the changes of many hands are.
            await asyncio.gather(*(self._set() for _ in range(min(due, 20))))

    async def _set(self):
        self.count += 1
        value = [self.count, "x" * self._chance.randrange(20)]
        cell = f"cell{self._chance.randrange(40)}"
        await self._world.pubsubs[self.count % 2].shared[cell, "children"].set(value)


class Truth:
    """The state after each publication, as everybody is to see it, by number."""

    def __init__(self):
        self._state = {}
        self.states = [dumps([])]

    def deliver(self, publication):
        assert publication.position.number == len(self.states)
        for component, _, value in Envelope.unpack(publication.payload).extras["u"]:
            self._state[component] = json.loads(value)
        self.states.append(dumps(sorted(self._state.items())))


@pytest.mark.timeout(240)
async def test_b3_a_thousand_joiners_during_500_updates_a_second_end_byte_identical(server):
    joiners, at_a_time = 1000, 20
    async with World(url=server.url) as world:
        truth, updates = Truth(), Updates(world, 500)
        await world.pubsubs[0]._listeners.listen("live:shared", truth)
        updating = asyncio.ensure_future(updates.run())
        ended, staying = [], []

        async def join(number):
            # Nobody joins while fewer are set than are to be.
            await updates.on_time.wait()
            joiner = Joiner(await world.page(number % 2))
            async with asyncio.timeout(60):
                await joiner.follow(0)
                await joiner.follow(joiner.number + 10)
            if number % 100:
                ended.append(await joiner.leave())
            else:
                staying.append(joiner)

        for first in range(0, joiners, at_a_time):
            await asyncio.gather(*(join(number) for number in range(first, first + at_a_time)))
        updates.ended.set()
        await updating
        for joiner in staying:
            await joiner.follow(updates.count)
            ended.append(await joiner.leave())
    assert len(ended) == joiners
    assert len(truth.states) == updates.count + 1
    for number, seen in ended:
        assert seen == truth.states[number]
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
        await until(lambda: not hub_of(world.pubsubs[0].live.app).clients)
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
