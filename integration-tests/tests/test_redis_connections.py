"""One process, one set of connections to Redis, whoever of its parts uses it."""

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from redis_servers import RedisSentinel, RedisServer

from flash import Flash, Input, Output, html
from flash.background import RedisManager
from flash.testing import FlashClient
from flash_lazy import Entry, Key, RedisCache
from flash_pubsub import RedisBroker

SECONDS = 60


@pytest.fixture
def server(tmp_path):
    with RedisServer(tmp_path) as server:
        yield server


def clients(server, kind):
    """How many connections of a kind a server has, but for the one that asks."""
    with server.client() as client:
        found = client.client_list(_type=kind)
        return len(found) - (kind == "normal")


async def become(condition):
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  any condition
            await asyncio.sleep(0.01)


class Worker:
    """A manager, a broker and a loaders' cache, as one process of an app has them."""

    def __init__(self, url):
        self.heard = []
        self.manager = RedisManager(f"{url}?timeout=15", worker_timeout=3)
        self.broker = RedisBroker(url, prefix="other", probe_interval=0.2, timeout=15)
        self.cache = RedisCache(url, max_entries=10, timeout=15)
        self.app = None

    @asynccontextmanager
    async def opened(self):
        async with AsyncExitStack() as stack:
            await self.broker.start(self.heard.append, lambda *_: None)
            stack.push_async_callback(self.broker.close)
            await self.broker.ready()
            await self.broker.subscribe("c")
            await self.cache.open("app", lambda _: None)
            stack.push_async_callback(self.cache.close, "app")
            # In a thread, for Dash reads a callback's source when it is registered.
            self.app = await asyncio.to_thread(self.make_app)
            self.page = await stack.enter_async_context(FlashClient(self.app))
            stack.push_async_callback(self.manager.close)
            yield self

    def make_app(self):
        app = Flash(__name__, background_callback_manager=self.manager)
        app.server.secret_key = "the same everywhere"
        app.layout = html.Div([html.P(id=name) for name in ("go", "out")])

        @app.callback(Output("out", "children"), Input("go", "n_clicks"), background=True)
        async def work(n):
            return n * 2

        return app

    async def use(self, number):
        """Have each part do something that needs Redis."""

        async def run():
            return Entry(b"x", time.time())

        payload = b"%d" % number
        calls = [self.page.call("out.children", {"go.n_clicks": number})]
        calls += [self.broker.publish("c", payload) for _ in range(3)]
        key = Key("app", "orders", str(number), "")
        calls += [self.cache.load(key, run, seconds=60) for _ in range(3)]
        results = await asyncio.gather(*calls)
        assert results[0].updates == {"out.children": 2 * number}
        assert await self.cache.find(key) == results[-1]
        await become(lambda: [each.payload for each in self.heard].count(payload) == 3)


async def test_a_manager_a_broker_and_a_cache_share_one_set_of_connections(server):
    async with Worker(server.url).opened() as worker:
        await worker.use(1)
        # One for messages, one for values, one that waits for cancellations.
        assert clients(server, "normal") == 3
        # What each subscribes to.
        assert clients(server, "pubsub") == 2
        async with Worker(server.url).opened() as other:
            await worker.use(3)
            await other.use(4)
            # One more waits for cancellations.
            assert clients(server, "normal") == 4
            assert clients(server, "pubsub") == 4
        await become(lambda: clients(server, "normal") == 3)
        await become(lambda: clients(server, "pubsub") == 2)
        await worker.use(5)
    await become(lambda: clients(server, "normal") == clients(server, "pubsub") == 0)


async def test_everything_goes_on_after_scripts_were_flushed(server):
    async with Worker(server.url).opened() as worker:
        for number in range(3):
            await worker.use(number)
            with server.client() as admin:
                admin.script_flush()
        assert worker.cache.statistics().failures == 0


async def test_everything_goes_on_with_the_master_that_takes_over(tmp_path):
    with RedisSentinel(tmp_path) as deployment:
        async with Worker(deployment.url).opened() as worker:
            await worker.use(1)
            # It knows none of the scripts, and none of the connections.
            await asyncio.to_thread(deployment.master.kill)
            await become(lambda: not worker.cache.statistics().connected)
            await become(lambda: worker.cache.statistics().connected)
            async with asyncio.timeout(SECONDS):
                await worker.broker.ready()
            worker.heard.clear()
            await worker.use(2)
