"""The shared callbacks that an app declares, and the changes that wait for one of them.

This module uses no event loop.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from flash import ConfigurationError, Input, Output, State, stringify_id
from flash.callbacks.functions import name_of, short_name_of
from flash.serialize import dumps
from flash_pubsub.channels.outputs import ComponentId, Outputs, check_no_wildcard
from flash_pubsub.channels.schema import Schema
from flash_pubsub.errors import InvalidMessage
from flash_pubsub.shared.change_times import NEVER
from flash_pubsub.shared.picks import Pick, items_of
from flash_pubsub.shared.room_pattern import RoomPattern, arguments_of
from flash_ws import CloseCode, ProtocolError
from flash_ws.protocol.page_values import find_marker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flash_pubsub.shared.change_times import MadeAt
    from flash_ws.clients.client import LinkedClient as Client

# The size of one value from a page, as JSON, unless the callback says otherwise.
MAX_VALUE_BYTES = 16 * 1024

# The greatest time that a page may send, in milliseconds since 1970: JavaScript's greatest integer.
_MAX_TIME = 2**53

# A component's id as Dash writes it in one string, and the name of a property.
Key = tuple[str, str]


def key_of(component_id: ComponentId, prop: str) -> Key:
    """Return the key of a property in the shared state."""
    return stringify_id(component_id), prop


@dataclass(frozen=True, slots=True)
class Accepts:
    """What a shared callback accepts from pages."""

    # Decides which page may change the inputs; None allows every page.
    authorize: Callable[..., Any] | None = None
    # What the value of each input must fit, by index; None takes any value.
    schemas: tuple[Schema | None, ...] = ()
    # The size of one value as JSON, in bytes.
    max_bytes: int = MAX_VALUE_BYTES
    # Whether values may hold components and patches, which are then shown on every page.
    components: bool = False

    def check(self, change: Change) -> Change:
        """Return a change with its values as the schemas have them.

        Raises ``ValueError``, with the reason in one line, if a value is refused.
        """
        for value in (*change.values, *change.states):
            if not self.components and (marker := find_marker(value)) is not None:
                raise ValueError(f"a value from a page holds {marker}")
            size = len(dumps(value))
            if size > self.max_bytes:
                raise ValueError(
                    f"a value from a page has {size} bytes; {self.max_bytes} are allowed"
                )
        values = list(change.values)
        for index, schema in enumerate(self.schemas):
            # A page that shows no value yet sends null.
            if schema is not None and values[index] is not None:
                try:
                    values[index] = schema.validate("", values[index])
                except InvalidMessage as error:
                    raise ValueError(
                        f"a value from a page does not fit {error.schema}: {error.reason}"
                    ) from error
        return replace(change, values=values)

    def allows(self, index: int, value: Any) -> bool:
        """Tell whether the callback may be run with this value of an input."""
        schema = self.schemas[index] if index < len(self.schemas) else None
        try:
            if schema is not None:
                schema.validate("", value)
        except InvalidMessage:
            return False
        return len(dumps(value)) <= self.max_bytes


@dataclass(frozen=True, slots=True)
class SharedCallback:
    """One shared callback."""

    # The callback's name, the same on all pages and workers.
    name: str
    function: Callable[..., Any]
    outputs: Outputs
    inputs: tuple[Input, ...]
    states: tuple[State, ...]
    # Whether it runs once per deployment before anything has changed.
    runs_initially: bool
    # What values of pages must pass.
    accepts: Accepts
    # Seconds that one run may take; None for no limit.
    timeout: float | None = None
    # The rooms that have a state of their own each; None if all pages share one.
    room: RoomPattern | None = None
    # The variables of the room's name that the function takes.
    room_arguments: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The function's name, for log and error texts."""
        return short_name_of(self.function)

    @property
    def input_keys(self) -> list[Key]:
        """The keys of the inputs in the shared state."""
        return [key_of(each.component_id, each.component_property) for each in self.inputs]

    @property
    def output_keys(self) -> list[Key]:
        """The keys of the outputs in the shared state."""
        return [
            key_of(each.component_id, each.component_property) for each in self.outputs.declared
        ]

    def page_config(self) -> dict[str, Any]:
        """Return the part of a page's configuration that describes the callback."""
        room = {} if self.room is None else {"room": self.room.text}
        return {
            "inputs": [[each.component_id, each.component_property] for each in self.inputs],
            "outputs": [
                [each.component_id, each.component_property] for each in self.outputs.declared
            ],
            "states": [[each.component_id, each.component_property] for each in self.states],
            **room,
        }


