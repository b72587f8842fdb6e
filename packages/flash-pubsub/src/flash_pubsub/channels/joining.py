"""Joins the changes of many messages into as few as set the same; uses no event loop.

A value that is set in full replaces the values before it. What adds to a value (``extendData``,
row transactions, `Patch`) is joined with its neighbours of the same kind, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import orjson

from flash_ws.protocol.frames import INCREMENTAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# The member by which a `Patch` is known in JSON; the other one is its list of operations.
_PATCH = "__dash_patch_update"

# Transactions of a grid that change rows in one way only can be joined.
_ROW_CHANGES = frozenset({"add", "update", "remove"})

# Component id and property, both as JSON.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One property that a message changes."""

    key: Key
    # Whether it adds to the value, instead of replacing it.
    adds: bool
    # Changes of one key with equal shapes can be joined; None for those that cannot be.
    shape: str | None
    # Decoded JSON. It is shared by several joins: do not modify it.
    value: Any


def changes_of(members: str) -> tuple[Change, ...]:
    """Return the changes that the ``members`` of a message describe, in order."""
    updates = orjson.loads(f"{{{members}}}")["u"]
    return tuple(
        _change(orjson.dumps(component_id).decode(), prop, value)
        for component_id, props in updates
        for prop, value in props.items()
    )


def joined(changes: Iterable[Change]) -> list[Change]:
    """Return the fewest changes that set what ``changes`` set in order.

    What was joined before may be joined again with what came before or after it.
    """
    everything = list(changes)
    # Where each property is set in full for the last time.
    last = {each.key: place for place, each in enumerate(everything) if not each.adds}
    runs: list[list[Change]] = []
    # By component, its latest run: changes of several properties of a component stay in order.
    latest_runs: dict[str, list[Change]] = {}
    for place, each in enumerate(everything):
        key, shape = each.key, each.shape
        if last and place < last.get(key, 0):
            continue
        run = latest_runs.get(key[0])
        if run is not None and shape is not None and run[0].shape == shape and run[0].key == key:
            run.append(each)
            continue
        latest_runs[key[0]] = run = [each]
        runs.append(run)
    return [run[0] if len(run) == 1 else _join(run) for run in runs]


def entries_of(changes: Iterable[Change], latest: Mapping[Key, str]) -> tuple[list[str], set[Key]]:
    """Return joined changes as entries of ``u`` in a frame, and the properties set in full.

    ``latest`` has the newest values of properties that are set in full, as JSON. They replace those
    of the changes, which another callback may have replaced meanwhile.
    """
    entries: list[str] = []
    keys: set[Key] = set()
    for each in changes:
        value = None
        if not each.adds:
            keys.add(each.key)
            value = latest.get(each.key)
        component_id, prop = each.key
        text = orjson.dumps(each.value).decode() if value is None else value
        entries.append(f"[{component_id},{{{prop}:{text}}}]")
    return entries, keys


def _change(component_id: str, prop: str, value: Any) -> Change:
    key = (component_id, orjson.dumps(prop).decode())
    if isinstance(value, dict) and _PATCH in value:
        return Change(key, True, _PATCH, cast("dict[str, Any]", value))
    if prop not in INCREMENTAL:
        return Change(key, False, None, value)
    shape = _shape_of_points(value) if prop.endswith("Data") else _shape_of_rows(value)
    return Change(key, True, shape, value)


def _shape_of_points(value: Any) -> str | None:
    """Return the shape of a value of ``extendData``: its members, its traces and their limit."""
    points, *where = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not isinstance(points, dict):
        return None
    traces: list[Any] = []
    for name, columns in cast("dict[str, Any]", points).items():
        if not isinstance(columns, list):
            return None
        listed = cast("list[Any]", columns)
        if not all(isinstance(column, list) for column in listed):
            return None
        traces.append([name, len(listed)])
    return orjson.dumps([where, traces]).decode()


def _shape_of_rows(value: Any) -> str | None:
    """Return the shape of a row transaction: what it does with its rows."""
    if not isinstance(value, dict) or len(cast("dict[str, Any]", value)) != 1:
        return None
    [(kind, rows)] = cast("dict[str, Any]", value).items()
    return kind if kind in _ROW_CHANGES and isinstance(rows, list) else None


def _join(run: Sequence[Change]) -> Change:
    """Return one change that does what these changes of one property and shape do in order."""
    first = run[0]
    values = [each.value for each in run]
    if first.shape == _PATCH:
        operations = chain.from_iterable(each["operations"] for each in values)
        value: Any = {**first.value, "operations": list(operations)}
    elif first.shape in _ROW_CHANGES:
        value = {first.shape: list(chain.from_iterable(each[first.shape] for each in values))}
    else:
        value = _join_points(values, are_appended=first.key[1] == '"extendData"')
    return Change(first.key, first.adds, first.shape, value)


def _join_points(values: list[Any], *, are_appended: bool) -> Any:
    is_list = isinstance(values[0], list)
    parts: list[dict[str, list[list[Any]]]] = [each[0] for each in values] if is_list else values
    where: list[Any] = values[0][1:] if is_list else []
    most = where[1] if len(where) > 1 else None
    if not are_appended:
        parts.reverse()
    points: dict[str, list[list[Any]]] = {}
    for name, columns in parts[0].items():
        points[name] = []
        for trace in range(len(columns)):
            column = list(chain.from_iterable(part[name][trace] for part in parts))
            if type(most) is int and most > 0:
                # Plotly would drop the others at once.
                column = column[-most:] if are_appended else column[:most]
            points[name].append(column)
    return [points, *where] if is_list else points
