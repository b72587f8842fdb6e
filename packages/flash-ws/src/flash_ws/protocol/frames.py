"""The frames of the link: serialised once for all pages, and checked when a page sends them.

`docs/link-protocol.md` defines them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from dash import Patch
from dash.dependencies import Wildcard

from flash import stringify_id
from flash.serialize import dumps
from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.errors import ProtocolError

if TYPE_CHECKING:
    from flash_ws.protocol.position import Position

VERSION = 1

# Frames in one message of a page, at most: more than a page ever has waiting.
MAX_FRAMES = 1024

ComponentId = str | Mapping[str, Any]
Updates = Sequence[tuple[ComponentId, Mapping[str, Any]]]

# Properties whose value is an instruction to add data: a later value does not replace an earlier.
INCREMENTAL = frozenset({"extendData", "prependData", "rowTransaction", "rowTransactionAsync"})


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it is sent; all pages get the same text."""

    text: str
    # Bytes in UTF-8.
    size: int
    # None for a frame of a single connection, which has no number.
    channel: str | None = None
    number: int = 0
    # Each (component id, property) that it sets in full; empty if any change builds on a value.
    sets: frozenset[Hashable] = frozenset()
    # Each (component id, property) that it changes, if any change builds on a value; else empty.
    touches: frozenset[Hashable] = frozenset()
    # Whether a new epoch of the channel starts with this frame.
    starts_epoch: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """A serialised frame that has no channel and no number yet."""

    # The frame's members after channel and number, without braces.
    members: str
    sets: frozenset[Hashable] = frozenset()
    touches: frozenset[Hashable] = frozenset()
    # For each property changed: component id, property name and value, all as JSON. The value is
    # None if it builds on the previous one.
    values: tuple[tuple[str, str, str | None], ...] = ()

    def numbered(self, channel: str, number: int) -> Frame:
        """Return this message as frame ``number`` of ``channel``."""
        text = f'{{"c":{_json(channel)},"n":{number},{self.members}}}'
        return Frame(text, len(text.encode()), channel, number, self.sets, self.touches)


def props_message(updates: Updates, call: int | None = None) -> Message:
    """Return a message that sets properties; raises ``TypeError`` for values without JSON form.

    ``call`` tells the page which call of an event callback sets them.
    """
    keys: set[Hashable] = set()
    values: list[tuple[str, str, str | None]] = []
    entries: list[str] = []
    builds = False
    for component_id, props in updates:
        _check_id(component_id)
        name = stringify_id(component_id)
        id_json = _json(component_id)
        members: list[str] = []
        for prop, value in props.items():
            prop_json, encoded = _json(prop), dumps(value).decode()
            members.append(f"{prop_json}:{encoded}")
            keys.add((name, prop))
            incremental = isinstance(value, Patch) or prop in INCREMENTAL
            builds = builds or incremental
            values.append((id_json, prop_json, None if incremental else encoded))
        entries.append(f"[{id_json},{{{','.join(members)}}}]")
    marked = "" if call is None else f',"call":{call}'
    return Message(
        f'"t":"props","u":[{",".join(entries)}]{marked}',
        sets=frozenset() if builds else frozenset(keys),
        touches=frozenset(keys) if builds else frozenset(),
        values=tuple(values),
    )


def snapshot_frame(channel: str, number: int, updates: str, *, recovered: bool = True) -> Frame:
    """Return a frame that sets a channel's whole state; ``updates`` is JSON.

    Without ``recovered`` it says that something is missing.
    """
    missing = "" if recovered else '"recovered":false,'
    text = f'{{"t":"snapshot","c":{_json(channel)},"n":{number},{missing}"u":{updates}}}'
    return Frame(text, len(text.encode()), channel, number)


def reset_frame(channel: str, position: Position, updates: str) -> Frame:
    """Return a snapshot that starts a new epoch and reports that messages are lost."""
    text = (
        f'{{"t":"snapshot","c":{_json(channel)},"e":{_json(position.epoch)},"n":{position.number},'
        f'"recovered":false,"u":{updates}}}'
    )
    return Frame(text, len(text.encode()), channel, position.number, starts_epoch=True)


def event_message(name: str, data: Any) -> Message:
    """Return a message that calls the handlers of ``flash.on(name, …)``."""
    return Message(f'"t":"event","name":{_json(name)},"data":{dumps(data).decode()}')


