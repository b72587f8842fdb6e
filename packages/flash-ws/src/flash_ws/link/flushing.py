"""When messages leave for their pages: together, and none later than promised."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flash_ws.link.writer import Flusher

if TYPE_CHECKING:
    from flash_ws.link.writer import Flushable


class FlushScheduler:
    """Sends a `Flusher` to the pages that have something waiting, within ``delay`` seconds.

    One timer for all, since a timer and a task for each page would cost more than the writing. It
    starts with the first message that waits anywhere and runs until ``delay`` after the departure
    before: what comes by then leaves together, and what comes after a rest leaves at once.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self.flusher = Flusher()
        # In the order in which they began to wait; a page is in here once at most.
        self._waiting: dict[Flushable, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        # The loop's time of the next departure, at the earliest.
        self._next_at = self._loop.time() + delay

    def schedule(self, writer: Flushable) -> None:
        """Write what waits in ``writer`` within the delay; idempotent until then."""
        self._waiting[writer] = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._next_at, self._flush)

    def flush_now(self, writer: Flushable) -> None:
        """Have the flusher call at ``writer`` now."""
        self._waiting.pop(writer, None)
        self.flusher.flush(writer)

    def cancel(self, writer: Flushable) -> None:
        """Call at ``writer`` no more; idempotent."""
        self._waiting.pop(writer, None)

    def close(self) -> None:
        """Forget who waits."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        self._timer = None
        self._next_at = self._loop.time() + self._delay
        waiting, self._waiting = self._waiting, {}
        self.flusher.flush_all(waiting)
