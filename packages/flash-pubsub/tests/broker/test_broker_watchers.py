"""The answers of workers to `flash top --redis`, over each kind of Redis."""

import asyncio
import json
import secrets

import pytest
from broker_worlds import until
from redis.asyncio import Redis

from flash.top.exchange import samples_of, topic_of
from flash.top.redis_workers import RedisWorkers
from flash.top.workers import Unreachable
from flash_pubsub import RedisBroker
from flash_pubsub.broker.seam import Watchable


def sample(worker):
    return json.dumps(
        {
            "worker": worker,
            "host": "here",
            "checks": {},
            "page_count": 1,
            "metrics": [],
            "cpu_seconds": None,
            "memory_bytes": None,
        }
    ).encode()


@pytest.fixture
async def answering():
    """Return a function that starts a broker whose samples are those of ``worker``."""
    brokers = []

    async def start(url, prefix, worker, answer=None, deliver=lambda _: None):
        broker = RedisBroker(url, prefix=prefix, probe_interval=0.2)

        async def own_sample():
            return sample(worker)

        broker.sample = answer or own_sample
        brokers.append(broker)
        await broker.start(deliver, lambda *_: None)
        async with asyncio.timeout(30):
            await broker.ready()
        return broker

    yield start
    for broker in brokers:
        await broker.close()


class Watching:
    """A watcher in a thread, where `flash top` is a process."""

    def __init__(self, url, prefix):
        separator = "&" if "?" in url else "?"
        self._workers = RedisWorkers(f"{url}{separator}prefix={prefix}")

    async def seen(self):
        def collect():
            try:
                return [each.sample.worker[1] for each in self._workers.collect()]
            except Unreachable:
                return []

        return await asyncio.to_thread(collect)

    async def sees(self, *workers):
        async with asyncio.timeout(60):
            while await self.seen() != list(workers):  # noqa: ASYNC110  it is elsewhere
                await asyncio.sleep(0.01)

    async def close(self):
        await asyncio.to_thread(self._workers.__exit__)


@pytest.mark.parametrize("kind", ["redis_server", "redis_sentinel", "redis_cluster"])
async def test_workers_answer_over_each_kind_of_redis(request, kind, answering):
    url, prefix = request.getfixturevalue(kind).url, f"w{secrets.token_hex(4)}"
    first = await answering(url, prefix, 1)
    await answering(url, prefix, 2)
    watching = Watching(url, prefix)
    try:
        await watching.sees(1, 2)
        await first.close()
        await watching.sees(2)
    finally:
        await watching.close()


async def test_a_new_subscription_hears_watchers_too(redis_server, answering):
    url, prefix = redis_server.url, f"w{secrets.token_hex(4)}"
    broker = await answering(url, prefix, 1)
    watching = Watching(url, prefix)
    try:
        await watching.sees(1)
        with redis_server.client() as client:
            client.client_kill_filter(_type="pubsub")
        await until(lambda: broker.status.reconnects)
        await watching.sees(1)
    finally:
        await watching.close()


async def test_a_sample_that_fails_is_logged_and_the_next_is_sent(redis_server, answering, caplog):
    url, prefix = redis_server.url, f"w{secrets.token_hex(4)}"
    failures = [OSError("no memory"), SystemExit("of an app's check")]

    async def fails_at_first():
        if failures:
            raise failures.pop()
        return sample(7)

    await answering(url, prefix, 7, fails_at_first)
    watching = Watching(url, prefix)
    try:
        await watching.sees(7)
    finally:
        await watching.close()
    assert caplog.text.count("no sample of this worker was sent to flash top") == 2


async def test_many_watchers_share_one_sample_and_no_more_than_16_wait(redis_server, answering):
    url, prefix = redis_server.url, f"w{secrets.token_hex(4)}"
    may_go, samples = asyncio.Event(), []

    async def slow():
        samples.append(1)
        await may_go.wait()
        return sample(1)

    delivered = []
    broker = await answering(url, prefix, 1, slow, delivered.append)
    await broker.subscribe("c")
    first, *others = [b"watcher-%02d" % number for number in range(30)]
    async with Redis.from_url(url) as client:
        await client.publish(topic_of(prefix), first)
        await until(lambda: samples)
        for name in others:
            await client.publish(topic_of(prefix), name)
        # What came before it on the same connection has arrived, too.
        await broker.publish("c", b"")
        await until(lambda: delivered)
        may_go.set()

        async def answered():
            lists = [await client.llen(samples_of(prefix, name)) for name in (first, *others)]
            assert set(lists) <= {0, 1}
            return sum(lists)

        async with asyncio.timeout(30):
            while await answered() < 17:  # noqa: ASYNC110  it is in Redis
                await asyncio.sleep(0.01)
        assert await answered() == 17
    assert len(samples) == 2


async def test_a_broker_without_samples_is_not_subscribed(redis_server, answering):
    prefix = f"w{secrets.token_hex(4)}"
    broker = RedisBroker(redis_server.url, prefix=prefix, probe_interval=0.2)
    assert isinstance(broker, Watchable)
    await broker.start(lambda _: None, lambda *_: None)
    try:
        async with asyncio.timeout(30):
            await broker.ready()
        with redis_server.client() as client:
            assert client.pubsub_numsub(topic_of(prefix)) == [(topic_of(prefix), 0)]
    finally:
        await broker.close()
