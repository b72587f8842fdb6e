"""Checks of the values that pages send before other pages may be shown them; no event loop.

A page can send any JSON. Dash draws a dictionary that describes a component as that component, and
applies one that describes a `Patch`. A value that goes on to other pages must therefore hold
neither, unless the app says so.
"""

from __future__ import annotations

from typing import Any, cast

# How the keys of Dash's own markers begin, such as ``__dash_patch_update``.
_MARKER_PREFIXES = ("__dash", "_dash")


def find_marker(value: Any) -> str | None:
    """Return what a JSON value holds that Dash would not show as a value; None if nothing.

    It looks at any depth.
    """
    waiting: list[Any] = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting.extend(cast("list[Any]", each))
        elif isinstance(each, dict):
            members = cast("dict[str, Any]", each)
            if "type" in members and "namespace" in members:
                return "a component"
            for key in members:
                if key.startswith(_MARKER_PREFIXES):
                    return f"the marker {key[:40]!r} of Dash"
            waiting.extend(members.values())
    return None
