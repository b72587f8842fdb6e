"""The requests by which a page runs callbacks, and how it reads the responses; without I/O.

The formats are those of Dash's renderer: an entry of ``_dash-dependencies`` becomes a `Callback`,
a test's values become the body of a POST, and the response becomes updates of properties.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from dash import no_update
from dash.dependencies import DashDependency

from flash.testing.errors import CallbackNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flash.testing.asgi import Response

# The name of a property in a test: "id.prop", '{"index": 1, "type": "x"}.prop', or an Input, State
# or Output, which is easier to read for ids that are dictionaries.
Key = str | DashDependency

_WILDCARDS = ("ALL", "ALLSMALLER", "MATCH")


@dataclass(frozen=True, slots=True)
class Prop:
    """A property of a component, or of a pattern of components.

    ``id`` has the format of Dash's requests: the id itself, or a dictionary as JSON with sorted
    keys, in which a wildcard is a list such as ``["ALL"]``.
    """

    id: str
    name: str

    @classmethod
    def of(cls, key: Key) -> Prop:
        """Parse a property's name from a test or from Dash; raises ``ValueError`` without a dot."""
        if isinstance(key, DashDependency):
            return cls(_canonical(key.component_id_str()), key.component_property)
        component_id, dot, prop = key.rpartition(".")
        if not dot:
            raise ValueError(f"{key!r} is not a property; write it as 'id.property'")
        return cls(_canonical(component_id), prop)

    def __str__(self) -> str:
        return f"{self.id}.{self.name}"

    @property
    def fields(self) -> dict[str, Any] | None:
        """The id as a dictionary; None if it is a plain string."""
        return json.loads(self.id) if self.id.startswith("{") else None

    @property
    def is_pattern(self) -> bool:
        """Whether the id contains a wildcard."""
        return any(_wildcard(value) for value in (self.fields or {}).values())

    @property
    def is_multiple(self) -> bool:
        """Whether the id contains a wildcard that matches several components at once."""
        values = (self.fields or {}).values()
        return any(_wildcard(value) in ("ALL", "ALLSMALLER") for value in values)

    def covers(self, other: Prop, matched: Mapping[str, Any] | None = None) -> bool:
        """Whether ``other`` is this property or matches this pattern.

        ``matched`` gives the value of each MATCH; without it MATCH and ALLSMALLER match any value.
        The ``@hash`` that ``allow_duplicate`` adds is compared only if both have one.
        """
        if not _same_name(self.name, other.name):
            return False
        mine, theirs = self.fields, other.fields
        if mine is None or theirs is None or self.id == other.id:
            return self.id == other.id
        if mine.keys() != theirs.keys():
            return False
        return all(_fits(mine[key], theirs[key], key, matched) for key in mine)

    def resolve(self, matched: Mapping[str, Any]) -> Prop:
        """Replace each MATCH in the pattern by its value."""
        mine = self.fields
        if mine is None:
            return self
        resolved = {
            key: matched[key] if _wildcard(value) == "MATCH" and key in matched else value
            for key, value in mine.items()
        }
        return Prop(_dump_id(resolved), self.name)

    def on_wire(self) -> dict[str, Any]:
        """The property in the format of a request's body."""
        fields = self.fields
        return {"id": self.id if fields is None else fields, "property": self.name}


@dataclass(frozen=True, slots=True)
class Callback:
    """One parsed entry of ``_dash-dependencies``."""

    # Its name in requests: the outputs, or a hash of the inputs if it has none.
    output: str
    outputs: tuple[Prop, ...]
    inputs: tuple[Prop, ...]
    state: tuple[Prop, ...]
    # Whether it runs in the browser only.
    clientside: bool
    # Seconds between two polls of a background callback; None for other callbacks.
    interval: float | None
    # The length in bytes above which a body is compressed; None if it never is.
    compress_from: int | None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Callback:
        """Parse an entry of ``_dash-dependencies``."""
        output: str = entry["output"]
        background: Mapping[str, Any] | None = entry.get("background")
        return cls(
            output=output,
            outputs=() if entry.get("no_output") else tuple(split_outputs(output)),
            inputs=tuple(_dependency(item) for item in entry["inputs"]),
            state=tuple(_dependency(item) for item in entry["state"]),
            clientside=bool(entry.get("clientside_function")),
            interval=background.get("interval", 500) / 1000 if background else None,
            compress_from=(
                entry.get("compress_threshold") if entry.get("compress_payload") else None
            ),
        )

    def __str__(self) -> str:
        outputs = ", ".join(map(str, self.outputs)) or "no output"
        return f"{outputs} ← {', '.join(map(str, self.inputs + self.state))}"

    def takes(self, prop: Prop) -> bool:
        """Whether a property is one of the callback's Inputs and States."""
        return any(known.covers(prop) for known in self.inputs + self.state)