def call_message(call_id: int, state: str, **more: Any) -> Message:
    """Return a message with the state of an event callback's call."""
    members = "".join(f",{_json(key)}:{dumps(value).decode()}" for key, value in more.items())
    return Message(f'"t":"call","id":{call_id},"state":{_json(state)}{members}')


def connection_frame(kind: str, **members: Any) -> Frame:
    """Return an unnumbered frame for one connection: ``welcome``, ``beat``, ``bye``."""
    text = dumps({"t": kind, **members}).decode()
    return Frame(text, len(text.encode()))


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame of a page, after validation."""

    token: str | None
    # (epoch, number) by channel.
    positions: dict[str, tuple[str, int]]
    path: str
    # Whether the page has never had a welcome. Its positions are those of its HTML, if any.
    is_new: bool
    # Chosen at random by each load of the page; None for programs that send none.
    load: str | None


def parse_message(text: str) -> list[dict[str, Any]]:
    """Return the frames of a page's message; raises `ProtocolError`."""
    try:
        frames = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(CloseCode.MALFORMED, "the message is not JSON") from error
    if not isinstance(frames, list):
        raise ProtocolError(CloseCode.MALFORMED, "the message is not a list")
    if len(frames) > MAX_FRAMES:  # pyright: ignore[reportUnknownArgumentType]
        raise ProtocolError(CloseCode.TOO_FAST, f"more than {MAX_FRAMES} frames in a message")
    for frame in frames:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(frame, dict) or not isinstance(frame.get("t"), str):  # pyright: ignore[reportUnknownMemberType]
            raise ProtocolError(CloseCode.MALFORMED, "a frame is no object with a string 't'")
    return frames  # pyright: ignore[reportUnknownVariableType]


def parse_hello(frame: Mapping[str, Any], max_channels: int = 1000) -> Hello:
    """Validate a ``hello`` frame; raises `ProtocolError`.

    Only the first ``max_channels`` positions are read. A channel beyond them counts as never
    followed.
    """
    if frame.get("t") != "hello":
        raise ProtocolError(CloseCode.MALFORMED, "the first frame is not 'hello'")
    if frame.get("v") != VERSION:
        raise ProtocolError(
            CloseCode.UNSUPPORTED_VERSION, f"this server speaks version {VERSION}; reload the page"
        )
    token, path, at = frame.get("page"), frame.get("path", ""), frame.get("at", {})
    load = frame.get("load")
    if (
        not isinstance(token, str | None)
        or not isinstance(path, str)
        or not isinstance(load, str | None)
    ):
        raise ProtocolError(CloseCode.MALFORMED, "'hello' has a member of the wrong type")
    positions = parse_positions(at, max_channels)
    return Hello(token, positions, path, frame.get("new", not positions) is True, load)


def parse_positions(at: object, max_channels: int) -> dict[str, tuple[str, int]]:
    """Validate the positions that a page sends for its channels; raises `ProtocolError`.

    Only the first ``max_channels`` are read.
    """
    if not isinstance(at, dict):
        raise ProtocolError(CloseCode.MALFORMED, "'at' is no map of [epoch, number]")
    positions: dict[str, tuple[str, int]] = {}
    for channel, position in at.items():  # pyright: ignore[reportUnknownVariableType]
        match position:
            case [str() as epoch, int() as number]:
                if len(positions) < max_channels:
                    positions[str(channel)] = (epoch, number)  # pyright: ignore[reportUnknownArgumentType]
            case _:
                raise ProtocolError(CloseCode.MALFORMED, "'at' is no map of [epoch, number]")
    return positions


def _check_id(component_id: object) -> None:
    """Raise ``ValueError`` for what is the id of no component: empty, or with a wildcard."""
    if type(component_id) is str:
        if component_id:
            return
        remedy = "an id is a text of at least one character"
    elif isinstance(component_id, Mapping) and component_id:
        found = [each for each in component_id.values() if isinstance(each, Wildcard)]  # pyright: ignore[reportUnknownVariableType]
        if not found:
            return
        remedy = f"{found[0]} is for callbacks; push to each id with values in its place"
    elif isinstance(component_id, str):
        return
    else:
        remedy = "an id is a text, or a dictionary with at least one entry"
    raise ValueError(f"cannot push to the component {component_id!r}: {remedy}")


def _json(value: object) -> str:
    return dumps(value).decode()
