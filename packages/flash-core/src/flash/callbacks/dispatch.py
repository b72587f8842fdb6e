"""Dispatch of a callback request: bind, run, handle errors, assemble, serialise.

All callbacks run through `Dispatcher`. The HTTP endpoint calls it directly. Dash's own handlers
(its WebSocket, MCP, kinds of request newer than Flash) reach it through an adapter in
`callback_map`. So a plain function never runs on the event loop, whoever calls it.
"""

from __future__ import annotations

import inspect
import json
import time
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import orjson
from dash.development.base_component import ComponentRegistry
from dash.exceptions import CallbackException, ImportedInsideCallbackError, PreventUpdate
from werkzeug.datastructures import MultiDict

from flash.callbacks.context import CallContext, current_request
from flash.callbacks.counts import CallbackCounts, outcome_of
from flash.callbacks.execution import (
    SharedCalls,
    Superseded,
    Supersession,
    WorkerPool,
    within,
)
from flash.callbacks.plan import CallbackPlan, CallbackRequest, Runner, compile_plan
from flash.callbacks.response import (
    NO_CONTENT,
    NOT_COMPILED,
    OK,
    EncodedResponse,
    PendingJob,
    text_response,
)
from flash.callbacks.size import MAX_VALUES_ON_LOOP, is_large
from flash.callbacks.traced import call_in_span
from flash.errors import BadRequest, CallbackTimeout, ExitRaised, Overloaded, quoted
from flash.exits import ends_task
from flash.seams import dash as dash_seam
from flash.seams import quart as quart_seam
from flash.serialize import dumps
from flash.tracing import CallTimes, caused_by

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from flash.callbacks.hook_registry import Hooks
    from flash.tracing import Tracing, Value


# Positional and keyword arguments of a callback's function.
_Bound: TypeAlias = tuple[list[Any], dict[str, Any]]


class Jobs(Protocol):
    """Runs background callbacks; implemented by `BackgroundJobs`."""

    async def respond(
        self,
        plan: CallbackPlan,
        ctx: CallContext,
        args: list[Any],
        kwargs: dict[str, Any],
        handle_error: Callable[[Exception], Awaitable[Any]] | None,
    ) -> Any:
        """Start or poll a background job; return a `PendingJob` or the callback's result."""
        ...

    async def cancel(self, plan: CallbackPlan, ctx: CallContext) -> None:
        """Cancel the background jobs that the request names."""
        ...


class DashApp(Protocol):
    """What the dispatcher needs of the app."""

    callback_map: dict[str, Any]
    # None if nothing is traced.
    tracing: Tracing | None

    @property
    def background_jobs(self) -> Jobs:
        """What runs callbacks with ``background=True``."""
        ...

    @property
    def background_manager(self) -> Any:
        """The background manager of the app, or None."""
        ...

    @property
    def on_error(self) -> Callable[[Exception], Any] | None:
        """The error handler of the app, without error hooks, or None."""
        ...

    def get_dist(self, libraries: Any) -> list[Any]:
        """Return the resources of component libraries that were imported during a callback."""
        ...


class _LatePlan:
    """Compiles a plan when it is first asked for: the first page need not wait for thousands."""

    __slots__ = ("_arguments", "_plan")

    def __init__(
        self, callback_id: str, entry: dict[str, Any], registration: dash_seam.Registration
    ) -> None:
        self._arguments = (callback_id, entry, registration)
        self._plan: CallbackPlan | None = None

    def __call__(self) -> CallbackPlan:
        plan = self._plan
        if plan is None:
            plan = self._plan = compile_plan(*self._arguments)
        return plan


