"""Channels over Redis: what a worker takes from there and writes to its pages, and how soon.

Alone: ``uv run python benchmarks/channels.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps import channels_work
from chromium import chromium_running
from live_pages import Arrivals, Stretch, delivery_rate, long_seconds, open_pages
from load import LoadError
from redis.asyncio import Redis
from redis_server import redis_server
from report import Row, Spread, Target, compare, render
from rounds import FULL, Effort, take_turns
from servers import App, OverRedis, Server, ServerName, serve_all
from sockets import Socket, allow_sockets, percentile

from flash.testing.browser import Browser
from flash_pubsub import AsyncPublisher
from flash_ws.protocol.frames import props_message

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from flash.testing.browser import Chromium

# Pages of one worker, and how many messages wait in Redis for it: as many as take about a second.
BACKLOGS = ((1, 3_000), (400, 60))

# Two workers, and pages of each beside the one in a browser.
FOLLOWERS = 20
LINES_PER_SECOND = 50
# A browser has to draw between two of them, on a core that it shares.
BROWSER_LINES_PER_SECOND = 20

CROWD = 500
WORKERS = 3
CROWD_LINES_PER_SECOND = 20

# A turn that takes longer is stuck, and so is a start.
_BACKLOG_SECONDS = 30.0
_START_SECONDS = 30.0
# Attempts at hearing something in a browser's page.
_TRIES = 20

_FLASH = App("Flash", "apps.channels_flash:app")
_BARE = App("bare redis-py pub/sub and ASGI loop", "apps.channels_bare:app")
_DASH_BY_HAND = App("Dash, a persistent callback on Redis", "apps.channels_dash:server")

# Where `make test-matrix` puts the newest Dash, pre-releases included.
_NEWEST = Path(__file__).parents[1] / ".tools" / "matrix-newest"


# -- what one worker takes and writes --------------------------------------------------------------


@dataclass(slots=True)
class _Count(Arrivals):
    """Counts the updates that have come to pages, and says when it was all of them."""

    expected: int = 0
    count: int = 0
    last_at: float = 0.0
    done: asyncio.Event | None = None

    def take(self, socket: Socket, message: bytes, now: float) -> None:
        """Count the updates of a message, of which there are several where it is a batch."""
        del socket
        self.count += message.count(b'"extendData"')
        self.last_at = now
        if self.count >= self.expected and self.done is not None:
            self.done.set()

    def expect(self, count: int) -> asyncio.Event:
        """Count anew; what is returned is set once so many have come."""
        self.count, self.expected, self.done = 0, count, asyncio.Event()
        return self.done


async def measure_worker(effort: Effort) -> list[Row]:
    """A backlog in Redis, until every page of one worker has all of it."""
    allow_sockets(max(pages for pages, _ in BACKLOGS))
    return [
        *await _race_workers("hypercorn", effort),
        *await _race_workers("uvicorn", effort),
    ]


async def _race_workers(server: ServerName, effort: Effort) -> list[Row]:
    rows: list[Row] = []
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(redis_server())
        subjects = [OverRedis(app, server, url) for app in (_FLASH, _BARE)]
        running = await serve_all(stack, *subjects)
        for (pages, messages), limit in zip(BACKLOGS, (0.6, 0.7), strict=True):

            async def turn(server: Server, pages: int = pages, messages: int = messages) -> Stretch:
                return await _drain(server, url, pages, messages)

            flash, bare = await take_turns(running, effort.rounds, turn)
            cost, bare_cost = (
                Spread.of((each.cost for each in turns), "s") for turns in (flash, bare)
            )
            rows.append(
                compare(
                    f"messages that one worker takes from Redis and writes to {_in_words(pages)}",
                    str(subjects[1]),
                    Spread.of((messages / each.seconds for each in flash), "/s"),
                    Spread.of((messages / each.seconds for each in bare), "/s"),
                    target=Target(limit),
                    notes=(f"server CPU per delivery {cost} against {bare_cost}",),
                )
            )
    return rows


def _in_words(pages: int) -> str:
    return "1 page" if pages == 1 else f"{pages} pages"


async def _drain(server: Server, url: str, pages: int, messages: int) -> Stretch:
    """Let a worker stand still while messages for it pile up in Redis, and then go on."""
    is_flash = server.subject.app is _FLASH
    publish = _publish_ticks if is_flash else _publish_frames
    count = _Count()
    async with open_pages(server, pages, count), asyncio.timeout(_BACKLOG_SECONDS):
        come = count.expect(pages)
        await publish(url, 1)
        await come.wait()
        come = count.expect(pages * messages)
        # Not before the worker has nothing else to do.
        await asyncio.sleep(0.1)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            await publish(url, messages)
        finally:
            start, cpu = time.monotonic(), server.cpu_seconds()
            os.kill(server.pid, signal.SIGCONT)
        await come.wait()
        return Stretch(count.count, server.cpu_seconds() - cpu, count.last_at - start, ages=())


async def _publish_ticks(url: str, count: int) -> None:
    async with AsyncPublisher(url) as publisher:
        for start in range(0, count, 100):
            ticks = ({"t": number, "p": 100.25} for number in range(start, min(start + 100, count)))
            await asyncio.gather(*(publisher.publish(channels_work.TICKS, tick) for tick in ticks))


async def _publish_frames(url: str, count: int) -> None:
    """Publish what Flash's worker makes of each tick."""
    async with Redis.from_url(url) as client:
        for start in range(0, count, 100):
            pipeline = client.pipeline(transaction=False)
            for number in range(start, min(start + 100, count)):
                update: list[Any] = [{"x": [[number]], "y": [[100.25]]}, [0], 500]
                message = props_message([("tape", {"extendData": update})])
                frame = message.numbered(f"channel:{channels_work.TICKS}", number + 1)
                pipeline.publish(channels_work.TICKS, f"[{frame.text}]")
            await pipeline.execute()


