"""Opening a page: what it costs the server, and how much it sends."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from browser import cold_load, get_request
from callbacks import CONNECTIONS, check_equal, rates
from load import Burst, drive
from report import Row, Spread, Target, compare, quantity
from rounds import Effort, take_turns
from servers import DASH_FASTAPI, DASH_QUART, FLASH, REPLAY, Server, ServerName, Subject, serve_all

if TYPE_CHECKING:
    from collections.abc import Sequence

_SERVERS: tuple[ServerName, ...] = ("hypercorn", "uvicorn")

# Page loads in one turn: enough to be long against the noise of one.
_LOADS = 8


@dataclass(frozen=True, slots=True)
class _Turn:
    cpu_seconds: float
    wire_bytes: float
    files: int


async def measure_page(effort: Effort) -> list[Row]:
    """A page with a Graph, opened by browsers with an empty cache."""
    rows: list[Row] = []
    for server in _SERVERS:
        rows += await _compare_pages(server, effort)
    return rows


async def _compare_pages(server: ServerName, effort: Effort) -> list[Row]:
    subjects = [Subject(app, server) for app in (FLASH, DASH_QUART, REPLAY)]
    async with contextlib.AsyncExitStack() as stack:
        running = await serve_all(stack, *subjects)
        first = [await _open_pages(one, 1) for one in running]
        flash, quart, replay = await take_turns(running, effort.rounds, _open_pages)
    _, peer, limit = map(str, subjects)
    started = [quantity(one.cpu_seconds, "s") for one in first]
    note = f"the first load after the start: {started[0]} against {started[1]}"
    return [
        _cpu_row(peer, flash, quart, target=Target(1 / 4, "at most"), notes=(note,)),
        _cpu_row(limit, flash, replay),
        _bytes_row(peer, flash, quart),
    ]


async def _open_pages(server: Server, loads: int = _LOADS) -> _Turn:
    cpu = server.cpu_seconds()
    pages = [await cold_load(server.port) for _ in range(loads)]
    return _Turn(
        (server.cpu_seconds() - cpu) / loads,
        sum(page.wire_bytes for page in pages) / loads,
        len(pages[0].paths),
    )


def _cpu_row(
    peer: str,
    flash: Sequence[_Turn],
    other: Sequence[_Turn],
    *,
    target: Target | None = None,
    notes: tuple[str, ...] = (),
) -> Row:
    return compare(
        "a cold page load with a Graph: server CPU",
        peer,
        Spread.of((turn.cpu_seconds for turn in flash), "s"),
        Spread.of((turn.cpu_seconds for turn in other), "s"),
        target=target,
        notes=notes,
    )


def _bytes_row(peer: str, flash: Sequence[_Turn], other: Sequence[_Turn]) -> Row:
    return compare(
        "a cold page load with a Graph: bytes sent",
        peer,
        Spread.of((turn.wire_bytes for turn in flash), "bytes"),
        Spread.of((turn.wire_bytes for turn in other), "bytes"),
        target=Target(1 / 3, "at most"),
        notes=(f"in {flash[0].files} answers against {other[0].files}",),
    )


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
