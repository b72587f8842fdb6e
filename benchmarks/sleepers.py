"""Plain callbacks that wait, as for a database: how many at once, and who suffers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from browser import callback_request
from callbacks import check_equal, rates
from load import Burst, drive
from report import Row, Spread, Target, compare, quantity
from rounds import Effort, take_turns
from servers import DASH_FASTAPI, DASH_QUART, FLASH, Server, Subject, serve, serve_all

if TYPE_CHECKING:
    from collections.abc import Sequence

CALLERS = 32

# A peer's caller waits 3.2 s for each answer; its turn ends when all of them have theirs.
_TURN_SECONDS = 2.0

_SLOW = callback_request("slow-answer.children")
_ASYNC = callback_request("async-answer.children")


async def measure_rate(effort: Effort) -> list[Row]:
    """Requests per second of 32 callers of a callback that sleeps 100 ms."""
    rows: list[Row] = []
    for peer in (Subject(DASH_QUART, "hypercorn"), Subject(DASH_FASTAPI, "uvicorn")):
        async with contextlib.AsyncExitStack() as stack:
            running = await serve_all(stack, Subject(FLASH, peer.server), peer)
            await check_equal(_SLOW, running)
            flash, other = await take_turns(running, effort.long_rounds, _sleep)
        work = f"plain callback that sleeps 100 ms, {CALLERS} callers"
        rows.append(rates(work, str(peer), flash, other, Target(30.0)))
    return rows


async def measure_neighbour(effort: Effort) -> list[Row]:
    """The p99 of an async callback while 32 sleepers run, against the same callback alone.

    Twice: with as many callers as the other rows have, which keep the server busy all the time,
    and with a few who pause for 20 ms between an answer and the next request.
    """
    rows: list[Row] = []
    seconds = 2 * effort.seconds
    async with serve(Subject(FLASH, "hypercorn")) as server:
        for callers, pause, who in ((32, 0.0, "32 callers"), (8, 0.02, "8 callers with pauses")):

            async def alone(server: Server, callers: int = callers, pause: float = pause) -> Burst:
                return await _call(server, _ASYNC, callers, seconds, pause)

            async def beside_sleepers(
                server: Server, callers: int = callers, pause: float = pause
            ) -> Burst:
                async with asyncio.TaskGroup() as crowds:
                    crowds.create_task(_call(server, _SLOW, CALLERS, seconds))
                    call = crowds.create_task(_call(server, _ASYNC, callers, seconds, pause))
                return call.result()

            await alone(server)
            quiet, crowded = await take_turns(
                (alone, beside_sleepers), effort.rounds, lambda turn: turn(server)
            )
            rows.append(
                _slowdown(f"async callback's p99, {who}, beside 32 sleepers", quiet, crowded)
            )
    return rows


def _slowdown(work: str, quiet: Sequence[Burst], crowded: Sequence[Burst]) -> Row:
    medians = [
        Spread.of((burst.percentile(50) for burst in turns), "s") for turns in (quiet, crowded)
    ]
    return compare(
        work,
        "the same alone, on Flash",
        Spread.of((burst.percentile(99) for burst in crowded), "s"),
        Spread.of((burst.percentile(99) for burst in quiet), "s"),
        target=Target(2.0, "at most"),
        notes=(
            f"p50 {quantity(medians[1].median, 's')} against {quantity(medians[0].median, 's')}",
        ),
    )


async def _sleep(server: Server) -> Burst:
    return await _call(server, _SLOW, CALLERS, _TURN_SECONDS)


async def _call(
    server: Server, request: bytes, callers: int, seconds: float, pause: float = 0.0
) -> Burst:
    return await drive(
        request,
        port=server.port,
        connections=callers,
        seconds=seconds,
        cpu=server.cpu_seconds,
        pause=pause,
    )
