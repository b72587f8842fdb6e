"""The price on the tape: an invented share, drawn step by step, and what of it is still shown."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

FIRST = 100.0
# Seconds between two prices.
INTERVAL = 0.25
# Prices that are shown: a minute of them.
KEPT = 240


@dataclass(frozen=True, slots=True)
class Price:
    """One price, when it was drawn, in seconds since 1970, and by which process."""

    at: float
    value: float
    by: int

    @property
    def time(self) -> str:
        """When it was drawn, as charts of this machine's time read it."""
        return datetime.fromtimestamp(self.at).isoformat(timespec="milliseconds")


class Tape:
    """The last prices, as one worker has heard them."""

    def __init__(self, keep: int = KEPT) -> None:
        self._prices: deque[Price] = deque(maxlen=keep)

    @property
    def recent(self) -> list[Price]:
        """The last prices, oldest first."""
        return list(self._prices)

    @property
    def last(self) -> float:
        """The newest price; the first of all where none was heard yet."""
        return self._prices[-1].value if self._prices else FIRST

    @property
    def growth(self) -> float:
        """How the price has changed since the oldest that is shown, as a share."""
        return self.last / self._prices[0].value - 1 if self._prices else 0.0

    def note(self, price: Price) -> None:
        """Keep a price; one that was heard before, when a page asked again, is known already."""
        if not self._prices or price.at > self._prices[-1].at:
            self._prices.append(price)


def step(before: float, unrest: float, chance: random.Random) -> float:
    """The price after ``before``; ``unrest``, from 0 to 100, makes the steps wider."""
    width = 0.0003 + 0.02 * (unrest / 100) ** 2
    # Drawn back to where it began, so that it stays on the page.
    drift = 0.01 * (FIRST - before)
    return round(max(1.0, before * (1 + chance.gauss(0, width)) + drift), 2)
