"""Compiles callbacks to plans, so that a request does only what depends on the request.

Dash resolves outputs, groupings and validation on every request. A `CallbackPlan` holds them
resolved; a request binds values to arguments and assembles the result. Uses no event loop.
"""

from __future__ import annotations

import copy
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import orjson
from dash import ALL, ALLSMALLER
from dash.dependencies import Output
from dash.exceptions import InvalidCallbackReturnValue, PreventUpdate

from flash.callbacks.functions import is_async
from flash.errors import BadRequest, ConfigurationError, quoted
from flash.props import Sent
from flash.seams import dash as dash_seam
from flash.settings import FLAG, SECONDS_OR_NONE, Choice, check

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RunIn = Literal["thread", "loop"]

# One dependency as the renderer sends it: {"id": …, "property": …, "value": …}.
Dependency = dict[str, Any]
# The dependencies of a wildcard that matches several components arrive as a list.
Slot = Dependency | list[Dependency]


class Runner(enum.Enum):
    """Where a function runs."""

    # `async def`: awaited on the event loop.
    AWAIT = "await"
    # Plain `def`: in the app's thread pool.
    THREAD = "thread"
    # Plain `def` with `run_in="loop"`: called on the event loop.
    LOOP = "loop"


@dataclass(frozen=True, slots=True)
class CallbackOptions:
    """The options of a callback that Flash adds to those of Dash."""

    # Where a plain function runs. An `async def` must have the default.
    run_in: RunIn = "thread"
    # A newer call from the same page for the same outputs cancels the older one.
    supersede: bool = False
    # Concurrent calls with equal arguments share one execution.
    coalesce: bool = False
    # Seconds after which the caller gets 504; None waits without limit.
    timeout: float | None = None
    # Whether a page sends a request again that got no answer; None: unless a click caused it.
    repeat: bool | None = None

    def __post_init__(self) -> None:
        check(
            run_in=(self.run_in, Choice(("thread", "loop"))),
            supersede=(self.supersede, FLAG),
            coalesce=(self.coalesce, FLAG),
            timeout=(self.timeout, SECONDS_OR_NONE),
            repeat=(self.repeat, Choice((True, False, None))),
        )
        if self.supersede and self.coalesce:
            raise ConfigurationError(
                "supersede=True and coalesce=True exclude each other: "
                "supersede cancels an earlier call, coalesce shares it"
            )


class CallbackRequest(NamedTuple):
    """The body of a callback request whose structure has been checked completely.

    A tuple, since each request makes one, and a frozen dataclass takes twice as long to make.
    """

    # The id of the callback, a key of `callback_map`.
    output: str
    # None if the sender left it out, as a renderer older than the server does.
    outputs: Slot | list[Slot] | None
    inputs: list[Slot]
    state: list[Slot]
    # "id.property" of each property that changed.
    changed: list[str]
    # The whole body, with the fields that Flash does not read.
    body: dict[str, Any]

    @classmethod
    def parse(cls, body: object) -> CallbackRequest:
        """Check ``body``, which is parsed JSON; raises `BadRequest` that names the first error."""
        if not isinstance(body, dict):
            raise BadRequest(f"the body must be a JSON object, not {_json_type(body)}")
        fields: dict[str, Any] = body
        output = fields.get("output")
        if not isinstance(output, str):
            raise BadRequest(f"'output' must be a string, not {_json_type(output)}")
        changed = fields.get("changedPropIds") or []
        if not isinstance(changed, list) or not all(map(_names_property, changed)):
            raise BadRequest("'changedPropIds' must be a list of strings such as 'id.property'")
        outputs = fields.get("outputs")
        if isinstance(outputs, list):
            for slot in outputs:
                _check_slot(slot, "outputs")
        elif outputs is not None:
            _check_dependency(outputs, "outputs")
        return cls(
            output=output,
            outputs=outputs,
            inputs=_check_slots(fields.get("inputs"), "inputs"),
            state=_check_slots(fields.get("state"), "state"),
            changed=changed,
            body=fields,
        )


