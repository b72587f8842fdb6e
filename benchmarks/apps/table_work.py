"""The table that every contender changes, and how often."""

from __future__ import annotations

import random
from typing import Any

from apps import live_work

ROWS = 10_000
CHANGES_PER_SECOND = 5_000
# Changes are made in bursts, as often as that.
BURSTS_PER_SECOND = 100

COLUMNS = ("id", "symbol", "price", "size", "state")

_random = random.Random(9)


def row(number: int, price: float = 100.0) -> dict[str, Any]:
    """A row of the table."""
    return {
        "id": number,
        "symbol": f"S{number % 50}",
        "price": price,
        "size": number % 100,
        "state": "open",
    }


def change() -> dict[str, Any]:
    """The next change: a row with another price."""
    return row(_random.randrange(ROWS), round(_random.uniform(90, 110), 2))


async def change_for_ever(make: Any) -> None:
    """Await ``make(row)`` for each change, as many a second as wanted."""

    async def burst() -> None:
        for _ in range(CHANGES_PER_SECOND // BURSTS_PER_SECOND):
            await make(change())

    await live_work.every(1 / BURSTS_PER_SECOND, burst)
