"""A function in a thread of the pool that waits for work of the same pool."""

import asyncio
import threading

import dash
import pytest
from dash import Input, Output, html

from flash import Flash
from flash.callbacks.execution import WorkerPool, wait_in_thread
from flash.testing import FlashClient

SECONDS = 30
OUT = Output("out", "children")
IN = Input("in", "value")


@pytest.fixture(autouse=True)
async def nothing_hangs():
    async with asyncio.timeout(SECONDS):
        yield


def an_app(**options):
    return Flash(__name__, suppress_callback_exceptions=True, **options)


async def outcomes(client, calls):
    return [
        result.value
        for result in await asyncio.gather(
            *(client.call("out.children", {"in.value": number}) for number in range(calls))
        )
    ]


@pytest.mark.parametrize(("max_threads", "calls"), [(1, 1), (1, 5), (40, 40), (40, 200)])
async def test_11_8_a_layout_asked_for_in_the_pool_is_made_and_the_pool_goes_on(max_threads, calls):
    app = an_app(max_threads=max_threads)
    app.layout = lambda: html.Div([html.P("a"), html.P("b")])

    @app.callback(OUT, IN)
    def count(_):
        return len(dash.get_app().get_layout().children)

    async with FlashClient(app) as client:
        assert await outcomes(client, calls) == [2] * calls
        assert await outcomes(client, 1) == [2]
        assert app.statistics().running == app.statistics().waiting == 0


async def test_11_8_a_layout_hook_that_asks_for_a_thread_is_called_in_the_waiting_one():
    app = an_app(max_threads=1)
    app.layout = html.Div([html.P("a")])
    dash.hooks.layout()(lambda layout: html.Div([layout, html.P("of the hook")]))

    @app.callback(OUT, IN)
    def count(_):
        return len(dash.get_app().get_layout().children)

    async with FlashClient(app) as client:
        assert await outcomes(client, 3) == [2, 2, 2]


async def test_11_8_an_async_title_that_asks_for_a_thread_gets_one(tmp_path):
    app = an_app(max_threads=1, use_pages=True, pages_folder="")
    app.layout = html.Div(dash.page_container)

    async def title():
        return await app.pool.call(lambda: "from a thread")

    dash.register_page("one", path="/", title=title, layout=html.P("one"))

    @app.callback(OUT, IN)
    def read(_):
        return dash.page_registry["one"]["title"]()

    async with FlashClient(app) as client:
        assert await outcomes(client, 3) == ["from a thread"] * 3


async def test_11_8_waiting_nests_in_one_thread():
    loop, pool = asyncio.get_running_loop(), WorkerPool(max_threads=1)

    def depth(left):
        if not left:
            return [threading.get_ident()]
        return [threading.get_ident(), *wait_in_thread(pool.run(depth, left - 1), loop)]

    threads = await pool.run(depth, 3)
    assert len(threads) == 4
    assert len(set(threads)) == 1


async def test_11_8_two_pools_whose_threads_wait_for_each_other_both_go_on():
    loop = asyncio.get_running_loop()
    one, other = WorkerPool(max_threads=1), WorkerPool(max_threads=1)
    here = threading.Barrier(2)

    def across(pool):
        here.wait(SECONDS)
        return wait_in_thread(pool.run(lambda: "done"), loop)

    assert await asyncio.gather(one.run(across, other), other.run(across, one)) == ["done", "done"]


async def test_11_8_a_call_that_is_given_up_in_a_waiting_thread_counts_until_it_returns():
    loop, pool = asyncio.get_running_loop(), WorkerPool(max_threads=1)
    began, go_on = threading.Event(), threading.Event()

    def slow():
        began.set()
        assert go_on.wait(SECONDS)

    async def give_up():
        async with asyncio.timeout(0.05):
            await pool.run(slow)

    outer = asyncio.create_task(pool.run(lambda: wait_in_thread(give_up(), loop)))
    await asyncio.to_thread(began.wait, SECONDS)
    while not pool.statistics().abandoned:  # noqa: ASYNC110  a thread tells nobody
        await asyncio.sleep(0.01)
    go_on.set()
    with pytest.raises(TimeoutError):
        await outer
    assert pool.statistics().abandoned == pool.statistics().running == 0
    assert await pool.run(lambda: "alive") == "alive"


async def test_11_8_what_outlives_the_wait_runs_in_a_thread_of_the_pool():
    loop, pool = asyncio.get_running_loop(), WorkerPool(max_threads=1)
    later = []
    release = asyncio.Event()

    async def leave_a_task():
        async def afterwards():
            await release.wait()
            return await pool.run(lambda: "later")

        later.append(asyncio.create_task(afterwards()))

    await pool.run(lambda: wait_in_thread(leave_a_task(), loop))
    gate = threading.Event()
    busy = asyncio.create_task(pool.run(gate.wait, SECONDS))
    await asyncio.sleep(0)
    release.set()
    await asyncio.sleep(0)
    gate.set()
    await busy
    assert await later[0] == "later"