def make_shared_callback(
    function: Callable[..., Any],
    dependencies: Sequence[Any],
    *,
    prevent_initial_call: bool,
    timeout: float | None = None,
    schema: Any = None,
    accepts: Accepts = Accepts(),
    room: str | None = None,
    room_from: str | None = None,
) -> SharedCallback:
    """Return the shared callback of a function; raises `ConfigurationError`."""
    if not callable(function):
        raise ConfigurationError(
            f"the shared callback {function!r} is no function; give one, or a partial, a method or "
            "a callable object"
        )
    what = f"the shared callback {short_name_of(function)!r}"
    flat: list[Any] = []
    for each in dependencies:
        flat.extend(each if isinstance(each, list | tuple) else [each])
    for each in flat:
        if not isinstance(each, Output | Input | State):
            raise ConfigurationError(
                f"{what}: {each!r} is no Output, Input or State; pass only those"
            )
        check_no_wildcard(each, what)
    kinds = [(Output, Input, State).index(type(each)) for each in flat]
    if kinds != sorted(kinds):
        raise ConfigurationError(f"{what}: pass Outputs first, then Inputs, then States")
    inputs = tuple(each for each in flat if isinstance(each, Input))
    states = tuple(each for each in flat if isinstance(each, State))
    if not inputs:
        raise ConfigurationError(f"{what} has no Input, so nothing starts it; pass one")
    kinds_of_inputs: list[Any] = schema if isinstance(schema, list) else [schema] * len(inputs)
    if len(kinds_of_inputs) != len(inputs):
        raise ConfigurationError(
            f"{what}: schema= has {len(kinds_of_inputs)} entries for {len(inputs)} Inputs; give "
            "one for each, None for any value"
        )
    schemas = tuple(None if each is None else Schema(each) for each in kinds_of_inputs)
    declared = [
        each
        for each in dependencies
        if isinstance(each, Output) or (isinstance(each, list | tuple) and _has_output(each))
    ]
    identity = "|".join((name_of(function), *map(repr, flat)))
    rooms = RoomPattern.of(room, room_from, what)
    if rooms is not None:
        identity += f"|{rooms.text}"
    return SharedCallback(
        name=hashlib.sha256(identity.encode()).hexdigest()[:16],
        function=function,
        outputs=Outputs.of(declared, what),
        inputs=inputs,
        states=states,
        runs_initially=not prevent_initial_call,
        accepts=replace(accepts, schemas=schemas),
        timeout=timeout,
        room=rooms,
        room_arguments=()
        if rooms is None
        else arguments_of(function, rooms.variables, after=len(inputs) + len(states)),
    )


def _has_output(group: Sequence[Any]) -> bool:
    return any(isinstance(each, Output) for each in group)


@dataclass(frozen=True, slots=True)
class Change:
    """The report of a page that some of a callback's inputs have changed."""

    # Increases with every change of the page. 0 means that nothing has changed: the page reports
    # that it shows the callback's inputs.
    number: int
    # The values of all inputs and states on the page.
    values: Sequence[Any]
    states: Sequence[Any]
    # The indexes of the inputs that changed.
    changed: frozenset[int]
    # By input index, the time of the change in milliseconds by the page's clock; empty if unknown.
    made: Mapping[int, int]
    # The time at which the frame was sent, by the same clock; None if unknown.
    sent: int | None
    # By input index, what changed in a list in which several pages may pick at once.
    picks: Mapping[int, Pick] = field(default_factory=dict[int, "Pick"])

    @classmethod
    def parse(cls, frame: Mapping[str, Any], callback: SharedCallback) -> Change:
        """Parse a page's ``share`` frame; raises `ProtocolError`."""
        number, values, states = frame.get("k"), frame.get("v"), frame.get("s")
        changed = frame.get("changed")
        if type(number) is not int or number < 0:
            raise ProtocolError(CloseCode.MALFORMED, "'share' needs a number 'k'")
        if not (
            isinstance(values, list) and isinstance(states, list) and isinstance(changed, list)
        ):
            raise ProtocolError(CloseCode.MALFORMED, "'share' needs lists 'v', 's' and 'changed'")
        indexes: list[Any] = changed
        if len(cast("list[Any]", values)) != len(callback.inputs) or len(
            cast("list[Any]", states)
        ) != len(callback.states):
            raise ProtocolError(CloseCode.MALFORMED, "'share' does not fit its callback")
        if not all(type(each) is int and 0 <= each < len(callback.inputs) for each in indexes):
            raise ProtocolError(CloseCode.MALFORMED, "'changed' names no input")
        times = _times(frame)
        if times and len(times) != 1 + len(indexes):
            raise ProtocolError(CloseCode.MALFORMED, "'at' needs a time for each of 'changed'")
        return cls(
            number,
            cast("list[Any]", values),
            cast("list[Any]", states),
            frozenset(indexes),
            dict(zip(indexes, times[1:], strict=False)),
            times[0] if times else None,
            _picks(frame, indexes, cast("list[Any]", values)),
        )