@dataclass(frozen=True, slots=True)
class CallbackResult:
    """The changes that a callback made on its page.

    ``updates`` holds the outputs that got a value and ``side_updates`` what `set_props` set; both
    map ``"id.prop"`` to a JSON value. ``progress`` lists the progress updates of a background
    callback that polls have seen; ``frames`` lists what a streaming callback yielded.
    """

    response: Response
    wanted: tuple[Prop, ...]
    updates: Mapping[str, Any]
    side_updates: Mapping[str, Any]
    progress: tuple[Mapping[str, Any], ...] = ()
    frames: tuple[Mapping[str, Any], ...] = ()

    @property
    def value(self) -> Any:
        """The value of the requested output; `dash.no_update` if it was not changed.

        If several outputs were requested, or one pattern of several components, it is a dictionary
        of the outputs that changed.
        """
        if len(self.wanted) == 1 and not self.wanted[0].is_pattern:
            return self[str(self.wanted[0])]
        return dict(self.updates)

    @property
    def prevented(self) -> bool:
        """Whether the callback changed nothing, as after `PreventUpdate`."""
        return not self.updates and not self.side_updates

    def __getitem__(self, key: Key) -> Any:
        prop = Prop.of(key)
        plain = f"{prop.id}.{prop.name.partition('@')[0]}"
        return self.updates.get(plain, no_update)


def split_outputs(output: str) -> Iterable[Prop]:
    """Parse a callback's name in requests: ``a.x``, or ``..a.x...b.y..`` for several outputs."""
    names = output[2:-2].split("...") if output.startswith("..") else [output]
    # Dash escapes the dots of an id, so that three of them are not read as a separator.
    return [Prop.of(name.replace("\\.", ".")) for name in names]


def read_outputs(output: Key | Sequence[Key] | None) -> tuple[Prop, ...]:
    """Parse the outputs that a test requests; None requests a callback without outputs."""
    if output is None:
        return ()
    if isinstance(output, str):
        return tuple(split_outputs(output))
    if isinstance(output, DashDependency):
        return (Prop.of(output),)
    return tuple(Prop.of(key) for key in output)


def find_callback(
    callbacks: Iterable[Callback], wanted: Sequence[Prop], given: Iterable[Prop]
) -> Callback:
    """Return the only callback that has the outputs ``wanted`` and the inputs ``given``.

    Raises `CallbackNotFound`, with the app's callbacks, if there is none or more than one.
    """
    known = list(callbacks)
    given = list(given)
    name = ", ".join(map(str, wanted)) or "a callback without outputs"
    writers = [callback for callback in known if _writes(callback, wanted)]
    if not writers:
        listed = "".join(f"\n  {callback}" for callback in known) or " none"
        raise CallbackNotFound(name, f"no callback has this output; the app has:{listed}")
    exact = [callback for callback in writers if len(callback.outputs) == len(wanted)]
    takers = _takers(exact, given) or _takers(writers, given)
    if len(takers) == 1:
        return takers[0]
    listed = "".join(f"\n  {callback}" for callback in takers or writers)
    if takers:
        raise CallbackNotFound(name, f"several callbacks match, give more inputs:{listed}")
    values = ", ".join(map(str, given))
    raise CallbackNotFound(name, f"{values} is not an input or state of it:{listed}")


def request_body(
    callback: Callback,
    wanted: Sequence[Prop],
    values: Mapping[Prop, Any],
    triggered: Sequence[Prop],
) -> dict[str, Any]:
    """Build the body that Dash's renderer would POST on a page with the components named here.

    The page is assumed to contain the ids in ``wanted`` and ``values``, in that order. A property
    without a value counts as never set; Dash passes None to the callback.
    """
    matched = _matched(callback, [*wanted, *triggered, *values])

    def fill(spec: Prop) -> Any:
        if spec.is_multiple:
            return [
                {**prop.on_wire(), "value": value}
                for prop, value in values.items()
                if spec.covers(prop, matched)
            ]
        prop = spec.resolve(matched)
        if prop.is_pattern:
            raise CallbackNotFound(
                str(spec), "the value of MATCH is unknown; give the output's full id"
            )
        return {**prop.on_wire(), **({"value": values[prop]} if prop in values else {})}

    def place(spec: Prop) -> Any:
        if not spec.is_multiple:
            return spec.resolve(matched).on_wire()
        ids = dict.fromkeys(prop.id for prop in [*wanted, *values] if not prop.is_pattern)
        places = [Prop(component_id, spec.name) for component_id in ids]
        return [prop.on_wire() for prop in places if spec.covers(prop, matched)]

    outputs = [place(spec) for spec in callback.outputs]
    body: dict[str, Any] = {"output": callback.output}
    if callback.output.startswith(".."):
        body["outputs"] = outputs
    elif outputs:
        body["outputs"] = outputs[0]
    body["inputs"] = [fill(spec) for spec in callback.inputs]
    body["changedPropIds"] = [str(prop) for prop in triggered]
    body["parsedChangedPropsIds"] = [prop.fields or str(prop) for prop in triggered]
    if callback.state:
        body["state"] = [fill(spec) for spec in callback.state]
    return body


