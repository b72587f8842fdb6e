"""The requests of a background callback: one starts a job, later ones poll it.

The response to the start contains the job's handles, and each poll sends them back. They are signed
with the app's secret and bound to the page's signed identity, so a page can poll only its own jobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from dash import no_update
from dash.exceptions import (
    BackgroundCallbackError,
    MissingLongCallbackManagerError,
    PreventUpdate,
)

from flash.background.blocking import BlockingManager
from flash.background.job import JobHandles, JobManager, JobSpec, Report, State, job_context
from flash.callbacks.response import PendingJob
from flash.errors import BadRequest, Overloaded
from flash.seams import dash as dash_seam
from flash.tracing import Cause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from flash.callbacks.context import CallContext
    from flash.callbacks.execution import WorkerPool
    from flash.callbacks.plan import CallbackPlan
    from flash.tracing import Tracing


@dataclass(frozen=True, slots=True)
class BackgroundCall:
    """One request of a background callback: it starts a job or polls one."""

    plan: CallbackPlan
    # The callback context; its "args" are the query arguments (cacheKey, job, oldJob, endId).
    ctx: CallContext
    args: list[Any]
    kwargs: dict[str, Any]
    # Returns the key that signs handles; may block, because it may read the manager's store.
    secret: Callable[[], bytes]
    # None if nothing is traced.
    tracing: Tracing | None = None
    # The name of the user who sends the request; None if it is not known.
    user: str | None = None


@dataclass(frozen=True, slots=True)
class _HandleSigner:
    """Signs handles for one page and verifies those that the page sends back."""

    secret: bytes
    # The page's identity; None if it has none (MCP) or if its signature is not ours.
    page: str | None
    # The user for whom handles are valid; None if users are not known.
    user: str | None

    @classmethod
    def of(cls, secret: bytes, query: Mapping[str, str], user: str | None) -> _HandleSigner:
        name = _unsign(secret, dash_seam.END_SCOPE, query.get("endId"))
        page = None if name is None else dash_seam.without_issue_time(name)
        return cls(secret, page, user)

    def sign(self, handles: JobHandles) -> dict[str, str]:
        return {
            "cacheKey": self._sign(dash_seam.cache_scope, handles.key),
            "job": self._sign(dash_seam.job_scope, handles.job),
        }

    def key(self, signed: str | None) -> str | None:
        return self._verify(dash_seam.cache_scope, signed)

    def job(self, signed: str | None) -> str | None:
        return self._verify(dash_seam.job_scope, signed)

    def _sign(self, scope: Callable[[str | None], str], handle: str) -> str:
        return dash_seam.sign(self.secret, scope(self.page) + self._for_user(), handle)

    def _for_user(self) -> str:
        return "" if self.user is None else f"\nuser:{self.user}"

    def _verify(self, scope: Callable[[str | None], str], signed: str | None) -> str | None:
        found = _unsign(self.secret, scope(self.page) + self._for_user(), signed)
        if found is None and self.page is not None:
            # The page has started the job before the live link gave it another identity.
            _, separator, before = self.page.partition(dash_seam.PREVIOUS)
            if separator:
                return _unsign(self.secret, scope(before) + self._for_user(), signed)
        return found


def _unsign(secret: bytes, scope: str, signed: str | None) -> str | None:
    # Our signatures are ASCII, and Dash's comparison raises an error for other text.
    return dash_seam.unsign(secret, scope, signed) if signed and signed.isascii() else None


async def respond(
    call: BackgroundCall,
    pool: WorkerPool,
    handle_error: Callable[[Exception], Awaitable[Any]] | None,
) -> Any:
    """Start or poll a job; return a `PendingJob`, or what the callback returned.

    Property updates that come with a result are put into ``call.ctx["updated_props"]``. Raises
    `PreventUpdate` if the job changed nothing, and `BadRequest` for handles that were not issued to
    this page. An error of the job goes to ``handle_error``; it is raised if that is None.
    """
    try:
        report = await _exchange(call, pool)
        if isinstance(report, PendingJob):
            return report
        result = _result(report)
    except (PreventUpdate, BadRequest, Overloaded):
        raise
    except Exception as error:
        if handle_error is None:
            raise
        result = await handle_error(error)
        if result is None:
            result = no_update
    return _final_value(call, result)


async def cancel(call: BackgroundCall, pool: WorkerPool) -> None:
    """Cancel the jobs that a request of the callback for ``cancel=`` names."""
    found = call.ctx["background_callback_manager"]
    if found is not None:
        query = call.ctx["args"]
        signer = _HandleSigner.of(await pool.run(call.secret), query, call.user)
        await _cancel(adapt(found, pool), signer, query, "cancelJob")


async def _cancel(manager: JobManager, signer: _HandleSigner, query: Any, name: str) -> None:
    """Cancel the jobs whose handles the argument ``name`` holds and that belong to the page."""
    for signed in query.getlist(name) if hasattr(query, "getlist") else ():
        job = signer.job(signed)
        if job is not None:
            await manager.cancel(job)


def adapt(manager: Any, pool: WorkerPool) -> JobManager:
    """Return ``manager`` as a `JobManager`; calls of Dash's own run in threads of ``pool``."""
    return manager if isinstance(manager, JobManager) else BlockingManager(manager, pool)


