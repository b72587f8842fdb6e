"""Dash's own managers, Diskcache and Celery, behind calls that can be awaited."""

from __future__ import annotations

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
    """Lets many threads in at once, or one alone; who wants to be alone goes first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._shared_holders = 0
        self._waiting_exclusive = 0

    @contextmanager
    def shared(self) -> Generator[None]:
        """Be in together with others."""
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
        """Be in while nobody else is."""
        with self._changed:
            self._waiting_exclusive += 1
            try:
                self._changed.wait_for(lambda: not self._shared_holders)
                # The condition's lock is held: nobody enters.
                yield
            finally:
                self._waiting_exclusive -= 1
                self._changed.notify_all()


class BlockingManager:
    """Runs every call of a manager whose calls block in a thread of the app's pool.

    A job is started while no other thread uses the manager: `DiskcacheManager` forks, and a lock
    that another thread holds at that moment would stay locked in the job's process for ever.
    """

    def __init__(self, manager: Any, pool: WorkerPool) -> None:
        self._manager = manager
        self._pool = pool
        # The manager's own, since the apps and requests that use it have nothing else in common.
        self._lock: SharedExclusiveLock = vars(manager).setdefault(
            "flash_lock", SharedExclusiveLock()
        )

    async def start(self, spec: JobSpec, pool: WorkerPool) -> JobHandles:
        """Begin ``spec`` as the manager does."""
        return await pool.run(self._start, spec)

    async def poll(self, handles: JobHandles) -> Report:
        """Tell how a job goes, asking the manager in Dash's order."""
        return await self._pool.run(self._poll, handles)

    async def cancel(self, job: str) -> None:
        """End a job."""
        await self._pool.run(self._cancel, job)

    async def close(self) -> None:
        """Do nothing: the jobs are not in this process."""

    def _cancel(self, job: str) -> None:
        with self._lock.shared():
            self._manager.terminate_job(job)

    def _start(self, spec: JobSpec) -> JobHandles:
        manager, plan = self._manager, spec.plan
        # Since Dash 4.5 the key tells callbacks apart that share a function.
        knows_callback = "callback_key" in inspect.signature(manager.build_cache_key).parameters
        key = manager.build_cache_key(
            plan.function,
            spec.arguments,
            spec.ignored_arguments,
            spec.triggered,
            **({"callback_key": plan.background_key} if knows_callback else {}),
        )
        job_fn = manager.func_registry.get(plan.background_key)
        with self._lock.exclusive():
            job = manager.call_job_fn(key, job_fn, spec.arguments, spec.context)
        return JobHandles(key, str(job))

    def _poll(self, handles: JobHandles) -> Report:
        with self._lock.shared():
            return self._ask(handles)

    def _ask(self, handles: JobHandles) -> Report:
        manager, key, job = self._manager, handles.key, handles.job
        # Before the result, which erases it.
        progress = manager.get_progress(key)
        # Asked before the result: a job that ends in between has written it by then.
        running = bool(job) and manager.job_running(job)
        result = manager.get_result(key, job or None)
        if result is manager.UNDEFINED:
            report = Report(State.RUNNING if running else State.CANCELLED)
        else:
            if job and manager.job_running(job):
                # The result was cached: the job began in vain.
                manager.terminate_job(job)
            report = _ended(result)
        return Report(
            report.state,
            report.result,
            report.message,
            report.trace,
            progress=progress or None,
            updates=manager.get_updated_props(key),
        )


def _ended(result: Any) -> Report:
    if isinstance(result, dict) and _ERROR in result:
        error: dict[str, str] = result[_ERROR]
        return Report(State.FAILED, message=error["msg"], trace=error["tb"])
    return Report(State.DONE, result)
