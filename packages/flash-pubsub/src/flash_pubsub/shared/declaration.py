"""Shared callbacks as an app declares them, and changes waiting for one. No event loop in here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from flash import ConfigurationError, Input, Output, State, stringify_id
from flash_pubsub.channels.outputs import ComponentId, Outputs, check_no_wildcard
from flash_pubsub.shared.change_times import NEVER
from flash_ws import CloseCode, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flash_pubsub.shared.change_times import MadeAt
    from flash_ws import Client

# Milliseconds since 1970 that a page may name: what JavaScript has whole numbers for.
_LATEST = 2**53

# A component's id as Dash writes it in one string, and a property of it.
Key = tuple[str, str]


def key_of(component_id: ComponentId, prop: str) -> Key:
    """Return what names a property in the shared state."""
    return stringify_id(component_id), prop


@dataclass(frozen=True, slots=True)
class SharedCallback:
    """One shared callback."""

    # Names it to pages and to other workers.
    name: str
    function: Callable[..., Any]
    outputs: Outputs
    inputs: tuple[Input, ...]
    states: tuple[State, ...]
    # Whether it runs once for the deployment before anything has changed.
    runs_first: bool

    @property
    def label(self) -> str:
        """The function's name, for messages."""
        return self.function.__qualname__

    @property
    def input_keys(self) -> list[Key]:
        """What names its inputs in the shared state."""
        return [key_of(each.component_id, each.component_property) for each in self.inputs]

    @property
    def output_keys(self) -> list[Key]:
        """What names its outputs in the shared state."""
        return [
            key_of(each.component_id, each.component_property) for each in self.outputs.declared
        ]

    def described(self) -> dict[str, Any]:
        """Return what pages are told of it."""
        return {
            "inputs": [[each.component_id, each.component_property] for each in self.inputs],
            "outputs": [
                [each.component_id, each.component_property] for each in self.outputs.declared
            ],
            "states": [[each.component_id, each.component_property] for each in self.states],
        }


def make_shared(
    function: Callable[..., Any], dependencies: Sequence[Any], *, prevent_initial_call: bool
) -> SharedCallback:
    """Check and return a shared callback; raises `ConfigurationError`."""
    what = f"the shared callback {getattr(function, '__qualname__', function)!r}"
    flat: list[Any] = []
    for each in dependencies:
        flat.extend(each if isinstance(each, list | tuple) else [each])
    for each in flat:
        if not isinstance(each, Output | Input | State):
            raise ConfigurationError(f"{what}: {each!r} is no Output, Input or State")
        check_no_wildcard(each, what)
    kinds = [(Output, Input, State).index(type(each)) for each in flat]
    if kinds != sorted(kinds):
        raise ConfigurationError(f"{what}: name Outputs first, then Inputs, then States")
    inputs = tuple(each for each in flat if isinstance(each, Input))
    states = tuple(each for each in flat if isinstance(each, State))
    if not inputs:
        raise ConfigurationError(f"{what} needs an Input to start it")
    declared = [
        each
        for each in dependencies
        if isinstance(each, Output) or (isinstance(each, list | tuple) and _has_output(each))
    ]
    identity = "|".join((function.__module__, function.__qualname__, *map(repr, flat)))
    return SharedCallback(
        name=hashlib.sha256(identity.encode()).hexdigest()[:16],
        function=function,
        outputs=Outputs.of(declared, what),
        inputs=inputs,
        states=states,
        runs_first=not prevent_initial_call,
    )


def _has_output(group: Sequence[Any]) -> bool:
    return any(isinstance(each, Output) for each in group)


