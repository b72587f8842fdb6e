"""Execution of functions: the thread pool, superseding of calls and sharing of equal calls.

Independent of Dash. Everything belongs to one event loop, except the threads of `WorkerPool`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import ipaddress
import math
import queue
import threading
from collections import deque
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeAlias, TypeVar

from flash.callbacks.first_step import FirstStep
from flash.callbacks.functions import is_async as is_async
from flash.errors import CallbackTimeout, Overloaded
from flash.exits import ends_task, exit_error
from flash.settings import AMOUNT, COUNT, SHARE, check

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Coroutine,
        Hashable,
        Mapping,
    )
    from concurrent.futures import Future

P = ParamSpec("P")
T = TypeVar("T")


# The visitor on whose behalf the current code runs: the address of the request, or the user that
# `authorize` named. None is nobody in particular, such as the app itself.
visitor: contextvars.ContextVar[Hashable | None] = contextvars.ContextVar(
    "flash_visitor", default=None
)


def visitor_of(scope: Mapping[str, Any], user: str | None = None) -> Hashable | None:
    """Return the visitor who sent a request: the user, or else the address of the client.

    Addresses of IPv6 count by their network, since a visitor has a whole one.
    """
    if user is not None:
        return "user", user
    client = scope.get("client")
    if not client or not client[0]:
        return None
    host: str = client[0]
    return host if ":" not in host else _network_of(host)


@lru_cache(maxsize=10_000)
def _network_of(host: str) -> Hashable:
    try:
        return ipaddress.IPv6Address(host).packed[:8]
    except ValueError:
        return host


def _share(count: int, share: float) -> int:
    """Return how many of ``count`` one visitor may have: the share of them, rounded up.

    If the share is below 1, a visitor never gets all of several.
    """
    return min(math.ceil(count * share), count if share == 1 else max(count - 1, 1))


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
    # Whether a further call is refused, whoever makes it.
    is_full: bool = False


@dataclass(slots=True)
class _Job:
    """One call that a thread executes."""

    loop: asyncio.AbstractEventLoop
    result: asyncio.Future[Any]
    # The function is its first argument.
    call: partial[Any]
    # Whether it runs in a thread that waits for a coroutine, and occupies no thread of the pool.
    in_place: bool = False
    visitor: Hashable | None = None
    # Both are read and set on the loop only.
    finished: bool = False
    abandoned: bool = False


class WorkerPool:
    """Runs plain functions in at most ``max_threads`` threads; callers wait in order of arrival.

    At most ``max_waiting`` callers wait; a further one gets `Overloaded` at once. One `visitor` has
    at most ``visitor_share`` of the threads and of the callers that wait, rounded up; below 1, one
    of several is left to others. Visitors that wait get threads in turn. A caller that
    is cancelled while it waits leaves the queue. If no thread is free, a call that a thread of any
    pool waits for in `wait_in_thread` runs in that thread, so that waiting threads cannot lock each
    other. A caller that is cancelled while its function runs
    does not stop the function, since a thread cannot be stopped: the thread stays occupied until
    the function returns, and `statistics` counts it as abandoned. The threads are daemons, so a
    function that never returns does not keep the process from ending.
    """

    def __init__(
        self, *, max_threads: int = 40, max_waiting: int = 1000, visitor_share: float = 0.8
    ) -> None:
        check(
            max_threads=(max_threads, COUNT),
            max_waiting=(max_waiting, AMOUNT),
            visitor_share=(visitor_share, SHARE),
        )
        self.max_threads = max_threads
        self.max_waiting = max_waiting
        # The most threads, and the most callers that wait, of one visitor.
        self._threads_each = _share(max_threads, visitor_share)
        self._waiting_each = _share(max_waiting, visitor_share)
        # By visitor, the number of functions that run.
        self._held: dict[Hashable, int] = {}
        # Calls for the threads, at most `max_threads` of them. None ends a thread.
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._running = 0
        self._abandoned = 0
        self._refused = 0
        # By visitor, the callers that wait for a thread, oldest first; the visitor whose turn is
        # next comes first. A future that is done was cancelled.
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}
        # The number of callers that wait.
        self._waiters = 0

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in a thread, in a copy of the caller's context.

        Raises what the function raises, with `SystemExit` and `KeyboardInterrupt` as `ExitRaised`,
        and `Overloaded` when the queue is full.
        """
        caller = visitor.get()
        must_wait = self._running >= self.max_threads or (
            caller is not None and self._held.get(caller, 0) >= self._threads_each
        )
        waiting = _waiting_thread.get() if must_wait else None
        in_place = waiting is not None and waiting.reserve()
        if in_place:
            pass
        elif must_wait:
            await self._wait_for_thread(caller)
        else:
            self._running += 1
            if caller is not None:
                self._held[caller] = self._held.get(caller, 0) + 1
        if self._threads < self._running:
            self._threads += 1
            threading.Thread(
                target=_work, args=(self._jobs, self._finish), name="flash-worker", daemon=True
            ).start()
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        call = partial(context.run, function, *args, **kwargs)
        job = _Job(loop, loop.create_future(), call, in_place, caller)
        if waiting is not None and in_place:
            waiting.run(job, self._finish)
        else:
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
        is awaited on the loop. `SystemExit` and `KeyboardInterrupt`, which would end the server,
        are raised as `ExitRaised`.
        """
        try:
            if is_async(function):
                return await function(*args, **kwargs)
            result = await self.run(function, *args, **kwargs)
            return await result if inspect.isawaitable(result) else result
        except Exception:
            raise
        except BaseException as error:
            if ends_task(error):
                raise
            raise exit_error(function, error) from error

    async def _wait_for_thread(self, caller: Hashable | None) -> None:
        """Wait until the caller has been given a thread."""
        waiting = self._waiting.get(caller)
        if self._waiters >= self.max_waiting or (
            caller is not None and waiting is not None and len(waiting) >= self._waiting_each
        ):
            self._refused += 1
            raise Overloaded(self.max_threads, self.max_waiting)
        if waiting is None:
            waiting = self._waiting[caller] = deque()
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(waiter)
        self._waiters += 1
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                # The thread was granted at the same moment: pass it to the next caller.
                self._release(caller)
            elif waiter in waiting:
                waiting.remove(waiter)
                self._waiters -= 1
                if not waiting and self._waiting.get(caller) is waiting:
                    del self._waiting[caller]
            raise

    def _release(self, caller: Hashable | None) -> None:
        """Pass a thread of ``caller`` to the next one that waits."""
        if caller is not None:
            held = self._held[caller] - 1
            if held:
                self._held[caller] = held
            else:
                del self._held[caller]
        if not self._waiters or not self._pass_on():
            self._running -= 1

    def _pass_on(self) -> bool:
        for caller in tuple(self._waiting):
            if caller is not None and self._held.get(caller, 0) >= self._threads_each:
                continue
            waiting = self._waiting.pop(caller)
            while waiting:
                waiter = waiting.popleft()
                self._waiters -= 1
                # A cancelled waiter has not removed itself yet.
                if not waiter.done():
                    if waiting:
                        # The next turn is that of others.
                        self._waiting[caller] = waiting
                    if caller is not None:
                        self._held[caller] = self._held.get(caller, 0) + 1
                    # `_running` stays the same: the next caller takes over the thread.
                    waiter.set_result(None)
                    return True
        return False

    def _finish(self, job: _Job, result: Any, error: BaseException | None) -> None:
        """Set the result of a job; called on the loop after its function returned."""
        job.finished = True
        if not job.in_place:
            self._release(job.visitor)
        if job.abandoned:
            self._abandoned -= 1
        elif not job.result.done():
            if error is None:
                job.result.set_result(result)
            elif isinstance(error, StopIteration):
                # A future cannot hold `StopIteration`.
                job.result.set_exception(RuntimeError("the function raised StopIteration"))
            elif not isinstance(error, Exception):
                # It would end the loop, or the task that waits.
                raised = exit_error(job.call.args[0], error)
                raised.__cause__ = error
                job.result.set_exception(raised)
            else:
                job.result.set_exception(error)

    @property
    def is_full(self) -> bool:
        """Whether all threads are busy and as many callers wait as may."""
        return self._running >= self.max_threads and self._waiters >= self.max_waiting

    def statistics(self) -> PoolStatistics:
        """Return the current state of the pool."""
        return PoolStatistics(
            running=self._running,
            waiting=self._waiters,
            abandoned=self._abandoned,
            refused=self._refused,
            is_full=self.is_full,
        )

    def close(self) -> None:
        """End the threads once they are idle; `run` can be called again later."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._jobs = queue.SimpleQueue()
        self._threads = 0


