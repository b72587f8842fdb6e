"""How many loads run at a time."""

import asyncio

import pytest

from flash import Overloaded
from flash_lazy import LoadersBusy
from flash_lazy.concurrency import ConcurrencyLimit


async def test_no_more_than_the_limit_are_inside_and_they_come_in_order():
    limit, inside, order, most = ConcurrencyLimit(2), 0, [], 0

    async def visit(number: int) -> None:
        nonlocal inside, most
        async with limit:
            inside += 1
            most = max(most, inside)
            order.append(number)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*map(visit, range(10)))
    assert most == 2
    assert order == list(range(10))


async def test_without_a_limit_everyone_is_let_in():
    limit = ConcurrencyLimit(None)
    async with limit, limit, limit:
        pass


async def test_one_more_than_may_wait_is_refused_at_once():
    limit = ConcurrencyLimit(1, max_waiting=1)
    async with limit:
        waiting = asyncio.ensure_future(limit.__aenter__())
        await asyncio.sleep(0)
        with pytest.raises(LoadersBusy, match="1 loads running, 1 waiting; raise max_concurrency="):
            await limit.__aenter__()
    await waiting
    await limit.__aexit__(None, None, None)
    assert issubclass(LoadersBusy, Overloaded)


async def test_one_that_gives_up_waiting_takes_no_place():
    limit = ConcurrencyLimit(1, max_waiting=1)
    async with limit:
        for _ in range(3):
            waiting = asyncio.ensure_future(limit.__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
    async with asyncio.timeout(1), limit:
        pass
