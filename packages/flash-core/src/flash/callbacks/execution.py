"""Execution of functions: the thread pool, superseding of calls and sharing of equal calls.

Independent of Dash. Everything belongs to one event loop, except the threads of `WorkerPool`.
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
from types import FunctionType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from flash.errors import ConfigurationError, Overloaded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

P = ParamSpec("P")
T = TypeVar("T")


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether ``function`` is async; a partial or a callable instance may be, too."""
    if type(function) is FunctionType and not function.__dict__:
        # The usual case, ten times as fast as `inspect`: it counts for thousands of callbacks.
        return bool(function.__code__.co_flags & inspect.CO_COROUTINE)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        type(function).__call__
    )


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """The state of a `WorkerPool` at one moment."""

    # Functions that run now, abandoned ones included.
    running: int
    # Callers that wait for a thread.
    waiting: int
    # Functions that run although their caller was cancelled (timeout, disconnect, superseded).
    abandoned: int
    # Calls refused since the pool was made because too many callers waited.
    refused: int


@dataclass(slots=True)
class _Job:
    """One call that a thread executes."""

    loop: asyncio.AbstractEventLoop
    result: asyncio.Future[Any]
    call: Callable[[], Any]
    # Both are read and set on the loop only.
    finished: bool = False
    abandoned: bool = False


class WorkerPool:
    """Runs plain functions in at most ``max_threads`` threads; callers wait in order of arrival.

    At most ``max_waiting`` callers wait; a further one gets `Overloaded` at once. A caller that is
    cancelled while it waits leaves the queue. A caller that is cancelled while its function runs
    does not stop the function, since a thread cannot be stopped: the thread stays occupied until
    the function returns, and `statistics` counts it as abandoned. The threads are daemons, so a
    function that never returns does not keep the process from ending.
    """

    def __init__(self, *, max_threads: int = 40, max_waiting: int = 1000) -> None:
        if max_threads < 1:
            raise ConfigurationError(f"max_threads={max_threads!r}: must be 1 or more")
        if max_waiting < 0:
            raise ConfigurationError(f"max_waiting={max_waiting!r}: must be 0 or more")
        self.max_threads = max_threads
        self.max_waiting = max_waiting
        # Calls for the threads, at most `max_threads` of them. None ends a thread.
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._running = 0
        self._abandoned = 0
        self._refused = 0
        # Callers that wait for a thread, oldest first. A future that is done was cancelled.
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in a thread, in a copy of the caller's context.

        Raises what the function raises, and `Overloaded` when the queue is full.
        """
        if self._running >= self.max_threads:
            await self._wait_for_thread()
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
            return await job.result
        except asyncio.CancelledError:
            if not job.finished:
                job.abandoned = True
                self._abandoned += 1
            raise

    async def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a user's function: ``async def`` on the loop, a plain function in a thread.

        If a plain function returns an awaitable, as a plain decorator around ``async def`` does, it
        is awaited on the loop.
        """
        if is_async(function):
            return await function(*args, **kwargs)
        result = await self.run(function, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    async def _wait_for_thread(self) -> None:
        if len(self._waiting) >= self.max_waiting:
            self._refused += 1
            raise Overloaded(self.max_threads, self.max_waiting)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                # The thread was granted at the same moment: pass it to the next caller.
                self._release()
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise

    def _release(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            # A cancelled waiter has not removed itself yet.
            if not waiter.done():
                # `_running` stays the same: the next caller takes over the thread.
                waiter.set_result(None)
                return
        self._running -= 1

    def _finish(self, job: _Job, result: Any, error: BaseException | None) -> None:
        """Set the result of a job; called on the loop after its function returned."""
        job.finished = True
        self._release()
        if job.abandoned:
            self._abandoned -= 1
        elif not job.result.done():
            if error is None:
                job.result.set_result(result)
            elif isinstance(error, StopIteration):
                # A future cannot hold `StopIteration`.
                job.result.set_exception(RuntimeError("the function raised StopIteration"))
            else:
                job.result.set_exception(error)

    def statistics(self) -> PoolStatistics:
        """Return the current state of the pool."""
        return PoolStatistics(
            running=self._running,
            waiting=sum(not waiter.done() for waiter in self._waiting),
            abandoned=self._abandoned,
            refused=self._refused,
        )

    def close(self) -> None:
        """End the threads once they are idle; `run` can be called again later."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._jobs = queue.SimpleQueue()
        self._threads = 0


def _work(
    jobs: queue.SimpleQueue[_Job | None],
    finish: Callable[[_Job, Any, BaseException | None], None],
) -> None:
    """Execute jobs until the queue yields None; the body of a pool's thread."""
    while (job := jobs.get()) is not None:
        result, error = None, None
        try:
            result = job.call()
        except BaseException as raised:  # noqa: BLE001  the boundary of the thread: raised by the caller
            error = raised
        # The loop may be closed by the time an abandoned function returns.
        with contextlib.suppress(RuntimeError):
            job.loop.call_soon_threadsafe(finish, job, result, error)
        # Free them before waiting for the next job: the result may be large.
        del job, result, error


class Superseded(Exception):
    """A newer call with the same key has replaced this one."""


class Supersession:
    """Cancels a call when a newer call with the same key begins.

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
            # Not `await task`: a superseded task must differ from a caller that was cancelled.
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
class _SharedCall(Generic[T]):
    task: asyncio.Task[T]
    callers: int


class SharedCalls:
    """Runs concurrent calls with equal keys once and gives all callers the result.

    A caller that is cancelled does not affect the others; when the last one is cancelled, so is the
    execution. Bounded by the calls in flight.
    """

    def __init__(self) -> None:
        self._calls: dict[Hashable, _SharedCall[Any]] = {}

    async def run(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        """Await the execution for ``key``, started now if none runs; raises what it raises."""

        async def await_call() -> T:
            return await call()

        shared = self._calls.get(key)
        if shared is None:
            shared = _SharedCall(asyncio.ensure_future(await_call()), 0)
            self._calls[key] = shared
            shared.task.add_done_callback(partial(self._completed, key))
        shared.callers += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.callers -= 1
            if shared.callers == 0 and not shared.task.done():
                shared.task.cancel()
                # Removed at once, so that a new caller starts a new execution.
                self._forget(key, shared.task)

    def _completed(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        self._forget(key, task)
        if not task.cancelled():
            # Mark the exception as retrieved: asyncio logs it otherwise when no caller is left.
            task.exception()

    def _forget(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        shared = self._calls.get(key)
        if shared is not None and shared.task is task:
            del self._calls[key]
