"""Jobs as tasks of the event loop: a bounded number at once, the others waiting in order."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import secrets
from typing import TYPE_CHECKING

from dash import no_update
from dash.exceptions import PreventUpdate

from flash.background.job import (
    JobSpec,
    PropsSink,
    Report,
    SetProgress,
    State,
    TooManyJobs,
    UpdateBuffer,
)
from flash.callbacks.execution import WorkerPool
from flash.callbacks.plan import Runner
from flash.errors import CallbackTimeout, ConfigurationError
from flash.seams import dash as dash_seam

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

# How long `close` waits for jobs that were told to end.
CLOSE_SECONDS = 5.0


class JobTasks:
    """Runs jobs: ``async def`` on the loop, plain functions in threads of their own.

    At most ``max_jobs`` run at once and ``max_waiting`` wait, first come, first served; one more is
    refused with `TooManyJobs` (policy: refuse the newest). The threads are not the app's, so that
    long jobs never keep short callbacks waiting. A plain function cannot be stopped: when its job
    is cancelled, its result is dropped, it goes on until it next calls `set_progress` or
    `set_props`, which then raise, and its thread stays taken until it returns. All of it belongs
    to one loop.
    """

    def __init__(self, *, max_jobs: int, max_waiting: int) -> None:
        if max_jobs < 1:
            raise ConfigurationError(f"max_jobs={max_jobs!r}: at least one job must be able to run")
        if max_waiting < 0:
            raise ConfigurationError(f"max_waiting={max_waiting!r}: say 0 or more")
        self.max_jobs = max_jobs
        self.max_waiting = max_waiting
        # A thread left behind by a cancelled job keeps the next one waiting, never refused.
        self._threads = WorkerPool(max_threads=max_jobs, max_waiting=max_jobs)
        self._slots = asyncio.Semaphore(max_jobs)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # This process's name in its jobs', and the process it was made in.
        self._process = ""
        self._pid = 0
        # Jobs that somebody ended, as opposed to those that end with the server.
        self._cancelled: set[str] = set()

    def __len__(self) -> int:
        """Count the jobs that run or wait."""
        return len(self._tasks)

    def __contains__(self, job: object) -> bool:
        return job in self._tasks

    @property
    def process(self) -> str:
        """What the names of this process's jobs begin with.

        Made in the process that asks, since workers may be forks of one that made the manager.
        """
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._process = secrets.token_hex(8)
        return self._process

    def new_id(self) -> str:
        """Return a name for a job that no other job has, here or in another process."""
        return f"{self.process}-{secrets.token_hex(8)}"

    def ids(self) -> list[str]:
        """Return the jobs that run or wait."""
        return list(self._tasks)

    def start(
        self,
        job: str,
        spec: JobSpec,
        buffer: UpdateBuffer,
        end: Callable[[Report], Awaitable[None]],
    ) -> None:
        """Begin a job; ``end`` is awaited once, with how it ended. Raises `TooManyJobs`."""
        self.check_capacity()
        task = asyncio.create_task(self._run(job, spec, buffer, end), name=f"flash-job-{job}")
        self._tasks[job] = task
        task.add_done_callback(lambda _: self._forget(job))

    def check_capacity(self) -> None:
        """Raise `TooManyJobs` if one more job would be refused."""
        if len(self._tasks) >= self.max_jobs + self.max_waiting:
            raise TooManyJobs(self.max_jobs, self.max_waiting)

    def cancel(self, job: str) -> bool:
        """End a job; False where it is not at work here."""
        task = self._tasks.get(job)
        if task is None:
            return False
        self._cancelled.add(job)
        _cancel_later(task)
        return True

    async def close(self) -> None:
        """Cancel every job and wait for their ends, up to `CLOSE_SECONDS`."""
        tasks = list(self._tasks.values())
        for task in tasks:
            _cancel_later(task)
        if tasks:
            _, deaf = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            if deaf:
                logger.warning("%d background jobs ignore their cancellation", len(deaf))
        self._threads.close()
        # The next jobs may run on another loop, as they do in tests.
        self._slots = asyncio.Semaphore(self.max_jobs)

    def _forget(self, job: str) -> None:
        self._tasks.pop(job, None)
        self._cancelled.discard(job)

    async def _run(
        self,
        job: str,
        spec: JobSpec,
        buffer: UpdateBuffer,
        end: Callable[[Report], Awaitable[None]],
    ) -> None:
        try:
            async with self._slots:
                report = await self._perform(spec, buffer)
        except asyncio.CancelledError:
            report = Report.lost("the server stopped before this job had ended")
        if job in self._cancelled:
            # Even if the function took no notice.
            report = Report(State.CANCELLED)
        buffer.close()
        await end(report)

    async def _perform(self, spec: JobSpec, buffer: UpdateBuffer) -> Report:
        """Run the function; whatever it raises becomes part of the report."""
        plan = spec.plan
        context = dash_seam.AttributeDict(spec.context)
        context["ignore_register_page"] = False
        context["updated_props"] = PropsSink(buffer)
        # Never reset: the task's own context ends with it.
        dash_seam.context_value.set(context)
        progress = [SetProgress(buffer, spec.progress_outputs)] if spec.progress_outputs else []
        limit = asyncio.timeout(plan.options.timeout)
        try:
            async with limit:
                if plan.runner is Runner.LOOP:
                    result = plan.function(*progress, *spec.args, **spec.kwargs)
                    result = await result if inspect.isawaitable(result) else result
                else:
                    result = await self._threads.call(
                        plan.function, *progress, *spec.args, **spec.kwargs
                    )
        except PreventUpdate:
            return Report(State.DONE, no_update)
        except (Exception, SystemExit) as error:  # noqa: BLE001  the job's boundary
            if limit.expired() and plan.options.timeout is not None:
                return Report.failed(CallbackTimeout(plan.id, plan.options.timeout))
            return Report.failed(error)
        return Report(State.DONE, result)


def _cancel_later(task: asyncio.Task[None]) -> None:
    """Cancel after the task's first step: one cancelled before it would end without a report."""
    asyncio.get_running_loop().call_soon(task.cancel)
