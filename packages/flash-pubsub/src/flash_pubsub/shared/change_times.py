"""When changes of shared inputs were made, in one order for all pages and workers.

No event loop in here.

A worker's clock follows wall time and is never behind a time that it has read in a publication (a
hybrid logical clock, after Kulkarni et al., "Logical Physical Clocks", 2014).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

# Milliseconds since 1970 by the workers' clocks, and the page, which decides between equal times.
MadeAt = tuple[int, str]

# The time of an input that nobody has changed.
NEVER: MadeAt = (0, "")

# Pages whose clocks are known; the one that changed something longest ago goes.
_MAX_PAGES = 20_000

# Milliseconds by which a message may be late. More means that the page's clock was set back.
_MAX_DELAY = 60_000


@dataclass(slots=True)
class _Page:
    # The workers' clock less the page's, in milliseconds, as the fastest message showed it.
    offset: int
    # By input, the newest change: its time by the page's clock, and the time that it was given.
    made: dict[Hashable, tuple[int, MadeAt]] = field(default_factory=dict["Hashable", Any])


class ChangeTimes:
    """Gives each change of a page one time, also when several callbacks report it."""

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        # Milliseconds from the monotonic clock to this worker's clock.
        self._ahead = round((wall() - monotonic()) * 1000)
        self._pages: OrderedDict[str, _Page] = OrderedDict()

    def now(self) -> int:
        """Return this worker's time, in milliseconds since 1970."""
        return round(self._monotonic() * 1000) + self._ahead

    def observe(self, made_at: MadeAt) -> None:
        """Set the clock forward if another worker's is ahead."""
        behind = made_at[0] + 1 - self.now()
        if behind > 0:
            self._ahead += behind

    def made_at(self, page: str, key: Hashable, made: int, sent: int) -> MadeAt:
        """Return when a change was made; ``made`` and ``sent`` are times by the page's clock."""
        now = self.now()
        offset = now - sent
        known = self._pages.pop(page, None) or _Page(offset)
        self._pages[page] = known
        if len(self._pages) > _MAX_PAGES:
            self._pages.popitem(last=False)
        if offset < known.offset or offset - known.offset > _MAX_DELAY:
            known.offset = offset
        newest = known.made.get(key)
        if newest is not None and newest[0] == made:
            return newest[1]
        given = min(made + known.offset, now), page
        known.made[key] = made, given
        return given

    def heard(self, page: str, sent: int) -> None:
        """Learn how a page's clock differs, from a message without a change."""
        offset = self.now() - sent
        known = self._pages.setdefault(page, _Page(offset))
        known.offset = min(known.offset, offset)