# -- from publishing to the page -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Deployment:
    """Two workers of one contender, and what publishes to them."""

    name: str
    workers: Sequence[Server]
    publisher: _Publisher
    # What pages follow of which nothing is left out, however many come at once.
    channel: str


class _Publisher:
    """A process that publishes stamped lines when it is told to."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, kind: str, url: str, python: str) -> AsyncGenerator[_Publisher]:
        """Start one that publishes as contenders of this kind do."""
        process = await asyncio.create_subprocess_exec(
            *(python, "-m", "apps.publish", kind),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parent,
            env={**os.environ, "FLASH_BROKER_URL": url},
        )
        try:
            publisher = cls(process)
            async with asyncio.timeout(_START_SECONDS):
                await publisher._answer()
            yield publisher
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    async def publish(self, channel: str, rate: float, count: int) -> None:
        """Publish so many messages, so many a second."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{rate} {count} {channel}\n".encode())
        async with asyncio.timeout(_START_SECONDS + 2 * count / rate):
            await self._answer()

    async def _answer(self) -> None:
        assert self._process.stdout is not None
        if not await self._process.stdout.readline():
            raise LoadError("the publisher has ended")


@dataclass(frozen=True, slots=True)
class _Contender:
    """A way to have two workers follow one channel."""

    app: App
    publishes: str
    channel: str = channels_work.LINES
    python: str = sys.executable
    variables: tuple[str, ...] = ()

    @contextlib.asynccontextmanager
    async def deployed(self, workers: int, server: ServerName) -> AsyncGenerator[_Deployment]:
        """Start workers around a Redis of their own, and something that publishes to them."""
        async with contextlib.AsyncExitStack() as stack:
            url = await stack.enter_async_context(redis_server())
            subject = OverRedis(self.app, server, url, self.python, self.variables)
            running = await serve_all(stack, *[subject] * workers)
            publisher = await stack.enter_async_context(
                _Publisher.running(self.publishes, url, self.python)
            )
            yield _Deployment(self.app.name, running, publisher, self.channel)


_FLASH_OVER_REDIS = _Contender(_FLASH, "flash", channels_work.TICKS)