def _picks(
    frame: Mapping[str, Any], indexes: Sequence[int], values: Sequence[Any]
) -> dict[int, Pick]:
    """Return the changes of lists for which a frame says what they were before."""
    before = frame.get("before")
    if before is None:
        return {}
    if not isinstance(before, list) or len(cast("list[Any]", before)) != len(indexes):
        raise ProtocolError(CloseCode.MALFORMED, "'before' needs an entry for each of 'changed'")
    picks: dict[int, Pick] = {}
    for index, each in zip(indexes, cast("list[Any]", before), strict=True):
        # [value], or null where the change is not one of a list.
        if isinstance(each, list) and len(cast("list[Any]", each)) == 1:
            was, now = items_of(each[0]), items_of(values[index])
            if was is not None and now is not None:
                picks[index] = Pick(was, now)
    return picks


def _times(frame: Mapping[str, Any]) -> list[int]:
    """Return a frame's ``now`` followed by its ``at``; an empty list without ``now``."""
    if "now" not in frame:
        return []
    at = frame.get("at", [])
    times: list[Any] = [frame["now"], *cast("list[Any]", at)] if isinstance(at, list) else [at]
    if not all(type(each) is int and 0 <= each <= _MAX_TIME for each in times):
        raise ProtocolError(CloseCode.MALFORMED, "'now' and 'at' are times in milliseconds")
    return times


@dataclass(slots=True)
class PendingChanges:
    """The changes of one callback that wait for its next run: the newest value of each input.

    They are bounded by the number of the callback's inputs and of the worker's pages.
    """

    # By input index, the new value. The input that changed last is the last entry.
    changed: dict[int, Any] = field(default_factory=dict)
    # By input index, the time of the change.
    made: dict[int, MadeAt] = field(default_factory=dict[int, "MadeAt"])
    # By input index and page id, what the page has changed in a list.
    picks: dict[int, dict[str, Pick]] = field(default_factory=dict[int, "dict[str, Pick]"])
    # The values of all inputs and states on the page that reported a change last.
    values: Sequence[Any] = ()
    states: Sequence[Any] = ()
    # That page.
    client: Client | None = None
    # By page id: the page, and the number of its newest change that is included.
    origins: dict[str, tuple[Client, int]] = field(default_factory=dict)

    def add(self, client: Client, change: Change, made: Mapping[int, MadeAt]) -> None:
        """Add a change; ``made`` has the time of the change by input index."""
        for index in sorted(change.changed, key=made.__getitem__):
            self._set(index, change.values[index], made[index])
            if index in change.picks:
                self.picks.setdefault(index, {})[client.id] = change.picks[index]
            else:
                # A value that is no list of picks replaces them.
                self.picks.pop(index, None)
        self.values, self.states, self.client = change.values, change.states, client
        if change.number:
            self.origins[client.id] = client, change.number

    def add_earlier(self, earlier: PendingChanges) -> None:
        """Add changes that were received before the present ones."""
        changed, made = self.changed, self.made
        self.changed, self.made = dict(earlier.changed), dict(earlier.made)
        for index, value in changed.items():
            self._set(index, value, made[index])
        for index, picks in earlier.picks.items():
            self.picks[index] = {**picks, **self.picks.get(index, {})}
        self.origins = {**earlier.origins, **self.origins}
        if self.client is None:
            self.values, self.states, self.client = earlier.values, earlier.states, earlier.client

    def _set(self, index: int, value: Any, made: MadeAt) -> None:
        if made >= self.made.get(index, NEVER):
            # Removed first, so that the entry moves to the end.
            self.changed.pop(index, None)
            self.changed[index], self.made[index] = value, made
