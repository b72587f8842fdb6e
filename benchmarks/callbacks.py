"""Trivial callbacks: what a request costs besides the user's own code."""

from __future__ import annotations

import contextlib
import json
import statistics
from typing import TYPE_CHECKING

from browser import callback_request
from load import Burst, Connection, LoadError, drive
from report import Row, Spread, Target, compare
from rounds import Effort, take_turns
from servers import (
    BARE_ASGI,
    BARE_QUART,
    DASH_FASTAPI,
    DASH_QUART,
    FLASH,
    FLASH_ON_QUART,
    FLASH_TRACED,
    App,
    Installed,
    Server,
    Subject,
    serve_all,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

CONNECTIONS = 32


# What was promised for each kind of callback, on each server against each peer.
_TARGETS = {
    "hypercorn": {"async": Target(1.8), "plain": Target(1.2)},
    "uvicorn": {"async": Target(2.0), "plain": Target(1.2)},
}


async def measure(effort: Effort) -> list[Row]:
    """Async and plain callbacks against Dash, and how far from the limit of the same server.

    A plain callback runs in a thread under Flash, on the loop under its peers.
    """
    return [
        *await _compare(Subject(DASH_QUART, "hypercorn"), (BARE_QUART, BARE_ASGI), effort),
        *await _compare(Subject(DASH_FASTAPI, "uvicorn"), (BARE_ASGI,), effort),
    ]


async def measure_installed(effort: Effort) -> list[Row]:
    """The async callback as ``flash run`` serves it; its processor time against bare ASGI's."""
    subjects = Installed(FLASH, "uvicorn"), Subject(DASH_FASTAPI, "uvicorn")
    async with contextlib.AsyncExitStack() as stack:
        servers = await serve_all(stack, *subjects, Subject(BARE_ASGI, "uvicorn"))
        flash, dash, bare = await _turns("async", servers, effort, effort.rounds)
    costs = [
        Spread.of((burst.cpu_per_request for burst in bursts), "s") for bursts in (flash, bare)
    ]
    return [
        rates("async callback, flash run", str(subjects[1]), flash, dash, Target(2.2)),
        compare(
            "async callback, flash run: server CPU",
            "bare ASGI, uvicorn",
            *costs,
            target=Target(2.5, "at most"),
        ),
    ]


async def measure_bridge(effort: Effort) -> list[Row]:
    """What it costs a callback that Flask's names would work, where nothing uses them.

    The rates are those of a processor: of one that others share, the server's share varies more
    than what is compared.
    """
    subjects = [Subject(app, "hypercorn") for app in (FLASH, FLASH_ON_QUART)]
    return await _compare_costs(subjects, Target(0.98), effort)


async def measure_tracing(effort: Effort) -> list[Row]:
    """What spans of OpenTelemetry's SDK cost a callback, without an exporter.

    The rates are those of a processor, as in `measure_bridge`. No ratio is promised, but 15 µs a
    call, of which a bare span of the SDK takes all.
    """
    subjects = [Subject(app, "uvicorn") for app in (FLASH_TRACED, FLASH)]
    return await _compare_costs(subjects, None, effort)


async def _compare_costs(
    subjects: Sequence[Subject], target: Target | None, effort: Effort
) -> list[Row]:
    """Compare the processor time of a trivial callback of each kind on two servers."""
    rows: list[Row] = []
    async with contextlib.AsyncExitStack() as stack:
        servers = await serve_all(stack, *subjects)
        for kind in ("async", "plain"):
            flash, other = await _turns(kind, servers, effort, 3 * effort.rounds)
            costs = [
                statistics.median(burst.cpu_per_request for burst in bursts)
                for bursts in (flash, other)
            ]
            rows.append(
                compare(
                    f"trivial {kind} callback, per second of processor time",
                    str(servers[1].subject),
                    *(
                        Spread.of((1 / burst.cpu_per_request for burst in bursts), "/s")
                        for bursts in (flash, other)
                    ),
                    target=target,
                    notes=(f"{(costs[0] - costs[1]) * 1e6:+.0f} µs of processor time a call",),
                )
            )
    return rows


async def _compare(peer: Subject, limits: Sequence[App], effort: Effort) -> list[Row]:
    rows: list[Row] = []
    bare = [Subject(app, peer.server) for app in limits]
    async with contextlib.AsyncExitStack() as stack:
        flash, dash, *others = await serve_all(stack, Subject(FLASH, peer.server), peer, *bare)
        rows += await _race("async", [flash, dash, *others], effort)
        rows += await _race("plain", [flash, dash], effort)
    return rows


async def _race(kind: str, servers: Sequence[Server], effort: Effort) -> list[Row]:
    flash, *others = await _turns(kind, servers, effort, effort.rounds)
    work = f"trivial {kind} callback, {CONNECTIONS} connections"
    targets = [_TARGETS[servers[0].subject.server][kind], *(None for _ in others[1:])]
    return [
        rates(work, str(server.subject), flash, bursts, target)
        for server, bursts, target in zip(servers[1:], others, targets, strict=True)
    ]


async def _turns(
    kind: str, servers: Sequence[Server], effort: Effort, rounds: int
) -> list[list[Burst]]:
    request = callback_request(f"{kind}-answer.children")

    async def turn(server: Server, seconds: float = effort.seconds) -> Burst:
        return await drive(
            request,
            port=server.port,
            connections=CONNECTIONS,
            seconds=seconds,
            cpu=server.cpu_seconds,
            expect=f"{kind} benchmark".encode(),
        )

    await check_equal(request, servers)
    for server in servers:
        await turn(server, effort.warm_up_seconds)
    return await take_turns(servers, rounds, turn)


def rates(
    work: str, peer: str, flash: Sequence[Burst], other: Sequence[Burst], target: Target | None
) -> Row:
    """A row of requests per second, with the processor time of a request beside it."""
    cost, other_cost = (
        Spread.of((burst.cpu_per_request for burst in bursts), "s") for bursts in (flash, other)
    )
    load, other_load = (
        statistics.median(burst.load for burst in bursts) for bursts in (flash, other)
    )
    return compare(
        work,
        peer,
        Spread.of((burst.rate for burst in flash), "/s"),
        Spread.of((burst.rate for burst in other), "/s"),
        target=target,
        notes=(
            f"server CPU per request {cost} against {other_cost}, "
            f"{other_cost.median / cost.median:.2f} × as much; "
            f"the core busy {load:.0%} against {other_load:.0%}",
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
