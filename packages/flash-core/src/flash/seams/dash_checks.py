"""Dash's checks of layout and callbacks at start-up, without the work that most apps do not need.

A short test finds out whether Dash's check can raise anything; if it can, Dash's check runs. Of an
app with 2,000 callbacks, Dash's checks take half of the start.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import TYPE_CHECKING, Any

from dash.development.base_component import Component

from flash.seams.dash import stringify_id, validate

if TYPE_CHECKING:
    from collections.abc import Mapping

_validate_layout = validate.validate_layout
_validate_background_callbacks = validate.validate_background_callbacks


def check_layout(layout: Any, value: Any) -> None:
    """Raise Dash's error for a layout that is missing, or in which two components have one id."""
    is_list = isinstance(value, list | tuple)
    parts: list[Any] = list(value) if is_list else [value]  # pyright: ignore[reportUnknownArgumentType]
    # A list may have strings among its components.
    kinds = (str, Component) if is_list else Component
    ids: list[str] = []
    if layout is not None and all(isinstance(part, kinds) for part in parts):
        for part in parts:
            _collect_ids(part, ids)
        if len(set(ids)) == len(ids):
            return
    _validate_layout(layout, value)


def check_background_callbacks(callback_map: Mapping[str, Any]) -> None:
    """Raise Dash's error for a background callback that changes what it depends on."""
    # Dash makes sets of all Inputs and Outputs, also where no callback is checked.
    if any(entry.get("background") for entry in callback_map.values()):
        _validate_background_callbacks(callback_map)


def _collect_ids(item: Any, ids: list[str]) -> None:
    """Add the id of a component, and those of the components in it, to ``ids``."""
    name: Any = getattr(item, "id", None)
    if name:
        ids.append(stringify_id(name))
    if not isinstance(item, Component):
        return
    children: Any = getattr(item, "children", None)
    # The usual kinds first, since a list is not quickly recognised as a sequence that can change.
    if type(children) is list or isinstance(children, tuple):
        for child in children:  # pyright: ignore[reportUnknownVariableType]
            _collect_ids(child, ids)
    elif isinstance(children, Component):
        _collect_ids(children, ids)
    elif type(children) is not str and isinstance(children, MutableSequence):
        for child in children:  # pyright: ignore[reportUnknownVariableType]
            _collect_ids(child, ids)


def shorten_checks() -> None:
    """Let Dash call the functions of this module in place of its own; idempotent."""
    validate.validate_layout = check_layout
    validate.validate_background_callbacks = check_background_callbacks