async def _exchange(call: BackgroundCall, pool: WorkerPool) -> PendingJob | Report:
    found = call.ctx["background_callback_manager"]
    if found is None:
        raise MissingLongCallbackManagerError(
            "Running `background` callbacks requires a manager to be installed.\n"
            "Available managers:\n"
            "- AsyncManager (`flash.AsyncManager()`) to run callbacks as tasks of the server.\n"
            "- RedisManager (`pip install flash-core[redis]`) to do so with several workers.\n"
            "- Diskcache (`pip install dash[diskcache]`) to run callbacks in a separate Process"
            " and store results on the local filesystem.\n"
            "- Celery (`pip install dash[celery]`) to run callbacks in a celery worker"
            " and store results on redis.\n"
        )
    manager = adapt(found, pool)
    query = call.ctx["args"]
    signer = _HandleSigner.of(await pool.run(call.secret), query, call.user)
    await _cancel(manager, signer, query, "oldJob")
    signed_key = query.get("cacheKey")
    if not signed_key:
        spec = JobSpec(
            *(call.plan, call.args, call.kwargs, job_context(call.ctx)),
            cause=None if call.tracing is None else Cause(call.tracing, call.tracing.current()),
        )
        return _started(call.plan, signer.sign(await manager.start(spec, pool)))
    key = signer.key(signed_key)
    if key is None:
        raise BadRequest(
            "this background job was not started from this page on this server; if the server "
            "restarted or has several workers, give app.server a secret_key and use RedisManager",
            status=HTTPStatus.FORBIDDEN,
        )
    report = await manager.poll(JobHandles(key, signer.job(query.get("job")) or ""))
    progress = _progress(call.plan, report)
    if report.state is State.RUNNING:
        return _pending(report, progress)
    # The page accepts both kinds of keys: a component's id, and "id.property".
    call.ctx["updated_props"].update({**progress, **report.updates})
    return report


def _started(plan: CallbackPlan, handles: dict[str, Any]) -> PendingJob:
    background = plan.background or {}
    body = handles
    if cancel := background.get("cancel"):
        body["cancel"] = cancel
    if default := background.get("progressDefault"):
        outputs = background["progress"]
        body["progressDefault"] = {
            str(output): value for output, value in zip(outputs, default, strict=True)
        }
    return PendingJob(body)


def _pending(report: Report, progress: dict[str, Any]) -> PendingJob:
    body: dict[str, Any] = {"multi": True}
    if progress:
        body["progress"] = progress
    if report.updates:
        body["sideUpdate"] = dict(report.updates)
    return PendingJob(body)


def _progress(plan: CallbackPlan, report: Report) -> dict[str, Any]:
    outputs = (plan.background or {}).get("progress")
    if not outputs or not report.progress:
        return {}
    if len(outputs) != len(report.progress):
        raise BackgroundCallbackError(
            f"set_progress got {len(report.progress)} values for {len(outputs)} progress outputs"
        )
    return {str(output): value for output, value in zip(outputs, report.progress, strict=True)}


def _result(report: Report) -> Any:
    if report.state is State.FAILED:
        raise BackgroundCallbackError(
            f"An error occurred inside a background callback: {report.message}\n{report.trace}"
        )
    # A cancelled job has no result.
    return no_update if report.state is State.CANCELLED else report.result


def _final_value(call: BackgroundCall, result: Any) -> Any:
    """Return the job's result in the form in which an ordinary callback returns it."""
    is_no_update = dash_seam.NoUpdate.is_no_update
    plan = call.plan
    nothing = is_no_update(result) or (result is None and not plan.has_output)
    if nothing:
        if not call.ctx["updated_props"]:
            raise PreventUpdate
        return no_update if plan.has_output else None
    if plan.multi and isinstance(result, list | tuple):
        # A `no_update` that was stored as JSON is a dictionary; outputs need the object itself.
        return [no_update if is_no_update(each) else each for each in result]
    return result
