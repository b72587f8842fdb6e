"""The value of `dash.ctx` during a call. Its fields are computed when they are read.

Dash computes some twenty fields for every call, and most callbacks read none of them. A
`CallContext` computes a field on first access and keeps the value.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

import quart
from dash.backends.base_server import ResponseAdapter
from werkzeug.datastructures import Headers, MultiDict

from flash.callbacks.plan import CallbackRequest
from flash.seams import dash as dash_seam

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from flash.callbacks.plan import CallbackPlan


# The header in which `flash.js` sends what Dash's renderer puts into the URL of a callback request:
# the identity of the page and the handles of its background jobs.
CALL_HEADER = "Flash-Call"


class CallbackResponse(ResponseAdapter):
    """The headers and cookies that a callback adds to its HTTP response: `dash.ctx.response`.

    It implements Dash 4's response adapter (``set_cookie``, ``append_header``, ``set_header``) and
    has ``headers``, like the Flask response of Dash 2.
    """

    def __init__(self) -> None:
        super().__init__()
        self._response = quart.Response(b"")
        # Flash sets the content headers of the response; this holds the additional ones.
        self._response.headers.clear()

    @property
    def callback_response(self) -> quart.Response:
        """The Quart response that collects headers and cookies. Flash ignores its body."""
        return self._response

    @property
    def headers(self) -> Headers:
        """The headers to add to the response."""
        return self._response.headers

    def set_cookie(self, key: str, value: str = "", **kwargs: Any) -> None:
        """Add a cookie; takes the keywords of `quart.Response.set_cookie`."""
        self._response.set_cookie(key, value, **kwargs)

    def delete_cookie(self, key: str, **kwargs: Any) -> None:
        """Delete a cookie in the browser."""
        self._response.delete_cookie(key, **kwargs)

    def append_header(self, key: str, value: str) -> None:
        """Add a header and keep others of the same name."""
        self._response.headers.add(key, value)

    def set_header(self, key: str, value: str) -> None:
        """Set a header and remove others of the same name."""
        self._response.headers.set(key, value)

    def set_response(self, **kwargs: Any) -> quart.Response:
        """Set the body; Dash's own dispatch calls this."""
        self._response.set_data(kwargs.get("data", b""))
        self._response.headers["Content-Type"] = "application/json"
        return self._response


class CallContext(dash_seam.AttributeDict):
    """The value behind `dash.ctx` for one call of one callback.

    It is a dictionary, because third-party code expects one. ``_FIELDS`` computes a missing field
    on first access. Only one call uses it, so only one thread at a time.
    """

    def __init__(
        self, plan: CallbackPlan, request: CallbackRequest, spec: Any, manager: Any
    ) -> None:
        super().__init__(
            updated_props={},
            inputs_list=request.inputs,
            states_list=request.state,
            outputs_list=spec,
            background_callback_manager=manager,
            ignore_register_page=plan.background is not None,
        )
        # Attributes, not items: a background manager may pickle the items.
        object.__setattr__(self, "_plan", plan)
        object.__setattr__(self, "_request", request)

    def __missing__(self, key: str) -> Any:
        compute = _FIELDS.get(key)
        if compute is None:
            raise KeyError(key)
        value = compute(self, self.__dict__["_plan"], self.__dict__["_request"])
        self[key] = value
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """Return a field, computed now if necessary; ``default`` for an unknown key."""
        try:
            return self[key]
        except KeyError:
            return default

    def compute_all(self) -> None:
        """Compute every field now, for a copy that is used after the request has ended."""
        for key in _FIELDS:
            self[key]


class _UngroupedPlan(NamedTuple):
    """Replaces a `CallbackPlan` where no Dash callback exists; arguments are not grouped."""

    indices: list[int]
    outputs_indices: tuple[int, ...] = ()
    background: None = None


class _Current:
    """Makes a context the current `dash.ctx` within ``with``.

    Not a generator with `contextmanager`, which costs each message of a channel 1 µs.
    """

    __slots__ = ("_context", "_token")

    def __init__(self, context: CallContext) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = dash_seam.context_value.set(self._context)

    def __exit__(self, *_: object) -> None:
        dash_seam.context_value.reset(self._token)


