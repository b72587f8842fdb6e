"""How large a value is, roughly, without serialising it."""

from __future__ import annotations

from typing import Any

from dash.development.base_component import Component

# Above this many values serialising goes to a thread: about two milliseconds on the loop.
MAX_VALUES_ON_LOOP = 2000

_SCALARS = frozenset({bool, int, float, type(None)})

# Attributes of a component that describe its class rather than hold a property.
_DESCRIPTIVE = ("_", "available_")


def is_large(value: object, limit: int) -> bool:
    """Tell whether ``value`` holds more than about ``limit`` values, looking at few more.

    A thousand characters count as one value. What does not show its size from outside (a figure, an
    array, a frame) counts as large.
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
                each.__dict__[name] for name in each.__dict__ if not name.startswith(_DESCRIPTIVE)
            ]
            count += len(held)
            stack.extend(held)
        elif hasattr(each, "__len__") or hasattr(each, "to_plotly_json"):
            return True
        if count > limit:
            return True
    return False
