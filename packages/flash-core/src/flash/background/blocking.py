"""An adapter that makes the calls of Dash's own managers, Diskcache and Celery, awaitable."""

from __future__ import annotations

import copy
import hashlib
import inspect
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flash.background.job import JobHandles, JobSpec, Report, State

if TYPE_CHECKING:
    from collections.abc import Generator

    from flash.callbacks.execution import WorkerPool

_ERROR = "background_callback_error"


class SharedExclusiveLock:
    """A lock for threads, held by many as shared or by one as exclusive; exclusive has priority."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._shared_holders = 0
        self._waiting_exclusive = 0

    @contextmanager
    def shared(self) -> Generator[None]:
        """Hold the lock together with other shared holders."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting_exclusive)
            self._shared_holders += 1
        try:
            yield
        finally:
            with self._changed:
                self._shared_holders -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Hold the lock alone."""
        with self._changed:
            self._waiting_exclusive += 1
            try:
                self._changed.wait_for(lambda: not self._shared_holders)
                # The condition's own lock is held here, so no other thread can enter.
                yield
            finally:
                self._waiting_exclusive -= 1
                self._changed.notify_all()


class BlockingManager:
    """Runs every call of a blocking manager in a thread of the app's pool.

    It starts a job only while no other thread uses the manager. `DiskcacheManager` forks, and a
    lock that another thread held during the fork would stay locked in the job's process.
    """

    def __init__(self, manager: Any, pool: WorkerPool) -> None:
        self._manager = manager
        self._pool = pool
        # Stored on the manager, because several apps and requests may use the same one.
        self._lock: SharedExclusiveLock = vars(manager).setdefault(
            "flash_lock", SharedExclusiveLock()
        )

    async def start(self, spec: JobSpec, pool: WorkerPool) -> JobHandles:
        """Start the job by the manager's own means."""
        return await pool.run(self._start, spec)

    async def poll(self, handles: JobHandles) -> Report:
        """Report the state of a job; queries the manager in the same order as Dash."""
        return await self._pool.run(self._poll, handles)

    async def cancel(self, job: str) -> None:
        """Cancel a job."""
        await self._pool.run(self._cancel, job)

    async def close(self) -> None:
        """Do nothing, because the jobs run in other processes."""

    def _cancel(self, job: str) -> None:
        with self._lock.shared():
            self._manager.terminate_job(job)

    def _start(self, spec: JobSpec) -> JobHandles:
        manager, plan = self._manager, spec.plan
        # Since Dash 4.5 the cache key includes the callback, as several may share one function.
        takes_callback_key = "callback_key" in inspect.signature(manager.build_cache_key).parameters
        key = manager.build_cache_key(
            plan.function,
            spec.arguments,
            spec.ignored_arguments,
            spec.triggered,
            **({"callback_key": plan.background_key} if takes_callback_key else {}),
        )
        if not takes_callback_key:
            # Before, the key is made of the function's source and arguments: callbacks that one
            # function has made would get each other's results.
            key = hashlib.sha256(f"{key}-{plan.background_key}".encode()).hexdigest()
        if manager.cache_by is not None:
            with self._lock.shared():
                if manager.get_result(key, None) is not manager.UNDEFINED:
                    # Dash starts a job all the same, and ends it at the first poll: a poll that
                    # comes late finds the result of that job.
                    return JobHandles(key, "")
        job_fn = manager.func_registry.get(plan.background_key)
        with self._lock.exclusive():
            job = manager.call_job_fn(key, job_fn, spec.arguments, spec.context)
        return JobHandles(key, str(job))

    def _poll(self, handles: JobHandles) -> Report:
        with self._lock.shared():
            return self._query(handles)

    def _query(self, handles: JobHandles) -> Report:
        manager, key, job = self._manager, handles.key, handles.job
        # Read before the result: reading the result erases the progress.
        progress = manager.get_progress(key)
        # Checked before the result: a job that ends in between has already written its result.
        running = bool(job) and manager.job_running(job)
        result = manager.get_result(key, job or None)
        if result is manager.UNDEFINED:
            report = Report(State.RUNNING if running else State.CANCELLED)
        else:
            if job and manager.job_running(job):
                # The result came from the cache, so the job that was started is not needed.
                manager.terminate_job(job)
            report = _report_of(result)
        return Report(
            report.state,
            report.result,
            report.message,
            report.trace,
            progress=progress or None,
            updates=_updates_of(manager, key),
        )


def _updates_of(manager: Any, key: str) -> Any:
    """Return what a job has set with `set_props` since; its result stays.

    `CeleryManager` deletes the result where it means these: a job that ended after its result was
    looked for would have lost it.
    """
    reader = copy.copy(manager)
    reader.clear_cache_entry = lambda entry: entry == key or manager.clear_cache_entry(entry)
    return reader.get_updated_props(key)


def _report_of(result: Any) -> Report:
    if isinstance(result, dict) and _ERROR in result:
        error: dict[str, str] = result[_ERROR]
        return Report(State.FAILED, message=error["msg"], trace=error["tb"])
    return Report(State.DONE, result)
