"""Publishes stamped lines, as each contender's own publishers do: ``python -m apps.publish KIND``.

Each line of the standard input is a rate, how many to publish, and where; it is answered when done.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from apps import channels_work, live_work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_URL = os.environ["FLASH_BROKER_URL"]


def _flash() -> Callable[[str, object], Awaitable[object]]:
    from flash_pubsub import AsyncPublisher

    publisher = AsyncPublisher(_URL)
    return publisher.publish


def _bare() -> Callable[[str, object], Awaitable[object]]:
    from redis.asyncio import Redis

    client = Redis.from_url(_URL)
    return client.publish


def _dash() -> Callable[[str, object], Awaitable[object]]:
    from dash import RedisSharedStorage

    storage = RedisSharedStorage(_URL)
    return storage.apublish


async def main() -> None:
    publish = {"flash": _flash, "bare": _bare, "dash": _dash}[sys.argv[1]]()
    loop = asyncio.get_running_loop()
    # Not measured: the connection is opened.
    await publish(channels_work.LINES, "ready")
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        rate, count, channel = line.split()
        at = loop.time()
        for _ in range(int(count)):
            at += 1 / float(rate)
            await asyncio.sleep(max(0.0, at - loop.time()))
            text = live_work.update()
            is_tick = channel == channels_work.TICKS
            await publish(channel, {"t": text, "p": 100.25} if is_tick else text)
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
