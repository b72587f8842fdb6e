"""The periods that a page offers, and those whose key figures are summed up beforehand."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from orders import FIRST_DAY, LAST_DAY
from summary import months

if TYPE_CHECKING:
    from collections.abc import Mapping

    from summary import Span

# Name → label and first day of the periods that a page offers; all of them end on the last day.
PERIODS: Mapping[str, tuple[str, date]] = {
    "month": ("Dec 2019", date(2019, 12, 1)),
    "quarter": ("Q4 2019", date(2019, 10, 1)),
    "year": ("2019", date(2019, 1, 1)),
    "all": ("Both years", FIRST_DAY),
}


def year_before(span: Span) -> Span | None:
    """The same days of the year before, or None where the orders do not reach back that far."""
    first, last = span
    if first.year == FIRST_DAY.year:
        return None
    return first.replace(year=first.year - 1), last.replace(year=last.year - 1)


_SPANS = [(first, LAST_DAY) for _, first in PERIODS.values()]
SUMMARISED: frozenset[Span] = frozenset(
    [*months(), *_SPANS, *(span for span in map(year_before, _SPANS) if span)]
)
