"""Supervised tasks: work that has to go on for as long as the app does.

Whatever ends such work but its cancellation is logged once with its traceback, counted, and shown
in readiness; the work is started again after a backoff. Tasks that end by themselves, such as one
request or one job, are not supervised.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

from flash.redis.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

# Seconds for which work has to run before an earlier failure counts as overcome.
RECOVERED_AFTER = 5.0

# Seconds between two attempts to cancel work that swallows a cancellation, as redis-py does while
# it connects.
_CANCEL_EVERY = 1.0


class SupervisedTask:
    """One piece of work that is started again whenever it ends.

    ``work()`` is awaited on the loop that `start` was called on, under the name ``name``. It must
    be safe to call again after any failure. Returning counts as a failure, since the work is meant
    to last.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[object]],
        *,
        backoff: Backoff | None = None,
        recovered_after: float = RECOVERED_AFTER,
    ) -> None:
        self.name = name
        self._work = work
        self._backoff = backoff or Backoff(first=0.5, cap=30.0)
        self._recovered_after = recovered_after
        self._task: asyncio.Task[None] | None = None
        # How often the work has ended since `start`, by whatever but a cancellation.
        self.failures = 0
        # What ended it last, until it has run for ``recovered_after`` seconds; None if all is well.
        self._failure: str | None = None
        self._begun_at = 0.0

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._task is not None and not self._task.done()

    @property
    def failure(self) -> str | None:
        """What ended the work lately, in one line; None once it has run well for a while."""
        if self._failure is not None and self._task is not None:
            lasted = self._task.get_loop().time() - self._begun_at
            if self._begun_at and lasted >= self._recovered_after:
                self._failure = None
        return self._failure

    def start(self) -> None:
        """Begin on the running loop; does nothing while it runs."""
        if self.is_running:
            return
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(), name=self.name)
        _tasks_of(loop).add(self)

    async def stop(self) -> None:
        """Cancel the work and wait until it has ended; idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_EVERY)
        _tasks_of(task.get_loop()).discard(self)

    async def _run(self) -> None:
        current = asyncio.current_task()
        assert current is not None
        loop = asyncio.get_running_loop()
        logged = ""
        while True:
            self._begun_at = loop.time()
            try:
                await self._work()
                error: BaseException = RuntimeError("it returned, although it is meant to last")
            except GeneratorExit:
                # The loop is gone, and this coroutine is being closed.
                raise
            except asyncio.CancelledError as cancelled:
                if current.cancelling():
                    raise
                # A task that the work waited for was cancelled, not the work.
                error = cancelled
            except BaseException as raised:  # noqa: BLE001  the boundary: logged, and started again
                error = raised
            if loop.time() - self._begun_at >= self._recovered_after:
                self._backoff.reset()
                logged = ""
            self._begun_at = 0.0
            self.failures += 1
            self._failure = f"{type(error).__name__}: {error}".partition("\n")[0]
            wait = self._backoff.wait()
            # Once for each failure: the same one, time and again, would fill the log.
            if self._failure != logged:
                logged = self._failure
                logger.error("%s ended and starts again in %.1f s", self.name, wait, exc_info=error)
            # Its traceback would keep the frames of the work alive.
            del error
            await asyncio.sleep(wait)


# By loop, since a worker has one, and readiness and metrics speak of the worker.
_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakSet[SupervisedTask]] = (
    WeakKeyDictionary()
)


def _tasks_of(loop: asyncio.AbstractEventLoop) -> WeakSet[SupervisedTask]:
    return _by_loop.setdefault(loop, WeakSet())


def supervised() -> list[SupervisedTask]:
    """Return the tasks that are supervised on the running loop, by name."""
    tasks = _tasks_of(asyncio.get_running_loop())
    return sorted(tasks, key=lambda task: task.name)
