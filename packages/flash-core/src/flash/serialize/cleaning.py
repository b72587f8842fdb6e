"""Cleaning: converts a value to types that orjson knows, by the rules of Dash.

The conversion for a class is determined once. Rules for numpy, pandas and PIL apply only if the app
has imported them.
"""

from __future__ import annotations

import contextlib
import datetime
import sys
from base64 import b64encode
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

from flash.serialize.components import component_form, is_ordinary
from flash.serialize.figures import figure_form, is_known_figure, is_known_part, part_form
from flash.serialize.plain import CONTAINERS, PLAIN, all_plain

if TYPE_CHECKING:
    from collections.abc import Callable

    # Returns the value that replaces its argument.
    Form = Callable[[Any], object]

# Up to this many members, a copy costs less than the check that all are plain.
_MAX_COPIED = 3


def plotly_form(value: Any) -> object:
    """Return the result of ``to_plotly_json`` for ``value``; its members are not cleaned."""
    return _PLOTLY_FORMS[type(value)](value)


def clean(value: Any) -> object:
    """Return ``value`` cleaned with all its members; parts that need no change are shared."""
    return _CLEANED[type(value)](value)


class _PerClass(dict[type, "Form"]):
    """The conversion for each class, determined when the class is first used.

    Two threads may determine it at the same time; both get the same result.
    """

    def __init__(self, determine: Callable[[type], Form], known: dict[type, Form]) -> None:
        super().__init__(known)
        self._determine = determine

    def __missing__(self, cls: type) -> Form:
        form = self[cls] = self._determine(cls)
        return form


def _plotly_form_of(cls: type) -> Form:
    if is_ordinary(cls):
        return component_form(cls, _unchanged, _to_plotly_json)
    if is_known_figure(cls):
        return lambda figure: figure_form(figure, _unchanged)
    if is_known_part(cls):
        return part_form
    return _to_plotly_json


def _cleaning_of(cls: type) -> Form:
    if is_ordinary(cls):
        return component_form(cls, clean, _clean_other)
    if is_known_figure(cls):
        return lambda figure: figure_form(figure, clean)
    if is_known_part(cls):
        return lambda part: _clean_dict(part_form(part))
    return _clean_other


def _unchanged(value: Any) -> object:
    return value


def _to_plotly_json(value: Any) -> object:
    try:
        return value.to_plotly_json()
    except AttributeError:  # also one raised inside the method, as in Dash
        return value


def _clean_dict(members: dict[Any, Any]) -> object:
    if len(members) > _MAX_COPIED and all_plain(map(type, members.values())):
        return members
    cleaned: dict[Any, object] = {}
    for key, value in members.items():
        cls = type(value)
        cleaned[key] = value if cls in PLAIN else _CLEANED[cls](value)
    return cleaned


def _clean_sequence(members: list[Any] | tuple[Any, ...]) -> object:
    if len(members) > _MAX_COPIED and all_plain(map(type, members)):
        return members
    return [_CLEANED[type(value)](value) for value in members]


def _clean_other(value: Any) -> object:
    """Clean a value by Dash's rules in Dash's order; the first that applies decides."""
    if isinstance(value, (int, float, str)):
        return value
    if _has_members(value):
        return _clean_members(value)
    decided, value = _clean_numpy(value)
    if not decided:
        decided, value = _clean_pandas(value)
    if decided:
        return value
    with contextlib.suppress(TypeError, AttributeError):
        value = value.to_pydatetime()
    if isinstance(value, datetime.datetime):
        return value
    with contextlib.suppress(AttributeError):
        return value.tolist()
    if isinstance(value, Decimal):
        return float(value)
    pil = sys.modules.get("PIL.Image")
    if pil is not None and isinstance(value, pil.Image):
        return _data_uri(value)
    value = _to_plotly_json(value)
    return _clean_members(value) if _has_members(value) else value


def _has_members(value: Any) -> bool:
    # An empty sequence is passed to orjson, which refuses a named tuple.
    return isinstance(value, dict) or (isinstance(value, (list, tuple)) and bool(value))


def _clean_members(container: Any) -> object:
    if isinstance(container, dict):
        members = cast("dict[Any, Any]", container)
        return {key: clean(value) for key, value in members.items()}
    return [clean(value) for value in container]


def _clean_numpy(value: Any) -> tuple[bool, Any]:
    """Apply the rules for numpy; return whether one decides, and the value so far."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return False, value
    if value is numpy.ma.core.masked:
        return True, None
    if isinstance(value, numpy.datetime64):
        return True, str(value)
    if not isinstance(value, numpy.ndarray):
        return False, value
    array: Any = value
    match array.dtype.kind:
        case "b" | "i" | "u" | "f":
            return True, numpy.ascontiguousarray(array)
        case "M":
            return True, numpy.datetime_as_string(array).tolist()
        case "U":
            return True, array.tolist()
        case "O":
            return False, array.tolist()
        case _:
            return False, array


def _clean_pandas(value: Any) -> tuple[bool, Any]:
    """Apply the rules for pandas; return whether one decides, and the value so far."""
    pandas: Any = sys.modules.get("pandas")
    if pandas is None:
        return False, value
    if value is pandas.NaT or value is pandas.NA:
        return True, None
    if isinstance(value, (pandas.Series, pandas.DatetimeIndex)):
        column: Any = value
        if column.dtype.kind in {"b", "i", "u", "f"}:
            return True, sys.modules["numpy"].ascontiguousarray(column.values)
        if column.dtype.kind == "M":
            return True, pandas.DatetimeIndex(column).to_pydatetime().tolist()
    return False, value


def _data_uri(image: Any) -> str:
    png = BytesIO()
    image.save(png, format="PNG")
    return "data:image/png;base64," + b64encode(png.getvalue()).decode()


_PLOTLY_FORMS = _PerClass(_plotly_form_of, dict.fromkeys(PLAIN | CONTAINERS, _unchanged))
_CLEANED = _PerClass(
    _cleaning_of,
    {
        **dict.fromkeys(PLAIN, _unchanged),
        dict: _clean_dict,
        list: _clean_sequence,
        tuple: _clean_sequence,
    },
)
