"""Applying a Dash ``Patch`` on the server to a JSON value."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import orjson

from flash.serialize import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flash import Patch


def apply_patch(value: Any, patch: Patch, name: str = "it") -> Any:
    """Return ``value`` after the operations of the patch, in order, as Dash's renderer does them.

    ``value`` is not modified. Raises ``ValueError``, with the ``name`` of the property, if an
    operation does not fit the value.
    """
    operations: Sequence[Mapping[str, Any]] = orjson.loads(dumps(patch))["operations"]
    for each in operations:
        if value is None and (each["location"] or each["operation"] != "Assign"):
            raise ValueError(
                f"Patch: {name} has no value to change: no shared callback has set it, and "
                "neither the layout nor a page of pages/ gives one. The server does not know what "
                "other callbacks have set; let the shared callback return the whole value first"
            )
        try:
            value = _applied(value, each)
        except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
            path = ".".join(map(str, each["location"])) or "the value itself"
            raise ValueError(
                f"Patch: {each['operation']} at {path} does not fit what is stored: {error!r}"
            ) from error
    return value


def _applied(value: Any, operation: Mapping[str, Any]) -> Any:
    location: list[Any] = operation["location"]
    name, params = operation["operation"], operation.get("params", {})
    if not location:
        return _ON_VALUES[name](copy.copy(value), params)
    # The containers along the path are copied, because the stored value may be in use.
    root = parent = copy.copy(value)
    for key in location[:-1]:
        parent[key] = copy.copy(parent[key])
        parent = parent[key]
    last = location[-1]
    if name == "Assign":
        parent[last] = params["value"]
    elif name == "Delete":
        del parent[last]
    else:
        parent[last] = _ON_VALUES[name](copy.copy(parent[last]), params)
    return root


def _inserted(value: list[Any], index: int, item: Any) -> list[Any]:
    value.insert(index, item)
    return value


def _without(value: list[Any], item: Any) -> list[Any]:
    return [each for each in value if each != item]


def _cleared(value: Any) -> Any:
    return {} if isinstance(value, dict) else []


_ON_VALUES: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "Assign": lambda value, params: params["value"],
    "Merge": lambda value, params: {**value, **params["value"]},
    "Extend": lambda value, params: [*value, *params["value"]],
    "Append": lambda value, params: [*value, params["value"]],
    "Prepend": lambda value, params: [params["value"], *value],
    "Insert": lambda value, params: _inserted(value, params["index"], params["value"]),
    "Remove": lambda value, params: _without(value, params["value"]),
    "Clear": lambda value, params: _cleared(value),
    "Reverse": lambda value, params: cast("list[Any]", value)[::-1],
    "Add": lambda value, params: value + params["value"],
    "Sub": lambda value, params: value - params["value"],
    "Mul": lambda value, params: value * params["value"],
    "Div": lambda value, params: value / params["value"],
}