@dataclass(frozen=True, slots=True)
class Change:
    """What a page tells: some of a callback's inputs have changed there."""

    # Grows with every change of the page; 0 for a page that only says that the callback is there.
    number: int
    values: Sequence[Any]
    states: Sequence[Any]
    # Which inputs changed, by their places.
    changed: frozenset[int]
    # By place, when inputs were changed, in milliseconds by the page's clock; empty if unknown.
    made: Mapping[int, int]
    # When the frame was sent, by the same clock.
    sent: int | None

    @classmethod
    def read(cls, frame: Mapping[str, Any], callback: SharedCallback) -> Change:
        """Check a page's frame; raises `ProtocolError`."""
        number, values, states = frame.get("k"), frame.get("v"), frame.get("s")
        changed = frame.get("changed")
        if not isinstance(number, int) or number < 0:
            raise ProtocolError(CloseCode.MALFORMED, "'share' needs a number 'k'")
        if not (
            isinstance(values, list) and isinstance(states, list) and isinstance(changed, list)
        ):
            raise ProtocolError(CloseCode.MALFORMED, "'share' needs lists 'v', 's' and 'changed'")
        places: list[Any] = changed
        if len(cast("list[Any]", values)) != len(callback.inputs) or len(
            cast("list[Any]", states)
        ) != len(callback.states):
            raise ProtocolError(CloseCode.MALFORMED, "'share' does not fit its callback")
        if not all(isinstance(each, int) and 0 <= each < len(callback.inputs) for each in places):
            raise ProtocolError(CloseCode.MALFORMED, "'changed' names no input")
        times = _times(frame)
        if times and len(times) != 1 + len(places):
            raise ProtocolError(CloseCode.MALFORMED, "'at' needs a time for each of 'changed'")
        return cls(
            number,
            cast("list[Any]", values),
            cast("list[Any]", states),
            frozenset(places),
            dict(zip(places, times[1:], strict=False)),
            times[0] if times else None,
        )


def _times(frame: Mapping[str, Any]) -> list[int]:
    """Return a frame's ``now`` and then its ``at``, checked; nothing for one without ``now``."""
    if "now" not in frame:
        return []
    at = frame.get("at", [])
    times: list[Any] = [frame["now"], *cast("list[Any]", at)] if isinstance(at, list) else [at]
    if not all(type(each) is int and 0 <= each <= _LATEST for each in times):
        raise ProtocolError(CloseCode.MALFORMED, "'now' and 'at' are times in milliseconds")
    return times


@dataclass(slots=True)
class Batch:
    """Changes of one callback that wait for their turn: of each input the newest value stays.

    Bounded by the callback's inputs and the pages of this worker.
    """

    # By place, what inputs have changed to.
    changed: dict[int, Any] = field(default_factory=dict)
    # By place, when they were changed.
    made: dict[int, MadeAt] = field(default_factory=dict[int, "MadeAt"])
    # What the page that changed something last has for all of them.
    values: Sequence[Any] = ()
    states: Sequence[Any] = ()
    # That page.
    client: Client | None = None
    # By page: itself, and the number of its newest change in here.
    origins: dict[str, tuple[Client, int]] = field(default_factory=dict)

    def add(self, client: Client, change: Change, made: Mapping[int, MadeAt]) -> None:
        """Add a change; ``made`` says by place when its inputs were changed."""
        for place in sorted(change.changed, key=made.__getitem__):
            self._set(place, change.values[place], made[place])
        self.values, self.states, self.client = change.values, change.states, client
        if change.number:
            self.origins[client.id] = client, change.number

    def put_back(self, earlier: Batch) -> None:
        """Take in changes that came before those that are here."""
        changed, made = self.changed, self.made
        self.changed, self.made = dict(earlier.changed), dict(earlier.made)
        for place, value in changed.items():
            self._set(place, value, made[place])
        self.origins = {**earlier.origins, **self.origins}
        if self.client is None:
            self.values, self.states, self.client = earlier.values, earlier.states, earlier.client

    def _set(self, place: int, value: Any, made: MadeAt) -> None:
        if made >= self.made.get(place, NEVER):
            # At the end: what was changed last is set last.
            self.changed.pop(place, None)
            self.changed[place], self.made[place] = value, made
