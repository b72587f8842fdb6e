"""The exchange with the page about a background callback: a request starts a job, others poll it.

A poll carries the handles that the start gave out. They are signed with the app's secret and bound
to the page's own signed identity, so that a page can ask for its own jobs only.
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

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from flash.callbacks.context import CallContext
    from flash.callbacks.execution import WorkerPool
    from flash.callbacks.plan import CallbackPlan


@dataclass(frozen=True, slots=True)
class BackgroundCall:
    """One request of a background callback: it starts a job, or asks how one goes."""

    plan: CallbackPlan
    # What `dash.ctx` sees; its "args" are the query arguments (cacheKey, job, oldJob, endId).
    ctx: CallContext
    args: list[Any]
    kwargs: dict[str, Any]
    # Gives the key that handles are signed with; may read the manager's store, so it may block.
    secret: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class _HandleSigner:
    """Signs handles for one page and checks what it sends back."""

    secret: bytes
    # None where the page has no identity (MCP) or not one that we signed.
    page: str | None

    @classmethod
    def of(cls, secret: bytes, query: Mapping[str, str]) -> _HandleSigner:
        return cls(secret, _unsign(secret, dash_seam.END_SCOPE, query.get("endId")))

    def sign(self, handles: JobHandles) -> dict[str, str]:
        return {
            "cacheKey": dash_seam.sign(self.secret, dash_seam.cache_scope(self.page), handles.key),
            "job": dash_seam.sign(self.secret, dash_seam.job_scope(self.page), handles.job),
        }

    def key(self, signed: str | None) -> str | None:
        return _unsign(self.secret, dash_seam.cache_scope(self.page), signed)

    def job(self, signed: str | None) -> str | None:
        return _unsign(self.secret, dash_seam.job_scope(self.page), signed)


def _unsign(secret: bytes, scope: str, signed: str | None) -> str | None:
    # What is not ASCII was not signed by us, and Dash's comparison raises over it.
    return dash_seam.unsign(secret, scope, signed) if signed and signed.isascii() else None


async def respond(
    call: BackgroundCall,
    pool: WorkerPool,
    handle_error: Callable[[Exception], Awaitable[Any]] | None,
) -> Any:
    """Start a job, or tell how it goes: a `PendingJob`, or the result the callback returned.

    Side updates that go with a result are put into ``call.ctx["updated_props"]``. Raises
    `PreventUpdate` when a job ended with nothing to say, `BadRequest` for handles that were not
    given to this page, and what `handle_error` would get where it is None.
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
    return _closing(call, result)


def adapt(manager: Any, pool: WorkerPool) -> JobManager:
    """Return ``manager`` as one to await; calls of Dash's own run in threads of ``pool``."""
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
    signer = _HandleSigner.of(await pool.run(call.secret), query)
    for signed in query.getlist("oldJob") if hasattr(query, "getlist") else ():
        job = signer.job(signed)
        if job is not None:
            await manager.cancel(job)
    signed_key = query.get("cacheKey")
    if not signed_key:
        spec = JobSpec(call.plan, call.args, call.kwargs, job_context(call.ctx))
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
    # The page takes both kinds of key: a component's id, and "id.property".
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
    # A cancelled job closes the line without an answer.
    return no_update if report.state is State.CANCELLED else report.result


def _closing(call: BackgroundCall, result: Any) -> Any:
    """Bring what ended the job into the form that an ordinary callback returns."""
    is_no_update = dash_seam.NoUpdate.is_no_update
    plan = call.plan
    nothing = is_no_update(result) or (result is None and not plan.has_output)
    if nothing:
        if not call.ctx["updated_props"]:
            raise PreventUpdate
        return no_update if plan.has_output else None
    if plan.multi and isinstance(result, list | tuple):
        # One that came through a store is a dictionary, which no output takes for what it is.
        return [no_update if is_no_update(each) else each for each in result]
    return result
