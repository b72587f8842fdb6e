"""Background jobs in the server's own process: no queue, no disk, no second process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from flash.background.facade import DashFacade, cache_parts
from flash.background.job import JobHandles, JobSpec, Report, State, UpdateBuffer
from flash.background.tasks import JobTasks
from flash.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flash.callbacks.execution import WorkerPool

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# How long a thread waits for the loop to do what it asked for.
_THREAD_SECONDS = 10.0


@dataclass(slots=True)
class _Record:
    """What is known of one job."""

    buffer: UpdateBuffer
    # How it ended; None while it runs or waits.
    end: Report | None = None
    # While it runs: ends it when the page is gone. Then: drops it when nobody comes for it.
    timer: asyncio.TimerHandle | None = None

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


@dataclass(slots=True)
class _Cached:
    result: Any
    timer: asyncio.TimerHandle


@dataclass(frozen=True, slots=True)
class JobStatistics:
    """A moment of an `AsyncManager`."""

    # Jobs that run or wait for their turn.
    running: int
    # Jobs that ended and whose page has not come for the result.
    uncollected: int
    # Results kept for the next equal call.
    cached: int
    # Results dropped since the start because `max_results` were there already.
    dropped: int
    # Jobs ended since the start because their page had stopped asking.
    abandoned: int


class AsyncManager(DashFacade):
    """Runs background callbacks as tasks of the server itself.

    ``cache_by``: functions, plain or async, whose results are part of the cache key; with it, an
    equal call gets the result of an earlier one without running again. ``expire``: seconds after
    which a result that nobody came for is dropped, and a cached one that nobody used.
    ``max_results``: how many of either are kept; the oldest goes first. ``max_jobs`` run at once
    and ``max_waiting`` wait; one more is refused with 503. ``abandon_after``: seconds without a
    poll after which a job is cancelled; None, as in Dash, lets it run to its end. Choose minutes:
    browsers slow a hidden page down to one poll a minute.

    Jobs live in this process and end with it. With several worker processes use `RedisManager`: a
    poll that reaches another worker raises an error that says so.
    """

    def __init__(
        self,
        *,
        cache_by: Sequence[Callable[[], Any]] | Callable[[], Any] | None = None,
        expire: float = 3600,
        max_jobs: int = 32,
        max_waiting: int = 1000,
        max_results: int = 1000,
        abandon_after: float | None = None,
    ) -> None:
        if max_results < 1:
            raise ConfigurationError(f"max_results={max_results!r}: a result must fit in")
        if expire <= 0:
            raise ConfigurationError(f"expire={expire!r}: say a number of seconds above 0")
        if abandon_after is not None and abandon_after <= 0:
            raise ConfigurationError(
                f"abandon_after={abandon_after!r}: say seconds above 0, or None"
            )
        super().__init__(cache_by)
        self.expire = expire
        self.max_results = max_results
        self.abandon_after = abandon_after
        self._secret: bytes | None = None
        self._tasks = JobTasks(max_jobs=max_jobs, max_waiting=max_waiting)
        self._loop: asyncio.AbstractEventLoop | None = None
        # Everything below belongs to the loop. Running jobs are bounded by `JobTasks`.
        self._running: dict[str, _Record] = {}
        # Ended, oldest first.
        self._ended: OrderedDict[str, _Record] = OrderedDict()
        # By fingerprint, least recently used first.
        self._cache: OrderedDict[str, _Cached] = OrderedDict()
        self._dropped = 0
        self._abandoned = 0

    @property
    def running(self) -> list[str]:
        """The jobs that run or wait."""
        return self._tasks.ids()

    # -- JobManager --------------------------------------------------------------------------------

    async def start(self, spec: JobSpec, pool: WorkerPool) -> JobHandles:
        """Begin ``spec`` as a task, or find its cached result."""
        self._tasks.check_capacity()
        fingerprint = None
        if self.cache_by is not None:
            fingerprint = spec.fingerprint(await cache_parts(self.cache_by, pool))
        self._loop = asyncio.get_running_loop()
        job = self._tasks.new_id()
        if fingerprint is not None and (cached := self._cache.get(fingerprint)) is not None:
            self._cache.move_to_end(fingerprint)
            cached.timer.cancel()
            cached.timer = self._loop.call_later(self.expire, self._cache.pop, fingerprint, None)
            self._keep(job, _Record(UpdateBuffer()), Report(State.DONE, cached.result))
            return JobHandles(job, job)
        record = _Record(UpdateBuffer())
        self._tasks.start(job, spec, record.buffer, partial(self._end, job, fingerprint))
        self._running[job] = record
        self._restart_abandon_timer(job, record)
        return JobHandles(job, job)

    async def poll(self, handles: JobHandles) -> Report:
        """Tell how a job goes, and forget it if it has ended."""
        return self._take(handles.key)

    async def cancel(self, job: str) -> None:
        """End a job."""
        self._cancel(job)

    async def close(self) -> None:
        """Cancel every job, wait for their ends and drop all results."""
        await self._tasks.close()
        for record in (*self._running.values(), *self._ended.values()):
            record.stop_timer()
        for cached in self._cache.values():
            cached.timer.cancel()
        self._running.clear()
        self._ended.clear()
        self._cache.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def statistics(self) -> JobStatistics:
        """Return what the manager does and keeps at this moment."""
        return JobStatistics(
            running=len(self._tasks),
            uncollected=len(self._ended),
            cached=len(self._cache),
            dropped=self._dropped,
            abandoned=self._abandoned,
        )

    # -- what Dash calls, from threads ----------------------------------------------------------

    def terminate_job(self, job: str | None) -> None:
        """End a job; from any thread."""
        if job is not None:
            self._on_loop(self._cancel, job)

    def peek(self, key: str) -> Report:
        """Tell how a job goes without taking anything; from any thread."""
        return self._on_loop(self._peek, key)

    def take(self, key: str) -> Report:
        """Tell how a job goes as `poll` does; from any thread."""
        return self._on_loop(self._take, key)

    def get_or_create_signing_secret(self, generate: Callable[[], bytes]) -> bytes:
        """Return the key that handles are signed with: this process's own."""
        if self._secret is None:
            self._secret = generate()
        return self._secret

    # -- on the loop -------------------------------------------------------------------------------

    def _peek(self, key: str) -> Report:
        if (running := self._running.get(key)) is not None:
            return Report(State.RUNNING, progress=running.buffer.peek())
        record = self._ended.get(key)
        if record is not None and record.end is not None:
            return record.end
        if key.startswith(self._tasks.process):
            return Report.lost(
                "nothing is known of this job any more: its result was collected, or dropped after "
                f"expire={self.expire:g} s or by max_results={self.max_results}"
            )
        return Report.lost(
            "this job is not of this process: the server restarted, or several workers serve; "
            "AsyncManager keeps jobs in one process, with several use RedisManager"
        )

    def _take(self, key: str) -> Report:
        report = self._peek(key)
        record = self._running.get(key)
        if record is not None:
            self._restart_abandon_timer(key, record)
        else:
            record = self._ended.pop(key, None)
            if record is None:
                return report
            record.stop_timer()
        progress, updates = record.buffer.take()
        return replace(report, progress=progress, updates=updates)

    def _cancel(self, job: str) -> None:
        record = self._running.get(job)
        if record is None:
            return
        # At once, whenever the task gets to its end.
        record.buffer.close()
        self._keep(job, record, Report(State.CANCELLED))
        self._tasks.cancel(job)

    async def _end(self, job: str, fingerprint: str | None, report: Report) -> None:
        """Keep how a job ended."""
        record = self._running.get(job)
        if record is None:
            return
        self._keep(job, record, report)
        if fingerprint is not None and report.state is State.DONE and self._loop is not None:
            older = self._cache.pop(fingerprint, None)
            if older is not None:
                older.timer.cancel()
            timer = self._loop.call_later(self.expire, self._cache.pop, fingerprint, None)
            self._cache[fingerprint] = _Cached(report.result, timer)
            if len(self._cache) > self.max_results:
                self._cache.popitem(last=False)[1].timer.cancel()

    def _keep(self, job: str, record: _Record, end: Report) -> None:
        self._running.pop(job, None)
        record.stop_timer()
        record.end = end
        if self._loop is not None:
            record.timer = self._loop.call_later(self.expire, self._ended.pop, job, None)
        self._ended[job] = record
        if len(self._ended) > self.max_results:
            self._ended.popitem(last=False)[1].stop_timer()
            self._dropped += 1
            if self._dropped == 1:
                logger.warning("max_results=%d reached: dropping the oldest", self.max_results)

    def _restart_abandon_timer(self, job: str, record: _Record) -> None:
        """Begin to wait anew for the page to ask for a running job."""
        if self.abandon_after is not None and self._loop is not None:
            record.stop_timer()
            record.timer = self._loop.call_later(self.abandon_after, self._abandon, job)

    def _abandon(self, job: str) -> None:
        self._abandoned += 1
        self._cancel(job)
        # Nobody will come for it.
        record = self._ended.pop(job, None)
        if record is not None:
            record.stop_timer()

    def _on_loop(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` on the loop that the jobs run on, from whatever thread."""
        loop = self._loop
        current = None
        with suppress(RuntimeError):
            current = asyncio.get_running_loop()
        if loop is None or loop is current or loop.is_closed():
            return function(*args, **kwargs)
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()

        def call() -> None:
            try:
                answer.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001  the thread raises it
                answer.set_exception(error)

        loop.call_soon_threadsafe(call)
        return answer.result(_THREAD_SECONDS)
