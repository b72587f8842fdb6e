"""`FlushScheduler`: decides when the frames that wait for pages are written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flash_ws.link.writer import Flusher

if TYPE_CHECKING:
    from flash_ws.link.writer import Flushable


class FlushScheduler:
    """Flushes each scheduled writer within ``delay`` seconds.

    All writers share one timer, since a timer and a task for each page would cost more than the
    writing. The timer starts with the first writer scheduled and ends ``delay`` seconds after the
    previous flush. So writers scheduled by then are flushed together, and a writer scheduled after
    a pause is flushed at once.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self.flusher = Flusher()
        # In the order of scheduling, each writer once.
        self._waiting: dict[Flushable, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        # The earliest time of the next flush, by the loop's clock.
        self._next_at = self._loop.time() + delay

    def schedule(self, writer: Flushable) -> None:
        """Write what waits in ``writer`` within the delay; idempotent until then."""
        self._waiting[writer] = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._next_at, self._flush)

    def flush_now(self, writer: Flushable) -> None:
        """Flush ``writer`` without waiting for the timer."""
        self._waiting.pop(writer, None)
        self.flusher.flush(writer)

    def cancel(self, writer: Flushable) -> None:
        """Do not flush ``writer``; idempotent."""
        self._waiting.pop(writer, None)

    def close(self) -> None:
        """Stop the timer and drop the scheduled writers."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        self._timer = None
        self._next_at = self._loop.time() + self._delay
        waiting, self._waiting = self._waiting, {}
        self.flusher.flush_all(waiting)
