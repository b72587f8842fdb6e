"""Supervised tasks: work that must run as long as the app runs.

If such work ends, except by cancellation, the reason is logged once with its traceback, counted and
shown in readiness, and the work is restarted after a backoff. Tasks that are meant to end, such as
a request or a job, are not supervised.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakSet

from flash.exits import ends_task
from flash.redis.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

# Seconds for which work must run before its last failure is cleared.
RECOVERED_AFTER = 5.0

# Seconds between attempts to cancel work that suppresses a cancellation, as redis-py does while
# it connects.
_CANCEL_EVERY = 1.0


class SupervisedTask:
    """Work that is restarted whenever it ends.

    ``work()`` is awaited on the loop on which `start` was called, in a task named ``name``. It must
    be safe to call again after any failure. To return counts as a failure.
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
        # How often the work has ended since `start`, except by cancellation.
        self.failures = 0
        # The last failure in one line, until the work has run for ``recovered_after`` seconds.
        self._failure: str | None = None
        self._begun_at = 0.0

    @property
    def is_running(self) -> bool:
        """Whether the task has been started and not stopped."""
        return self._task is not None and not self._task.done()

    @property
    def failure(self) -> str | None:
        """The last failure in one line; None after the work has recovered."""
        if self._failure is not None and self._task is not None:
            lasted = self._task.get_loop().time() - self._begun_at
            if self._begun_at and lasted >= self._recovered_after:
                self._failure = None
        return self._failure

    def start(self) -> None:
        """Start the work on the running loop; does nothing if it is running."""
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
                error: BaseException = RuntimeError(
                    "it returned, although it must run as long as the app"
                )
            except GeneratorExit as closed:
                if ends_task(closed):
                    # The loop has ended, and Python closes this coroutine.
                    raise
                error = closed
            except asyncio.CancelledError as cancelled:
                if current.cancelling():
                    raise
                # Not the work was cancelled, but a task that it awaited.
                error = cancelled
            except BaseException as raised:  # noqa: BLE001  the boundary: logged, then restarted
                error = raised
            if loop.time() - self._begun_at >= self._recovered_after:
                self._backoff.reset()
                logged = ""
            self._begun_at = 0.0
            self.failures += 1
            self._failure = f"{type(error).__name__}: {error}".partition("\n")[0]
            wait = self._backoff.wait()
            # A repeated failure is logged once, so that it does not fill the log.
            if self._failure != logged:
                logged = self._failure
                logger.error("%s ended and restarts in %.1f s", self.name, wait, exc_info=error)
            # The traceback would keep the frames of the work alive.
            del error
            await asyncio.sleep(wait)


# By loop: each worker has one, and readiness and metrics are per worker.
_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakSet[SupervisedTask]] = (
    WeakKeyDictionary()
)


def _tasks_of(loop: asyncio.AbstractEventLoop) -> WeakSet[SupervisedTask]:
    return _by_loop.setdefault(loop, WeakSet())


def supervised() -> list[SupervisedTask]:
    """Return the supervised tasks of the running loop, sorted by name."""
    tasks = _tasks_of(asyncio.get_running_loop())
    return sorted(tasks, key=lambda task: task.name)
