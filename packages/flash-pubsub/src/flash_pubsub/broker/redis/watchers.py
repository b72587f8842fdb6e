"""The answers of a worker to `flash top --redis`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flash.exits import ends_task
from flash.log_limit import limited_logger
from flash.top.exchange import is_watcher
from flash_pubsub.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flash_pubsub.broker.redis.store import Store

logger = limited_logger(__name__)

# Watchers that wait for one answer; of more, the later ones get none in this round.
_MAX_WATCHERS = 16


class WatcherAnswers:
    """Sends one sample of this worker to each watcher that asks; idle while nobody does.

    ``sample()`` is awaited once for all watchers that wait at that moment. A watcher that asks
    again before it has its answer gets one.
    """

    def __init__(self, store: Store, sample: Callable[[], Awaitable[bytes]]) -> None:
        self._store = store
        self._sample = sample
        self._waiting: set[bytes] = set()
        self._task: asyncio.Task[None] | None = None

    def receive(self, watcher: bytes) -> None:
        """Answer a watcher soon; returns at once."""
        if not is_watcher(watcher) or len(self._waiting) >= _MAX_WATCHERS:
            return
        self._waiting.add(watcher)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._answer(), name="flash-pubsub sample")

    async def close(self) -> None:
        """Answer nobody any more."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _answer(self) -> None:
        while self._waiting:
            watchers, self._waiting = self._waiting, set()
            try:
                sample = await self._sample()
                for watcher in watchers:
                    await self._store.answer_watcher(watcher, sample)
            except BrokerError as error:
                # The watcher notices, and asks again.
                logger.debug("a watcher got no answer: %s", error)
            except BaseException as error:
                # The boundary of a task that nobody awaits.
                if ends_task(error):
                    raise
                logger.exception("no sample of this worker was sent to flash top")
