"""The components that put a page into a room, and that show who is in it."""

from __future__ import annotations

from typing import Any

from flash import ConfigurationError
from flash.settings import AMOUNT, check
from flash_pubsub.channels.declaration import ChannelPattern
from flash_pubsub.channels.subscription import Status, Subscription


class Room(Subscription):
    """An invisible component; while it is mounted, its page is in a room.

    ``Room("desk/{desk}", desk=7)`` is the room ``desk/7``, as ``Room("desk/7")`` is. A page in a
    room shares the values of the shared callbacks that have it as ``room=``, and gets what is
    pushed to `PubSub.room`. It is subscribed to the channel of the same name, too: `Subscription`
    says what is signed, and who decides.

    A page is in one room of a shared callback at a time. A second `Room` of the same pattern is
    "denied" until the first is removed. When a page leaves a room, its components show again what
    they showed before it came. ``status`` is as that of a `Subscription`.

    Raises `ConfigurationError` for values that do not fit the name.
    """

    _type = "Room"

    def __init__(
        self,
        room: str,
        /,
        id: str | dict[str, Any] | None = None,  # noqa: A002  Dash's name
        *,
        status: Status = "pending",
        **variables: object,
    ) -> None:
        super().__init__(room_name(room, variables), id, status=status)


class Present(Subscription):
    """Shows who is in a room, by name and in number, on all workers; the list is always current.

    Its page is one of those who are there. The names are those of the users that ``authorize``
    named, or what `PubSub.present_name` gives. A user with several pages counts once, and so does
    each page without a user. Who came first is first; after ``most`` names it shows how many more
    there are. ``label`` and ``more`` are its texts. The first 50 names of a room are known to its
    pages.

    It is one element of class ``flash-present``, with elements of the classes
    ``flash-present-count``, ``flash-present-label``, ``flash-present-name`` and
    ``flash-present-more`` in it. Screen readers read changes when they are idle
    (``aria-live="polite"``).

    Callbacks can read ``who`` (names), ``count``, ``joined`` and ``left`` (the names that the
    latest change has brought and taken) and ``status``.
    """

    _type = "Present"

    def __init__(
        self,
        room: str,
        /,
        id: str | dict[str, Any] | None = None,  # noqa: A002  Dash's name
        *,
        label: str = "here",
        most: int = 12,
        more: str = "and {count} more",
        className: str | None = None,  # noqa: N803  Dash's name
        status: Status = "pending",
        **variables: object,
    ) -> None:
        check(most=(most, AMOUNT))
        super().__init__(room_name(room, variables), id, status=status)
        self._prop_names += ["label", "most", "more", "className", "who", "count", "joined", "left"]
        self.label = label
        self.most = most
        self.more = more
        if className is not None:
            self.className = className


def room_name(room: str, variables: dict[str, object]) -> str:
    """Return the name of a room: its pattern with the values of the variables in it.

    Raises `ConfigurationError` if they do not fit, or a value has a slash or no character.
    """
    pattern = ChannelPattern(room)
    if set(pattern.variables) != set(variables):
        raise ConfigurationError(
            f"Room({room!r}) has the variables {sorted(pattern.variables)}, and the values given "
            f"are those of {sorted(variables)}; give a value for each, such as "
            'Room("desk/{desk}", desk=7)'
        )
    name = room
    for variable, value in variables.items():
        text = str(value) if isinstance(value, str | int) else ""
        if not text or "/" in text or "{" in text:
            raise ConfigurationError(
                f"Room({room!r}): the value {value!r} of {variable!r} cannot be in a room's name; "
                'use a number, or a text of at least one character, without "/" and "{"'
            )
        name = name.replace(f"{{{variable}}}", text)
    return name
