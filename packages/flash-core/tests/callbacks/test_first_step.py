"""A coroutine that is run to its first wait at once."""

import asyncio

import pytest

from flash.callbacks.first_step import FirstStep


async def test_a_coroutine_that_never_waits_is_done_at_once():
    async def work():
        return 7

    step = FirstStep(work())

    assert step.is_done
    assert step.result() == 7


async def test_an_error_before_the_first_wait_comes_out_at_once():
    async def work():
        raise LookupError

    with pytest.raises(LookupError):
        FirstStep(work())


async def test_a_coroutine_that_waits_goes_on_when_it_is_awaited():
    first, second = asyncio.Event(), asyncio.Event()

    async def work():
        await first.wait()
        await asyncio.sleep(0)
        await second.wait()
        return 7

    step = FirstStep(work())
    assert not step.is_done
    loop = asyncio.get_running_loop()
    loop.call_soon(first.set)
    loop.call_later(0.01, second.set)

    async with asyncio.timeout(5):
        assert await step == 7


async def test_an_error_after_a_wait_comes_out_of_the_await():
    async def work():
        await asyncio.sleep(0)
        raise LookupError

    step = FirstStep(work())

    with pytest.raises(LookupError):
        await step


async def test_a_cancellation_reaches_the_coroutine():
    cancelled = False

    async def work():
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise

    step = FirstStep(work())

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await step
    assert cancelled
    assert asyncio.current_task().cancelling() == 0


async def test_a_coroutine_may_go_on_after_a_cancellation():
    async def work():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "ended well"

    async def wait():
        return await FirstStep(work())

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()

    assert await task == "ended well"


async def test_a_coroutine_that_is_given_up_is_closed():
    closed = False

    async def work():
        nonlocal closed
        try:
            await asyncio.Event().wait()
        finally:
            closed = True

    waiting = FirstStep(work()).__await__()
    next(waiting)
    waiting.close()

    assert closed