Finish: TypeAlias = "Callable[[_Job, Any, BaseException | None], None]"


def _work(jobs: queue.SimpleQueue[_Job | None], finish: Finish) -> None:
    """Execute jobs until the queue yields None; the body of a pool's thread."""
    _thread.belongs_to_pool = True
    while (job := jobs.get()) is not None:
        _execute(job, finish)
        # Free it before waiting for the next job: the result may be large.
        del job


def _execute(job: _Job, finish: Finish) -> None:
    result, error = None, None
    try:
        result = job.call()
    except BaseException as raised:  # noqa: BLE001  the boundary of the thread: raised by the caller
        error = raised
    # The loop may be closed by the time an abandoned function returns.
    with contextlib.suppress(RuntimeError):
        job.loop.call_soon_threadsafe(finish, job, result, error)


# Whether the current thread belongs to a pool.
_thread = threading.local()


class _WaitingThread:
    """A thread of a pool that waits for a coroutine and meanwhile runs what the coroutine calls."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[_Job, Finish] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        # Whether it runs a job or is going to, and whether the coroutine has ended.
        self._is_taken = False
        self._has_ended = False

    def reserve(self) -> bool:
        """Return whether the thread can run a job; if so, `run` must be called."""
        with self._lock:
            if self._is_taken or self._has_ended:
                return False
            self._is_taken = True
            return True

    def run(self, job: _Job, finish: Finish) -> None:
        """Run a job in the thread."""
        self._jobs.put((job, finish))

    def wait(self, future: Future[T]) -> T:
        """Wait until ``future`` is done, and run jobs meanwhile."""
        future.add_done_callback(self._end)
        while (item := self._jobs.get()) is not None:
            _execute(*item)
            del item
            with self._lock:
                self._is_taken = False
        return future.result()

    def _end(self, future: Future[Any]) -> None:
        del future
        with self._lock:
            self._has_ended = True
        self._jobs.put(None)


# The thread that waits for the coroutine to which the current context belongs.
_waiting_thread: contextvars.ContextVar[_WaitingThread | None] = contextvars.ContextVar(
    "flash_waiting_thread", default=None
)


def wait_in_thread(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """Run ``coroutine`` on ``loop`` and return its result; blocks the calling thread.

    In a thread of a `WorkerPool`, the thread runs what the coroutine calls in a pool that has no
    free thread. Otherwise threads that wait could occupy all threads that they wait for.
    """
    if not getattr(_thread, "belongs_to_pool", False):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    waiting = _WaitingThread()
    context = contextvars.copy_context()
    context.run(_waiting_thread.set, waiting)
    # The task on the loop gets a copy of this context.
    return waiting.wait(context.run(asyncio.run_coroutine_threadsafe, coroutine, loop))


@contextlib.asynccontextmanager
async def time_limit(name: str, seconds: float | None) -> AsyncGenerator[None]:
    """Cancel the block after so many seconds and raise `CallbackTimeout`; no limit with None.

    A plain function that runs in a thread meanwhile goes on, and its result is not used.
    """
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if seconds is not None and limit.expired():
            raise CallbackTimeout(name, seconds) from error
        raise


async def within(name: str, seconds: float | None, work: Coroutine[Any, Any, T]) -> T:
    """Await ``work`` with a `time_limit`, and without its timer if ``work`` never waits."""
    step = FirstStep(work)
    if step.is_done:
        return step.result()
    async with time_limit(name, seconds):
        return await step


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
