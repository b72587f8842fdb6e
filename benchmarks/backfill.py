"""What a new page's first picture of a channel costs: one frame, or the messages one by one.

Alone: ``uv run python benchmarks/backfill.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from apps import channels_work
from live_pages import HELLO, LINK
from redis.asyncio import Redis
from redis_server import redis_server
from report import Row, Spread, Target, compare, render
from rounds import FULL, Effort, take_turns
from servers import App, OverRedis, Server, serve_all
from sockets import Socket, allow_sockets

from flash_pubsub import AsyncPublisher
from flash_ws.protocol.frames import props_message

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

MESSAGES = 500
PAGES_PER_SECOND = 40
# Messages that go on meanwhile, so that the frame has to be made again and again.
MESSAGES_PER_SECOND = 20

# A page that has not got everything after so many seconds never will.
_PAGE_SECONDS = 30.0

_FLASH = App("Flash", "apps.backfill_flash:app")
_BARE = App("bare ASGI, 500 single messages", "apps.backfill_bare:app")


async def measure(effort: Effort) -> list[Row]:
    """Server CPU of a new page's 500 messages, less that of a page that gets none."""
    allow_sockets(PAGES_PER_SECOND * 10)
    count = round(PAGES_PER_SECOND * max(2.0, effort.seconds))

    async with contextlib.AsyncExitStack() as stack:
        subjects: list[OverRedis] = []
        for app in (_FLASH, _BARE):
            for backfill in (MESSAGES, 0):
                url = await stack.enter_async_context(redis_server())
                variables = (f"BACKFILL={backfill}",)
                subjects.append(OverRedis(app, "uvicorn", url, variables=variables))
        running = await serve_all(stack, *subjects)
        for server in running:
            for number in range(MESSAGES):
                await _publish(server, number)
        # Until the workers have them.
        await asyncio.sleep(1.0)

        async def turn(server: Server) -> float:
            return await _open(server, count)

        turns = await take_turns(running, effort.rounds, turn)
    flash, flash_without, bare, bare_without = turns
    rest = [_less(flash, flash_without), _less(bare, bare_without)]
    whole = [Spread.of(each, "s") for each in turns]
    return [
        compare(
            f"{MESSAGES} messages of backfill to a new page, {PAGES_PER_SECOND} new pages a "
            "second: server CPU of it",
            _BARE.name,
            Spread.of(rest[0], "s"),
            Spread.of(rest[1], "s"),
            target=Target(0.1, "at most"),
            notes=(
                f"with all that a new page costs {whole[0]} against {whole[2]}; "
                f"a new page without backfill {whole[1]} against {whole[3]}",
            ),
        )
    ]


def _less(several: list[float], without: list[float]) -> list[float]:
    """Return what a page costs more than one without backfill, in each round."""
    return [one - other for one, other in zip(several, without, strict=True)]


async def _open(server: Server, count: int) -> float:
    """Open pages at an even pace; the server's processor time of one."""
    assert isinstance(server.subject, OverRedis)
    backfill = int(server.subject.variables[0].partition("=")[2])
    # Flash sends one frame of it.
    frames = min(backfill, 1) if server.subject.app is _FLASH else backfill
    async with _publishing(server):
        loop = asyncio.get_running_loop()
        begin, cpu = loop.time(), server.cpu_seconds()
        async with asyncio.TaskGroup() as tasks:
            for number in range(count):
                await asyncio.sleep(max(0.0, begin + number / PAGES_PER_SECOND - loop.time()))
                tasks.create_task(_visit(server.port, frames))
        # The server takes note of the last that have gone.
        await asyncio.sleep(0.2)
        return (server.cpu_seconds() - cpu) / count


async def _visit(port: int, frames: int) -> None:
    """Open a page, and leave when it has got its backfill."""
    async with asyncio.timeout(_PAGE_SECONDS):
        socket = await Socket.open(port, LINK)
        done = asyncio.Event()
        missing = frames

        def take(_: Socket, message: bytes, now: float) -> None:
            del now
            nonlocal missing
            missing -= message.count(b'"extendData"')
            if missing <= 0:
                done.set()

        socket.on_message = take
        socket.send(HELLO)
        await done.wait()
        socket.close()


@contextlib.asynccontextmanager
async def _publishing(server: Server) -> AsyncGenerator[None]:
    async def publish() -> None:
        number = MESSAGES
        while True:
            await _publish(server, number)
            number += 1
            await asyncio.sleep(1 / MESSAGES_PER_SECOND)

    task = asyncio.create_task(publish())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _publish(server: Server, number: int) -> None:
    subject: Any = server.subject
    if subject.app is _FLASH:
        async with AsyncPublisher(subject.url) as publisher:
            await publisher.publish(channels_work.TICKS, {"t": number, "p": 100.25})
        return
    # What Flash's worker makes of it.
    update: list[Any] = [{"x": [[number]], "y": [[100.25]]}, [0], 500]
    message = props_message([("tape", {"extendData": update})])
    frame = message.numbered(f"channel:{channels_work.TICKS}", number + 1)
    async with Redis.from_url(subject.url) as client:
        await client.publish(channels_work.TICKS, f"[{frame.text}]")


async def _main() -> None:
    print(render(await measure(FULL)))


if __name__ == "__main__":
    asyncio.run(_main())
