"""Several workers in one process: apps around one store, and pages that are on one of them."""

import asyncio
from contextlib import asynccontextmanager

from page import Page

from flash import Flash, html
from flash_pubsub import BrokerUnavailable, MemoryBroker, PubSub
from flash_pubsub.broker.memory import MemoryStore
from flash_ws import LinkLimits, Live


def _nothing(pubsub):
    """An app without anything of its own."""


def user(visit):
    return visit.headers["X-User"]


class World:
    """A deployment of several workers. ``define(pubsub)`` is the app's code, run in each."""

    def __init__(
        self, define=lambda pubsub: None, workers=2, store=None, url=None, named=False, **settings
    ):
        self.store = store or MemoryStore()
        self.apps, self.pubsubs, self.frozen = [], [], []
        for _ in range(workers):
            app = Flash("world")
            app.server.secret_key = "the same everywhere"
            app.layout = html.Div()
            # Pages of tests say nothing by themselves.
            Live(app, limits=LinkLimits(heartbeat=600.0), authorize=user if named else None)
            pubsub = PubSub(app, broker=url or MemoryBroker(self.store), **settings)
            define(pubsub)
            self.apps.append(app)
            self.pubsubs.append(pubsub)

    async def __aenter__(self):
        for app in self.apps:
            await app.server.startup()
        return self

    async def __aexit__(self, *_):
        for worker, app in enumerate(self.apps):
            if worker not in self.frozen:
                await app.server.shutdown()

    def freeze(self, worker):
        """Cut a worker off from the store, as if its process were killed."""
        broker = self.pubsubs[worker].broker

        async def never(*_, **__):
            raise BrokerUnavailable("anything", "the worker is dead")

        for name in ("publish", "renew", "release", "leave", "close"):
            setattr(broker, name, never)
        self.frozen.append(worker)

    async def page(self, worker=0, token=None, at=None, **more):
        """Connect a page to a worker."""
        opened = await Page(self.apps[worker], **more).open()
        await opened.hello(token, at)
        return opened


async def until(condition):
    """Let the loop turn until something is so."""
    async with asyncio.timeout(10):
        while True:
            result = condition()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return
            await asyncio.sleep(0)


@asynccontextmanager
async def pages(world, *workers):
    opened = [await world.page(worker) for worker in workers]
    yield opened
    for each in opened:
        await each.leave()


async def updates(page):
    """The next updates that a page is told, whatever the channel."""
    frame = await page.frame()
    assert frame["t"] in ("props", "snapshot"), frame
    return frame["u"]
