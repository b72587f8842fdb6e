"""The live link: what a delivery and a page cost, and how long a message is under way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import psutil
from apps.live_work import FRAMES_PER_SECOND
from callbacks import rates
from live_pages import (
    DASH_SOCKET,
    HELLO,
    LINK,
    Arrivals,
    Stretch,
    dash_call,
    delivery_rate,
    dependencies,
    listen,
    long_seconds,
    open_pages,
)
from load import Burst, LoadError, awake
from report import Row, Spread, Target, compare
from rounds import Effort, take_turns
from servers import App, Installed, Server, ServerName, Subject, serve, serve_all
from sockets import Crowd, Socket, allow_sockets, percentile

from flash_ws.link.link import LinkLimits

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGES = 400
PUSHES_PER_SECOND = 10
SIZES = (100, 1000, 3000)
# Deliveries a second at each of these sizes: what differs is to be the pages alone.
DELIVERIES_PER_SECOND = 3000
# Pages of one worker that is full, and those it is held against, each pushed to once a second.
FULL, FAIR = 10_000, 1_000
FULL_PAGE_BYTES = 35e3
# Pages between which memory grows by as much as each of them takes.
FEW_IDLE, MANY_IDLE = 200, 1400
STREAMS = 1000
CALLERS = 32

# Seconds that the first message waiting may wait for company: flash-ws's default.
BATCH_DELAY = LinkLimits().max_batch_delay

# What Dash's pull request 3931 reports of its streaming callbacks, 1,000 browsers at 2 frames a
# second on one uvicorn worker: the 50th and the 95th percentile, in seconds.
PUBLISHED = (0.003, 0.022)

_PUSHED = App("Flash", "apps.live_flash:pushing")
_SET = App("Flash", "apps.live_set:app")
_BURST = App("Flash", "apps.live_flash:bursting")
_STREAMED = App("Flash", "apps.live_flash:streaming")
_CALLED = App("Flash", "apps.live_flash:calling")
_DASH = {
    "hypercorn": App("Dash Quart", "apps.live_dash:quart_app"),
    "uvicorn": App("Dash FastAPI", "apps.live_dash:fastapi_app"),
}
_DASH_STREAMED = App("Dash FastAPI", "apps.live_dash:streaming")
_BARE = App("bare ASGI", "apps.live_bare:app")


@dataclass(frozen=True, slots=True)
class _Factory(Subject):
    """A subject whose target is a function that makes it, on uvicorn."""

    def command(self, port: int) -> list[str]:
        return [*Subject.command(self, port), "--factory"]


@dataclass(frozen=True, slots=True)
class _Paced(Subject):
    """A subject that pushes so often."""

    pushes_per_second: float

    def command(self, port: int) -> list[str]:
        # Zero arguments: a dataclass with slots is another class than the one `super()` means.
        command = Subject.command(self, port)
        return ["env", f"PUSHES_PER_SECOND={self.pushes_per_second}", *command]


# -- pushing ---------------------------------------------------------------------------------------


async def measure_push(effort: Effort) -> list[Row]:
    """One update to 400 pages, ten a second, against Dash's persistent callbacks and bare ASGI."""
    allow_sockets(PAGES)
    return [
        *await _race_pushes("hypercorn", Target(1 / 3, "at most"), effort),
        *await _race_pushes("uvicorn", Target(1 / 4, "at most"), effort),
    ]


async def _push_turn(server: Server, effort: Effort) -> Stretch:
    async with open_pages(server, PAGES) as (_, arrivals):
        await asyncio.sleep(effort.warm_up_seconds)
        return await listen(server, arrivals, long_seconds(effort))


async def _race_pushes(server: ServerName, target: Target, effort: Effort) -> list[Row]:
    subjects = [Subject(app, server) for app in (_PUSHED, _DASH[server], _BARE)]

    async with contextlib.AsyncExitStack() as stack:
        running = await serve_all(stack, *subjects)
        flash, *others = await take_turns(
            running, effort.rounds, lambda server: _push_turn(server, effort)
        )
    work = f"a push to {PAGES} pages, {PUSHES_PER_SECOND} a second: server CPU per delivery"
    targets = (target, Target(1.4, "at most"))
    return [
        compare(
            work,
            str(subject),
            Spread.of((each.cost for each in flash), "s"),
            Spread.of((each.cost for each in turns), "s"),
            target=target,
            notes=(f"deliveries a second {delivery_rate(flash)} against {delivery_rate(turns)}",),
        )
        for subject, turns, target in zip(subjects[1:], others, targets, strict=True)
    ]


