"""Trivial callbacks: what a request costs besides the user's own code."""

from __future__ import annotations

import contextlib
import json
import math
from typing import TYPE_CHECKING

from browser import callback_request
from load import Burst, Connection, LoadError, drive
from report import Row, Spread, Target, compare, quantity
from rounds import Effort, take_turns
from servers import (
    BARE_ASGI,
    BARE_QUART,
    DASH_FASTAPI,
    DASH_QUART,
    FLASH,
    App,
    Server,
    ServerName,
    Subject,
    serve_all,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

CONNECTIONS = 32


async def measure_async(effort: Effort) -> list[Row]:
    """An ``async def`` callback, and how far from the limit of the same server that is."""
    return [
        *await _compare(
            "async", "hypercorn", DASH_QUART, Target(1.8), effort, limits=(BARE_QUART, BARE_ASGI)
        ),
        *await _compare("async", "uvicorn", DASH_FASTAPI, Target(2.0), effort, limits=(BARE_ASGI,)),
    ]


async def measure_plain(effort: Effort) -> list[Row]:
    """A plain callback: Flash runs it in a thread, its peers on the loop."""
    return [
        *await _compare("plain", "hypercorn", DASH_QUART, Target(1.2), effort),
        *await _compare("plain", "uvicorn", DASH_FASTAPI, Target(1.2), effort),
    ]


async def _compare(
    kind: str,
    server: ServerName,
    peer: App,
    target: Target,
    effort: Effort,
    *,
    limits: Sequence[App] = (),
) -> list[Row]:
    request = callback_request(f"{kind}-answer.children")
    expect = f"{kind} benchmark".encode()

    async def turn(running: Server, seconds: float = effort.seconds) -> Burst:
        return await drive(
            request,
            port=running.port,
            connections=CONNECTIONS,
            seconds=seconds,
            cpu=running.cpu_seconds,
            expect=expect,
        )

    async with contextlib.AsyncExitStack() as stack:
        subjects = [Subject(app, server) for app in (FLASH, peer, *limits)]
        running = await serve_all(stack, *subjects)
        await check_equal(request, running[:2])
        for one in running:
            await turn(one, effort.warm_up_seconds)
        flash, *others = await take_turns(running, effort.rounds, turn)
    work = f"trivial {kind} callback, {CONNECTIONS} connections"
    targets = (target, *(None for _ in limits))
    return [
        rates(work, str(subject), flash, bursts, limit)
        for subject, bursts, limit in zip(subjects[1:], others, targets, strict=True)
    ]


def rates(
    work: str, peer: str, flash: Sequence[Burst], other: Sequence[Burst], target: Target | None
) -> Row:
    """A row of requests per second, with the processor time of a request beside it."""
    costs = [
        Spread.of((burst.cpu_per_request for burst in bursts), "s") for bursts in (flash, other)
    ]
    saving = costs[1].median / costs[0].median if costs[0].median else math.inf
    return compare(
        work,
        peer,
        Spread.of((burst.rate for burst in flash), "/s"),
        Spread.of((burst.rate for burst in other), "/s"),
        target=target,
        notes=(
            f"server CPU per request {costs[0]} against {costs[1]}: "
            f"{quantity(saving, '×')} in Flash's favour",
        ),
    )


async def check_equal(request: bytes, servers: Sequence[Server]) -> None:
    """Refuse to compare servers that do not give the same answer; also their first request."""
    answers: list[object] = []
    for server in servers:
        connection = await Connection.open(server.port)
        answer = await connection.fetch(request)
        connection.close()
        if answer.status != 200:
            raise LoadError(f"{server.subject} answered {answer.status}: {answer.body[:300]!r}")
        answers.append(json.loads(answer.body))
    if any(answer != answers[0] for answer in answers):
        raise LoadError(f"answers differ: {answers}")
