"""Merging lists in which several people pick at once, such as the values of multi-dropdowns.

This module uses no event loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Pick:
    """A page's change of a list whose order does not matter."""

    # What the page showed before, and after.
    before: tuple[Any, ...]
    after: tuple[Any, ...]


def items_of(value: object) -> tuple[Any, ...] | None:
    """Return the items of a list of distinct texts, numbers and booleans; else None.

    A value of None is a list without items.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        return None
    items = cast("list[Any]", value)
    if not all(isinstance(each, str | int | float) for each in items):
        return None
    return tuple(items) if len({_key(each) for each in items}) == len(items) else None


def merged(current: tuple[Any, ...], picks: Iterable[Pick]) -> list[Any]:
    """Return ``current`` with what each page has added and without what each has removed."""
    result = current
    for pick in picks:
        if result == pick.before:
            # With the order that the page shows.
            result = pick.after
            continue
        before = {_key(each) for each in pick.before}
        after = {_key(each) for each in pick.after}
        kept = [each for each in result if _key(each) in after or _key(each) not in before]
        known = {_key(each) for each in kept}
        added = [
            each for each in pick.after if _key(each) not in before and _key(each) not in known
        ]
        result = (*kept, *added)
    return list(result)


def _key(item: Any) -> tuple[type, Any]:
    # 1 equals True.
    return bool if isinstance(item, bool) else object, item
