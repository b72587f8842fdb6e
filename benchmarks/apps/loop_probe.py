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
    """Ticks every millisecond and remembers by how much a tick was late at most."""

    def __init__(self) -> None:
        # In seconds, since the last look.
        self._longest = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def look(self) -> float:
        """The longest hold since the last look, in seconds."""
        longest, self._longest = self._longest, 0.0
        return longest

    async def _tick(self) -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(_TICK_SECONDS)
            late = time.perf_counter() - start - _TICK_SECONDS
            self._longest = max(self._longest, late)


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
        return {"longest": probe.look()}
