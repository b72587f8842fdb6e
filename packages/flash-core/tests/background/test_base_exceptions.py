"""A background job that meets a `BaseException` fails, and its page hears of it."""

import asyncio

import pytest

from flash import AsyncManager, Flash, Input, Output, RedisManager, html
from flash.testing import CallbackFailed, FlashClient


class PanicException(BaseException):
    """What polars raises when its native code panics."""


async def cancel_own_task():
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task


def raising(error):
    async def fail():
        raise error

    return fail


FAULTS = {
    "cancelled": lambda: cancel_own_task,
    "panic": lambda: raising(PanicException("native")),
    "leave": lambda: raising(GeneratorExit()),
    "interrupt": lambda: raising(KeyboardInterrupt()),
}


@pytest.fixture(params=["memory", "redis"])
def manager(request):
    if request.param == "memory":
        return AsyncManager()
    return RedisManager(request.getfixturevalue("redis_server").url)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("in_thread", [False, True])
async def test_11_7_a_job_fails_and_its_page_hears_of_it(manager, fault, in_thread):
    app = Flash(__name__, background_callback_manager=manager)
    app.layout = html.Div()
    if in_thread:
        if fault == "cancelled":
            pytest.skip("a thread has no task")

        @app.callback(Output("out", "children"), Input("in", "n"), background=True, interval=10)
        def work(n):
            if n == 0:
                FAULTS[fault]()().send(None)
            return n
    else:

        @app.callback(Output("out", "children"), Input("in", "n"), background=True, interval=10)
        async def work(n):
            if n == 0:
                await FAULTS[fault]()()
            return n

    async with asyncio.timeout(20), FlashClient(app) as client:
        with pytest.raises(CallbackFailed, match="500"):
            await client.call(Output("out", "children"), {Input("in", "n"): 0})
        result = await client.call(Output("out", "children"), {Input("in", "n"): 1})
        assert result[Output("out", "children")] == 1


class Interrupts:
    """A result whose conversion to JSON exits."""

    def to_plotly_json(self):
        raise KeyboardInterrupt


async def test_11_7_a_result_that_cannot_be_written_fails_its_job(manager):
    app = Flash(__name__, background_callback_manager=manager)
    app.layout = html.Div()

    @app.callback(Output("out", "children"), Input("in", "n"), background=True, interval=10)
    async def work(n):
        return Interrupts() if n == 0 else n

    async with asyncio.timeout(20), FlashClient(app) as client:
        with pytest.raises(CallbackFailed, match="500"):
            await client.call(Output("out", "children"), {Input("in", "n"): 0})
        result = await client.call(Output("out", "children"), {Input("in", "n"): 1})
        assert result[Output("out", "children")] == 1
