"""`Places`: how many connections may be open at the same time, and how many are."""

from __future__ import annotations


class Places:
    """Counts open connections, also of several kinds that share one maximum."""

    def __init__(self, max_open: int) -> None:
        self.max_open = max_open
        # Connections that are open, including those that are being checked.
        self.open = 0

    @property
    def is_full(self) -> bool:
        """Whether no further connection may be opened."""
        return self.open >= self.max_open

    def take(self) -> None:
        """Count a connection; `release` must follow."""
        self.open += 1

    def release(self) -> None:
        """Stop counting a connection."""
        self.open -= 1
