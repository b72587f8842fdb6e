"""Figures: what ``to_dict`` gives, without copying what needs no change.

A figure keeps its traces and its layout as dicts and lists. Plotly copies them deeply and then, in
the copy, turns arrays into *typed arrays*: ``{"dtype": "f8", "bdata": base64}``. Here only dicts
and lists that hold more than plain values are built anew; all others are shared with the figure.
"""

from __future__ import annotations

import sys
from binascii import b2a_base64
from copy import deepcopy
from typing import TYPE_CHECKING, Any, cast

from plotly.basedatatypes import BaseFigure, BasePlotlyType

from flash.serialize.plain import CONTAINERS, PLAIN, all_plain

try:
    from _plotly_utils.utils import convert_to_base64 as _convert_to_base64
except ImportError:  # before plotly 6 arrays were written as lists
    _convert_to_base64 = None

if TYPE_CHECKING:
    from collections.abc import Callable

# Below these keys plotly leaves arrays as they are.
_UNTYPED_KEYS = frozenset({"geojson", "layer", "layers", "range"})

# Plotly's name for each numpy type that plotly.js can read as bytes.
_TYPE_NAMES = {
    "|i1": "i1",
    "|u1": "u1",
    "<i2": "i2",
    "<u2": "u2",
    "<i4": "i4",
    "<u4": "u4",
    "<f4": "f4",
    "<f8": "f8",
}
# The types that hold integers wider than plotly.js can read, and the ones to try instead.
_NARROWER = {
    "<i8": (("<i1", -(2**7), 2**7), ("<i2", -(2**15), 2**15), ("<i4", -(2**31), 2**31)),
    "<u8": (("<u1", 0, 2**8), ("<u2", 0, 2**16), ("<u4", 0, 2**32)),
}


class _MaybeShared(Exception):
    """Below a key where arrays stay lies something that plotly would change in another place.

    If one dict is in both places, its arrays are typed in both: what plotly then writes depends on
    which objects are one and the same.
    """


def is_known_figure(cls: type) -> bool:
    """Whether the instances of a class are figures that are written as plotly's own are."""
    return (
        _convert_to_base64 is not None
        and issubclass(cls, BaseFigure)
        and cls.to_plotly_json is BaseFigure.to_plotly_json
        and cls.to_dict is BaseFigure.to_dict
        and not any(hasattr(cls, name) for name in ("__getattr__", "to_pydatetime", "tolist"))
    )


def is_known_part(cls: type) -> bool:
    """Whether the instances of a class are traces, or other parts, that say their props only."""
    return (
        issubclass(cls, BasePlotlyType)
        and cls.to_plotly_json is BasePlotlyType.to_plotly_json
        and not any(hasattr(cls, name) for name in ("__getattr__", "to_pydatetime", "tolist"))
    )


def part_form(part: Any) -> dict[str, Any]:
    """What ``part.to_plotly_json()`` gives, shared with the part. Arrays in it are not typed."""
    return part._props or {}


def figure_form(figure: Any, finish: Callable[[Any], object]) -> object:
    """What ``figure.to_dict()`` gives, with ``finish`` applied to what holds no typed arrays.

    The result shares parts with the figure: it is to be written, not changed.
    """
    state: dict[str, Any] = vars(figure)
    parts = {"data": state["_data"], "layout": state["_layout"]}
    if frames := [frame._props for frame in state["_frame_objs"]]:
        parts["frames"] = frames
    try:
        return _typed(parts, finish)
    except _MaybeShared:
        return finish(figure.to_dict())


def _typed(node: Any, finish: Callable[[Any], object], *, typing: bool = True) -> object:
    """Form a dict, list or tuple; ``typing`` is false below the keys where arrays stay."""
    if type(node) is not dict:
        return _typed_sequence(node, finish, typing=typing)
    members = cast("dict[Any, Any]", node)
    if all_plain(map(type, members.values())):
        return members
    typed: dict[Any, object] = {}
    for key, value in members.items():
        kind = type(value)
        if kind in PLAIN:
            typed[key] = value
        elif kind in CONTAINERS:
            typed[key] = _typed(value, finish, typing=typing and key not in _UNTYPED_KEYS)
        elif typing and key not in _UNTYPED_KEYS:
            typed[key] = finish(_typed_value(value))
        elif typing and not isinstance(value, (dict, list, tuple)):
            typed[key] = finish(deepcopy(value))
        else:
            raise _MaybeShared
    return typed


def _typed_sequence(
    node: list[Any] | tuple[Any, ...], finish: Callable[[Any], object], *, typing: bool
) -> object:
    if all_plain(map(type, node)):
        return node
    typed: list[object] = []
    for value in node:
        kind = type(value)
        if kind in PLAIN:
            typed.append(value)
        elif kind in CONTAINERS:
            typed.append(_typed(value, finish, typing=typing))
        elif typing:
            typed.append(finish(_converted([value])[0]))
        else:
            raise _MaybeShared
    return typed


def _typed_value(value: Any) -> object:
    """What plotly makes of a value, neither plain nor a plain container, that has a key."""
    if type(value).__module__ == "numpy" and type(value).__name__ == "ndarray":
        kind: str = value.dtype.kind
        if kind == "M":
            return value if value.ndim < 2 or _has_years(value) else _as_text(value)
        if kind == "O" and all_plain(map(type, value.flat)):
            return value
        if kind in "iuf" and value.ndim and (typed := _typed_array(value)):
            return typed
    return _converted({"": value})[""]


def _has_years(dates: Any) -> bool:
    """Whether every date has a year that any orjson can write; NaT has none.

    Of several dimensions orjson writes the rest as broken JSON, without an error.
    """
    years = dates.astype("datetime64[Y]").view("int64") + 1970
    return bool(((years >= 1) & (years <= 9998)).all())


def _as_text(dates: Any) -> list[Any]:
    """Dates as they are written where one of them is unknown to orjson."""
    return sys.modules["numpy"].datetime_as_string(dates).tolist()


def _typed_array(array: Any) -> dict[str, str] | None:
    """Plotly's form of an array of numbers, where its type is one that plotly.js reads."""
    code: str = array.dtype.str
    if code in _NARROWER and array.size:
        lowest, highest = int(array.min()), int(array.max())
        for narrower, least, limit in _NARROWER[code]:
            if least <= lowest and highest < limit:
                array = array.astype(narrower)
                code = array.dtype.str
                break
    name = _TYPE_NAMES.get(code)
    if name is None or not array.size:
        return None
    typed = {"dtype": name, "bdata": b2a_base64(array.tobytes(), newline=False).decode()}
    if array.ndim > 1:
        typed["shape"] = str(array.shape)[1:-1]
    return typed


def _converted(holder: Any) -> Any:
    """Let plotly convert what a dict or a list holds: it looks at keys, and changes in place."""
    copied = deepcopy(holder)
    cast("Callable[[object], None]", _convert_to_base64)(copied)
    return copied
