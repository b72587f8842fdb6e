"""The key figures of each month and period by region, summed up while the orders are drawn.

The first page of figures reads a few rows of these; counting the customers of a million orders
takes a database a second or more.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from orders import FIRST_DAY, LAST_DAY, ORDER_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orders import Market

Span = tuple[date, date]

_DAY, _COUNTRY, _CUSTOMER, _STATUS, _CENTS = (
    ORDER_COLUMNS.index(name) for name in ("day", "country_id", "customer_id", "status", "cents")
)


def months() -> list[Span]:
    """The first and the last day of each month of the orders."""
    spans: list[Span] = []
    first = FIRST_DAY
    while first <= LAST_DAY:
        following = (first + timedelta(days=31)).replace(day=1)
        spans.append((first, following - timedelta(days=1)))
        first = following
    return spans


class Summary:
    """Sums up batches of orders over each of ``spans``, for each region."""

    def __init__(self, market: Market, spans: Sequence[Span]) -> None:
        self._spans = list(dict.fromkeys(spans))
        self._regions = sorted({row["region"] for row in market.countries})
        region_of = {name: index for index, name in enumerate(self._regions)}
        self._region = np.array([region_of[row["region"]] for row in market.countries])
        # Everybody buys in one country, so the buyers of regions add up to those of the world.
        self._region_of_customer = np.repeat(self._region, market.customer_count)
        self._has_bought = np.zeros((len(self._spans), len(self._region_of_customer)), bool)
        # Of each span and region: orders, cents, returned.
        self._sums = np.zeros((len(self._spans), len(self._regions), 3), np.int64)

    def add(self, batch: Sequence[tuple[Any, ...]]) -> None:
        """Count orders as `orders.draw_orders` yields them, earliest first."""
        days = np.array([row[_DAY] for row in batch])
        region = self._region[np.array([row[_COUNTRY] for row in batch])]
        customer = np.array([row[_CUSTOMER] for row in batch])
        cents = np.array([row[_CENTS] for row in batch])
        returned = np.array([row[_STATUS] == "Returned" for row in batch])
        for index, (first, last) in enumerate(self._spans):
            start = np.searchsorted(days, first.isoformat())
            end = np.searchsorted(days, last.isoformat(), side="right")
            if start == end:
                continue
            part = slice(start, end)
            self._has_bought[index, customer[part]] = True
            for column, weights in enumerate((None, cents[part], returned[part])):
                counted = np.bincount(region[part], weights, len(self._regions))
                self._sums[index, :, column] += counted.astype(np.int64)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each span and region."""
        return [
            {
                "first": first,
                "last": last,
                "region": region,
                "orders": int(orders),
                "cents": int(cents),
                "buyers": int(self._has_bought[index, self._region_of_customer == place].sum()),
                "returned": int(returned),
            }
            for index, (first, last) in enumerate(self._spans)
            for place, region in enumerate(self._regions)
            for orders, cents, returned in [self._sums[index, place]]
        ]
