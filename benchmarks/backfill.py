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
    from collections.abc import AsyncGenerator, Sequence

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
    allow_sockets(PAGES_PER_SECOND * 40)
    count = round(PAGES_PER_SECOND * max(2.0, 2 * effort.seconds))

    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(redis_server())
        subjects = [
            OverRedis(app, "uvicorn", url, variables=(f"BACKFILL={backfill}",))
            for app in (_FLASH, _BARE)
            for backfill in (MESSAGES, 0)
        ]
        running = await serve_all(stack, *subjects)
        publisher = await stack.enter_async_context(AsyncPublisher(url))
        client = await stack.enter_async_context(Redis.from_url(url))
        stream = _Stream(publisher, client)
        for _ in range(MESSAGES):
            await stream.publish()
        # Until the workers have them.
        await asyncio.sleep(1.0)

        async def turn(pair: Sequence[Server]) -> tuple[float, float]:
            # At the same time: a backfill costs less than what the cost of a whole page differs by
            # from one turn to the next.
            async with stream.going_on():
                one, other = await asyncio.gather(*(_open(server, count) for server in pair))
                return one, other

        pairs = await take_turns((running[:2], running[2:]), effort.rounds, turn)
    flash, flash_without, bare, bare_without = (
        [each[place] for each in turns] for turns in pairs for place in range(2)
    )
    turns = (flash, flash_without, bare, bare_without)
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


class _Stream:
    """Publishes the same numbers to both contenders."""

    def __init__(self, publisher: AsyncPublisher, client: Redis) -> None:
        self._publisher = publisher
        self._client = client
        self._number = 0

    async def publish(self) -> None:
        """Publish one message."""
        number = self._number = self._number + 1
        await self._publisher.publish(channels_work.TICKS, {"t": number, "p": 100.25})
        # What Flash's worker makes of it.
        update: list[Any] = [{"x": [[number]], "y": [[100.25]]}, [0], 500]
        message = props_message([("tape", {"extendData": update})])
        frame = message.numbered(f"channel:{channels_work.TICKS}", number)
        await self._client.publish(channels_work.TICKS, f"[{frame.text}]")

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncGenerator[None]:
        """Publish `MESSAGES_PER_SECOND` meanwhile."""

        is_over = asyncio.Event()

        async def publish() -> None:
            while not is_over.is_set():
                await self.publish()
                await asyncio.sleep(1 / MESSAGES_PER_SECOND)

        task = asyncio.create_task(publish())
        try:
            yield
        finally:
            is_over.set()
            await task


async def _main() -> None:
    print(render(await measure(FULL)))


if __name__ == "__main__":
    asyncio.run(_main())