class EventContext:
    """Provides `dash.ctx` to code that a page runs without a Dash callback; for add-on packages.

    ``inputs``, ``state`` and ``changed`` have the form that they have in a callback request.
    Raises `BadRequest` if they have another form.
    """

    def __init__(self, inputs: Any, state: Any, changed: Any) -> None:
        request = CallbackRequest.parse(
            {"output": "", "inputs": inputs, "state": state, "changedPropIds": changed}
        )
        self._provide(request)

    @classmethod
    def without_inputs(cls) -> EventContext:
        """Return a context for code that no component calls; takes half the time."""
        made = cls.__new__(cls)
        made._provide(CallbackRequest("", None, [], [], [], {}))
        return made

    def _provide(self, request: CallbackRequest) -> None:
        self.slots = [*request.inputs, *request.state]
        plan: Any = _UngroupedPlan(list(range(len(self.slots))))
        self._context = CallContext(plan, request, [], None)

    def active(self) -> AbstractContextManager[None]:
        """Make this the current `dash.ctx`, to which `dash.set_props` also writes."""
        return _Current(self._context)

    def take_updates(self) -> list[tuple[str | dict[str, Any], dict[str, Any]]]:
        """Return and clear what `dash.set_props` collected: component ids with their properties."""
        collected: dict[str, dict[str, Any]] = self._context["updated_props"]
        # Each is taken by itself: a thread may set others meanwhile.
        return [
            (json.loads(name) if name.startswith("{") else name, collected.pop(name))
            for name in list(collected)
        ]

    def on_update(self, function: Callable[[], object]) -> None:
        """Call ``function`` after each `flash.set_props`, in the thread that calls that."""
        object.__setattr__(self._context, "on_update", function)


def _triggered_inputs(
    ctx: CallContext, plan: CallbackPlan, request: CallbackRequest
) -> list[dict[str, Any]]:
    del plan
    values = ctx["input_values"]
    return [{"prop_id": name, "value": dict.get(values, name)} for name in request.changed]


def _args_grouping(ctx: CallContext, plan: CallbackPlan, request: CallbackRequest) -> Any:
    slots: list[Any] = [
        [dash_seam.AttributeDict(each) for each in slot]
        if isinstance(slot, list)
        else dash_seam.AttributeDict(slot)
        for slot in (*request.inputs, *request.state)
    ]
    for slot in slots:
        for each in slot if isinstance(slot, list) else (slot,):
            dash_seam.update_args_group(each, request.changed)
    return _group(slots, plan.indices)


def _group(slots: Any, indices: Any) -> Any:
    flat = slots if isinstance(slots, list) else [slots]
    return dash_seam.map_grouping(lambda index: flat[index], indices) if flat else []


def _uses_grouping(slots: Any, indices: Any) -> bool:
    if isinstance(slots, list) and not slots:
        return False
    return not isinstance(indices, int) and indices != list(range(dash_seam.grouping_len(indices)))


_FIELDS: dict[str, Callable[[CallContext, CallbackPlan, CallbackRequest], Any]] = {
    "input_values": lambda ctx, plan, request: dash_seam.inputs_to_dict(request.inputs),
    "state_values": lambda ctx, plan, request: dash_seam.inputs_to_dict(request.state),
    "triggered_inputs": _triggered_inputs,
    "args_grouping": _args_grouping,
    "using_args_grouping": lambda ctx, plan, request: _uses_grouping(
        [*request.inputs, *request.state], plan.indices
    ),
    "outputs_grouping": lambda ctx, plan, request: _group(
        ctx["outputs_list"], plan.outputs_indices
    ),
    "using_outputs_grouping": lambda ctx, plan, request: _uses_grouping(
        ctx["outputs_list"], plan.outputs_indices
    ),
    "dash_response": lambda ctx, plan, request: CallbackResponse(),
    "custom_data": lambda ctx, plan, request: dash_seam.AttributeDict(),
    "cookies": lambda ctx, plan, request: dict(current_request().cookies),
    "headers": lambda ctx, plan, request: dict(current_request().headers),
    "args": lambda ctx, plan, request: arguments_of(current_request()),
    "path": lambda ctx, plan, request: current_request().full_path,
    "remote": lambda ctx, plan, request: current_request().remote_addr,
    "origin": lambda ctx, plan, request: current_request().headers.get("origin"),
}


def arguments_of(request: Any) -> MultiDict[str, str]:
    """Return the arguments of a callback request, those of its URL and of its header."""
    sent = request.headers.get(CALL_HEADER)
    if sent is None:
        return request.args
    arguments: MultiDict[str, str] = MultiDict(request.args)
    for name, value in parse_qsl(sent, keep_blank_values=True):
        arguments.add(name, value)
    return arguments


def current_request() -> Any:
    """Return the current HTTP request, or the request that opened the current WebSocket.

    Outside of both, such as in a feeder or a test, the result has no cookies, headers or address.
    """
    if quart.has_request_context():
        return quart.request
    if quart.has_websocket_context():
        return quart.websocket
    return _NO_REQUEST


class _NoRequest:
    """An empty request, for a call that no browser started."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.args: MultiDict[str, str] = MultiDict()
        self.full_path = ""
        self.remote_addr = None


_NO_REQUEST = _NoRequest()
