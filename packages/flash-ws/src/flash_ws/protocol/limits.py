"""How much a page may send, counted without a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most ``burst`` at once, and ``per_second`` in the long run."""

    per_second: float
    burst: int


class TokenBucket:
    """Counts against a `RateLimit`: a bucket of ``burst`` tokens, filled ``per_second``.

    Times are seconds of any clock that does not go backwards; the caller brings them.
    """

    def __init__(self, limit: RateLimit, now: float) -> None:
        self._limit = limit
        self._tokens = float(limit.burst)
        self._filled_at = now

    def take(self, now: float, count: int = 1) -> bool:
        """Take ``count`` tokens, or none and return False if there are not that many."""
        gained = (now - self._filled_at) * self._limit.per_second
        self._tokens = min(float(self._limit.burst), self._tokens + gained)
        self._filled_at = now
        if count > self._tokens:
            return False
        self._tokens -= count
        return True