async def measure_installed(effort: Effort) -> list[Row]:
    """The same as ``flash run`` serves it, by `push` and by `set_props`."""
    allow_sockets(PAGES)
    subjects = [Installed(_PUSHED, "uvicorn"), Subject(_BARE, "uvicorn")]
    subjects.append(Installed(_SET, "uvicorn"))

    async with contextlib.AsyncExitStack() as stack:
        running = await serve_all(stack, *subjects)
        push, bare, set_props = await take_turns(
            running, 2 * effort.rounds, lambda server: _push_turn(server, effort)
        )
    work = f"to {PAGES} pages, {PUSHES_PER_SECOND} a second, flash run: server CPU per delivery"
    pushed, sent, were_set = (
        Spread.of((each.cost for each in turns), "s") for turns in (push, bare, set_props)
    )
    return [
        compare(f"a push {work}", str(subjects[1]), pushed, sent, target=Target(1.2, "at most")),
        compare(f"set_props {work}", "push", were_set, pushed, target=Target(1.05, "at most")),
    ]


async def measure_crowds(effort: Effort) -> list[Row]:
    """The same with more pages, as many deliveries a second: does one cost more among many?"""
    allow_sockets(max(SIZES))
    subjects = [_Paced(_PUSHED, "hypercorn", DELIVERIES_PER_SECOND / size) for size in SIZES]

    async def turn(contender: tuple[Server, int]) -> Stretch:
        server, size = contender
        async with open_pages(server, size) as (_, arrivals):
            await asyncio.sleep(effort.warm_up_seconds)
            return await listen(server, arrivals, 3 * long_seconds(effort))

    async with contextlib.AsyncExitStack() as stack:
        running = await serve_all(stack, *subjects)
        contenders = list(zip(running, SIZES, strict=True))
        few, *more = await take_turns(contenders, max(2, effort.long_rounds), turn)
    return [
        compare(
            f"a push to {size:,} pages: server CPU per delivery",
            f"the same to {SIZES[0]} pages, as many deliveries",
            Spread.of((each.cost for each in turns), "s"),
            Spread.of((each.cost for each in few), "s"),
            target=Target(1.3, "at most"),
            notes=(f"deliveries a second {delivery_rate(turns)} against {delivery_rate(few)}",),
        )
        for size, turns in zip(SIZES[1:], more, strict=True)
    ]


async def measure_full(effort: Effort) -> list[Row]:
    """Ten thousand pages on one worker as installed, pushed to once a second."""
    allow_sockets(FULL)
    subjects = [_Paced(_PUSHED, "uvicorn", 1.0) for _ in (FAIR, FULL)]
    sizes: list[float] = []

    async def turn(contender: tuple[Server, int]) -> Stretch:
        server, count = contender
        before = psutil.Process(server.pid).memory_full_info().uss
        async with open_pages(server, count) as (_, arrivals):
            await asyncio.sleep(effort.warm_up_seconds)
            stretch = await listen(server, arrivals, 3 * long_seconds(effort))
            if count == FULL:
                after = psutil.Process(server.pid).memory_full_info().uss
                sizes.append((after - before) / count)
            return stretch

    async with contextlib.AsyncExitStack() as stack:
        running = await serve_all(stack, *subjects)
        contenders = list(zip(running, (FAIR, FULL), strict=True))
        fair, full = await take_turns(contenders, max(2, effort.long_rounds), turn)
    rates_text = f"deliveries a second {delivery_rate(full)} against {delivery_rate(fair)}"
    return [
        compare(
            f"a push to {FULL:,} pages, one a second: server CPU per delivery",
            f"the same to {FAIR:,} pages, uvicorn",
            Spread.of((each.cost for each in full), "s"),
            Spread.of((each.cost for each in fair), "s"),
            target=Target(1.2, "at most"),
            notes=(rates_text,),
        ),
        compare(
            f"memory of each of {FULL:,} pages that are pushed to",
            "35 kB",
            # Later turns find the room that the first one has left.
            Spread.of(sizes[:1], "bytes"),
            Spread.of([FULL_PAGE_BYTES], "bytes"),
            target=Target(1, "at most"),
        ),
    ]


