"""Rate limits for what a page sends."""

from __future__ import annotations

from dataclasses import dataclass

from flash.settings import COUNT, Number, check


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most ``burst`` messages at once, and ``per_second`` on average."""

    per_second: float
    burst: int

    def __post_init__(self) -> None:
        check(per_second=(self.per_second, Number(above=True)), burst=(self.burst, COUNT))


class TokenBucket:
    """Enforces a `RateLimit` with a bucket of ``burst`` tokens, refilled at ``per_second``.

    Times are seconds of a monotonic clock, which the caller passes.
    """

    def __init__(self, limit: RateLimit, now: float) -> None:
        self._limit = limit
        self._tokens = float(limit.burst)
        self._filled_at = now

    def take(self, now: float, count: int = 1) -> bool:
        """Take ``count`` tokens; takes none and returns False if there are fewer."""
        gained = (now - self._filled_at) * self._limit.per_second
        self._tokens = min(float(self._limit.burst), self._tokens + gained)
        self._filled_at = now
        if count > self._tokens:
            return False
        self._tokens -= count
        return True
