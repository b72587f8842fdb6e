"""Where callbacks run and how calls meet: the thread pool, superseding and sharing.

Nothing here knows Dash. All of it belongs to one event loop, but for `WorkerPool`'s threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import queue
import threading
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from flash.errors import ConfigurationError, Overloaded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

P = ParamSpec("P")
T = TypeVar("T")


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether ``function`` gives an awaitable, looking through partials and instances."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        type(function).__call__
    )


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """A moment of a `WorkerPool`."""

    # Functions running now, abandoned ones included.
    running: int
    # Callers waiting for a thread.
    waiting: int
    # Functions still running whose caller has gone (timed out, disconnected, superseded).
    abandoned: int
    # Calls refused since the start because the queue was full.
    refused: int


@dataclass(slots=True)
class _Job:
    """One call on its way through a thread."""

    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]
    call: Callable[[], Any]
    # Both are read and set on the loop only.
    finished: bool = False
    abandoned: bool = False


class WorkerPool:
    """Runs plain functions in at most ``max_threads`` threads; callers wait in order of arrival.

    At most ``max_waiting`` callers wait; one more gets `Overloaded` at once (policy: refuse the
    newest). A caller that is cancelled while waiting gives its place up; one that is cancelled
    while its function runs leaves the function behind, for a thread cannot be stopped: the thread
    stays taken until the function returns, and `statistics` counts it as abandoned. The threads are
    daemons, so that a function which never returns cannot keep the process from ending.
    """

    def __init__(self, *, max_threads: int = 40, max_waiting: int = 1000) -> None:
        if max_threads < 1:
            raise ConfigurationError(f"max_threads={max_threads!r}: at least one thread is needed")
        if max_waiting < 0:
            raise ConfigurationError(f"max_waiting={max_waiting!r}: say 0 or more")
        self.max_threads = max_threads
        self.max_waiting = max_waiting
        # What the threads take from; never longer than `max_threads`. None ends a thread.
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._running = 0
        self._abandoned = 0
        self._refused = 0
        # Callers waiting for a place, oldest first; done ones gave up.
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in a thread, in a copy of the caller's context.

        Raises what the function raises, and `Overloaded` when the queue is full.
        """
        if self._running >= self.max_threads:
            await self._turn()
        else:
            self._running += 1
        if self._threads < self._running:
            self._threads += 1
            threading.Thread(
                target=_work, args=(self._jobs, self._finish), name="flash-worker", daemon=True
            ).start()
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        job = _Job(loop, loop.create_future(), partial(context.run, function, *args, **kwargs))
        self._jobs.put(job)
        try:
            return await job.answer
        except asyncio.CancelledError:
            if not job.finished:
                job.abandoned = True
                self._abandoned += 1
            raise

    async def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call what a user wrote, ``async def`` on the loop, plain in a thread.

        A plain function that returns an awaitable (a decorator around ``async def``) has it awaited
        on the loop.
        """
        if is_async(function):
            return await function(*args, **kwargs)
        result = await self.run(function, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    async def _turn(self) -> None:
        if len(self._waiting) >= self.max_waiting:
            self._refused += 1
            raise Overloaded(self.max_threads, self.max_waiting)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                # The place came in the same moment: pass it on.
                self._release()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def _release(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            # A cancelled one gave up and has not been resumed yet.
            if not turn.done():
                # The place passes to the next caller without becoming free in between.
                turn.set_result(None)
                return
        self._running -= 1

    def _finish(self, job: _Job, result: Any, error: BaseException | None) -> None:
        """Take note, on the loop, that a job's function returned."""
        job.finished = True
        self._release()
        if job.abandoned:
            self._abandoned -= 1
        elif not job.answer.done():
            if error is None:
                job.answer.set_result(result)
            elif isinstance(error, StopIteration):
                # A future cannot carry it: it would end the awaiting coroutine quietly.
                job.answer.set_exception(RuntimeError("the function raised StopIteration"))
            else:
                job.answer.set_exception(error)

    def statistics(self) -> PoolStatistics:
        """Return what the pool does at this moment."""
        return PoolStatistics(
            running=self._running,
            waiting=sum(not turn.done() for turn in self._waiting),
            abandoned=self._abandoned,
            refused=self._refused,
        )

    def close(self) -> None:
        """Let the threads end as they fall idle; what runs goes on, and a later `run` works."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._jobs = queue.SimpleQueue()
        self._threads = 0


def _work(
    jobs: queue.SimpleQueue[_Job | None],
    finish: Callable[[_Job, Any, BaseException | None], None],
) -> None:
    """Be one thread of a pool until told to end."""
    while (job := jobs.get()) is not None:
        result, error = None, None
        try:
            result = job.call()
        except BaseException as raised:  # noqa: BLE001  the thread's boundary: the caller raises it
            error = raised
        # Suppressed: the loop may be closed by the time an abandoned function returns.
        with contextlib.suppress(RuntimeError):
            job.loop.call_soon_threadsafe(finish, job, result, error)
        # Not held while waiting for the next job: the result may be large.
        del job, result, error


class Superseded(Exception):
    """A newer call took this one's place; its result is wanted by nobody."""


class Supersession:
    """Lets a newer call with the same key cancel the older one.

    Bounded by the calls in flight: an entry lives as long as its call.
    """

    def __init__(self) -> None:
        self._latest: dict[Hashable, asyncio.Task[Any]] = {}

    async def run(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        """Await ``call``; raises `Superseded` if a newer call with ``key`` begins meanwhile."""

        async def await_call() -> T:
            return await call()

        task = asyncio.ensure_future(await_call())
        older = self._latest.get(key)
        self._latest[key] = task
        if older is not None:
            older.cancel()
        try:
            # Waited for, not awaited: a task that was superseded is no caller that left.
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        finally:
            if self._latest.get(key) is task:
                del self._latest[key]
        if task.cancelled():
            raise Superseded
        return task.result()


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    passengers: int


class SharedCalls:
    """Lets calls with equal keys that are in flight together share one execution.

    One caller leaving does not disturb the others; when the last one leaves the execution is
    cancelled. Bounded by the calls in flight.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[Any]] = {}

    async def run(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        """Await the execution for ``key``, beginning it if there is none; raises what it raises."""

        async def await_call() -> T:
            return await call()

        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.ensure_future(await_call()), 0)
            self._flights[key] = flight
            flight.task.add_done_callback(partial(self._landed, key))
        flight.passengers += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.passengers -= 1
            if flight.passengers == 0 and not flight.task.done():
                flight.task.cancel()
                # Gone at once: a caller arriving now begins anew instead of being cancelled.
                self._forget(key, flight.task)

    def _landed(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        self._forget(key, task)
        if not task.cancelled():
            # Each passenger raises it; with none left there is nobody to tell.
            task.exception()

    def _forget(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]
