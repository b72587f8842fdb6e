"""What `dash.ctx` sees during a call, worked out when it is looked at, and the context variables.

Dash fills some twenty fields for every callback; most callbacks read none. A `CallContext` knows
how to make each and makes it once.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import quart
from dash.backends.base_server import ResponseAdapter
from werkzeug.datastructures import Headers, MultiDict

from flash.callbacks.plan import CallbackRequest
from flash.seams import dash as dash_seam

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from flash.callbacks.plan import CallbackPlan


class CallbackResponse(ResponseAdapter):
    """What a callback may add to its HTTP response: `dash.ctx.response`.

    Speaks Dash 4's adapter (``set_cookie``, ``append_header``, ``set_header``) and, as Dash 2's
    Flask response did, ``headers``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._response = quart.Response(b"")
        # Content headers are the runtime's; what is here are additions.
        self._response.headers.clear()

    @property
    def callback_response(self) -> quart.Response:
        """The Quart response that collects headers and cookies; its body is not used."""
        return self._response

    @property
    def headers(self) -> Headers:
        """The headers to add."""
        return self._response.headers

    def set_cookie(self, key: str, value: str = "", **kwargs: Any) -> None:
        """Add a cookie; keywords as of `quart.Response.set_cookie`."""
        self._response.set_cookie(key, value, **kwargs)

    def delete_cookie(self, key: str, **kwargs: Any) -> None:
        """Ask the browser to forget a cookie."""
        self._response.delete_cookie(key, **kwargs)

    def append_header(self, key: str, value: str) -> None:
        """Add a header beside others of the same name."""
        self._response.headers.add(key, value)

    def set_header(self, key: str, value: str) -> None:
        """Set a header, in place of others of the same name."""
        self._response.headers.set(key, value)

    def set_response(self, **kwargs: Any) -> quart.Response:
        """Put the body in, as Dash's own dispatch does."""
        self._response.set_data(kwargs.get("data", b""))
        self._response.headers["Content-Type"] = "application/json"
        return self._response


class CallContext(dash_seam.AttributeDict):
    """The value behind `dash.ctx` for one call of one callback.

    A dictionary, as third-party code expects; a field that is not there yet is made by ``_FIELDS``
    on first look. Used by one call only, so by one thread at a time.
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
        # Kept off the dictionary: a background manager may pickle that.
        object.__setattr__(self, "_plan", plan)
        object.__setattr__(self, "_request", request)

    def __missing__(self, key: str) -> Any:
        make = _FIELDS.get(key)
        if make is None:
            raise KeyError(key)
        value = make(self, self.__dict__["_plan"], self.__dict__["_request"])
        self[key] = value
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """Return a field, made now if need be; ``default`` for what no context has."""
        try:
            return self[key]
        except KeyError:
            return default

    def compute_all(self) -> None:
        """Make every field now, for a copy that outlives the request."""
        for key in _FIELDS:
            self[key]


@dataclass(frozen=True, slots=True)
class _Flat:
    """How the arguments of a call are arranged that no Dash callback makes: one after the other."""

    indices: list[int]
    outputs_indices: tuple[int, ...] = ()
    background: None = None


class EventContext:
    """`dash.ctx` for code that a page calls by other ways than a Dash callback.

    ``inputs``, ``state`` and ``changed`` are as in a callback request; raises `BadRequest` where
    they are not. For the add-on packages.
    """

    def __init__(self, inputs: Any, state: Any, changed: Any) -> None:
        request = CallbackRequest.parse(
            {"output": "", "inputs": inputs, "state": state, "changedPropIds": changed}
        )
        self.slots = [*request.inputs, *request.state]
        shape: Any = _Flat(list(range(len(self.slots))))
        self._context = CallContext(shape, request, [], None)

    @contextmanager
    def active(self) -> Generator[None]:
        """Make this what `dash.ctx` and `dash.set_props` work on."""
        token = dash_seam.context_value.set(self._context)
        try:
            yield
        finally:
            dash_seam.context_value.reset(token)

    def take_updates(self) -> list[tuple[str | dict[str, Any], dict[str, Any]]]:
        """Return, once, what `dash.set_props` collected: component ids with their properties."""
        collected: dict[str, dict[str, Any]] = self._context["updated_props"]
        taken = [
            (json.loads(name) if name.startswith("{") else name, props)
            for name, props in collected.items()
        ]
        collected.clear()
        return taken


def _triggered(
    ctx: CallContext, plan: CallbackPlan, request: CallbackRequest
) -> list[dict[str, Any]]:
    del plan
    values = ctx["input_values"]
    return [{"prop_id": name, "value": dict.get(values, name)} for name in request.changed]


def _arguments(ctx: CallContext, plan: CallbackPlan, request: CallbackRequest) -> Any:
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
    "triggered_inputs": _triggered,
    "args_grouping": _arguments,
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
    "cookies": lambda ctx, plan, request: dict(handshake().cookies),
    "headers": lambda ctx, plan, request: dict(handshake().headers),
    "args": lambda ctx, plan, request: handshake().args,
    "path": lambda ctx, plan, request: handshake().full_path,
    "remote": lambda ctx, plan, request: handshake().remote_addr,
    "origin": lambda ctx, plan, request: handshake().headers.get("origin"),
}


def handshake() -> Any:
    """Return the HTTP request at hand or, over a socket, the one that opened it.

    Outside of both (a feeder, a test) an empty stand-in: no cookies, no headers, no address.
    """
    if quart.has_request_context():
        return quart.request
    if quart.has_websocket_context():
        return quart.websocket
    return _NO_REQUEST


class _NoRequest:
    """What a call sees that no browser asked for."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.args: MultiDict[str, str] = MultiDict()
        self.full_path = ""
        self.remote_addr = None


_NO_REQUEST = _NoRequest()
