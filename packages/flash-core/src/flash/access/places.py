"""`Places`: how many connections may be open at the same time, and how many are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable


class Places:
    """Counts open connections, also of several kinds that share one maximum.

    A visitor, a user or an address, has at most ``max_each`` of them; by default half, rounded up.
    """

    def __init__(self, max_open: int, *, max_each: int | None = None) -> None:
        self.max_open = max_open
        self.max_each = math.ceil(max_open / 2) if max_each is None else max_each
        # Connections that are open, including those that are being checked.
        self.open = 0
        self._held: dict[Hashable, int] = {}

    @property
    def is_full(self) -> bool:
        """Whether no further connection may be opened."""
        return self.open >= self.max_open

    def is_full_for(self, visitor: Hashable | None) -> bool:
        """Whether ``visitor`` may open no further connection; None is nobody in particular."""
        return self.is_full or (visitor is not None and self._held.get(visitor, 0) >= self.max_each)

    def take(self, visitor: Hashable | None = None) -> None:
        """Count a connection; `release` must follow."""
        self.open += 1
        if visitor is not None:
            self._held[visitor] = self._held.get(visitor, 0) + 1

    def release(self, visitor: Hashable | None = None) -> None:
        """Stop counting a connection."""
        self.open -= 1
        if visitor is not None:
            held = self._held[visitor] - 1
            if held:
                self._held[visitor] = held
            else:
                del self._held[visitor]
