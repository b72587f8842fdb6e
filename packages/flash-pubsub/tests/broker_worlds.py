"""Workers and stores for the tests of every broker: import it by path, or as conftest.py does."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack

from flash_pubsub.memory import MemoryBroker, MemoryStore

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

    async def start(self):
        await self.broker.start(self.deliver, self.reset)
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
