"""A million plausible orders, derived from the data sets that ship with plotly.

Where orders come from follows gapminder (a country buys by its economy, and the mix of products
by its income); what they cost follows the share prices in ``stocks``, one company for each
product line. Everything is drawn from one seed, so every machine shows the same figures.
"""

from __future__ import annotations

import csv
import gzip
import math
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from catalogue import CHANNELS, ENDINGS, LINE_SHARES, LINES, NAMES, PLACES, SEGMENTS, STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

FIRST_DAY = date(2018, 1, 1)
LAST_DAY = date(2019, 12, 31)
DAYS = (LAST_DAY - FIRST_DAY).days + 1

# The columns of an order as `draw_orders` yields it; days and months are ISO dates.
ORDER_COLUMNS = (
    "id",
    "day",
    "month",
    "weekday",
    "hour",
    "country_id",
    "product_id",
    "customer_id",
    "channel",
    "status",
    "quantity",
    "cents",
)

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Market:
    """Everything that orders are drawn from: who buys, what, where and at which price."""

    countries: list[Record]
    products: list[Record]
    customers: list[Record]
    # Share of all orders by country, on the first and on the last day.
    early_shares: Floats
    late_shares: Floats
    # Lines × days: a line's price relative to its base price.
    price_index: Floats
    # Each country's first customer and its number of customers.
    first_customer: Integers
    customer_count: Integers


def open_market(customers: int, seed: int = 7) -> Market:
    """Read plotly's data sets and found the market."""
    gapminder = _read("gapminder")
    now = [row for row in gapminder if row["year"] == "2007"]
    before = [row for row in gapminder if row["year"] == "2002"]
    economy, past = (
        np.array([float(row["pop"]) * float(row["gdpPercap"]) for row in rows])
        for rows in (now, before)
    )
    growth = economy / past
    # The power keeps the largest economies from hiding all others.
    demand = economy**0.72

    stocks = _read("stocks")
    weeks = [(date.fromisoformat(row["date"]) - FIRST_DAY).days for row in stocks]
    # The root halves a share's swings: prices move, but nobody pays double for a kettle.
    price_index = np.sqrt(
        [
            np.interp(np.arange(DAYS), weeks, [float(row[share]) for row in stocks])
            for share, _ in LINES.values()
        ]
    )

    shares = demand / demand.sum()
    customer_count = np.maximum(1, np.round(shares * customers)).astype(np.int64)
    return Market(
        countries=[
            {
                "id": index,
                "name": row["country"],
                "region": row["continent"],
                "iso": row["iso_alpha"],
                "population": int(float(row["pop"])),
                "income": round(float(row["gdpPercap"])),
            }
            for index, row in enumerate(now)
        ],
        products=[
            {"id": index, "name": name, "line": line, "price": price}
            for index, (line, name, price) in enumerate(
                (line, name, price)
                for line, (_, items) in LINES.items()
                for name, price, _ in items
            )
        ],
        customers=_found_customers(customer_count, np.random.default_rng(seed)),
        early_shares=shares,
        late_shares=demand * growth / (demand * growth).sum(),
        price_index=price_index,
        first_customer=np.cumsum(customer_count) - customer_count,
        customer_count=customer_count,
    )


