"""The components `LazyLoad`, `LazyPanel` and `Skeleton`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

from dash.development.base_component import Component

from flash import ConfigurationError
from flash.settings import FLAG, Choice, Instance, Number, check, check_names, here
from flash_lazy.components.placeholder import Thumbnail

When: TypeAlias = Literal["visible", "idle", "click", "mount"]
Size: TypeAlias = "int | float | str"
# Pixels: one number for all sides; (horizontal, vertical); (top, right, bottom, left); or by side.
Offset: TypeAlias = "float | Sequence[float] | Mapping[str, float]"

_SIDES = ("top", "right", "bottom", "left")
# Milliseconds.
_DEFAULT_WAIT_MS = 300

_COMMON = [
    "children",
    "id",
    "height",
    "width",
    "offset",
    "once",
    "unmount_if_invisible",
    "suspend",
    "placeholder",
    "scroll_container",
    "throttle",
    "debounce",
    "class_name",
    "style",
    "when",
    "anchors",
    "visible",
    "suspended",
    "status",
    "load_count",
]


class _Size:
    """The rule for a height or a width."""

    def allows(self, value: object) -> bool:
        """Return whether ``value`` is allowed."""
        return isinstance(value, str) or Number(optional=True).allows(value)

    def __str__(self) -> str:
        return "a number of pixels, 0 or more, or a CSS value such as '50vh'"


class _Wait:
    """The rule for ``throttle`` and ``debounce``."""

    def allows(self, value: object) -> bool:
        """Return whether ``value`` is allowed."""
        return isinstance(value, bool) or Number(optional=True).allows(value)

    def __str__(self) -> str:
        return "a number of milliseconds, 0 or more, or True for 300"


SIZE, WAIT = _Size(), _Wait()


class LazyLoad(Component):
    """Children that are sent with the page and drawn when they come near the viewport.

    - ``height``, ``width``: the space reserved for them, in pixels or as a CSS value, so that
      nothing moves when they are drawn. Without a height, 100 pixels are reserved until then.
    - ``offset``: the distance from the viewport that counts as near, in pixels: a number, two
      (horizontal, vertical), four (top, right, bottom, left) or a dictionary by side. A negative
      one requires the panel to be that far inside.
    - ``once``: stop watching after the first time.
    - ``unmount_if_invisible``: remove the children from the page when the panel is not near; the
      space stays reserved.
    - ``suspend``: suspend the panel's content while the panel is not near: ``suspended`` is True
      for callbacks, and the element has an attribute for the page's scripts.
    - ``placeholder``: components to show until the children are drawn. "thumbnail" is a static
      picture of the panel's graph, rendered by the server, or a message if it cannot render.
    - ``scroll_container``: a CSS selector of the element that scrolls, for panels inside one. It
      means the nearest matching ancestor, else the first match in the page.
    - ``throttle``, ``debounce``: milliseconds; react to changes at most that often, or only after
      nothing has changed for that long; True is 300.
    - ``when``: "visible", "idle" (when the browser is idle), "click", "mount" (at once).
    - ``anchors``: ids within the panel to which ``#id`` in the address can lead; ids in
      ``children`` are found without being listed.

    Callbacks can read ``visible``, ``suspended``, ``status`` ("idle", "loaded") and
    ``load_count``. Callbacks whose outputs are in ``children`` run when the page opens, as anywhere
    in a layout; use `lazy` to delay work on the server.
    """

    _children_props = ["placeholder"]  # noqa: RUF012  the format that Dash requires
    _base_nodes = ["placeholder", "children"]  # noqa: RUF012
    _namespace = "flash_lazy"
    _type = "LazyLoad"
    _prop_names = _COMMON
    _valid_wildcard_attributes = ["data-", "aria-"]  # noqa: RUF012
    available_properties = _COMMON
    available_wildcard_properties = ["data-", "aria-"]  # noqa: RUF012

    def __init__(
        self,
        children: Any = None,
        id: str | dict[str, Any] | None = None,  # noqa: A002  Dash's name
        *,
        height: Size | None = None,
        width: Size | None = None,
        offset: Offset = 200,
        once: bool = False,
        unmount_if_invisible: bool = False,
        suspend: bool = False,
        placeholder: Any = None,
        scroll_container: str | None = None,
        throttle: float | bool | None = None,
        debounce: float | bool | None = None,
        class_name: str | None = None,
        style: Mapping[str, Any] | None = None,
        when: When = "visible",
        anchors: Sequence[str] = (),
        **wildcards: Any,
    ) -> None:
        check(
            height=(height, SIZE),
            width=(width, SIZE),
            once=(once, FLAG),
            unmount_if_invisible=(unmount_if_invisible, FLAG),
            suspend=(suspend, FLAG),
            scroll_container=(scroll_container, Instance(str, optional=True)),
            throttle=(throttle, WAIT),
            debounce=(debounce, WAIT),
            class_name=(class_name, Instance(str, optional=True)),
            when=(when, Choice(("visible", "idle", "click", "mount"))),
            refresh_every=(wildcards.get("refresh_every"), Number(0.1, optional=True)),
            prefetch=(wildcards.get("prefetch"), Choice(("idle", None))),
        )
        named = (each for each in wildcards if not each.startswith(("data-", "aria-")))
        check_names(named, self._prop_names, self._type)
        if placeholder == "thumbnail":
            placeholder = Thumbnail(children, width, height)
        given: dict[str, Any] = {
            "children": children,
            "id": id,
            "height": height,
            "width": width,
            "offset": _sides(offset),
            "once": once or None,
            "unmount_if_invisible": unmount_if_invisible or None,
            "suspend": suspend or None,
            "placeholder": placeholder,
            "scroll_container": scroll_container,
            "throttle": _milliseconds(throttle),
            "debounce": _milliseconds(debounce),
            "class_name": class_name,
            "style": style,
            "when": when,
            "anchors": list(anchors) or None,
            **wildcards,
        }
        super().__init__(**{name: value for name, value in given.items() if value is not None})


class LazyPanel(LazyLoad):
    """The component that a loader returns: a `LazyLoad` whose children are loaded from the server.

    ``token`` identifies what to load, and ``live`` is the topic of its invalidations. ``request``
    and ``answer`` are the request and the response of a load. ``status`` may also be "loading" and
    "error".
    """

    # Dash reads these attributes from the class itself and ignores inherited ones.
    _children_props = ["placeholder"]  # noqa: RUF012
    _namespace = "flash_lazy"
    _type = "LazyPanel"
    _prop_names = [*_COMMON, "token", "request", "answer", "refresh_every", "prefetch", "live"]  # noqa: RUF012
    available_properties = _prop_names


class Skeleton(Component):
    """A grey shape to show while a panel is loading."""

    _children_props: list[str] = []  # noqa: RUF012
    _base_nodes = ["children"]  # noqa: RUF012
    _namespace = "flash_lazy"
    _type = "Skeleton"
    _prop_names = ["id", "height", "width", "class_name", "style"]  # noqa: RUF012
    _valid_wildcard_attributes: list[str] = []  # noqa: RUF012
    available_properties = _prop_names
    available_wildcard_properties: list[str] = []  # noqa: RUF012

    def __init__(
        self,
        height: Size = 100,
        width: Size | None = None,
        *,
        id: str | dict[str, Any] | None = None,  # noqa: A002  Dash's name
        class_name: str | None = None,
        style: Mapping[str, Any] | None = None,
    ) -> None:
        check(
            height=(height, SIZE),
            width=(width, SIZE),
            class_name=(class_name, Instance(str, optional=True)),
        )
        given = {"height": height, "width": width, "id": id, "class_name": class_name}
        given["style"] = style  # type: ignore[assignment]
        super().__init__(**{name: value for name, value in given.items() if value is not None})


def _sides(offset: Offset) -> float | list[float]:
    sides: Any = offset
    if isinstance(sides, int | float) and not isinstance(sides, bool):
        return sides
    if isinstance(sides, dict):
        check_names(cast("dict[str, Any]", sides), _SIDES, "offset=")
    numbers: Any = sides.values() if isinstance(sides, dict) else sides
    is_valid = not isinstance(sides, str) and isinstance(sides, Sequence | Mapping)
    if not is_valid or not all(Number(-math.inf).allows(each) for each in numbers):
        raise ConfigurationError(
            f"offset={offset!r}: must be numbers of pixels: one, two (horizontally, vertically) or "
            f"four (top, right, bottom, left){here()}"
        )
    if isinstance(sides, dict):
        given = cast("dict[str, float]", sides)
        return [given.get(side, 0) for side in _SIDES]
    match list(cast("Sequence[float]", sides)):
        case [across, down]:
            return [down, across, down, across]
        case [_, _, _, _] as four:
            return four
        case _:
            raise ConfigurationError(
                f"offset={offset!r}: give one number, two (horizontally, vertically) or four "
                f"(top, right, bottom, left){here()}"
            )


def _milliseconds(wait: float | bool | None) -> float | None:
    return _DEFAULT_WAIT_MS if wait is True else wait or None
