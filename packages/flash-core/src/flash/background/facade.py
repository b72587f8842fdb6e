"""What Dash's own code calls on a background manager, put on top of Flash's managers.

Dash's cancel callbacks end jobs through it, and its MCP tools ask for results.
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
    """A manager whose key of a job and id of a job are the same string."""

    # Seconds; Dash's MCP reports it as a task's time to live.
    expire: float

    def __init__(self, cache_by: Sequence[Callable[[], Any]] | Callable[[], Any] | None) -> None:
        listed = list(cache_by) if isinstance(cache_by, Sequence) else cache_by
        super().__init__(listed)

    @abstractmethod
    def peek(self, key: str) -> Report:
        """Tell how a job goes without taking anything; from any thread, may block it."""

    @abstractmethod
    def take(self, key: str) -> Report:
        """Tell how a job goes and take what it said; from any thread, may block it."""

    def make_job_fn(self, fn: Any, progress: Any, key: Any = None) -> Any:
        """Return ``fn``: a job calls it as it is."""
        return fn

    def call_job_fn(self, key: Any, job_fn: Any, args: Any, context: Any) -> NoReturn:
        """Refuse: only an app that awaits its managers can start jobs here."""
        name = type(self).__name__
        raise ConfigurationError(f"{name} needs flash.Flash in place of dash.Dash")

    def job_running(self, job: str) -> bool:
        """Tell whether a job runs or waits for its turn."""
        return self.peek(job).state is State.RUNNING

    def terminate_unhealthy_job(self, job: str) -> bool:
        """Do nothing: a job that fails ends by itself."""
        return False

    def result_ready(self, key: str) -> bool:
        """Tell whether a job has ended in any way but by being cancelled."""
        return self.peek(key).state in (State.DONE, State.FAILED)

    def get_progress(self, key: str) -> Sequence[Any] | None:
        """Return the latest progress that no poll has taken."""
        return self.peek(key).progress

    def get_result(self, key: str, job: Any) -> Any:
        """Return the result or the error in Dash's form, or `UNDEFINED`."""
        if self.peek(key).state is State.RUNNING:
            return self.UNDEFINED
        report = self.take(key)
        if report.state is State.FAILED:
            return {"background_callback_error": {"msg": report.message, "tb": report.trace}}
        return report.result if report.state is State.DONE else self.UNDEFINED

    def get_updated_props(self, key: str) -> dict[str, Any]:
        """Return nothing: properties reach the page through its polls."""
        return {}


async def cache_parts(functions: Sequence[Callable[[], Any]], pool: WorkerPool) -> list[Any]:
    """Return what the functions of ``cache_by`` give, in their order."""
    return [await pool.call(function) for function in functions]