def _read(data_set: str) -> list[dict[str, str]]:
    # Not through plotly.data, which would import pandas, in a thread and beside live requests.
    file = resources.files("plotly") / "package_data" / "datasets" / f"{data_set}.csv.gz"
    with file.open("rb") as packed, gzip.open(packed, "rt", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def draw_orders(
    market: Market, count: int, *, batch: int = 20_000, seed: int = 11
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield ``count`` orders, earliest first, in lists of at most ``batch``."""
    random = np.random.default_rng(seed)
    days = np.sort(random.choice(DAYS, size=count, p=_demand_by_day()))
    source = _Source(market, random)
    for start in range(0, count, batch):
        yield source.draw(days[start : start + batch], first_id=start + 1)


class _Source:
    """A market's tables as arrays, ready to draw many orders at once."""

    def __init__(self, market: Market, random: np.random.Generator) -> None:
        self._market = market
        self._random = random
        self._income = np.array([row["income"] for row in market.countries], float)
        self._price = np.array([row["price"] for row in market.products], float)
        self._segment = np.array([SEGMENTS.index(row["segment"]) for row in market.customers])
        self._popularity = np.array(
            [[popularity for _, _, popularity in items] for _, items in LINES.values()], float
        )
        calendar = [FIRST_DAY + timedelta(days=day) for day in range(DAYS)]
        self._days = np.array([day.isoformat() for day in calendar])
        self._months = np.array([day.replace(day=1).isoformat() for day in calendar])
        self._weekdays = np.array([day.weekday() for day in calendar])

    def draw(self, days: Integers, first_id: int) -> list[tuple[Any, ...]]:
        """Draw one order for each of ``days``."""
        count = len(days)
        age = days / DAYS
        country = self._draw_country(age)
        # Presents: the five weeks that end shortly after Christmas.
        present = (days % 365 > 318) & (days % 365 < 358)
        line, product = self._draw_product(country, present)
        customer = self._draw_customer(country)
        segment = self._segment[customer]
        channel, hour = self._draw_channel(age)

        price = self._price[product] * self._market.price_index[line, days]
        price = np.round(price * self._random.normal(1, 0.03, count), 2)
        quantity = 1 + self._random.poisson(np.array([0.35, 1.6, 5.5])[segment])
        on_sale = present & (self._random.random(count) < 0.4)
        discount = np.where(on_sale, 0.15, 0.0) + np.array([0.0, 0.03, 0.08])[segment]
        cents = np.round(price * quantity * (1 - discount) * 100).astype(np.int64)

        columns = (
            np.arange(first_id, first_id + count),
            self._days[days],
            self._months[days],
            self._weekdays[days],
            hour,
            country,
            product,
            customer,
            np.array(CHANNELS)[channel],
            np.array(STATUSES)[self._draw_status(line, days)],
            quantity,
            cents,
        )
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def _draw_country(self, age: Floats) -> Integers:
        # Demand moves from the early shares to the late ones as time goes by.
        luck = self._random.random(len(age))
        early = np.searchsorted(np.cumsum(self._market.early_shares)[:-1], luck)
        late = np.searchsorted(np.cumsum(self._market.late_shares)[:-1], luck)
        return np.where(self._random.random(len(age)) < age, late, early)

    def _draw_product(
        self, country: Integers, present: NDArray[np.bool_]
    ) -> tuple[Integers, Integers]:
        # Richer countries buy more devices and services, poorer ones more media and games.
        wealth = np.clip(np.log10(self._income[country]) - 4, -1, 0.7)[:, None]
        taste = np.exp(wealth * np.array([0.5, 0.35, 0.1, 0.45, -0.45, -0.3]))
        gifts = np.where(present[:, None], np.array([1.35, 0.85, 1.15, 0.8, 0.9, 1.6]), 1.0)
        line = self._pick(np.array(LINE_SHARES) * taste * gifts)
        return line, line * self._popularity.shape[1] + self._pick(self._popularity[line])

    def _draw_customer(self, country: Integers) -> Integers:
        # The power of the draw makes a few customers loyal and most of them occasional.
        luck = self._random.random(len(country)) ** 1.8
        offset = (self._market.customer_count[country] * luck).astype(np.int64)
        return self._market.first_customer[country] + offset

    def _draw_channel(self, age: Floats) -> tuple[Integers, Integers]:
        mobile = 0.18 + 0.17 * age
        weights = np.stack(
            (0.56 - mobile, mobile, np.full_like(age, 0.22), np.full_like(age, 0.12)), 1
        )
        channel = self._pick(weights)
        noon = np.array([15.0, 20.0, 13.5, 11.0])[channel]
        spread = np.array([4.2, 3.0, 2.6, 2.4])[channel]
        return channel, np.round(self._random.normal(noon, spread)).astype(np.int64) % 24

    def _draw_status(self, line: Integers, days: Integers) -> Integers:
        luck = self._random.random(len(line))
        returned = np.array([0.055, 0.015, 0.06, 0.01, 0.008, 0.03])[line]
        status = np.select([luck < returned, luck < returned + 0.012], [2, 3], 0)
        travelling = (DAYS - days < 6) & (self._random.random(len(line)) < 0.75)
        return np.where((status == 0) & travelling, 1, status)

    def _pick(self, weights: Floats) -> Integers:
        """Draw one column of each row of ``weights``."""
        ladder = np.cumsum(weights, axis=1)
        luck = self._random.random(len(weights))[:, None]
        return (luck * ladder[:, -1:] > ladder).sum(axis=1)


def _demand_by_day() -> Floats:
    """The share of all orders placed on each day: growth, seasons, weekdays and sales."""
    demand = np.empty(DAYS)
    by_weekday = (1.0, 0.97, 0.98, 1.02, 1.15, 1.24, 1.08)
    for index in range(DAYS):
        day = FIRST_DAY + timedelta(days=index)
        level = (1 + 0.42 * index / DAYS) * by_weekday[day.weekday()]
        level *= 1 + 0.10 * math.cos(2 * math.pi * (index - 330) / 365)
        if (day.month, day.day) >= (12, 24):
            level *= 0.72
        elif (day.month, day.day) >= (11, 20):
            level *= 1.45
        elif day.month == 8:
            level *= 0.93
        if day.month == 11 and 23 <= day.day <= 29 and day.weekday() == 4:
            level *= 2.1
        demand[index] = level
    return demand / demand.sum()


def _found_customers(count_by_country: Integers, random: np.random.Generator) -> list[Record]:
    total = int(count_by_country.sum())
    segments = random.choice(len(SEGMENTS), size=total, p=[0.72, 0.22, 0.06]).tolist()
    picks = random.integers(0, 1 << 30, size=(total, 3)).tolist()
    countries = np.repeat(np.arange(len(count_by_country)), count_by_country).tolist()
    return [
        {
            "id": index,
            "name": _name_customer(segment, *pick),
            "segment": SEGMENTS[segment],
            "country_id": country,
        }
        for index, (segment, pick, country) in enumerate(
            zip(segments, picks, countries, strict=True)
        )
    ]


def _name_customer(segment: int, first: int, second: int, third: int) -> str:
    place = PLACES[first % len(PLACES)] + ENDINGS[second % len(ENDINGS)]
    words = NAMES[segment]
    word = words[third % len(words)]
    return f"{word} {place}" if segment == 0 else f"{place} {word}"
