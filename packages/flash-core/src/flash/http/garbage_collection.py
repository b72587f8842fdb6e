"""Tuning of garbage collection: hardly any during set-up, short ones while serving.

Dash, plotly, numpy and the app's modules make 100,000 objects and more that live as long as the
process. A full collection visits all of them and stops every thread for some 60 ms. Without tuning
there is one or two while an app is set up, and under load one every two seconds. Collections of
young objects take 15 ms of the set-up of 2,000 callbacks, and find nothing.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# After the first app of a process is made, there is no full collection for this time.
SET_UP_SECONDS = 10.0
# A server is quiet if it gets no connection for this time.
QUIET_SECONDS = 1.0
# More collections of younger objects than ever happen.
_NEVER = 1_000_000_000
# During set-up, young objects are collected when there are so many: those of 4,000 callbacks, with
# the garbage among them.
YOUNG_OBJECTS = 200_000


class _Postponement:
    """A limited time with few collections and no full ones, by higher thresholds."""

    def __init__(self) -> None:
        self._before = gc.get_threshold()
        young, middle, _ = self._before
        # Zero turns the collector off.
        self._during = (young and max(young, YOUNG_OBJECTS), middle, _NEVER)
        self._end = time.monotonic() + SET_UP_SECONDS
        gc.set_threshold(*self._during)
        gc.callbacks.append(self._check_time)

    def _check_time(self, phase: str, info: object) -> None:
        """End the postponement when its time is over; Python calls this at every collection."""
        del info
        if phase == "stop" and time.monotonic() > self._end:
            self.end()

    def end(self) -> None:
        """Restore the thresholds, unless other code has changed them; idempotent."""
        if self._check_time in gc.callbacks:
            gc.callbacks.remove(self._check_time)
            if gc.get_threshold() == self._during:
                gc.set_threshold(*self._before)


_postponement: _Postponement | None = None
_frozen = False


def postpone_full_collections() -> None:
    """Prevent full collections until start-up is complete, for 10 s at most; once per process.

    Nearly all objects made during set-up stay alive. Young garbage is collected when there are
    `YOUNG_OBJECTS`; the first collection after the 10 s ends the postponement.
    """
    global _postponement
    if _postponement is None and gc.isenabled():
        _postponement = _Postponement()


def freeze_startup_objects(count_connections: Callable[[], int]) -> None:
    """Exclude every object that exists now from garbage collection; once per process, on a loop.

    Takes no time. The garbage of start-up is collected when the server is quiet for the first time,
    because that stops every thread for some 60 ms. ``count_connections`` returns the number of
    connections so far. An object that exists then and later becomes part of a garbage cycle is
    never freed. Only imports and start-up make many such objects, so their number is bounded.
    """
    global _frozen
    if _postponement is not None:
        _postponement.end()
    if not _frozen:
        _frozen = True
        gc.freeze()
        _collect_when_quiet(count_connections, -1)


def _collect_when_quiet(count_connections: Callable[[], int], before: int) -> None:
    count = count_connections()
    if count != before:
        loop = asyncio.get_running_loop()
        loop.call_later(QUIET_SECONDS, _collect_when_quiet, count_connections, count)
        return
    gc.unfreeze()
    gc.collect()
    gc.freeze()
