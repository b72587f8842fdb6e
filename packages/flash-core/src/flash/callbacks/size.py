"""Estimates the size of a value without serialising it."""

from __future__ import annotations

from typing import Any

from dash.development.base_component import Component

from flash.seams.dash import NoUpdate

# A result with more values is serialised in a thread; this many take about 2 ms on the loop.
MAX_VALUES_ON_LOOP = 2000

# Values without size; a `no_update` is not sent.
_SCALARS = frozenset({bool, int, float, type(None), NoUpdate})

# Prefixes of component attributes that describe the class and hold no property.
_CLASS_ATTRIBUTES = ("_", "available_")


def is_large(value: object, limit: int) -> bool:
    """Return whether ``value`` holds more than about ``limit`` values; visits few more than that.

    A thousand characters count as one value. An object whose size cannot be seen without
    serialising it (a figure, an array, a data frame) counts as large.
    """
    count = 0
    stack: list[Any] = [value]
    while stack:
        each = stack.pop()
        kind = type(each)
        if kind in _SCALARS:
            continue
        if kind is str:
            count += len(each) // 1000
        elif kind is dict:
            count += len(each)
            stack.extend(each.values())
        elif kind is list or kind is tuple:
            count += len(each)
            if count <= limit:
                stack.extend(each)
        elif isinstance(each, Component):
            held = [
                each.__dict__[name]
                for name in each.__dict__
                if not name.startswith(_CLASS_ATTRIBUTES)
            ]
            count += len(held)
            stack.extend(held)
        elif hasattr(each, "__len__") or hasattr(each, "to_plotly_json"):
            return True
        if count > limit:
            return True
    return False
