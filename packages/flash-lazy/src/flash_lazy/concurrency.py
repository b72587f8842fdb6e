"""A limit on the number of loads that run at a time."""

from __future__ import annotations

import asyncio

from flash_lazy.errors import LoadersBusy


class ConcurrencyLimit:
    """Lets ``limit`` loads run at a time, in order of arrival; None means no limit.

    At most ``max_waiting`` loads wait; further ones raise `LoadersBusy` at once (policy: refuse the
    newest).
    """

    def __init__(self, limit: int | None, *, max_waiting: int = 1000) -> None:
        self.limit = limit
        self.max_waiting = max_waiting
        self._slots = asyncio.Semaphore(limit) if limit is not None else None
        self._waiting = 0

    async def __aenter__(self) -> None:
        if self._slots is None or self.limit is None:
            return
        if self._slots.locked() and self._waiting >= self.max_waiting:
            raise LoadersBusy(self.limit, self.max_waiting)
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1

    async def __aexit__(self, *_: object) -> None:
        if self._slots is not None:
            self._slots.release()
