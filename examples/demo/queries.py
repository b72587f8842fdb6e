"""Every question that the pages ask of the orders, as SQL statements; nothing here runs one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa
from database import country, customer, order, product, summary
from orders import FIRST_DAY, LAST_DAY
from periods import PERIODS, SUMMARISED, year_before
from summary import months

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    Statement = sa.Select[*tuple[Any, ...]]

REGIONS = ("Africa", "Americas", "Asia", "Europe", "Oceania")

# What orders are counted by, and whose name stands for it where it is only a number.
BREAKDOWNS: Mapping[str, tuple[sa.Column[Any], sa.Column[Any] | None]] = {
    "region": (order.c.country_id, country.c.region),
    "country": (order.c.country_id, country.c.name),
    "product": (order.c.product_id, product.c.name),
    "line": (order.c.product_id, product.c.line),
    "channel": (order.c.channel, None),
    "status": (order.c.status, None),
}
# Column, and whether its largest value comes first.
SORTS: Mapping[str, tuple[str, bool]] = {
    "newest": ("id", True),
    "oldest": ("id", False),
    "largest": ("cents", True),
    "smallest": ("cents", False),
}


@dataclass(frozen=True, slots=True)
class Scope:
    """Which orders a question is about; None leaves a side open."""

    first: date = FIRST_DAY
    last: date = LAST_DAY
    region: str | None = None
    country: int | None = None
    line: str | None = None
    channel: str | None = None
    status: str | None = None

    @classmethod
    def of(cls, period: str | None, **filters: Any) -> Self:
        """The scope that a page's controls describe; an empty control filters nothing."""
        _, first = PERIODS.get(period or "all", PERIODS["all"])
        sides: dict[str, Any] = {name: value or None for name, value in filters.items()}
        return cls(first=first, **sides)

    def a_year_earlier(self) -> Self | None:
        """The same days of the year before, or None where the orders do not reach back that far."""
        span = year_before((self.first, self.last))
        return None if span is None else replace(self, first=span[0], last=span[1])

    @property
    def is_summarised(self) -> bool:
        """Whether its key figures are summed up beforehand: no side but days and region is set."""
        is_plain = replace(self, region=None) == Scope(self.first, self.last)
        return is_plain and (self.first, self.last) in SUMMARISED

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """What an order has to meet to be in this scope."""
        found: list[sa.ColumnElement[bool]] = []
        if self.first > FIRST_DAY:
            found.append(order.c.day >= self.first)
        if self.last < LAST_DAY:
            found.append(order.c.day <= self.last)
        if self.region:
            inside = sa.select(country.c.id).where(country.c.region == self.region)
            found.append(order.c.country_id.in_(inside))
        if self.country is not None:
            found.append(order.c.country_id == self.country)
        if self.line:
            inside = sa.select(product.c.id).where(product.c.line == self.line)
            found.append(order.c.product_id.in_(inside))
        if self.channel:
            found.append(order.c.channel == self.channel)
        if self.status:
            found.append(order.c.status == self.status)
        return found


_count = sa.func.count().label("orders")
_cents = sa.func.sum(order.c.cents).label("cents")
_buyers = sa.func.count(order.c.customer_id.distinct()).label("buyers")
_returned = sa.func.sum(sa.case((order.c.status == "Returned", 1), else_=0)).label("returned")


# The same of the rows that are summed up beforehand.
_SUMMED = tuple(
    sa.func.sum(summary.c[name]).label(name) for name in ("orders", "cents", "buyers", "returned")
)


def _in_region(scope: Scope) -> list[sa.ColumnElement[bool]]:
    return [summary.c.region == scope.region] if scope.region else []


def _grouped(scope: Scope, keys: Sequence[Any], *sums: Any) -> Statement:
    """The sums of a scope for each value of the keys: keys, sums."""
    return sa.select(*keys, *sums).where(*scope.conditions()).group_by(*keys)


def totals(scope: Scope) -> Statement:
    """One row: orders, cents, buying customers and returned orders; sums of nothing are None."""
    if scope.is_summarised:
        span = summary.c.first == scope.first, summary.c.last == scope.last
        return sa.select(*_SUMMED).where(*span, *_in_region(scope))
    return sa.select(_count, _cents, _buyers, _returned).where(*scope.conditions())


def by_month(scope: Scope) -> Statement:
    """Month, orders, cents; earliest first."""
    return _grouped(scope, [order.c.month], _count, _cents).order_by(order.c.month)


def course(scope: Scope) -> Statement:
    """What ``totals`` tells, by month, and the month; earliest first."""
    if scope.is_summarised:
        inside = [span for span in months() if scope.first <= span[0] and span[1] <= scope.last]
        of_month = sa.tuple_(summary.c.first, summary.c.last).in_(inside)
        month = summary.c.first.label("month")
        return (
            sa.select(month, *_SUMMED)
            .where(of_month, *_in_region(scope))
            .group_by(summary.c.first)
            .order_by(summary.c.first)
        )
    columns = (_count, _cents, _buyers, _returned)
    return _grouped(scope, [order.c.month], *columns).order_by(order.c.month)


