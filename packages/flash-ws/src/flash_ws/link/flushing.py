"""When messages leave for their pages: together, and none later than promised."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flash_ws.link.writer import Courier

if TYPE_CHECKING:
    from flash_ws.link.writer import Stop


class Departures:
    """Sends a `Courier` to the pages that have something waiting, within ``delay`` seconds.

    One timer for all, since a timer and a task for each page would cost more than the writing. It
    starts with the first message that waits anywhere and runs until ``delay`` after the departure
    before: what comes by then leaves together, and what comes after a rest leaves at once.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self.courier = Courier()
        # In the order in which they began to wait; a page is in here once at most.
        self._waiting: dict[Stop, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        # The loop's time of the next departure, at the earliest.
        self._next_at = self._loop.time() + delay

    def add(self, stop: Stop) -> None:
        """Have the courier call at ``stop`` within the delay; nothing changes if it will anyway."""
        self._waiting[stop] = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._next_at, self._leave)

    def hurry(self, stop: Stop) -> None:
        """Have the courier call at ``stop`` now."""
        self._waiting.pop(stop, None)
        self.courier.visit(stop)

    def remove(self, stop: Stop) -> None:
        """Call at ``stop`` no more; idempotent."""
        self._waiting.pop(stop, None)

    def close(self) -> None:
        """Forget who waits."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave(self) -> None:
        self._timer = None
        self._next_at = self._loop.time() + self._delay
        waiting, self._waiting = self._waiting, {}
        self.courier.visit_all(waiting)