@dataclass(frozen=True, slots=True)
class CallbackPlan:
    """A compiled server-side callback."""

    id: str
    function: Callable[..., Any]
    runner: Runner
    options: CallbackOptions
    on_error: Callable[[Exception], Any] | None
    # The background specification that Dash made of `background=`, or None.
    background: Mapping[str, Any] | None
    background_key: str | None
    # The entry's own background manager, or None for the app's.
    manager: Any
    # The `Output`, or the flat list of `Output`s, in `callback_map`.
    declared: Output | list[Output]
    # The grouping of `Output`s that the function's result must match.
    output_grouping: Any
    multi: bool
    has_output: bool
    # For each output, and for each input and state, whether a wildcard matches several components.
    list_outputs: list[bool]
    list_arguments: list[bool]
    # [(id, property)] of each output if no output has a wildcard, else None.
    fixed_outputs: list[tuple[Any, str]] | None
    # `fixed_outputs` as the renderer names them in a request.
    named_outputs: Slot | list[Slot] | None
    # Whether the result is a value or a flat list, without wildcards: needs no check by Dash.
    is_flat: bool
    # The grouping of indices into inputs + state that Dash made.
    indices: Any
    # The same as a list, if the arguments are a flat list; else None.
    order: list[int] | None
    outputs_indices: Any
    # Whether a component library may be imported inside the callback.
    allow_dynamic: bool
    # Whether it is the callback that Dash makes for ``cancel=``.
    cancels_jobs: bool
    # The name of a call's span, and the attributes that all calls have.
    span_name: str
    span_attributes: Mapping[str, str]

    def output_spec(self, request: CallbackRequest) -> Any:
        """Return the outputs in the request; raises Dash's error if they do not match the plan."""
        if not self.has_output:
            return []
        spec = request.outputs
        if self.fixed_outputs is not None:
            if spec is None or spec == self.named_outputs:
                return spec or copy.deepcopy(self.named_outputs)
            slots = spec if self.multi else [spec]
            if isinstance(slots, list) and len(slots) == len(self.fixed_outputs):
                for slot, (id_, name) in zip(slots, self.fixed_outputs, strict=True):
                    if (
                        isinstance(slot, list)
                        or slot["id"] != id_
                        or dash_seam.clean_property_name(slot["property"]) != name
                    ):
                        break
                else:
                    return spec
        if not self._are_outputs(spec):
            raise BadRequest(f"'outputs' does not match callback {quoted(self.id)}")
        dash_seam.validate.validate_output_spec(self.declared, spec, Output)
        return spec

    def _are_outputs(self, spec: object) -> bool:
        """Return whether ``spec`` has lists for wildcards only, and one component per output."""
        if self.multi and not isinstance(spec, list):
            return False
        slots = cast("list[Any]", spec if self.multi else [spec])
        return _lists_match(slots, self.list_outputs) and all(
            _is_one_output(each)
            for slot in slots
            for each in (cast("list[Any]", slot) if isinstance(slot, list) else (slot,))
        )

    def values(self, request: CallbackRequest) -> list[Any]:
        """Return the values of inputs and state, in that order; a list for each wildcard."""
        slots = request.inputs + request.state
        if not _lists_match(slots, self.list_arguments):
            raise BadRequest(f"'inputs' or 'state' does not match callback {quoted(self.id)}")
        return [
            [each.get("value") for each in slot] if isinstance(slot, list) else slot.get("value")
            for slot in slots
        ]

    def bind(self, values: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Arrange ``values`` as positional and keyword arguments of the function."""
        if self.order is not None and len(values) == len(self.list_arguments):
            return [values[index] for index in self.order], {}
        grouped: Any = dash_seam.validate.validate_and_group_input_args(values, self.indices)
        return grouped

    def assemble(self, result: Any, spec: Any, side_updates: dict[str, Any]) -> dict[str, Any]:
        """Turn the function's result into the body of the response.

        ``spec`` is the value of `output_spec`, ``side_updates`` is what `set_props` collected.
        Raises `PreventUpdate` if there is nothing to update, and Dash's
        `InvalidCallbackReturnValue` if the result does not match the outputs.
        """
        body: dict[str, Any] = {"multi": True}
        if side_updates:
            body["sideUpdate"] = dict(side_updates)
        if not self.has_output:
            if result is not None and not isinstance(result, Sent):
                raise InvalidCallbackReturnValue(
                    f"No-output callback received return value: {result}"
                )
            if not side_updates:
                raise PreventUpdate
            body["response"] = {}
            return body
        body["response"] = self._by_component(result, spec)
        return body

    def _by_component(self, result: Any, spec: Any) -> dict[str, dict[str, Any]]:
        is_no_update = dash_seam.NoUpdate.is_no_update
        if self.is_flat and not self.multi:
            # One value for one property, as most callbacks return it.
            if is_no_update(result):
                return {}
            name = dash_seam.clean_property_name(spec["property"])
            return {dash_seam.stringify_id(spec["id"]): {name: result}}
        if not self.multi:
            results, specs = [result], [spec]
        elif self.is_flat and isinstance(result, list | tuple) and len(result) == len(spec):  # pyright: ignore[reportUnknownArgumentType]
            results, specs = result, spec
        elif is_no_update(result):
            results, specs = [result], spec
        else:
            if isinstance(result, tuple):
                # A tuple instead of the declared list is allowed at the top level only.
                result = list(result)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            results, specs = dash_seam.flatten_grouping(result, self.output_grouping), spec
        if not (self.is_flat or is_no_update(result)):
            dash_seam.validate.validate_multi_return(specs, results, self.id)
        components: dict[str, dict[str, Any]] = {}
        for value, slot in zip(results, specs, strict=False):
            if is_no_update(value):
                continue
            pairs = zip(value, slot, strict=False) if isinstance(slot, list) else ((value, slot),)
            for each, dependency in pairs:
                if not is_no_update(each):
                    name = dash_seam.clean_property_name(dependency["property"])
                    components.setdefault(dash_seam.stringify_id(dependency["id"]), {})[name] = each
        return components


def compile_plan(
    callback_id: str, entry: Mapping[str, Any], registration: dash_seam.Registration
) -> CallbackPlan:
    """Compile an entry of `callback_map` that Dash made for ``registration``."""
    options: CallbackOptions = entry.get("flash_options") or CallbackOptions()
    runner = runner_of(registration.function, options.run_in)
    declared: Output | list[Output] = entry["output"]
    leaves = declared if isinstance(declared, list) else [declared]
    has_no_wildcard = not any(leaf.has_wildcard() for leaf in leaves)
    fixed = (
        [(leaf.component_id, leaf.component_property) for leaf in leaves]
        if has_no_wildcard
        else None
    )
    grouping = registration.output
    indices = entry["inputs_state_indices"]
    return CallbackPlan(
        id=callback_id,
        function=registration.function,
        runner=runner,
        options=options,
        on_error=registration.on_error,
        background=entry.get("background") or None,
        background_key=registration.background_key,
        manager=entry.get("manager"),
        declared=declared,
        output_grouping=grouping,
        multi=registration.multi,
        has_output=registration.has_output,
        list_outputs=[_matches_several(leaf.component_id) for leaf in leaves],
        list_arguments=[
            _matches_several(_parsed_id(each["id"])) for each in (*entry["inputs"], *entry["state"])
        ],
        fixed_outputs=fixed,
        named_outputs=_named(fixed, registration.multi),
        is_flat=has_no_wildcard
        and (
            not registration.multi
            or (isinstance(grouping, list) and all(isinstance(leaf, Output) for leaf in grouping))
        ),
        indices=indices,
        order=_order(indices),
        outputs_indices=entry.get("outputs_indices", []),
        allow_dynamic=bool(entry.get("allow_dynamic_callbacks")),
        cancels_jobs=dash_seam.cancels_jobs(registration.function),
        span_name=f"callback {callback_id}",
        span_attributes={
            "flash.callback.id": callback_id,
            "flash.callback.runner": runner.name.lower(),
        },
    )


def runner_of(function: Callable[..., Any], run_in: RunIn = "thread") -> Runner:
    """Return where ``function`` runs."""
    if is_async(function):
        return Runner.AWAIT
    return Runner.LOOP if run_in == "loop" else Runner.THREAD


def _named(outputs: list[tuple[Any, str]] | None, multi: bool) -> Slot | list[Slot] | None:
    """Return outputs without wildcards as the renderer names them."""
    if outputs is None:
        return None
    named: list[Slot] = [{"id": id_, "property": name} for id_, name in outputs]
    if multi:
        return named
    return named[0] if named else None


def _order(indices: Any) -> list[int] | None:
    """Return the indices of a flat list of arguments; None if they are grouped otherwise."""
    if isinstance(indices, int):
        return [indices]
    if isinstance(indices, list) and all(isinstance(each, int) for each in indices):  # pyright: ignore[reportUnknownVariableType]
        return indices  # pyright: ignore[reportUnknownVariableType]
    return None


def _matches_several(component_id: Any) -> bool:
    """Return whether a declared id matches several components at once."""
    return isinstance(component_id, dict) and any(
        value in (ALL, ALLSMALLER, ["ALL"], ["ALLSMALLER"]) for value in component_id.values()
    )


def _parsed_id(component_id: str) -> Any:
    return orjson.loads(component_id) if component_id.startswith("{") else component_id


def _lists_match(slots: list[Any], are_lists: list[bool]) -> bool:
    """Return whether exactly the slots in ``are_lists`` are lists; Dash checks their number."""
    # A loop, since a generator costs each request half a microsecond.
    for slot, is_list in zip(slots, are_lists, strict=False):
        if isinstance(slot, list) is not is_list:
            return False
    return True


def _names_property(name: object) -> bool:
    if not isinstance(name, str):
        return False
    if not name.startswith("{"):
        return True
    # Checked because `ctx.triggered_id` parses it.
    try:
        component_id = orjson.loads(name.rpartition(".")[0])
    except orjson.JSONDecodeError:
        return False
    return isinstance(component_id, dict) and _has_plain_values(component_id)  # pyright: ignore[reportUnknownArgumentType]


def _has_plain_values(component_id: dict[str, Any]) -> bool:
    return all(isinstance(value, str | int | float) for value in component_id.values())


def _is_one_output(output: object) -> bool:
    """Return whether ``output`` names one property of one component."""
    if not isinstance(output, dict):
        # A list inside a list.
        return False
    component_id: Any = output["id"]
    return isinstance(component_id, str) or _has_plain_values(component_id)


def _check_slots(slots: object, name: str) -> list[Slot]:
    if slots is None:
        return []
    if not isinstance(slots, list):
        raise BadRequest(f"{name!r} must be a list, not {_json_type(slots)}")
    for slot in slots:  # pyright: ignore[reportUnknownVariableType]
        _check_slot(slot, name)
    return slots  # pyright: ignore[reportUnknownVariableType]


def _check_slot(slot: object, name: str) -> None:
    if isinstance(slot, list):
        for each in slot:  # pyright: ignore[reportUnknownVariableType]
            _check_dependency(each, name)
    else:
        _check_dependency(slot, name)


# A tuple made once: `str | dict` makes a new object each time.
_ID_KINDS = (str, dict)


def _check_dependency(dependency: object, name: str) -> None:
    if not isinstance(dependency, dict):
        raise BadRequest(f"each item of {name!r} must be an object, not {_json_type(dependency)}")
    if not isinstance(dependency.get("id"), _ID_KINDS):  # pyright: ignore[reportUnknownMemberType]
        raise BadRequest(f"each item of {name!r} needs an 'id' that is a string or an object")
    if not isinstance(dependency.get("property"), str):  # pyright: ignore[reportUnknownMemberType]
        raise BadRequest(f"each item of {name!r} needs a 'property' that is a string")


def _json_type(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        type(None): "null",
    }
    return next((name for kind, name in names.items() if type(value) is kind), "a number")
