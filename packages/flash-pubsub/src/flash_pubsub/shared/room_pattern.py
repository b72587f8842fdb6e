"""The names of an app's rooms: their pattern, the URL that leads into one, and a function's part.

This module uses no event loop.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flash import ConfigurationError
from flash_pubsub.channels.declaration import ChannelPattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# A variable of a path, as pages of Dash have it: ``/desk/<desk>``.
_PATH_VARIABLE = re.compile(r"<([A-Za-z_][A-Za-z0-9_]*)>")


@dataclass(frozen=True, slots=True)
class RoomPattern:
    """The rooms of one pattern such as ``desk/{desk}``, or the one room of a name."""

    pattern: ChannelPattern
    # The path of the URL that puts a page into a room, such as ``/desk/<desk>``; None if only a
    # `Room` in the layout does.
    path: str | None = None

    @classmethod
    def of(cls, room: object, path: object, what: str) -> RoomPattern | None:
        """Return what ``room=`` and ``room_from=`` of a callback say; raises `ConfigurationError`.

        ``what`` names the callback in errors.
        """
        if room is None:
            if path is not None:
                raise ConfigurationError(
                    f"{what}: room_from={path!r} without room=; say which room the URL leads into, "
                    'such as room="desk/{desk}", room_from="/desk/<desk>"'
                )
            return None
        if not isinstance(room, str):
            raise ConfigurationError(
                f"{what}: room={room!r} is no text; give a name or a pattern, such as "
                '"desk/{desk}"'
            )
        pattern = ChannelPattern(room)
        if path is not None:
            _check_path(path, pattern, what)
        return cls(pattern, path if isinstance(path, str) else None)

    @property
    def text(self) -> str:
        """The pattern as the app has written it."""
        return self.pattern.text

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the pattern's variables."""
        return self.pattern.variables

    def match(self, room: str) -> dict[str, str] | None:
        """Return the values of the variables in a room's name; None if it is another's room."""
        return self.pattern.match(room)


def _check_path(path: object, pattern: ChannelPattern, what: str) -> None:
    if not isinstance(path, str) or not path.startswith("/"):
        raise ConfigurationError(
            f'{what}: room_from={path!r} is no path; it begins with a slash, as "/desk/<desk>"'
        )
    named = _PATH_VARIABLE.findall(path)
    if sorted(named) != sorted(pattern.variables):
        raise ConfigurationError(
            f"{what}: room_from={path!r} has the variables {sorted(named)}, and "
            f"room={pattern.text!r} has {sorted(pattern.variables)}; name the same in both, each "
            "once"
        )


def check_paths(rooms: Iterable[RoomPattern], new: RoomPattern, what: str) -> None:
    """Raise `ConfigurationError` if a pattern gets a second path."""
    for each in rooms:
        if each.text == new.text and None not in (each.path, new.path) and each.path != new.path:
            raise ConfigurationError(
                f"{what}: room_from={new.path!r}, and another callback of room={new.text!r} has "
                f"room_from={each.path!r}; one pattern has one path: give it once"
            )


def arguments_of(
    function: Callable[..., Any], variables: tuple[str, ...], *, after: int
) -> tuple[str, ...]:
    """Return the variables that a function takes by name.

    ``after`` is the number of its positional arguments, the values of Inputs and States.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return ()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        taken = {each.name for each in parameters[:after] if each.kind is not each.VAR_KEYWORD}
        return tuple(name for name in variables if name not in taken)
    positional = [each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    names = {each.name for each in positional[after:]} | {
        each.name for each in parameters if each.kind is each.KEYWORD_ONLY
    }
    return tuple(name for name in variables if name in names)
