"""Jobs as tasks of the event loop, with a bound on running and on waiting jobs."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import secrets
from typing import TYPE_CHECKING

from dash import no_update
from dash.exceptions import BackgroundCallbackError, PreventUpdate

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
from flash.exits import ends_task
from flash.props import Sent
from flash.seams import dash as dash_seam

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

# How long `close` waits for cancelled jobs.
CLOSE_SECONDS = 5.0


class JobTasks:
    """Runs ``async def`` jobs on the event loop and plain functions in a thread pool of its own.

    At most ``max_jobs`` run at once and ``max_waiting`` wait in order of arrival; further ones are
    refused with `TooManyJobs` (policy: refuse the newest). The pool is separate from the app's, so
    long jobs do not delay short callbacks.

    A plain function cannot be stopped. When its job is cancelled, its result is dropped, and its
    next `set_progress` or `set_props` raises `CancelledError`. Its thread is busy until it returns.

    An instance belongs to one event loop; after `close` it may be used on another.
    """

    def __init__(self, *, max_jobs: int, max_waiting: int) -> None:
        if max_jobs < 1:
            raise ConfigurationError(f"max_jobs={max_jobs!r}: give 1 or more")
        if max_waiting < 0:
            raise ConfigurationError(f"max_waiting={max_waiting!r}: give 0 or more")
        self.max_jobs = max_jobs
        self.max_waiting = max_waiting
        # A cancelled job may still occupy a thread; the next job then waits and is not refused.
        self._threads = WorkerPool(max_threads=max_jobs, max_waiting=max_jobs)
        self._slots = asyncio.Semaphore(max_jobs)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # The prefix of this process's job ids, and the process for which it was made.
        self._process = ""
        self._pid = 0
        # Jobs cancelled by `cancel`, in contrast to those that end with the server.
        self._cancelled: set[str] = set()

    def __len__(self) -> int:
        """Return the number of jobs that run or wait."""
        return len(self._tasks)

    def __contains__(self, job: object) -> bool:
        return job in self._tasks

    @property
    def process(self) -> str:
        """The prefix of the ids of this process's jobs.

        It is made on first use in each process, because workers may be forks of the process that
        created the manager.
        """
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._process = secrets.token_hex(8)
        return self._process

    def new_id(self) -> str:
        """Return a job id that is unique among all processes."""
        return f"{self.process}-{secrets.token_hex(8)}"

    def ids(self) -> list[str]:
        """Return the ids of the jobs that run or wait."""
        return list(self._tasks)

    def start(
        self,
        job: str,
        spec: JobSpec,
        buffer: UpdateBuffer,
        end: Callable[[Report], Awaitable[None]],
    ) -> None:
        """Start a job; ``end`` is awaited once, with the final report. Raises `TooManyJobs`."""
        self.check_capacity()
        task = asyncio.create_task(self._run(job, spec, buffer, end), name=f"flash-job-{job}")
        self._tasks[job] = task
        task.add_done_callback(lambda _: self._forget(job))

    def check_capacity(self) -> None:
        """Raise `TooManyJobs` if another job would be refused."""
        if len(self._tasks) >= self.max_jobs + self.max_waiting:
            raise TooManyJobs(self.max_jobs, self.max_waiting)

    def cancel(self, job: str) -> bool:
        """Cancel a job; return False if it is not one of this process."""
        task = self._tasks.get(job)
        if task is None:
            return False
        self._cancelled.add(job)
        _cancel_later(task)
        return True

    async def close(self) -> None:
        """Cancel all jobs and wait for their end, up to `CLOSE_SECONDS`."""
        tasks = list(self._tasks.values())
        for task in tasks:
            _cancel_later(task)
        if tasks:
            _, unfinished = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            if unfinished:
                logger.warning(
                    "%d background jobs did not end within %g s of their cancellation",
                    len(unfinished),
                    CLOSE_SECONDS,
                )
        self._threads.close()
        # Later jobs may run on another event loop, as in tests.
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
            # Also if the function ignored the cancellation and returned a result.
            report = Report(State.CANCELLED)
        buffer.close()
        await end(report)

    async def _perform(self, spec: JobSpec, buffer: UpdateBuffer) -> Report:
        """Run the function and report its result or its error."""
        if spec.cause is None:
            return await self._call(spec, buffer)
        with spec.cause.traced(f"job {spec.plan.id}", {"flash.callback.id": spec.plan.id}) as span:
            report = await self._call(spec, buffer)
            span.set({"flash.job.outcome": report.state.value})
            if report.state is State.FAILED:
                span.fail(BackgroundCallbackError(report.message))
            return report

    async def _call(self, spec: JobSpec, buffer: UpdateBuffer) -> Report:
        plan = spec.plan
        context = dash_seam.AttributeDict(spec.context)
        context["ignore_register_page"] = False
        context["updated_props"] = PropsSink(buffer)
        # Never reset, because the task's context ends with the task.
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
        except BaseException as error:
            if ends_task(error):
                raise
            if limit.expired() and plan.options.timeout is not None:
                return Report.failed(CallbackTimeout(plan.id, plan.options.timeout))
            return Report.failed(error)
        # What `set_props` returns is no value.
        return Report(State.DONE, None if isinstance(result, Sent) else result)


def _cancel_later(task: asyncio.Task[None]) -> None:
    """Cancel ``task`` after its first step; before that, it would end without a report."""
    asyncio.get_running_loop().call_soon(task.cancel)
