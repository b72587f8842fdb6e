"""The broker over Redis: what publishing costs, and what a worker hears.

Alone: ``uv run python benchmarks/broker.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis_server import redis_server
from report import Row, Spread, Target, compare, render
from rounds import FULL, Effort, take_turns

from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.broker.redis import RedisBroker
from flash_pubsub.broker.seam import Publication, Retention

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from flash_ws.protocol.position import Position

_PAYLOAD = Envelope.of({"t": 1_700_000_000, "p": 2.5, "name": "x" * 120}).pack()
# What the snapshot holds: fields set in turn.
_FIELDS = [f"field{number}" for number in range(20)]
_CALLERS = 32
# Messages that wait in Redis when the worker begins to take them.
_BACKLOG = 5_000
# As many as would be forgotten never tell of a gap.
_RETENTION = Retention(max_messages=1000, max_bytes=1 << 22)


async def measure_publish(effort: Effort) -> list[Row]:
    """Publish with number, history and snapshot against a bare ``PUBLISH`` by redis-py."""
    async with redis_server() as url, _broker(url) as broker, _client(url) as client:
        rows: list[Row] = []
        for callers, who in ((1, "one after the other"), (_CALLERS, f"{_CALLERS} at a time")):

            async def publish(number: int) -> None:
                changes = {_FIELDS[number % len(_FIELDS)]: b"%d" % number}
                await broker.publish("bench", _PAYLOAD, changes=changes, retention=_RETENTION)

            async def bare(number: int) -> None:
                del number
                await client.publish("bench", _PAYLOAD)

            async def turn(call: Callable[[int], Awaitable[None]], callers: int = callers) -> float:
                return await _rate(call, callers, effort.seconds)

            for call in (publish, bare):
                await _rate(call, callers, effort.warm_up_seconds)
            flash, peer = await take_turns((publish, bare), effort.rounds, turn)
            rows.append(
                compare(
                    f"publish with history and snapshot, {who}",
                    "bare PUBLISH, redis-py async",
                    Spread.of(flash, "/s"),
                    Spread.of(peer, "/s"),
                    target=Target(0.5),
                )
            )
        return rows


async def measure_hearing(effort: Effort) -> list[Row]:
    """Take a backlog of messages from Redis, against a bare redis-py async pub/sub loop."""
    async with redis_server() as url, _client(url) as client:
        await client.config_set("client-output-buffer-limit", "pubsub 0 0 0")

        async def turn(take: Callable[[str], Awaitable[float]]) -> float:
            return await take(url)

        for take in (_hear, _hear_bare):
            await take(url)
        flash, peer = await take_turns((_hear, _hear_bare), effort.long_rounds, turn)
    return [
        compare(
            "messages that one worker takes from Redis",
            "bare redis-py async pub/sub loop",
            Spread.of(flash, "/s"),
            Spread.of(peer, "/s"),
            target=Target(0.6),
        )
    ]


async def _hear(url: str) -> float:
    """Return how many messages a second a broker delivers."""
    heard, done = 0, asyncio.Event()

    def deliver(publication: Publication) -> None:
        nonlocal heard
        heard += 1
        Envelope.unpack(publication.payload)
        if heard == _BACKLOG:
            done.set()

    broker = RedisBroker(url)
    await broker.start(deliver, _nothing_lost)
    try:
        await broker.subscribe("bench")

        async def publish() -> None:
            async with _broker(url) as other:
                for _ in range(_BACKLOG // 100):
                    calls = (
                        other.publish("bench", _PAYLOAD, retention=_RETENTION) for _ in range(100)
                    )
                    await asyncio.gather(*calls)

        _meanwhile(publish)
        start = time.perf_counter()
        await done.wait()
        return _BACKLOG / (time.perf_counter() - start)
    finally:
        await broker.close()


async def _hear_bare(url: str) -> float:
    """Return how many messages a second redis-py's own loop yields."""
    heard = 0
    async with _client(url) as client, client.pubsub() as pubsub:
        await pubsub.subscribe("bare")
        await pubsub.get_message(timeout=1)

        async def publish() -> None:
            async with _client(url) as other:
                for _ in range(_BACKLOG // 100):
                    pipeline = other.pipeline(transaction=False)
                    for _ in range(100):
                        pipeline.publish("bare", _PAYLOAD)
                    await pipeline.execute()

        _meanwhile(publish)
        start = time.perf_counter()
        async for message in pubsub.listen():
            Envelope.unpack(message["data"])
            heard += 1
            if heard == _BACKLOG:
                break
        return _BACKLOG / (time.perf_counter() - start)


def _meanwhile(publish: Callable[[], Awaitable[None]]) -> None:
    """Publish from another thread while this one, whose messages pile up in Redis, stands still."""

    async def main() -> None:
        await publish()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    thread.join()


async def _rate(call: Callable[[int], Awaitable[None]], callers: int, seconds: float) -> float:
    """Return calls a second by so many callers, each one after the other."""
    made = 0
    end = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal made
        while time.perf_counter() < end:
            made += 1
            await call(made)

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return made / (time.perf_counter() - start)


@contextlib.asynccontextmanager
async def _broker(url: str) -> AsyncGenerator[RedisBroker]:
    broker = RedisBroker(url)
    await broker.start(lambda publication: None, _nothing_lost)
    await broker.ready()
    try:
        yield broker
    finally:
        await broker.close()


@contextlib.asynccontextmanager
async def _client(url: str) -> AsyncGenerator[Redis]:
    client = Redis.from_url(url, socket_timeout=30)
    try:
        yield client
    finally:
        await client.aclose()


def _nothing_lost(channel: str, position: Position) -> None:
    raise AssertionError(f"{channel} was reset at {position}")


async def _main() -> None:
    print(render([*await measure_publish(FULL), *await measure_hearing(FULL)]))


if __name__ == "__main__":
    asyncio.run(_main())