# -- idle pages ------------------------------------------------------------------------------------


async def measure_memory(effort: Effort) -> list[Row]:
    """What a page takes that only holds its link."""
    allow_sockets(MANY_IDLE)
    rows: list[Row] = []
    servers: tuple[ServerName, ...] = ("hypercorn", "uvicorn")
    for name in servers:
        flash = [
            await _page_bytes(_Paced(_PUSHED, name, 1 / 60)) for _ in range(effort.long_rounds)
        ]
        bare = [await _page_bytes(_Paced(_BARE, name, 1 / 60)) for _ in range(effort.long_rounds)]
        limit = Spread.of((each + 12 * 1024 for each in bare), "bytes")
        rows.append(
            compare(
                "memory of an idle page",
                f"bare ASGI, {name}, and 12 KB",
                Spread.of(flash, "bytes"),
                limit,
                target=Target(1, "at most"),
                notes=(f"bare ASGI alone {Spread.of(bare, 'bytes')}",),
            )
        )
    return rows


async def _page_bytes(subject: Subject) -> float:
    """By how much a server grows with each page: memory that it shares with nobody."""
    async with serve(subject) as server:
        crowd = Crowd(server.port, LINK)
        try:
            sizes: list[int] = []
            for count in (FEW_IDLE, MANY_IDLE):
                await crowd.grow(count, HELLO, Arrivals().take)
                await asyncio.sleep(0.5)
                sizes.append(psutil.Process(server.pid).memory_full_info().uss)
        finally:
            crowd.close()
    return (sizes[1] - sizes[0]) / (MANY_IDLE - FEW_IDLE)


# -- how old a message is when it comes ---------------------------------------------------------


async def measure_streams(effort: Effort) -> list[Row]:
    """A thousand pages with an endless stream each, two frames a second."""
    allow_sockets(STREAMS)
    subjects = [Subject(_STREAMED, "uvicorn"), Subject(_STREAMED, "hypercorn")]
    if _dash_streams():
        subjects.append(_Factory(_DASH_STREAMED, "uvicorn"))

    async def turn(server: Server) -> Stretch:
        async with open_pages(server, STREAMS) as (crowd, arrivals):
            await _spread_out(crowd, await _stream_call(server.port))
            await asyncio.sleep(effort.warm_up_seconds)
            return await listen(server, arrivals, 2 * long_seconds(effort))

    async with contextlib.AsyncExitStack() as stack:
        running = await serve_all(stack, *subjects)
        turns = await take_turns(running, max(2, effort.long_rounds), turn)
    flash, on_hypercorn, *dash = (_percentiles(each) for each in turns)
    if dash:
        peer, (p50, p95, busy) = f"Dash {version('dash')} FastAPI, uvicorn", dash[0]
    else:
        peer, busy = "Dash 4.5's published figure, uvicorn", ""
        p50, p95 = (Spread.of([seconds], "s") for seconds in PUBLISHED)
    return [
        compare(
            f"{STREAMS:,} streams, 2 frames a second each, {name}: age of a frame, p95",
            peer,
            figures[1],
            p95,
            target=Target(1, "at most"),
            notes=(f"p50 {figures[0]} against {p50}; {figures[2]} {busy}",),
        )
        for name, figures in (("uvicorn", flash), ("hypercorn", on_hypercorn))
    ]


def _percentiles(turns: Sequence[Stretch]) -> tuple[Spread, Spread, str]:
    """The 50th and the 95th percentile of the frames' ages, and how busy the server was."""
    p50, p95 = (
        Spread.of((percentile(each.ages, percent) for each in turns), "s") for percent in (50, 95)
    )
    busy = statistics.median(each.cpu_seconds / each.seconds for each in turns)
    return p50, p95, f"{delivery_rate(turns)} frames a second, the core busy {busy:.0%};"


