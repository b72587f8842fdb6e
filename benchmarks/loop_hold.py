"""For how long a server holds its own event loop."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from browser import callback_request, cold_load, get_request
from load import Connection, drive
from report import Row, Spread, Target
from rounds import Effort, take_turns
from servers import App, Server, Subject, serve

PROBE_PATH = "/loop-probe"

_FLASH = Subject(App("Flash", "apps.flash_probed:app"), "hypercorn")
_DASH_QUART = Subject(App("Dash Quart", "apps.dash_quart_probed:server"), "hypercorn")

_LIMIT_SECONDS = 0.02

_PAGE_LOADS = 3
_TRAFFIC_SECONDS = 1.0
_IDLE_SECONDS = 0.3

# Who asks meanwhile: callers, seconds between an answer and the next request, request.
_TRAFFIC = (
    (2, 0.005, callback_request("async-answer.children")),
    (2, 0.005, callback_request("plain-answer.children")),
    (4, 0.0, callback_request("slow-answer.children")),
    (1, 0.02, get_request("/_dash-layout")),
    (1, 0.02, get_request("/_dash-dependencies")),
    (1, 0.02, get_request("/assets/benchmark.css")),
)


@dataclass(frozen=True, slots=True)
class _Look:
    """What the probe saw since the last look, in seconds; see ``apps.loop_probe``."""

    hold: float
    work: float


@dataclass(frozen=True, slots=True)
class _Turn:
    """One server's life: without a request, then with all of them."""

    idle: _Look
    busy: _Look


async def measure(effort: Effort) -> list[Row]:
    """The longest hold of the loop under pages, files, layouts and callbacks.

    Every turn starts a server, so that what happens once, at the first request, is in it. Few
    callers at a time: a loop that is merely busy with many requests is not held by one of them.
    """
    flash, quart = await take_turns((_FLASH, _DASH_QUART), effort.long_rounds, _longest_hold)
    hold, peers_hold = (
        Spread.of((turn.busy.hold for turn in turns), "s") for turns in (flash, quart)
    )
    work, peers_work = (
        Spread.of((turn.busy.work for turn in turns), "s") for turns in (flash, quart)
    )
    idle = Spread.of((turn.idle.hold for turn in (*flash, *quart)), "s")
    return [
        Row(
            "the loop's longest hold, mixed requests, before_request plain",
            str(_DASH_QUART),
            hold,
            peers_hold,
            hold.median / _LIMIT_SECONDS,
            Target(1.0, "at most"),
            notes=(
                f"the ratio is to 20 ms; an idle server's tick is late by {idle}",
                f"the loop's own work in such a stretch {work} against {peers_work}",
            ),
        )
    ]


async def _longest_hold(subject: Subject) -> _Turn:
    async with serve(subject) as server:
        await _look(server)
        await asyncio.sleep(_IDLE_SECONDS)
        idle = await _look(server)
        async with asyncio.TaskGroup() as visitors:
            visitors.create_task(_open_pages(server))
            for callers, pause, request in _TRAFFIC:
                visitors.create_task(_ask(server, callers, pause, request))
        return _Turn(idle, await _look(server))


async def _open_pages(server: Server) -> None:
    for _ in range(_PAGE_LOADS):
        await cold_load(server.port)


async def _ask(server: Server, callers: int, pause: float, request: bytes) -> None:
    await drive(
        request,
        port=server.port,
        connections=callers,
        seconds=_TRAFFIC_SECONDS,
        cpu=server.cpu_seconds,
        pause=pause,
    )


async def _look(server: Server) -> _Look:
    connection = await Connection.open(server.port)
    answer = await connection.fetch(get_request(PROBE_PATH))
    connection.close()
    return _Look(**json.loads(answer.body))