def by_line_and_month(scope: Scope) -> Statement:
    """Product line, month, cents; earliest first."""
    sums = _grouped(scope, [order.c.product_id, order.c.month], _cents).subquery()
    cents = sa.func.sum(sums.c.cents).label("cents")
    return (
        sa.select(product.c.line, sums.c.month, cents)
        .join_from(sums, product, sums.c.product_id == product.c.id)
        .group_by(product.c.line, sums.c.month)
        .order_by(sums.c.month)
    )


def by_region(scope: Scope) -> Statement:
    """Region, cents; largest first."""
    return breakdown(scope, "region", limit=len(REGIONS))


def by_country(scope: Scope) -> Statement:
    """Region, country, cents; largest first."""
    sums = _grouped(scope, [order.c.country_id], _cents).subquery()
    return (
        sa.select(country.c.region, country.c.name, sums.c.cents)
        .join_from(sums, country, sums.c.country_id == country.c.id)
        .order_by(sums.c.cents.desc())
    )


def by_hour(scope: Scope) -> Statement:
    """Weekday (Monday is 0), hour, orders."""
    return _grouped(scope, [order.c.weekday, order.c.hour], _count)


def breakdown(scope: Scope, by: str, limit: int) -> Statement:
    """The ``limit`` largest of ``BREAKDOWNS[by]``: name, orders, cents."""
    key, name = BREAKDOWNS[by]
    sums = _grouped(scope, [key.label("key")], _count, _cents).subquery()
    count, cents = sa.func.sum(sums.c.orders), sa.func.sum(sums.c.cents)
    # Names are joined to the few sums, not to the many orders.
    source = sums if name is None else sums.join(name.table, name.table.c.id == sums.c.key)
    label = (sums.c.key if name is None else name).label("name")
    return (
        sa.select(label, count.label("orders"), cents.label("cents"))
        .select_from(source)
        .group_by(label)
        .order_by(cents.desc())
        .limit(limit)
    )


def countries(region: str | None = None) -> Statement:
    """Id and name of the countries of a region, or of all, by name."""
    statement = sa.select(country.c.id, country.c.name).order_by(country.c.name)
    return statement.where(country.c.region == region) if region else statement


def country_named(name: str) -> Statement:
    """One row: the id."""
    return sa.select(country.c.id).where(country.c.name == name)


def count(scope: Scope) -> Statement:
    """One row: the number of orders."""
    return sa.select(_count).select_from(order).where(*scope.conditions())


def page_of_orders(scope: Scope, sort: str, page: int, size: int) -> Statement:
    """The orders of one page of a table, the first page being 0."""
    rows = (
        sa.select(order)
        .where(*scope.conditions())
        .order_by(*_sorting(order, sort))
        .limit(size)
        .offset(page * size)
        .subquery()
    )
    return (
        sa.select(
            rows,
            customer.c.name.label("customer"),
            country.c.name.label("country"),
            product.c.name.label("product"),
        )
        # Only the rows of the page are joined; their order has to be asked for again.
        .select_from(
            rows.join(country, rows.c.country_id == country.c.id)
            .join(product, rows.c.product_id == product.c.id)
            .join(customer, rows.c.customer_id == customer.c.id)
        )
        .order_by(*_sorting(rows, sort))
    )


def _sorting(rows: sa.FromClause, sort: str) -> tuple[sa.ColumnElement[Any], ...]:
    name, descending = SORTS[sort]
    column = rows.c[name].desc() if descending else rows.c[name]
    # The id settles ties, so that no order shows on two pages.
    return column, rows.c.id


def order_with_customer(order_id: int) -> Statement:
    """Everything about one order."""
    return (
        sa.select(
            order.c.id,
            order.c.day,
            order.c.hour,
            order.c.channel,
            order.c.status,
            order.c.quantity,
            order.c.cents,
            order.c.customer_id,
            product.c.name.label("product"),
            product.c.line,
            customer.c.name.label("customer"),
            customer.c.segment,
            country.c.name.label("country"),
        )
        .select_from(
            order.join(country, order.c.country_id == country.c.id)
            .join(product)
            .join(customer, order.c.customer_id == customer.c.id)
        )
        .where(order.c.id == order_id)
    )


def customer_by_month(customer_id: int) -> Statement:
    """What one customer bought: month, orders, cents; earliest first."""
    return (
        sa.select(order.c.month, _count, _cents)
        .where(order.c.customer_id == customer_id)
        .group_by(order.c.month)
        .order_by(order.c.month)
    )


def best_customers(limit: int) -> Statement:
    """The best customer of each country, by a window over all orders: country, name, cents.

    The heaviest question of all, which is why the page about blocking asks it.
    """
    spent = (
        sa.select(order.c.country_id, order.c.customer_id, _cents)
        .group_by(order.c.country_id, order.c.customer_id)
        .subquery()
    )
    rank = sa.func.row_number().over(partition_by=spent.c.country_id, order_by=spent.c.cents.desc())
    ranked = sa.select(spent, rank.label("rank")).subquery()
    return (
        sa.select(country.c.name.label("country"), customer.c.name, ranked.c.cents)
        .select_from(
            ranked.join(country, ranked.c.country_id == country.c.id).join(
                customer, ranked.c.customer_id == customer.c.id
            )
        )
        .where(ranked.c.rank == 1)
        .order_by(ranked.c.cents.desc())
        .limit(limit)
    )