def without_values(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a poll of a background callback, which repeats no values."""

    def emptied(items: Iterable[Any]) -> list[Any]:
        # The list of a pattern gets no value in the renderer's JSON either.
        return [
            item if isinstance(item, list) else {**cast("dict[str, Any]", item), "value": None}
            for item in items
        ]

    changed = {key: emptied(body[key]) for key in ("inputs", "state") if key in body}
    return {**body, **changed}


def read_updates(response: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Flatten the ``response`` of a response's body to a dictionary of ``"id.prop"`` to value."""
    return {
        str(Prop(_canonical(component_id), prop)): value
        for component_id, props in response.items()
        for prop, value in props.items()
    }


def read_side_updates(updates: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten the changes of `set_props` (by id) or of progress (by ``id.prop``) likewise."""
    flat: dict[str, Any] = {}
    for key, value in updates.items():
        is_id = key.endswith("}") if key.startswith("{") else "." not in key
        flat.update(read_updates({key: value}) if is_id else {str(Prop.of(key)): value})
    return flat


def _dependency(item: Mapping[str, Any]) -> Prop:
    return Prop(_canonical(item["id"]), item["property"])


def _writes(callback: Callback, wanted: Sequence[Prop]) -> bool:
    if not wanted:
        return not callback.outputs
    return all(any(known.covers(prop) for known in callback.outputs) for prop in wanted)


def _takers(callbacks: Sequence[Callback], given: Sequence[Prop]) -> list[Callback]:
    takers = [callback for callback in callbacks if all(map(callback.takes, given))]
    # If several have the output, the test means the one whose Inputs are all given.
    complete = [
        callback
        for callback in takers
        if all(any(spec.covers(prop) for prop in given) for spec in callback.inputs)
    ]
    return complete if len(takers) > 1 and complete else takers


def _matched(callback: Callback, concrete: Iterable[Prop]) -> dict[str, Any]:
    """Return the values of the MATCH wildcards, from the first property that determines them.

    Every output of a callback contains all its MATCH keys, and a key has the same value everywhere.
    """
    specs = [*callback.outputs, *callback.inputs, *callback.state]
    for prop in concrete:
        fields = prop.fields
        if fields is None or prop.is_pattern:
            continue
        for spec in specs:
            pattern = spec.fields or {}
            keys = [key for key, value in pattern.items() if _wildcard(value) == "MATCH"]
            # Only the id of an output matters: any property of that component determines MATCH.
            same_component = Prop(prop.id, spec.name)
            if keys and spec.covers(same_component):
                return {key: fields[key] for key in keys}
    return {}


def _fits(mine: Any, theirs: Any, key: str, matched: Mapping[str, Any] | None) -> bool:
    wildcard = _wildcard(mine)
    if wildcard is None:
        return mine == theirs and isinstance(mine, bool) == isinstance(theirs, bool)
    if _wildcard(theirs):
        return mine == theirs
    if wildcard == "ALL" or matched is None or key not in matched:
        return True
    if wildcard == "MATCH":
        return theirs == matched[key]
    return _order(theirs) < _order(matched[key])


def _order(value: Any) -> tuple[int, Any]:
    """Order the values of an id as the renderer does: numbers, then booleans, then texts."""
    if isinstance(value, bool):
        return 1, value
    try:
        return 0, float(value)
    except ValueError:
        return 2, value


def _same_name(mine: str, theirs: str) -> bool:
    if "@" in mine and "@" in theirs:
        return mine == theirs
    return mine.partition("@")[0] == theirs.partition("@")[0]


def _wildcard(value: Any) -> str | None:
    return value[0] if isinstance(value, list) and value[0] in _WILDCARDS else None


def _canonical(component_id: str) -> str:
    return _dump_id(json.loads(component_id)) if component_id.startswith("{") else component_id


def _dump_id(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
