"""Workers and stores for the tests of every broker."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from contextlib import AsyncExitStack

from flash_pubsub.broker.memory import MemoryBroker, MemoryStore
from flash_pubsub.broker.redis import RedisBroker

SECONDS = 30


async def until(condition, *, seconds=SECONDS):
    """Wait until a function, plain or async, returns something true; returns that."""
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return result
            await asyncio.sleep(0.005)


class Worker:
    """A started broker, and everything that it has told."""

    def __init__(self, broker, on_delivery=None):
        self.broker = broker
        # Called with every publication, after it is noted.
        self.on_delivery = on_delivery
        self.delivered = defaultdict(list)
        # By channel: the publications, and "reset" with a position where that was told.
        self.journal = defaultdict(list)
        self.resets = []

    async def begin(self):
        await self.broker.start(self.deliver, self.reset)
        return self

    async def start(self):
        await self.begin()
        async with asyncio.timeout(SECONDS):
            await self.broker.ready()
        return self

    def deliver(self, publication):
        self.delivered[publication.channel].append(publication)
        self.journal[publication.channel].append(publication)
        if self.on_delivery:
            self.on_delivery(publication)

    def reset(self, channel, position):
        self.resets.append((channel, position))
        self.journal[channel].append(("reset", position))

    def payloads(self, channel):
        return [publication.payload for publication in self.delivered[channel]]

    def numbers(self, channel):
        return [publication.position.number for publication in self.delivered[channel]]

    async def has(self, channel, *payloads):
        """Wait until exactly these have been delivered."""
        wanted = list(payloads)
        await until(lambda: len(self.payloads(channel)) >= len(wanted))
        assert self.payloads(channel) == wanted


class MemoryWorld:
    """Several workers over one store, in this process."""

    def __init__(self):
        self.store = MemoryStore()
        self._workers = AsyncExitStack()

    async def worker(self, *, on_delivery=None, **options):
        worker = await Worker(MemoryBroker(self.store, **options), on_delivery).start()
        self._workers.push_async_callback(worker.broker.close)
        return worker

    async def flush(self):
        self.store.flush()

    async def close(self):
        await self._workers.aclose()


class RedisWorld:
    """Several workers over one Redis deployment, under a prefix that nobody else uses."""

    def __init__(self, deployment):
        self.deployment = deployment
        self.prefix = f"test*{secrets.token_hex(4)}"
        self._workers = AsyncExitStack()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        await self._workers.aclose()

    async def worker(self, *, on_delivery=None, url=None, wait=True, **options):
        options = {"prefix": self.prefix, "probe_interval": 0.2, **options}
        worker = Worker(RedisBroker(url or self.deployment.url, **options), on_delivery)
        self._workers.push_async_callback(worker.broker.close)
        return await (worker.start() if wait else worker.begin())

    async def flush(self):
        await asyncio.to_thread(self.deployment.flush)
