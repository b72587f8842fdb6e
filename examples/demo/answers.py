"""Answers in words, from the orders: each a part at a time, as soon as its query has come back."""

from __future__ import annotations

import asyncio
import calendar
import re
from datetime import date
from typing import TYPE_CHECKING

import queries
from amounts import change, compact, money
from queries import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from database import Database

YEAR = Scope.of("year")
YEAR_BEFORE = Scope(first=date(2018, 1, 1), last=date(2018, 12, 31))
# Seconds between two words: as fast as one reads.
PAUSE = 0.035


async def the_year(database: Database) -> AsyncIterator[str]:
    """How it went, beside the year before."""
    now, before = await asyncio.gather(
        database.fetch(queries.totals(YEAR)), database.fetch(queries.totals(YEAR_BEFORE))
    )
    row = now.rows[0]
    growth = change(row.cents or 0, before.rows[0].cents)
    yield (
        f"In 2019 we took {compact(row.orders)} orders worth {money(row.cents)}"
        f"{'' if growth is None else f', {growth:+.0%} on the year before'}. "
        f"{compact(row.buyers)} customers bought something, "
        f"for {money((row.cents or 0) / max(row.orders, 1))} an order.\n\n"
    )
    months = (await database.fetch(queries.by_month(YEAR))).rows
    if months:
        best = max(months, key=lambda month: month.cents)
        worst = min(months, key=lambda month: month.cents)
        yield (
            f"The best month was {best.month:%B} with {money(best.cents)}, "
            f"the quietest {worst.month:%B} with {money(worst.cents)}. "
            f"{(row.returned or 0) / max(row.orders, 1):.1%} of the orders came back."
        )


async def the_markets(database: Database) -> AsyncIterator[str]:
    """Where customers are."""
    regions = (await database.fetch(queries.by_region(YEAR))).rows
    total = sum(row.cents for row in regions) or 1
    if regions:
        first, *others = regions
        then = "".join(f", then {row.name} with {row.cents / total:.0%}" for row in others[:2])
        yield (
            f"{first.name} comes first, with {first.cents / total:.0%} of the revenue of 2019"
            f"{then}.\n\n"
        )
    countries = (await database.fetch(queries.breakdown(YEAR, "country", limit=5))).rows
    names = [f"{row.name} ({money(row.cents)})" for row in countries]
    if names:
        yield f"The five largest countries: {', '.join(names)}."


async def the_hours(database: Database) -> AsyncIterator[str]:
    """When they order."""
    rows = (await database.fetch(queries.by_hour(YEAR))).rows
    if not rows:
        return
    days = {day: sum(row.orders for row in rows if row.weekday == day) for day in range(7)}
    hours = {hour: sum(row.orders for row in rows if row.hour == hour) for hour in range(24)}
    total = sum(days.values())
    busiest, latest = max(days, key=days.__getitem__), max(hours, key=hours.__getitem__)
    calmest = min(hours, key=hours.__getitem__)
    evening = sum(hours[hour] for hour in range(18, 24)) / total
    yield (
        f"The busiest day is {calendar.day_name[busiest]}, "
        f"the busiest hour the one from {latest}:00. "
        f"After six in the evening come {evening:.0%} of all orders.\n\n"
        f"Around {calmest}:00 it is quietest: a good moment for maintenance."
    )


# By what a page may ask: the question, and who answers it.
QUESTIONS: dict[str, tuple[str, Callable[[Database], AsyncIterator[str]]]] = {
    "year": ("How did the year go?", the_year),
    "markets": ("Where do we sell most?", the_markets),
    "hours": ("When do people order?", the_hours),
}


async def words(parts: AsyncIterator[str]) -> AsyncIterator[str]:
    """The same text a word at a time, as language models send theirs."""
    async for part in parts:
        for word in re.findall(r"\S+\s*", part):
            yield word
            await asyncio.sleep(PAUSE)
