"""Callbacks compiled to plans: what can be decided once is decided before the first request.

Dash resolves outputs, groupings and validation on every request. A `CallbackPlan` holds the
answers, and a request only binds values to arguments and names to results. No event loop in here.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import orjson
from dash import ALL, ALLSMALLER
from dash.dependencies import Output
from dash.exceptions import InvalidCallbackReturnValue, PreventUpdate

from flash.callbacks.execution import is_async
from flash.errors import BadRequest, ConfigurationError, quoted
from flash.seams import dash as dash_seam

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RunIn = Literal["thread", "loop"]

# One dependency as the renderer sends it: {"id": …, "property": …, "value": …}.
Dependency = dict[str, Any]
# A wildcard stands for several; they arrive as a list.
Slot = Dependency | list[Dependency]


class Runner(enum.Enum):
    """Where a function runs."""

    # `async def`: awaited on the event loop.
    AWAIT = "await"
    # Plain `def`: in the app's thread pool.
    THREAD = "thread"
    # Plain `def` that its author declared trivial: called on the event loop.
    LOOP = "loop"


@dataclass(frozen=True, slots=True)
class CallbackOptions:
    """What a callback may be told beyond what Dash knows."""

    # Where a plain function runs; ignored for `async def`.
    run_in: RunIn = "thread"
    # A newer call from the same page for the same outputs cancels the older one.
    supersede: bool = False
    # Calls with equal arguments that are in flight together share one execution.
    coalesce: bool = False
    # Seconds after which the caller is answered with 504; None waits for ever.
    timeout: float | None = None

    def __post_init__(self) -> None:
        if self.run_in not in ("thread", "loop"):
            raise ConfigurationError(f"run_in={self.run_in!r}: say 'thread' or 'loop'")
        if self.timeout is not None and self.timeout <= 0:
            raise ConfigurationError(f"timeout={self.timeout!r}: say a number of seconds above 0")
        if self.supersede and self.coalesce:
            raise ConfigurationError(
                "supersede=True and coalesce=True exclude each other: "
                "one cancels an earlier call, the other shares it"
            )


@dataclass(frozen=True, slots=True)
class CallbackRequest:
    """The body of a callback request, its shape checked to the last dependency."""

    # The id of the callback, as `callback_map` has it.
    output: str
    # None where the sender left it out (a renderer older than the server).
    outputs: Slot | list[Slot] | None
    inputs: list[Slot]
    state: list[Slot]
    # "id.property" of what changed.
    changed: list[str]
    # The body itself, for what Dash hands on and Flash does not read.
    body: dict[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, body: object) -> CallbackRequest:
        """Check ``body`` (parsed JSON); raises `BadRequest` naming the first thing wrong."""
        if not isinstance(body, dict):
            raise BadRequest(f"the body must be a JSON object, not {_json_type(body)}")
        fields: dict[str, Any] = body
        output = fields.get("output")
        if not isinstance(output, str):
            raise BadRequest(f"'output' must be a string, not {_json_type(output)}")
        changed = fields.get("changedPropIds") or []
        if not isinstance(changed, list) or not all(_names_property(each) for each in changed):
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
    """One server-side callback, compiled."""

    id: str
    function: Callable[..., Any]
    runner: Runner
    options: CallbackOptions
    on_error: Callable[[Exception], Any] | None
    # Dash's `background=` specification, or None.
    background: Mapping[str, Any] | None
    background_key: str | None
    # The entry's own background manager, or None for the app's.
    manager: Any
    # The `Output`, or the flat list of them, that `callback_map` has.
    declared: Output | list[Output]
    # The grouping of `Output`s the function's result must match.
    output_grouping: Any
    multi: bool
    has_output: bool
    # For each output, and for each input and state, whether it stands for several components.
    several_outputs: list[bool]
    several_arguments: list[bool]
    # [(id, property)] of each output where none has a wildcard, else None.
    fixed: list[tuple[Any, str]] | None
    # Whether the result is one flat list without wildcards: the common case, checked without Dash.
    flat: bool
    # Grouping of indices into inputs + state, as Dash compiled it.
    indices: Any
    outputs_indices: Any
    # Whether a component library may be imported inside the callback.
    allow_dynamic: bool

    def spec(self, request: CallbackRequest) -> Any:
        """Return the outputs the request names; raises Dash's error if they are another's."""
        if not self.has_output:
            return []
        spec = request.outputs
        if self.fixed is not None:
            if spec is None:
                named = [{"id": id_, "property": name} for id_, name in self.fixed]
                return named if self.multi else named[0]
            slots = spec if self.multi else [spec]
            if isinstance(slots, list) and len(slots) == len(self.fixed):
                for slot, (id_, name) in zip(slots, self.fixed, strict=True):
                    if (
                        isinstance(slot, list)
                        or slot["id"] != id_
                        or dash_seam.clean_property_name(slot["property"]) != name
                    ):
                        break
                else:
                    return spec
        if not self._are_outputs(spec):
            raise BadRequest(f"'outputs' does not fit callback {quoted(self.id)}")
        dash_seam.validate.validate_output_spec(self.declared, spec, Output)
        return spec

    def _are_outputs(self, spec: object) -> bool:
        """Tell whether ``spec`` has a list where there are several, and components elsewhere."""
        if self.multi and not isinstance(spec, list):
            return False
        slots = cast("list[Any]", spec if self.multi else [spec])
        return _fit(slots, self.several_outputs) and all(
            _is_one_output(each)
            for slot in slots
            for each in (cast("list[Any]", slot) if isinstance(slot, list) else (slot,))
        )

    def values(self, request: CallbackRequest) -> list[Any]:
        """Return the values of inputs and state, in that order; a wildcard's are a list."""
        slots = [*request.inputs, *request.state]
        if not _fit(slots, self.several_arguments):
            raise BadRequest(f"'inputs' or 'state' does not fit callback {quoted(self.id)}")
        return [
            [each.get("value") for each in slot] if isinstance(slot, list) else slot.get("value")
            for slot in slots
        ]

    def bind(self, values: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Arrange the request's values as the function's arguments, positional and by keyword."""
        if len(values) == len(self.several_arguments):
            indices = self.indices
            if isinstance(indices, int):
                return [values[indices]], {}
            if isinstance(indices, list) and all(isinstance(index, int) for index in indices):
                return [values[index] for index in indices], {}
        grouped: Any = dash_seam.validate.validate_and_group_input_args(values, self.indices)
        return grouped

    def assemble(self, result: Any, spec: Any, side_updates: dict[str, Any]) -> dict[str, Any]:
        """Turn what the function returned into the body of the response.

        ``spec`` is what `spec` gave; ``side_updates`` what `set_props` collected. Raises
        `PreventUpdate` when there is nothing to say and Dash's `InvalidCallbackReturnValue` when
        the result does not fit the outputs.
        """
        body: dict[str, Any] = {"multi": True}
        if side_updates:
            body["sideUpdate"] = dict(side_updates)
        if not self.has_output:
            if result is not None:
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
        if not self.multi:
            results, specs = [result], [spec]
        elif self.flat and isinstance(result, list | tuple) and len(result) == len(spec):  # pyright: ignore[reportUnknownArgumentType]
            results, specs = result, spec
        elif is_no_update(result):
            results, specs = [result], spec
        else:
            if isinstance(result, tuple):
                # Only the top level may be a tuple where a list was declared.
                result = list(result)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            results, specs = dash_seam.flatten_grouping(result, self.output_grouping), spec
        if not (self.flat or is_no_update(result)):
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
    callback_id: str, entry: Mapping[str, Any], options: CallbackOptions | None
) -> CallbackPlan | None:
    """Compile one entry of `callback_map`; None for a kind that Flash leaves to Dash."""
    registration = dash_seam.read_registration(entry.get("callback"))
    if registration is None:
        return None
    options = options or CallbackOptions()
    declared: Output | list[Output] = entry["output"]
    leaves = declared if isinstance(declared, list) else [declared]
    plain = not any(leaf.has_wildcard() for leaf in leaves)
    grouping = registration.output
    indices = entry["inputs_state_indices"]
    return CallbackPlan(
        id=callback_id,
        function=registration.function,
        runner=runner_of(registration.function, options.run_in),
        options=options,
        on_error=registration.on_error,
        background=entry.get("background") or None,
        background_key=registration.background_key,
        manager=entry.get("manager"),
        declared=declared,
        output_grouping=grouping,
        multi=registration.multi,
        has_output=registration.has_output,
        several_outputs=[_is_several(leaf.component_id) for leaf in leaves],
        several_arguments=[
            _is_several(_parsed_id(each["id"])) for each in (*entry["inputs"], *entry["state"])
        ],
        fixed=[(leaf.component_id, leaf.component_property) for leaf in leaves] if plain else None,
        flat=plain
        and (
            not registration.multi
            or (isinstance(grouping, list) and all(isinstance(leaf, Output) for leaf in grouping))
        ),
        indices=indices,
        outputs_indices=entry.get("outputs_indices", []),
        allow_dynamic=bool(entry.get("allow_dynamic_callbacks")),
    )


def runner_of(function: Callable[..., Any], run_in: RunIn = "thread") -> Runner:
    """Decide, once, where ``function`` runs."""
    if is_async(function):
        return Runner.AWAIT
    return Runner.LOOP if run_in == "loop" else Runner.THREAD


def _is_several(component_id: Any) -> bool:
    """Tell whether an id, as declared, stands for several components at once."""
    return isinstance(component_id, dict) and any(
        value in (ALL, ALLSMALLER, ["ALL"], ["ALLSMALLER"]) for value in component_id.values()
    )


def _parsed_id(component_id: str) -> Any:
    return orjson.loads(component_id) if component_id.startswith("{") else component_id


def _fit(slots: list[Any], several: list[bool]) -> bool:
    """Tell whether lists are where they should be; Dash tells whether there are enough of all."""
    return all(isinstance(slot, list) is many for slot, many in zip(slots, several, strict=False))


def _names_property(name: object) -> bool:
    if not isinstance(name, str):
        return False
    if not name.startswith("{"):
        return True
    # Parsed again where `ctx.triggered_id` is looked at.
    try:
        component_id = orjson.loads(name.rpartition(".")[0])
    except orjson.JSONDecodeError:
        return False
    return isinstance(component_id, dict) and _has_plain_values(component_id)  # pyright: ignore[reportUnknownArgumentType]


def _has_plain_values(component_id: dict[str, Any]) -> bool:
    return all(isinstance(value, str | int | float) for value in component_id.values())


def _is_one_output(output: object) -> bool:
    """Tell whether ``output`` names a single property of a single component."""
    if not isinstance(output, dict):
        # A list in a list.
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


def _check_dependency(dependency: object, name: str) -> None:
    if not isinstance(dependency, dict):
        raise BadRequest(f"each of {name!r} must be an object, not {_json_type(dependency)}")
    if not isinstance(dependency.get("id"), str | dict):  # pyright: ignore[reportUnknownMemberType]
        raise BadRequest(f"each of {name!r} needs an 'id' that is a string or an object")
    if not isinstance(dependency.get("property"), str):  # pyright: ignore[reportUnknownMemberType]
        raise BadRequest(f"each of {name!r} needs a 'property' that is a string")


def _json_type(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        type(None): "null",
    }
    return next((name for kind, name in names.items() if type(value) is kind), "a number")
