"""The times of changes of shared inputs, comparable between all pages and workers.

A worker's clock follows wall time and is never behind a time that it has read in a publication. It
is a hybrid logical clock, after Kulkarni et al., "Logical Physical Clocks", 2014. This module uses
no event loop.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

# Milliseconds since 1970 by the workers' clocks, and the page's id, which orders equal times.
MadeAt = tuple[int, str]

# The time of an input that was never changed.
NEVER: MadeAt = (0, "")

# Pages whose clocks are remembered; the page whose last change is oldest is dropped.
_MAX_PAGES = 20_000

# Milliseconds by which a message may be delayed. More means that the page's clock was set back.
_MAX_DELAY = 60_000


@dataclass(slots=True)
class _PageClock:
    # The worker's clock minus the page's, in milliseconds, measured by the fastest message.
    offset: int
    # By input, its newest change: the time by the page's clock, and by the worker's clock.
    made: dict[Hashable, tuple[int, MadeAt]] = field(default_factory=dict["Hashable", Any])


class ChangeTimes:
    """Converts the times of pages' changes; a change has one time, even if reported repeatedly."""

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        # This worker's clock minus the monotonic clock, in milliseconds.
        self._ahead = round((wall() - monotonic()) * 1000)
        self._pages: OrderedDict[str, _PageClock] = OrderedDict()

    def now(self) -> int:
        """Return this worker's time, in milliseconds since 1970."""
        return round(self._monotonic() * 1000) + self._ahead

    def observe(self, made_at: MadeAt) -> None:
        """Set the clock forward if another worker's is ahead."""
        behind = made_at[0] + 1 - self.now()
        if behind > 0:
            self._ahead += behind

    def made_at(self, page: str, key: Hashable, made: int, sent: int) -> MadeAt:
        """Return the time of a change by this worker's clock.

        ``made`` and ``sent`` are the times of the change and of its message, in milliseconds by the
        page's clock.
        """
        now = self.now()
        offset = now - sent
        clock = self._pages.pop(page, None) or _PageClock(offset)
        self._pages[page] = clock
        if len(self._pages) > _MAX_PAGES:
            self._pages.popitem(last=False)
        if offset < clock.offset or offset - clock.offset > _MAX_DELAY:
            clock.offset = offset
        newest = clock.made.get(key)
        if newest is not None and newest[0] == made:
            return newest[1]
        result = min(made + clock.offset, now), page
        clock.made[key] = made, result
        return result

    def observe_page(self, page: str, sent: int) -> None:
        """Measure the difference to a page's clock with a message that has no change."""
        offset = self.now() - sent
        clock = self._pages.setdefault(page, _PageClock(offset))
        clock.offset = min(clock.offset, offset)
