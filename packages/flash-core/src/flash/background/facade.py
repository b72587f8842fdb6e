"""The interface of Dash's background managers, implemented for Flash's managers.

Dash's cancel callbacks end jobs through it, and Dash's MCP tools read results through it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from dash.background_callback.managers import BaseBackgroundCallbackManager

from flash.background.job import Report, State
from flash.errors import ConfigurationError

if TYPE_CHECKING:
    from flash.callbacks.execution import WorkerPool


class DashFacade(BaseBackgroundCallbackManager):
    """A base class for Flash's managers, which use one string as a job's key and as its id."""

    # Seconds; Dash's MCP reports it as the task's time to live.
    expire: float

    def __init__(self, cache_by: Sequence[Callable[[], Any]] | Callable[[], Any] | None) -> None:
        listed = list(cache_by) if isinstance(cache_by, Sequence) else cache_by
        super().__init__(listed)

    @abstractmethod
    def peek(self, key: str) -> Report:
        """Report the state of a job and remove nothing; from any thread, which it may block."""

    @abstractmethod
    def take(self, key: str) -> Report:
        """Report the state of a job and remove what is reported; from any thread, may block it."""

    def make_job_fn(self, fn: Any, progress: Any, key: Any = None) -> Any:
        """Return ``fn`` unchanged; a job calls it directly."""
        return fn

    def call_job_fn(self, key: Any, job_fn: Any, args: Any, context: Any) -> NoReturn:
        """Raise `ConfigurationError`: only Flash, which awaits `JobManager.start`, starts jobs."""
        name = type(self).__name__
        raise ConfigurationError(f"{name} needs an app of class flash.Flash, not dash.Dash")

    def job_running(self, job: str) -> bool:
        """Return whether a job is running or waiting to run."""
        return self.peek(job).state is State.RUNNING

    def terminate_unhealthy_job(self, job: str) -> bool:
        """Do nothing, because a job that fails ends by itself; return False."""
        return False

    def result_ready(self, key: str) -> bool:
        """Return whether a job has returned or failed; False for one that was cancelled."""
        return self.peek(key).state in (State.DONE, State.FAILED)

    def get_progress(self, key: str) -> Sequence[Any] | None:
        """Return the latest progress that no poll has reported yet."""
        return self.peek(key).progress

    def get_result(self, key: str, job: Any) -> Any:
        """Return the result or the error in Dash's format; `UNDEFINED` if there is neither."""
        if self.peek(key).state is State.RUNNING:
            return self.UNDEFINED
        report = self.take(key)
        if report.state is State.FAILED:
            return {"background_callback_error": {"msg": report.message, "tb": report.trace}}
        return report.result if report.state is State.DONE else self.UNDEFINED

    def get_updated_props(self, key: str) -> dict[str, Any]:
        """Return an empty dictionary, because polls deliver property updates to the page."""
        return {}


async def cache_parts(functions: Sequence[Callable[[], Any]], pool: WorkerPool) -> list[Any]:
    """Call the functions of ``cache_by`` and return their results in the same order."""
    return [await pool.call(function) for function in functions]
