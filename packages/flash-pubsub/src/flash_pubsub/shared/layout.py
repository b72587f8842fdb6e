"""Filling a layout with shared values and signing its subscriptions; uses no event loop."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from dash.development.base_component import Component

from flash import stringify_id
from flash_pubsub.channels.subscription import position_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flash_ws.protocol.position import Position


def fill_layout(
    node: Any,
    values: Mapping[str, Mapping[str, Any]],
    sign: Callable[[str, Position | None], str],
) -> Any:
    """Return a layout in which ``values``, by component id and property, replace its own.

    The given layout is not modified. Components that differ, and those around them, are copied;
    all others are used in both layouts.
    """
    if isinstance(node, list | tuple):
        children = [fill_layout(each, values, sign) for each in node]
        if all(new is old for new, old in zip(children, node, strict=True)):
            return node
        return children if isinstance(node, list) else tuple(children)
    if not isinstance(node, Component):
        return node
    changes: dict[str, Any] = {}
    # Of components that subscribe their page to something.
    signed: str | None = getattr(node, "signed_channel", None)
    if signed is not None and not hasattr(node, "token"):
        changes["token"] = sign(signed, position_in(node))
    component_id = getattr(node, "id", None)
    if component_id is not None:
        changes.update(values.get(stringify_id(component_id), {}))
    for name in ("children", *_holders(node)):
        if name not in changes and (child := getattr(node, name, None)) is not None:
            new = fill_layout(child, values, sign)
            if new is not child:
                changes[name] = new
    if not changes:
        return node
    changed = copy.copy(node)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def find_value(node: Any, component_id: str, prop: str) -> Any:
    """Return the value of a property in the layout; None if the layout does not set it."""
    if isinstance(node, list | tuple):
        for each in node:
            found = find_value(each, component_id, prop)
            if found is not None:
                return found
    elif isinstance(node, Component):
        own_id = getattr(node, "id", None)
        if own_id is not None and stringify_id(own_id) == component_id:
            return getattr(node, prop, None)
        for name in ("children", *_holders(node)):
            found = find_value(getattr(node, name, None), component_id, prop)
            if found is not None:
                return found
    return None


def _holders(node: Component) -> list[str]:
    """Return the properties of a component, other than ``children``, that hold components."""
    names: list[str] = getattr(node, "_children_props", [])
    return [name for name in names if "." not in name and "[" not in name]
