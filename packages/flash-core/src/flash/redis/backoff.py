"""The waits between two attempts."""

from __future__ import annotations

import random


class Backoff:
    """Waits that double from ``first`` to ``cap`` seconds, each shortened at random.

    The randomness keeps many clients that lost one server from returning at the same moment.
    """

    def __init__(self, first: float = 0.05, cap: float = 1.0) -> None:
        self._first = first
        self._cap = cap
        self._next = first

    def reset(self) -> None:
        """Start with short waits again, after an attempt that succeeded."""
        self._next = self._first

    def wait(self) -> float:
        """Return the seconds to wait now."""
        longest, self._next = self._next, min(self._cap, self._next * 2)
        return random.uniform(longest / 2, longest)