def _dash_streams() -> bool:
    """Whether the Dash installed has streaming callbacks."""
    return tuple(map(int, version("dash").split(".")[:2])) >= (4, 5)


async def _stream_call(port: int) -> bytes:
    """The message with which Flash's page starts its event callback."""
    [callback] = await dependencies(port, "go")
    name = callback["clientside_function"]["function_name"]
    inputs = [{**callback["inputs"][0], "value": 1}]
    body = {"callback": name, "inputs": inputs, "changedPropIds": ["go.n_clicks"]}
    return json.dumps([{"t": "call", "id": 1, "body": body}]).encode()


async def _spread_out(crowd: Crowd, call: bytes) -> None:
    """Start a stream on every page, evenly over the time between two of its frames."""
    start = time.monotonic()
    for number, socket in enumerate(crowd.sockets):
        at = start + number / len(crowd.sockets) / FRAMES_PER_SECOND
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        socket.send(call)


async def measure_batching(effort: Effort) -> list[Row]:
    """A thousand messages a second into one page: how long the last of a hundred waits."""
    rows: list[Row] = []

    async def turn(server: Server) -> Stretch:
        async with open_pages(server, 1) as (_, arrivals):
            await asyncio.sleep(effort.warm_up_seconds)
            return await listen(server, arrivals, long_seconds(effort))

    async with contextlib.AsyncExitStack() as stack:
        servers = await serve_all(stack, Subject(_BURST, "hypercorn"), Subject(_BURST, "uvicorn"))
        for server, turns in zip(
            servers, await take_turns(servers, effort.rounds, turn), strict=True
        ):
            row = compare(
                f"{delivery_rate(turns)} messages a second into one page, "
                f"{server.subject.server}: p99",
                "the configured delay, and 5 ms",
                Spread.of((percentile(each.ages, 99) for each in turns), "s"),
                Spread.of([BATCH_DELAY + 0.005], "s"),
                target=Target(1, "at most"),
                notes=(f"p50 {Spread.of((percentile(each.ages, 50) for each in turns), 's')}",),
            )
            rows.append(row)
    return rows


# -- Dash's own WebSocket callbacks -------------------------------------------------------------


async def measure_round_trip(effort: Effort) -> list[Row]:
    """A trivial callback over Dash's own WebSocket."""
    subjects = [Subject(_CALLED, "hypercorn"), Subject(_DASH["hypercorn"], "hypercorn")]

    async def turn(server: Server, seconds: float = effort.seconds) -> Burst:
        return await _call_in_turn(server, seconds)

    async with contextlib.AsyncExitStack() as stack:
        running = await serve_all(stack, *subjects)
        for server in running:
            await turn(server, effort.warm_up_seconds)
        flash, dash = await take_turns(running, effort.rounds, turn)
    work = f"callback over Dash's own WebSocket, {CALLERS} pages"
    return [rates(work, str(subjects[1]), flash, dash, Target(1.3))]


async def _call_in_turn(server: Server, seconds: float) -> Burst:
    """Let every page call again as soon as it was answered."""
    call = await dash_call(server.port, "word", "benchmark")
    latencies: list[float] = []
    sent_at: dict[Socket, float] = {}

    def answered(socket: Socket, message: bytes, now: float) -> None:
        if b"async benchmark" not in message:
            raise LoadError(f"{server.subject} answered {message[:300]!r}")
        if socket in sent_at:
            latencies.append(now - sent_at[socket])
        sent_at[socket] = time.monotonic()
        socket.send(call)

    crowd = Crowd(server.port, DASH_SOCKET)
    try:
        await crowd.grow(CALLERS, call, answered)
        start, cpu = time.perf_counter(), server.cpu_seconds()
        async with awake():
            for socket in crowd.sockets:
                sent_at[socket] = time.monotonic()
                socket.send(call)
            await asyncio.sleep(seconds)
        elapsed = time.perf_counter() - start
        return Burst(elapsed, tuple(sorted(latencies)), server.cpu_seconds() - cpu)
    finally:
        crowd.close()
        await asyncio.sleep(0.2)
