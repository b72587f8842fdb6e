"""`AsyncManager`: background jobs in the server's own process, without a queue or a disk."""

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
from flash.settings import AMOUNT, COUNT, SECONDS, SECONDS_OR_NONE, check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flash.callbacks.execution import WorkerPool

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# How long a thread waits until the event loop has made its call.
_THREAD_SECONDS = 10.0


@dataclass(slots=True)
class _Record:
    """The state of one job."""

    buffer: UpdateBuffer
    # How the job ended; None while it runs or waits.
    end: Report | None = None
    # While the job runs: cancels it when polls stop. Afterwards: drops a result not collected.
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
    """Counters and gauges of an `AsyncManager`."""

    # Jobs that run or wait to run.
    running: int
    # Jobs that ended and whose result was not collected yet.
    uncollected: int
    # Results kept in the cache.
    cached: int
    # Results dropped since the start because there were more than `max_results`.
    dropped: int
    # Jobs cancelled since the start because their page had stopped polling.
    abandoned: int


class AsyncManager(DashFacade):
    """Runs background callbacks as tasks of the server process.

    - ``cache_by``: functions, plain or async, whose results are part of the cache key. With it, an
      equal call gets the result of an earlier one and does not run again.
    - ``expire``: seconds after which a result that was not collected is dropped, and a cached
      result that was not used.
    - ``max_results``: at most so many results wait for their page, and so many are cached; beyond
      it the oldest is dropped.
    - ``max_jobs`` jobs run at once and ``max_waiting`` wait; further ones are refused with 503.
    - ``abandon_after``: seconds without a poll after which a job is cancelled; None lets it run to
      its end, as in Dash. Choose minutes, because browsers let a hidden page poll only once a
      minute.

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
        check(
            expire=(expire, SECONDS),
            max_jobs=(max_jobs, COUNT),
            max_waiting=(max_waiting, AMOUNT),
            max_results=(max_results, COUNT),
            abandon_after=(abandon_after, SECONDS_OR_NONE),
        )
        super().__init__(cache_by)
        self.expire = expire
        self.max_results = max_results
        self.abandon_after = abandon_after
        self._secret: bytes | None = None
        self._tasks = JobTasks(max_jobs=max_jobs, max_waiting=max_waiting)
        self._loop: asyncio.AbstractEventLoop | None = None
        # Everything below is used on the event loop only. `JobTasks` bounds the running jobs.
        self._running: dict[str, _Record] = {}
        # Jobs that have ended, oldest first.
        self._ended: OrderedDict[str, _Record] = OrderedDict()
        # By fingerprint, least recently used first.
        self._cache: OrderedDict[str, _Cached] = OrderedDict()
        self._dropped = 0
        self._abandoned = 0

    @property
    def running(self) -> list[str]:
        """The ids of the jobs that run or wait."""
        return self._tasks.ids()

    # -- JobManager --------------------------------------------------------------------------------

    async def start(self, spec: JobSpec, pool: WorkerPool) -> JobHandles:
        """Start a job as a task, or find its cached result."""
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
            self._store_ended(job, _Record(UpdateBuffer()), Report(State.DONE, cached.result))
            return JobHandles(job, job)
        record = _Record(UpdateBuffer())
        self._tasks.start(job, spec, record.buffer, partial(self._end, job, fingerprint))
        self._running[job] = record
        self._restart_abandon_timer(job, record)
        return JobHandles(job, job)

    async def poll(self, handles: JobHandles) -> Report:
        """Report the state of a job, and remove the job if it has ended."""
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
        """Return the current counters and gauges."""
        return JobStatistics(
            running=len(self._tasks),
            uncollected=len(self._ended),
            cached=len(self._cache),
            dropped=self._dropped,
            abandoned=self._abandoned,
        )

    # -- called by Dash, from threads -----------------------------------------------------------

    def terminate_job(self, job: str | None) -> None:
        """Cancel a job; from any thread."""
        if job is not None:
            self._on_loop(self._cancel, job)

    def peek(self, key: str) -> Report:
        """Report the state of a job and remove nothing; from any thread."""
        return self._on_loop(self._peek, key)

    def take(self, key: str) -> Report:
        """Report the state of a job as `poll` does; from any thread."""
        return self._on_loop(self._take, key)

    def get_or_create_signing_secret(self, generate: Callable[[], bytes]) -> bytes:
        """Return the key that signs handles; each process has its own."""
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
                "this job is no longer known: its result was collected, or it was dropped after "
                f"expire={self.expire:g} s or by max_results={self.max_results}"
            )
        return Report.lost(
            "this job belongs to another process: the server restarted, or several workers serve; "
            "AsyncManager keeps jobs in one process, so use RedisManager with several workers"
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
        # The page gets this state at once; the task may end later.
        record.buffer.close()
        self._store_ended(job, record, Report(State.CANCELLED))
        self._tasks.cancel(job)

    async def _end(self, job: str, fingerprint: str | None, report: Report) -> None:
        """Store how a job ended, and cache its result."""
        record = self._running.get(job)
        if record is None:
            return
        self._store_ended(job, record, report)
        if fingerprint is not None and report.state is State.DONE and self._loop is not None:
            older = self._cache.pop(fingerprint, None)
            if older is not None:
                older.timer.cancel()
            timer = self._loop.call_later(self.expire, self._cache.pop, fingerprint, None)
            self._cache[fingerprint] = _Cached(report.result, timer)
            if len(self._cache) > self.max_results:
                self._cache.popitem(last=False)[1].timer.cancel()

    def _store_ended(self, job: str, record: _Record, end: Report) -> None:
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
                logger.warning(
                    "max_results=%d results are uncollected: dropping the oldest", self.max_results
                )

    def _restart_abandon_timer(self, job: str, record: _Record) -> None:
        """Restart the timer that cancels a job when its page stops polling."""
        if self.abandon_after is not None and self._loop is not None:
            record.stop_timer()
            record.timer = self._loop.call_later(self.abandon_after, self._abandon, job)

    def _abandon(self, job: str) -> None:
        self._abandoned += 1
        self._cancel(job)
        # No poll will collect the result.
        record = self._ended.pop(job, None)
        if record is not None:
            record.stop_timer()

    def _on_loop(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` on the jobs' event loop and return its result; from any thread."""
        loop = self._loop
        current = None
        with suppress(RuntimeError):
            current = asyncio.get_running_loop()
        if loop is None or loop is current or loop.is_closed():
            return function(*args, **kwargs)
        outcome: concurrent.futures.Future[T] = concurrent.futures.Future()

        def call() -> None:
            try:
                outcome.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001  raised again in the calling thread
                outcome.set_exception(error)

        loop.call_soon_threadsafe(call)
        return outcome.result(_THREAD_SECONDS)
