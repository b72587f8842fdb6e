"""Refuses other callbacks that set a property of a shared callback, since pages would differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from flash import ConfigurationError, Output
from flash.callbacks.functions import place_of
from flash_pubsub.shared.room_pattern import check_paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flash_pubsub.channels.declaration import ChannelCallback
    from flash_pubsub.shared.declaration import SharedCallback


class TwoSources(ConfigurationError):
    """A shared callback and another one set the same property."""

    says_all = True


class CallbacksOfApp(Protocol):
    """What `check_outputs` needs of the app."""

    # The entry of each callback by its id.
    callback_map: Any

    def place_of_callback(self, callback_id: str) -> str:
        """Return ``file:line`` of a callback's function, or what is known of a clientside one."""
        ...


def check_outputs(
    app: CallbacksOfApp,
    shared: Iterable[SharedCallback],
    channel_callbacks: Iterable[ChannelCallback] = (),
) -> None:
    """Raise `ConfigurationError` if another callback of the app sets a shared property.

    The other callback sets it on the page that called it, and a shared callback on all pages.
    """
    by_property: dict[str, list[tuple[Output, SharedCallback]]] = {}
    for callback in shared:
        for output in callback.outputs.declared:
            by_property.setdefault(output.component_property, []).append((output, callback))
    if not by_property:
        return
    for callback_id, entry in app.callback_map.items():
        for output in _flat(entry.get("output")):
            for own, callback in by_property.get(output.component_property, ()):
                # Equal for Dash if a wildcard covers the component, too.
                if own == output:
                    kind = "a clientside callback" if "callback" not in entry else "a callback"
                    reason = "it is shown on one page only"
                    raise _refusal(own, callback, kind, app.place_of_callback(callback_id), reason)
    for other in channel_callbacks:
        for output in other.outputs.declared:
            for own, callback in by_property.get(output.component_property, ()):
                if own == output:
                    reason = "pages get the two in different orders"
                    kind = "a channel callback"
                    raise _refusal(own, callback, kind, place_of(other.function), reason)


def check_rooms(callback: SharedCallback, others: Iterable[SharedCallback]) -> None:
    """Raise `ConfigurationError` if a property belongs to two rooms, or a pattern has two paths.

    A page shows one value of a property, and so cannot be in two rooms with it.
    """
    known = list(others)
    keys = {*callback.input_keys, *callback.output_keys}
    for other in known:
        if _room_name(other) == _room_name(callback):
            continue
        for key in (*other.input_keys, *other.output_keys):
            if key in keys:
                raise ConfigurationError(
                    f"{'.'.join(key)} belongs to the shared callback {other.label!r} "
                    f"({place_of(other.function)}; {_room_text(other)}) and to {callback.label!r} "
                    f"({place_of(callback.function)}; {_room_text(callback)}); a property has one "
                    "room: give both callbacks the same room=, or use two components"
                )
    if callback.room is not None:
        rooms = [each.room for each in known if each.room is not None]
        check_paths(rooms, callback.room, f"the shared callback {callback.label!r}")


def _room_name(callback: SharedCallback) -> str | None:
    return None if callback.room is None else callback.room.text


def _room_text(callback: SharedCallback) -> str:
    return "no room" if callback.room is None else f"room={callback.room.text!r}"


def _refusal(
    output: Output, callback: SharedCallback, kind: str, place: str, reason: str
) -> ConfigurationError:
    name = f"{output.component_id_str()}.{output.component_property}"
    return TwoSources(
        f"the shared callback {callback.label!r} ({place_of(callback.function)}) and {kind} "
        f"({place}) both set {name}; what the second sets would let pages differ, since {reason}, "
        "also with allow_duplicate=True: let the shared callback take the Inputs of both, or give "
        "the second an Output of its own"
    )


def _flat(outputs: Any) -> Iterator[Output]:
    if isinstance(outputs, Output):
        yield outputs
    elif isinstance(outputs, list | tuple):
        for each in outputs:
            yield from _flat(each)
