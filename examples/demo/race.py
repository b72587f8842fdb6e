"""A race of the same slow query on Dash and on Flash, each asked by several visitors at once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

HOST = "127.0.0.1"
VISITORS = 8
# Seconds between two questions for the time, and between two pictures of the race.
CLOCK_PAUSE = 0.1
PICTURE_PAUSE = 0.1
# Seconds that a server may take to start, and one question.
START_TIMEOUT = 30.0
TIMEOUT = 30.0

NAMES = {"dash": "Dash on its Quart backend", "flash": "Flash"}


class NoRace(Exception):
    """The servers cannot be started; the text says why."""


@dataclass(slots=True)
class Lane:
    """How one of the two does: seconds from the start of the race."""

    # When each visitor had the report; None while waiting.
    reports: list[float | None] = field(default_factory=lambda: [None] * VISITORS)
    # How often the time was told, and the longest wait for it so far, with the one that goes on.
    clocks: int = 0
    longest: float = 0.0
    # When the question was asked that has no answer yet.
    asked: float | None = None
    # What went wrong, if something did.
    failure: str = ""

    @property
    def is_done(self) -> bool:
        return bool(self.failure) or None not in self.reports

    def wait(self, now: float) -> float:
        """The longest wait for the clock, with the one that goes on."""
        return self.longest if self.asked is None else max(self.longest, now - self.asked)


@dataclass(slots=True)
class Picture:
    """The race at one moment."""

    seconds: float
    lanes: dict[str, Lane]


class Race:
    """Two servers beside the demo, started by the first race and ended with the demo."""

    def __init__(self) -> None:
        self._servers: dict[str, tuple[Process, str]] = {}
        self._one_at_a_time = asyncio.Lock()
        # Whoever asks has a thread, so that nobody waits on this side.
        self._askers = ThreadPoolExecutor(len(NAMES) * (VISITORS + 1), "race")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for process, _ in self._servers.values():
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process, _ in self._servers.values():
            try:
                async with asyncio.timeout(10):
                    await process.wait()
            except TimeoutError:
                process.kill()
        self._servers.clear()
        self._askers.shutdown(wait=False, cancel_futures=True)

    @property
    def is_on(self) -> bool:
        """Whether somebody's race is under way; another one waits for its end."""
        return self._one_at_a_time.locked()

    async def run(self) -> AsyncIterator[Picture]:
        """Race, and yield what it looks like, several times a second; raises `NoRace`."""
        async with self._one_at_a_time:
            addresses = await asyncio.gather(*(self._started(kind) for kind in NAMES))
            lanes = {kind: Lane() for kind in NAMES}
            began = time.perf_counter()
            runs = [
                asyncio.create_task(self._run(lane, address, began))
                for lane, address in zip(lanes.values(), addresses, strict=True)
            ]
            try:
                while not all(run.done() for run in runs):
                    yield Picture(time.perf_counter() - began, lanes)
                    await asyncio.wait(runs, timeout=PICTURE_PAUSE)
                yield Picture(time.perf_counter() - began, lanes)
            finally:
                for run in runs:
                    run.cancel()
                await asyncio.gather(*runs, return_exceptions=True)

    async def _started(self, kind: str) -> str:
        process, address = self._servers.get(kind, (None, ""))
        if process is not None and process.returncode is None:
            return address
        with socket.create_server((HOST, 0)) as free:
            address = f"{HOST}:{free.getsockname()[1]}"
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("FLASH_")
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "flash.cli", "run", "contender:server"),
            *("--bind", address, "--log-level", "error"),
            cwd=Path(__file__).parent,
            env={**environment, "CONTENDER": kind},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
        )
        url = f"http://{address}"
        self._servers[kind] = process, url
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while process.returncode is None:
                    try:
                        await self._ask(url, "clock", "tick", 0)
                        # What a server does at its first questions is not for the race.
                        await asyncio.sleep(1)
                        await self._ask(url, "report", "visitor", 0)
                        return url
                    except OSError:
                        await asyncio.sleep(0.1)
        except TimeoutError:
            process.kill()
        raise NoRace(f"the server of {NAMES[kind]} did not start")

    async def _run(self, lane: Lane, url: str, began: float) -> None:
        """Let the visitors ask, and the clock beside them, until everybody has a report."""

        async def visit(number: int) -> None:
            await self._ask(url, "report", "visitor", number)
            lane.reports[number] = time.perf_counter() - began

        async def ask_for_the_time() -> None:
            while True:
                lane.asked = time.perf_counter() - began
                await self._ask(url, "clock", "tick", lane.clocks)
                lane.longest, lane.asked = lane.wait(time.perf_counter() - began), None
                lane.clocks += 1
                await asyncio.sleep(CLOCK_PAUSE)

        clock = asyncio.create_task(ask_for_the_time())
        try:
            await asyncio.gather(*map(visit, range(VISITORS)))
        except OSError as error:
            lane.failure = str(error)
        finally:
            lane.longest, lane.asked = lane.wait(time.perf_counter() - began), None
            clock.cancel()
            await asyncio.gather(clock, return_exceptions=True)

    async def _ask(self, *question: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self._askers, _ask, *question)


def _ask(url: str, output: str, given: str, value: int) -> bytes:
    """Call a callback as a page does; raises ``OSError``."""
    body = {
        "output": f"{output}.children",
        "outputs": {"id": output, "property": "children"},
        "inputs": [{"id": given, "property": "children", "value": value}],
        "changedPropIds": [f"{given}.children"],
        "state": [],
    }
    request = Request(
        f"{url}/_dash-update-component",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=TIMEOUT) as answer:
        return answer.read()
