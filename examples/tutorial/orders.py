"""Stands for the database and the order system of the tutorial."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator

REGIONS = ["north", "south", "east", "west"]
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun"]
# Seconds that a query takes.
QUERY = 0.3


def amounts(*question: object) -> list[int]:
    """The same six amounts for the same question."""
    source = random.Random(repr(question))
    return [source.randint(20, 100) for _ in MONTHS]


def read_totals(region: str) -> list[int]:
    """The totals of a region by month, from a driver that blocks."""
    time.sleep(QUERY)
    return amounts(region)


async def fetch_totals(region: str) -> list[int]:
    """The same from an asynchronous driver."""
    await asyncio.sleep(QUERY)
    return amounts(region)


async def fetch_customer(region: str, customer: int) -> list[int]:
    """The totals of one customer by month."""
    await asyncio.sleep(QUERY)
    return amounts(region, customer)


async def incoming(pause: float = 0.5) -> AsyncIterator[dict]:
    """Orders as they come in, for ever."""
    for number in itertools.count(1):
        await asyncio.sleep(pause)
        yield {
            "number": number,
            "region": random.choice(REGIONS),
            "amount": random.randint(5, 50),
        }