def _dash() -> _Contender:
    """What Dash offers for the same: its shared storage where there is 4.5, else a loop by hand."""
    newest = _dash_with_shared_storage()
    if newest is None:
        return _Contender(_DASH_BY_HAND, "bare")
    python, release = newest
    app = App(f"Dash {release}, shared storage on Redis", _DASH_BY_HAND.target)
    return _Contender(app, "dash", python=python, variables=("SHARED_STORAGE=1",))


def _dash_with_shared_storage() -> tuple[str, str] | None:
    """The Python that has a Dash with shared storage, and which: this one, or the test matrix's."""
    places = [(sys.executable, version("dash"))]
    for found in _NEWEST.glob("lib/python*/site-packages/dash-*.dist-info"):
        release = found.name.removeprefix("dash-").removesuffix(".dist-info")
        if all(any(found.parent.glob(f"{each}-*.dist-info")) for each in ("hypercorn", "redis")):
            places.append((str(_NEWEST / "bin" / "python"), release))
    for python, release in places:
        major, minor, *_ = release.split(".")
        if (int(major), int(minor)) >= (4, 5):
            return python, release
    return None


async def measure_latency(effort: Effort) -> list[Row]:
    """From publishing to a callback in a browser, and to pages, with two workers."""
    async with contextlib.AsyncExitStack() as stack:
        running = [
            await stack.enter_async_context(each.deployed(2, "hypercorn"))
            for each in (_FLASH_OVER_REDIS, _dash())
        ]
        chromium = await stack.enter_async_context(chromium_running())

        async def look(deployment: _Deployment) -> Sequence[float]:
            return await _ages_in_browser(deployment, chromium, effort)

        async def listen(deployment: _Deployment) -> Sequence[float]:
            return await _ages_on_pages(deployment, effort)

        rounds = max(2, effort.long_rounds)
        in_browser = await take_turns(running, rounds, look)
        on_pages = await take_turns(running, rounds, listen)
    rows: list[Row] = []
    lines, more = (_lines(rate, effort) for rate in (BROWSER_LINES_PER_SECOND, LINES_PER_SECOND))
    for turns, work, published in (
        (in_browser, "publish to a callback in a browser, two workers", rounds * lines),
        (
            on_pages,
            f"publish to {2 * FOLLOWERS} pages, two workers",
            rounds * more * 2 * FOLLOWERS,
        ),
    ):
        flash, dash = turns
        come, come_there = (sum(map(len, each)) for each in turns)
        rows += [
            compare(
                f"{work}: p{percent}",
                running[1].name,
                Spread.of((percentile(ages, percent) for ages in flash), "s"),
                Spread.of((percentile(ages, percent) for ages in dash), "s"),
                target=Target(1, "at most"),
                notes=(f"{come:,} against {come_there:,} of {published:,} arrivals",),
            )
            for percent in (50, 99)
        ]
    return rows


def _lines(rate: int, effort: Effort) -> int:
    """How many lines to publish in a turn: enough for a 99th percentile of all turns."""
    return round(rate * max(3.0, 3 * effort.seconds))


async def _ages_in_browser(
    deployment: _Deployment, chromium: Chromium, effort: Effort
) -> Sequence[float]:
    """The ages of lines when a callback in the browser ran that depends on them."""
    worker = deployment.workers[0]
    browser = await asyncio.to_thread(Browser, chromium, timeout=30)
    try:
        await asyncio.to_thread(browser.open, f"http://127.0.0.1:{worker.port}/")
        await _until_line_comes(browser, deployment)
        # What a page does once it is open is none of this.
        await asyncio.sleep(1)
        lines = _lines(BROWSER_LINES_PER_SECOND, effort)
        await deployment.publisher.publish(channels_work.LINES, BROWSER_LINES_PER_SECOND, lines)
        came = await asyncio.to_thread(
            browser.run_js,
            "return new Promise(done => setTimeout(() => done(window.came.splice(0)), 200))",
        )
        epoch = time.time() - time.monotonic()
        ages = [at / 1000 - epoch - float(text[1:].split()[0]) for at, text in came]
    finally:
        await asyncio.to_thread(browser.quit)
    return ages