class Dispatcher:
    """Runs the callback requests of one app.

    Users' plain functions run in ``pool``. Large results are serialised in ``internal_pool``, so
    that they do not wait for slow callbacks.
    """

    def __init__(
        self, app: DashApp, pool: WorkerPool, internal_pool: WorkerPool, hooks: Hooks
    ) -> None:
        self._app = app
        self._pool = pool
        self._internal_pool = internal_pool
        self._hooks = hooks
        # By callback id; None for a callback that Dash's own handler runs.
        self._plans: dict[str, _LatePlan | None] = {}
        # The adapters put into `callback_map`, by callback id, to detect a replaced entry.
        self._installed: dict[str, Callable[..., Any]] = {}
        self._supersession = Supersession()
        self._shared = SharedCalls()
        # The component libraries that have been imported, as of the latest call.
        self._libraries: frozenset[str] = frozenset()
        # Of requests and of calls over Dash's own WebSocket, but not those that Dash answers.
        self.counts = CallbackCounts()

    def take_over(self) -> None:
        """Replace the function of every callback registered so far by an adapter; idempotent."""
        for callback_id, entry in list(self._app.callback_map.items()):
            # A clientside callback has an entry but no function.
            if "callback" in entry and self._installed.get(callback_id) is not entry["callback"]:
                self._take_over(callback_id, entry)

    def _take_over(self, callback_id: str, entry: dict[str, Any]) -> None:
        registration = dash_seam.read_registration(entry["callback"])
        if registration is None:
            compiled = None
            callback = self._in_thread(entry["callback"])
        else:
            compiled = _LatePlan(callback_id, entry, registration)
            callback = self._adapter(compiled, registration.function)
        self._plans[callback_id] = compiled
        entry["callback"] = self._installed[callback_id] = callback

    def plan(self, callback_id: str) -> CallbackPlan | None:
        """Return a callback's plan, compiled on first use; None if Dash's own handler runs it.

        Raises `BadRequest` (404) if no callback has this id.
        """
        entry = self._app.callback_map.get(callback_id)
        if entry is None or "callback" not in entry:
            raise BadRequest(
                f"no callback for output {quoted(callback_id)}", status=HTTPStatus.NOT_FOUND
            )
        if self._installed.get(callback_id) is not entry["callback"]:
            # A new callback, or other code has replaced the function of the entry.
            self._take_over(callback_id, entry)
        compiled = self._plans[callback_id]
        return compiled and compiled()

    async def respond(self, body: object) -> EncodedResponse:
        """Return the response to a request with the parsed JSON ``body``.

        A bad request, an overload and a timeout become responses. Any other exception of the
        callback that no ``on_error`` handles is raised.
        """
        began = time.perf_counter()
        try:
            if isinstance(body, dict) and "output" not in body:
                return NOT_COMPILED
            request = CallbackRequest.parse(body)
            plan = self.plan(request.output)
            if plan is None:
                return NOT_COMPILED
            spec, bound = _read(plan, request)
            manager = plan.manager or self._app.background_manager
            ctx = CallContext(plan, request, spec, manager)
            options = plan.options
            if options.coalesce or options.supersede:
                encoded = await self._run_by_options(plan, request, ctx, bound, spec)
            else:
                encoded = await self._run(plan, ctx, bound, spec)
        except BaseException as error:
            self.counts.add(outcome_of(error), began)
            if (response := _response_to(error)) is None:
                raise
            return response
        self.counts.add("ok", began)
        # `dict.get`, because `ctx.get` would create a response object.
        additions = dict.get(ctx, "dash_response")
        return EncodedResponse(OK, encoded, additions=additions)

    async def call(self, body: object, socket: Any, page: str | None = None) -> bytes:
        """Return the JSON response to a call over Dash's own WebSocket.

        ``socket`` becomes `ctx.websocket`; ``page`` is the identity of the page, if it has sent it.
        Raises every exception of the callback, `Superseded`, and `BadRequest` for a callback that
        Flash has not compiled.
        """
        began = time.perf_counter()
        try:
            request = CallbackRequest.parse(body)
            plan = self.plan(request.output)
            if plan is None:
                raise BadRequest(
                    f"the callback {quoted(request.output)} must be run by Dash's own handler"
                )
            spec, bound = _read(plan, request)
            manager = plan.manager or self._app.background_manager
            ctx = CallContext(plan, request, spec, manager)
            ctx["dash_websocket"] = socket
            if page is not None:
                # Over HTTP the identity of the page is in the query.
                ctx["args"] = MultiDict({**current_request().args, "endId": page})
            if page is not None and plan.options.supersede:
                data = await self._supersession.run(
                    _json_key(page, plan.id, spec), lambda: self._run(plan, ctx, bound, spec)
                )
            else:
                data = await self._run(plan, ctx, bound, spec)
        except BaseException as error:
            self.counts.add(outcome_of(error), began)
            raise
        self.counts.add("ok", began)
        return data

    async def _run_by_options(
        self,
        plan: CallbackPlan,
        request: CallbackRequest,
        ctx: CallContext,
        bound: _Bound,
        spec: Any,
    ) -> bytes:
        """Run one call with the options ``coalesce`` and ``supersede`` of its callback."""

        async def run() -> bytes:
            return await self._run(plan, ctx, bound, spec)

        if plan.options.coalesce:
            key = _json_key(request.output, spec, request.inputs, request.state, request.changed)
            return await self._shared.run(key, run)
        if plan.options.supersede:
            page = ctx["args"].get("endId")
            if page is not None:
                return await self._supersession.run(_json_key(page, plan.id, spec), run)
        return await run()

    def _run(
        self, plan: CallbackPlan, ctx: CallContext, bound: _Bound, spec: Any
    ) -> Awaitable[bytes]:
        """Run one call with ``ctx`` as `dash.ctx`; return the JSON of the response."""
        tracing = self._app.tracing
        if tracing is None:
            return self._answer(plan, ctx, bound, spec, None)
        return self._answer_traced(tracing, plan, ctx, bound, spec)

    async def _answer_traced(
        self, tracing: Tracing, plan: CallbackPlan, ctx: CallContext, bound: _Bound, spec: Any
    ) -> bytes:
        headers = quart_seam.request_headers()
        attributes = caused_by(headers)
        attributes.update(plan.span_attributes)
        times = CallTimes()

        def describe(body: bytes | None) -> dict[str, Value]:
            known = times.attributes()
            if body:
                known["flash.response.bytes"] = len(body)
            return known

        return await call_in_span(
            tracing.span(plan.span_name, attributes, headers=headers),
            partial(self._answer, plan, ctx, bound, spec, times),
            describe,
        )

    async def _answer(
        self,
        plan: CallbackPlan,
        ctx: CallContext,
        bound: _Bound,
        spec: Any,
        times: CallTimes | None,
    ) -> bytes:
        token = dash_seam.context_value.set(ctx)
        self.counts.running += 1
        try:
            for hook in self._hooks.of("custom_data"):
                data = await self._pool.call(hook.func, ctx)
                ctx["custom_data"][hook.data["namespace"]] = data
            libraries = self._imported_libraries()
            args, kwargs = bound
            if plan.background is not None:
                handler = self._error_handler(plan)
                result = await self._app.background_jobs.respond(plan, ctx, args, kwargs, handler)
                if isinstance(result, PendingJob):
                    return dumps(result.body)
            else:
                if plan.cancels_jobs:
                    await self._app.background_jobs.cancel(plan, ctx)
                try:
                    if times is not None:
                        times.called = time.perf_counter()
                    seconds = plan.options.timeout
                    if seconds is None:
                        result = await self._call(plan, args, kwargs, times)
                    else:
                        result = await self._call_within(seconds, plan, args, kwargs, times)
                    if times is not None:
                        times.returned = time.perf_counter()
                except (PreventUpdate, Overloaded):
                    raise
                except Exception as error:
                    handler = self._error_handler(plan)
                    if handler is None:
                        raise
                    result = await handler(error)
                    if result is None and plan.has_output:
                        result = dash_seam.NoUpdate()
            updates = ctx["updated_props"]
            body = plan.assemble(result, spec, updates)
            self._add_imported_libraries(plan, body, libraries)
            if times is not None:
                times.assembled = time.perf_counter()
            try:
                if is_large(result, MAX_VALUES_ON_LOOP) or (
                    updates and is_large(updates, MAX_VALUES_ON_LOOP)
                ):
                    return await self._internal_pool.run(dumps, body)
                return dumps(body)
            except TypeError:
                # Walks the whole result and raises Dash's error, which names the invalid value.
                await self._internal_pool.run(
                    dash_seam.validate.fail_callback_output, result, plan.output_grouping
                )
                raise
        finally:
            self.counts.running -= 1
            dash_seam.context_value.reset(token)

    async def _call_within(
        self,
        seconds: float,
        plan: CallbackPlan,
        args: list[Any],
        kwargs: dict[str, Any],
        times: CallTimes | None,
    ) -> Any:
        return await within(plan.id, seconds, self._call(plan, args, kwargs, times))

    async def _call(
        self,
        plan: CallbackPlan,
        args: list[Any],
        kwargs: dict[str, Any],
        times: CallTimes | None,
    ) -> Any:
        try:
            if plan.runner is Runner.AWAIT:
                return await plan.function(*args, **kwargs)
            if plan.runner is Runner.THREAD:
                function = plan.function if times is None else times.noting_begin(plan.function)
                result = await self._pool.run(function, *args, **kwargs)
            else:
                result = plan.function(*args, **kwargs)
            # A plain decorator around an `async def` returns a coroutine.
            return await result if inspect.isawaitable(result) else result
        except ExitRaised as error:
            # From a thread, which knows the function only, or a task of the callback.
            raise ExitRaised(f"callback {plan.id!r}", error.error) from error.error
        except Exception:
            raise
        except BaseException as error:
            if ends_task(error):
                raise
            # It would end the event loop and with it the server, or the connection.
            raise ExitRaised(f"callback {plan.id!r}", error) from error

    def _error_handler(self, plan: CallbackPlan) -> Callable[[Exception], Awaitable[Any]] | None:
        own = plan.on_error or self._app.on_error
        # As in Dash, error hooks run after the app's handler, but not after a callback's own.
        hooks = [] if plan.on_error else self._hooks.of("error")
        if own is None and not hooks:
            return None

        async def handle(error: Exception) -> Any:
            result = await self._pool.call(own, error) if own else None
            if not hooks:
                return result
            hooked = None
            for hook in hooks:
                hooked = await self._pool.call(hook.func, error)
            return result or hooked if hooks else result

        return handle

    def _imported_libraries(self) -> frozenset[str]:
        """Return the component libraries of the process; the same object until there is another."""
        if len(self._libraries) != len(ComponentRegistry.registry):
            self._libraries = frozenset(ComponentRegistry.registry)
        return self._libraries

    def _add_imported_libraries(
        self, plan: CallbackPlan, body: dict[str, Any], before: frozenset[str]
    ) -> None:
        """Add component libraries that were imported during the call to ``body``, if allowed."""
        if len(ComponentRegistry.registry) == len(before):
            return
        new = sorted(self._imported_libraries() - before)
        if not plan.allow_dynamic:
            libraries = "library was" if len(new) == 1 else "libraries were"
            raise ImportedInsideCallbackError(
                f"Component {libraries} imported during callback: {', '.join(new)}.\n"
                "You can set `_allow_dynamic_callbacks` to allow for development purpose only."
            )
        body["dist"] = self._app.get_dist(new)

    def _adapter(
        self, compiled: Callable[[], CallbackPlan], function: Callable[..., Any]
    ) -> Callable[..., Awaitable[str]]:
        """Return the async function that Dash's own handlers call, which never blocks the loop."""

        async def callback(
            *values: Any, outputs_list: Any, callback_context: Any, **rest: Any
        ) -> str:
            del rest
            plan, ctx = compiled(), callback_context
            own = CallContext(plan, _request_of(plan, ctx), outputs_list, _manager_of(plan, ctx))
            own.update(ctx)
            return (await self._run(plan, own, plan.bind(values), outputs_list)).decode()

        # Dash's MCP server reads name, docstring and signature of the function.
        callback.__name__ = getattr(function, "__name__", "callback")
        callback.__doc__ = function.__doc__
        callback.__wrapped__ = function  # type: ignore[attr-defined]
        return callback

    def _in_thread(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a callback that Flash did not compile as async; a plain one runs in a thread."""
        if inspect.iscoroutinefunction(function):
            return function

        async def callback(*args: Any, **kwargs: Any) -> Any:
            return await self._pool.call(function, *args, **kwargs)

        return callback


def _response_to(error: BaseException) -> EncodedResponse | None:
    """Return the response to a call that raised ``error``; None if the app logs that error."""
    match error:
        case PreventUpdate() | Superseded():
            return NO_CONTENT
        case BadRequest():
            return text_response(error.status, str(error))
        case Overloaded():
            busy = HTTPStatus.SERVICE_UNAVAILABLE
            return text_response(busy, str(error), retry_after=error.retry_after)
        case CallbackTimeout():
            return text_response(HTTPStatus.GATEWAY_TIMEOUT, str(error))
        case _:
            return None


def _read(plan: CallbackPlan, request: CallbackRequest) -> tuple[Any, _Bound]:
    """Return a request's outputs and bound arguments; raises `BadRequest` if they do not fit."""
    try:
        spec = plan.output_spec(request)
        return spec, plan.bind(plan.values(request))
    except CallbackException as error:
        raise BadRequest(str(error).strip()) from error


def _json_key(*fields: Any) -> bytes:
    """Return a key that is equal for equal JSON values."""
    try:
        return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # A lone surrogate, or an integer of more than 64 bits.
        return json.dumps(fields, sort_keys=True).encode()


def _request_of(plan: CallbackPlan, ctx: Mapping[str, Any]) -> CallbackRequest:
    """Rebuild the request from a context that Dash made."""
    return CallbackRequest(
        output=plan.id,
        outputs=ctx.get("outputs_list"),
        inputs=ctx.get("inputs_list", []),
        state=ctx.get("states_list", []),
        changed=[each["prop_id"] for each in ctx.get("triggered_inputs", [])],
        body={},
    )


def _manager_of(plan: CallbackPlan, ctx: Mapping[str, Any]) -> Any:
    return plan.manager or ctx.get("background_callback_manager")
