"""A task inside a server that measures for how long the event loop was held."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quart import Quart

PATH = "/loop-probe"

_TICK_SECONDS = 0.001


class LoopProbe:
    """Ticks every millisecond and remembers the longest time between two ticks."""

    def __init__(self) -> None:
        # By how much a tick was late at most, in seconds, since the last look.
        self._hold = 0.0
        # The most processor time that the loop's thread used between two ticks: a hold without
        # what other processes took from the core, and without waiting for a disk or a thread.
        self._work = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def look(self) -> dict[str, float]:
        """Give both figures, in seconds, and begin anew."""
        figures = {"hold": self._hold, "work": self._work}
        self._hold = self._work = 0.0
        return figures

    async def _tick(self) -> None:
        while True:
            start, work = time.perf_counter(), time.thread_time()
            await asyncio.sleep(_TICK_SECONDS)
            self._hold = max(self._hold, time.perf_counter() - start - _TICK_SECONDS)
            self._work = max(self._work, time.thread_time() - work)


def install(server: Quart) -> None:
    """Run a probe as long as ``server`` serves, read by a GET of ``PATH``.

    Registers a plain ``before_request`` function too, as login checks do.
    """
    probe = LoopProbe()
    server.before_serving(probe.start)
    server.after_serving(probe.stop)

    @server.before_request
    def _check() -> None:
        """Stand for a login check that lets everyone in."""

    @server.get(PATH)
    async def _look() -> dict[str, float]:
        return probe.look()
