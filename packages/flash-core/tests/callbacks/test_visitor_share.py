"""One visitor takes neither all threads nor all waiting places (issue 13, F)."""

import asyncio
import threading

import pytest

from flash.callbacks.execution import WorkerPool, visitor, visitor_of
from flash.errors import ConfigurationError, Overloaded


def of(who, pool, function, *args):
    """Start a call on behalf of a visitor."""

    async def call():
        visitor.set(who)
        return await pool.run(function, *args)

    return asyncio.ensure_future(call())


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


async def test_13_f_a_visitor_has_a_share_of_the_threads():
    pool, go = WorkerPool(max_threads=4), threading.Event()
    greedy = [of("greedy", pool, go.wait) for _ in range(10)]
    await turns()
    assert (pool.statistics().running, pool.statistics().waiting) == (3, 7)
    assert await of("other", pool, lambda: "served") == "served"
    go.set()
    await asyncio.gather(*greedy)
    assert pool.statistics().running == 0
    assert not pool._held
    assert not pool._waiting


async def test_13_f_a_visitor_has_a_share_of_the_waiting_places():
    pool, go = WorkerPool(max_threads=1, max_waiting=8), threading.Event()
    greedy = [of("greedy", pool, go.wait) for _ in range(1_100)]
    await turns()
    refused = [call for call in greedy if call.done()]
    assert len(refused) == 1_100 - 1 - 7
    assert all(isinstance(call.exception(), Overloaded) for call in refused)
    assert not pool.statistics().is_full
    other = of("other", pool, lambda: "served")
    await turns()
    assert not other.done()
    go.set()
    assert await other == "served"
    await asyncio.gather(*greedy, return_exceptions=True)


async def test_13_f_visitors_that_wait_get_threads_in_turn():
    pool, go, order = WorkerPool(max_threads=1), threading.Event(), []
    first = of("ada", pool, go.wait)
    await turns()
    calls = [of("ada", pool, order.append, f"ada {n}") for n in range(3)]
    await turns()
    calls += [of("otto", pool, order.append, f"otto {n}") for n in range(2)]
    await turns()
    go.set()
    await asyncio.gather(first, *calls)
    assert order == ["ada 0", "otto 0", "ada 1", "otto 1", "ada 2"]


async def test_13_f_calls_that_are_cancelled_leave_nothing_behind():
    pool, go = WorkerPool(max_threads=1, max_waiting=4), threading.Event()
    first = of("ada", pool, go.wait)
    await turns()
    calls = [of("ada", pool, go.wait) for _ in range(3)]
    await turns()
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert pool.statistics().waiting == 0
    assert not pool._waiting
    go.set()
    await first
    assert not pool._held


async def test_13_f_the_app_itself_and_a_share_of_one_have_no_limit():
    for pool, who in ((WorkerPool(max_threads=4, visitor_share=1), "ada"), (WorkerPool(), None)):
        go = threading.Event()
        calls = [of(who, pool, go.wait) for _ in range(pool.max_threads)]
        await turns()
        assert pool.statistics().running == pool.max_threads
        go.set()
        await asyncio.gather(*calls)


async def test_13_f_a_pool_says_when_it_is_full():
    pool, go = WorkerPool(max_threads=1, max_waiting=1), threading.Event()
    calls = [of(None, pool, go.wait) for _ in range(2)]
    await turns()
    assert pool.statistics().is_full
    go.set()
    await asyncio.gather(*calls)
    assert not pool.statistics().is_full


@pytest.mark.parametrize("share", [0, -1, 1.5, True, "half"])
def test_13_f_a_share_is_a_part(share):
    with pytest.raises(ConfigurationError, match="visitor_share"):
        WorkerPool(visitor_share=share)


def test_13_f_a_visitor_is_a_user_or_an_address():
    assert visitor_of({"client": ("10.0.0.1", 5)}) == visitor_of({"client": ("10.0.0.1", 6)})
    assert visitor_of({"client": ("10.0.0.1", 5)}, "ada") == ("user", "ada")
    assert visitor_of({}) is None
    assert visitor_of({"client": ("", 0)}) is None
    # A visitor has a whole network of IPv6.
    one, two = (visitor_of({"client": (f"2001:db8:1:2::{n}", 5)}) for n in (1, 2))
    assert one == two != visitor_of({"client": ("2001:db8:1:3::1", 5)})
