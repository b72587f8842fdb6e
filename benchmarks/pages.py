"""Opening a page: what it costs the server, and how much it sends."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from browser import cold_load, get_request
from callbacks import CONNECTIONS, check_equal, rates
from load import Burst, drive
from report import Row, Spread, Target, compare
from rounds import Effort, take_turns
from servers import DASH_FASTAPI, DASH_QUART, FLASH, Server, Subject, serve_all

# Page loads in one turn: enough to be long against the noise of one.
_LOADS = 8


@dataclass(frozen=True, slots=True)
class _Turn:
    cpu_seconds: float
    wire_bytes: float
    files: int


async def measure_page(effort: Effort) -> list[Row]:
    """A page with a Graph, opened by browsers with an empty cache."""

    async def turn(server: Server, loads: int = _LOADS) -> _Turn:
        cpu = server.cpu_seconds()
        pages = [await cold_load(server.port) for _ in range(loads)]
        return _Turn(
            (server.cpu_seconds() - cpu) / loads,
            sum(page.wire_bytes for page in pages) / loads,
            len(pages[0].paths),
        )

    async with contextlib.AsyncExitStack() as stack:
        running = await serve_all(
            stack, Subject(FLASH, "hypercorn"), Subject(DASH_QUART, "hypercorn")
        )
        first = [await turn(server, 1) for server in running]
        flash, quart = await take_turns(running, effort.rounds, turn)
    work, peer = "a cold page load with a Graph", str(Subject(DASH_QUART, "hypercorn"))
    first_cpu = [Spread.of([one.cpu_seconds], "s") for one in first]
    return [
        compare(
            f"{work}: server CPU",
            peer,
            Spread.of((one.cpu_seconds for one in flash), "s"),
            Spread.of((one.cpu_seconds for one in quart), "s"),
            target=Target(1 / 4, "at most"),
            notes=(f"the first load after the start: {first_cpu[0]} against {first_cpu[1]}",),
        ),
        compare(
            f"{work}: bytes sent",
            peer,
            Spread.of((one.wire_bytes for one in flash), "bytes"),
            Spread.of((one.wire_bytes for one in quart), "bytes"),
            target=Target(1 / 3, "at most"),
            notes=(f"in {flash[0].files} answers against {quart[0].files}",),
        ),
    ]


async def measure_layout(effort: Effort) -> list[Row]:
    """A layout function that builds a hundred components for every request."""
    request = get_request("/_dash-layout")

    async def turn(server: Server, seconds: float = effort.seconds) -> Burst:
        return await drive(
            request,
            port=server.port,
            connections=CONNECTIONS,
            seconds=seconds,
            cpu=server.cpu_seconds,
            expect=b'"Graph"',
        )

    rows: list[Row] = []
    for peer in (Subject(DASH_QUART, "hypercorn"), Subject(DASH_FASTAPI, "uvicorn")):
        async with contextlib.AsyncExitStack() as stack:
            running = await serve_all(stack, Subject(FLASH, peer.server), peer)
            await check_equal(request, running)
            for server in running:
                await turn(server, effort.warm_up_seconds)
            flash, other = await take_turns(running, effort.long_rounds, turn)
        rows.append(rates("layout of 100 components", str(peer), flash, other, None))
    return rows
