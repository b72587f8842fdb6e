"""Figures: the result of ``to_dict`` without copies of the parts that do not change.

A figure keeps its traces and its layout as dicts and lists. Plotly makes a deep copy of them and
converts arrays in the copy to *typed arrays*: ``{"dtype": "f8", "bdata": base64}``. Here, only
dicts and lists that hold more than plain values are copied; all others are shared with the figure.
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
except ImportError:  # before version 6, plotly wrote arrays as lists
    _convert_to_base64 = None

if TYPE_CHECKING:
    from collections.abc import Callable

# Plotly does not convert arrays below these keys.
_UNTYPED_KEYS = frozenset({"geojson", "layer", "layers", "range"})

# Plotly's name for each numpy type that plotly.js reads as bytes.
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
# Integer types that are too wide for plotly.js, each with narrower types and their ranges.
_NARROWER = {
    "<i8": (("<i1", -(2**7), 2**7), ("<i2", -(2**15), 2**15), ("<i4", -(2**31), 2**31)),
    "<u8": (("<u1", 0, 2**8), ("<u2", 0, 2**16), ("<u4", 0, 2**32)),
}


class _SharedPart(Exception):
    """A part below one of `_UNTYPED_KEYS` may be used elsewhere in the figure, too.

    Plotly would then convert the arrays of the part in both places, which depends on object
    identity. Such a figure is converted by plotly itself.
    """


def is_known_figure(cls: type) -> bool:
    """Return whether ``cls`` is a figure class that plotly writes in its standard way."""
    return (
        _convert_to_base64 is not None
        and issubclass(cls, BaseFigure)
        and cls.to_plotly_json is BaseFigure.to_plotly_json
        and cls.to_dict is BaseFigure.to_dict
        and not any(hasattr(cls, name) for name in ("__getattr__", "to_pydatetime", "tolist"))
    )


def is_known_part(cls: type) -> bool:
    """Return whether ``cls`` is a trace or other part that plotly writes as its ``_props``."""
    return (
        issubclass(cls, BasePlotlyType)
        and cls.to_plotly_json is BasePlotlyType.to_plotly_json
        and not any(hasattr(cls, name) for name in ("__getattr__", "to_pydatetime", "tolist"))
    )


def part_form(part: Any) -> dict[str, Any]:
    """Return ``part.to_plotly_json()``, shared with the part; arrays in it are not converted."""
    return part._props or {}


def figure_form(figure: Any, convert: Callable[[Any], object]) -> object:
    """Return ``figure.to_dict()``, with ``convert`` applied to values that are not plain.

    The result shares parts with the figure and must not be changed.
    """
    state: dict[str, Any] = vars(figure)
    parts = {"data": state["_data"], "layout": state["_layout"]}
    if frames := [frame._props for frame in state["_frame_objs"]]:
        parts["frames"] = frames
    try:
        return _typed(parts, convert)
    except _SharedPart:
        return convert(figure.to_dict())


def _typed(node: Any, convert: Callable[[Any], object], *, typing: bool = True) -> object:
    """Convert a dict, list or tuple; ``typing`` is false below `_UNTYPED_KEYS`."""
    if type(node) is not dict:
        return _typed_sequence(node, convert, typing=typing)
    members = cast("dict[Any, Any]", node)
    if all_plain(map(type, members.values())):
        return members
    typed: dict[Any, object] = {}
    for key, value in members.items():
        kind = type(value)
        if kind in PLAIN:
            typed[key] = value
        elif kind in CONTAINERS:
            typed[key] = _typed(value, convert, typing=typing and key not in _UNTYPED_KEYS)
        elif typing and key not in _UNTYPED_KEYS:
            typed[key] = convert(_typed_value(value))
        elif typing and not isinstance(value, (dict, list, tuple)):
            typed[key] = convert(deepcopy(value))
        else:
            raise _SharedPart
    return typed


def _typed_sequence(
    node: list[Any] | tuple[Any, ...], convert: Callable[[Any], object], *, typing: bool
) -> object:
    if all_plain(map(type, node)):
        return node
    typed: list[object] = []
    for value in node:
        kind = type(value)
        if kind in PLAIN:
            typed.append(value)
        elif kind in CONTAINERS:
            typed.append(_typed(value, convert, typing=typing))
        elif typing:
            typed.append(convert(_converted([value])[0]))
        else:
            raise _SharedPart
    return typed


def _typed_value(value: Any) -> object:
    """Return plotly's form of the value of a dict, which is neither plain nor a container."""
    if type(value).__module__ == "numpy" and type(value).__name__ == "ndarray":
        kind: str = value.dtype.kind
        if kind == "M":
            return value if value.ndim < 2 or _has_writable_dates(value) else _as_text(value)
        if kind == "O" and all_plain(map(type, value.flat)):
            return value
        if kind in "iuf" and value.ndim and (typed := _typed_array(value)):
            return typed
    return _converted({"": value})[""]


def _has_writable_dates(dates: Any) -> bool:
    """Return whether every version of orjson can write all dates; NaT it cannot write.

    In an array of several dimensions orjson writes other dates as invalid JSON, without an error.
    """
    years = dates.astype("datetime64[Y]").view("int64") + 1970
    return bool(((years >= 1) & (years <= 9998)).all())


def _as_text(dates: Any) -> list[Any]:
    """Return dates as text, for an array with a date that orjson cannot write."""
    return sys.modules["numpy"].datetime_as_string(dates).tolist()


def _typed_array(array: Any) -> dict[str, str] | None:
    """Return plotly's typed array for an array; None if plotly.js cannot read its type."""
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
    """Return a copy of a dict or list, converted by plotly, which changes its argument in place."""
    copied = deepcopy(holder)
    cast("Callable[[object], None]", _convert_to_base64)(copied)
    return copied