async def _until_line_comes(browser: Browser, deployment: _Deployment) -> None:
    """Publish until a line arrives: a page that has just opened may not follow yet."""
    for _ in range(_TRIES):
        await deployment.publisher.publish(channels_work.LINES, BROWSER_LINES_PER_SECOND, 5)
        await asyncio.sleep(0.2)
        if await asyncio.to_thread(browser.run_js, "return (window.came || []).splice(0).length"):
            return
    raise LoadError(f"{deployment.name}: nothing comes to the browser")


async def _ages_on_pages(deployment: _Deployment, effort: Effort) -> Sequence[float]:
    """The ages of lines when pages of both workers have them."""
    arrivals = Arrivals()
    async with contextlib.AsyncExitStack() as stack:
        for worker in deployment.workers:
            await stack.enter_async_context(open_pages(worker, FOLLOWERS, arrivals))
        await deployment.publisher.publish(
            deployment.channel, LINES_PER_SECOND, LINES_PER_SECOND // 2
        )
        await _quiet(arrivals)
        arrivals.ages.clear()
        await deployment.publisher.publish(
            deployment.channel, LINES_PER_SECOND, _lines(LINES_PER_SECOND, effort)
        )
        await _quiet(arrivals)
    return tuple(arrivals.ages)


async def _quiet(arrivals: Arrivals) -> None:
    """Wait until no more comes of what was published."""
    known = -1
    while known != len(arrivals.ages):
        known = len(arrivals.ages)
        await asyncio.sleep(0.2)


# -- workers side by side --------------------------------------------------------------------------


async def measure_workers(effort: Effort) -> list[Row]:
    """What a delivery costs three workers with 1,500 pages, and one with 500."""
    allow_sockets(WORKERS * CROWD)
    seconds = 2 * long_seconds(effort)

    async def turn(deployment: _Deployment) -> Stretch:
        return await _follow(deployment, seconds)

    async with contextlib.AsyncExitStack() as stack:
        running = [
            await stack.enter_async_context(_FLASH_OVER_REDIS.deployed(count, "uvicorn"))
            for count in (WORKERS, 1)
        ]
        several, one = await take_turns(running, max(2, effort.long_rounds), turn)
    return [
        compare(
            f"{WORKERS} workers, {WORKERS * CROWD:,} pages, {CROWD_LINES_PER_SECOND} messages a "
            "second: server CPU per delivery",
            f"1 worker, {CROWD} pages",
            Spread.of((each.cost for each in several), "s"),
            Spread.of((each.cost for each in one), "s"),
            target=Target(1.2, "at most"),
            notes=(f"deliveries a second {delivery_rate(several)} against {delivery_rate(one)}",),
        )
    ]


async def _follow(deployment: _Deployment, seconds: float) -> Stretch:
    """Publish for some seconds; what comes to the pages, and what that costs all workers."""
    arrivals = Arrivals()
    lines = round(CROWD_LINES_PER_SECOND * seconds)
    workers = deployment.workers
    async with contextlib.AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(open_pages(worker, CROWD, arrivals))
        await deployment.publisher.publish(deployment.channel, CROWD_LINES_PER_SECOND, 5)
        await _quiet(arrivals)
        arrivals.ages.clear()
        start, cpu = time.perf_counter(), sum(each.cpu_seconds() for each in workers)
        await deployment.publisher.publish(deployment.channel, CROWD_LINES_PER_SECOND, lines)
        elapsed = time.perf_counter() - start
        await _quiet(arrivals)
        spent = sum(each.cpu_seconds() for each in workers) - cpu
        return Stretch(len(arrivals.ages), spent, elapsed, tuple(arrivals.ages))


async def _main() -> None:
    measures = (measure_worker, measure_latency, measure_workers)
    print(render([row for measure in measures for row in await measure(FULL)]))


if __name__ == "__main__":
    asyncio.run(_main())
