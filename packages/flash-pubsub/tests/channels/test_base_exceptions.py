"""A callback, feeder or handler that meets a `BaseException` or a cancelled task goes on."""

import asyncio

import pytest
from pubsub_worlds import World, pages, until

from flash import Output
from flash_pubsub.channels.subscription import sign


def subscribe(page, pubsub, channel):
    page.send({"t": "subscribe", "channel": channel, "token": sign(pubsub.app, channel)})


class PanicException(BaseException):
    """What polars raises when its native code panics."""


async def cancel_own_task():
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task


def panic():
    raise PanicException("native code")


async def panic_async():
    raise PanicException("native code")


def leave():
    raise GeneratorExit


FAULTS = [cancel_own_task, panic, panic_async, leave]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("once", [False, True])
async def test_11_7_a_channel_callback_goes_on_with_the_next_message(fault, once, caplog):
    got = []

    def define(pubsub):
        if asyncio.iscoroutinefunction(fault):

            @pubsub.channel_callback("jobs", once=once)
            async def work(message):
                if message == 0:
                    await fault()
                got.append(message)
        else:

            @pubsub.channel_callback("jobs", once=once)
            def work(message):
                if message == 0:
                    fault()
                got.append(message)

    async with World(define, workers=1) as world:
        for number in range(4):
            await world.pubsubs[0].publish("jobs", number)
        await until(lambda: got == [1, 2, 3])
    assert "jobs' failed" in caplog.text


@pytest.mark.parametrize("fault", FAULTS)
async def test_11_7_a_feeder_starts_again(fault, caplog):
    got, starts = [], []

    def define(pubsub):
        @pubsub.feeder("ticks")
        async def feed():
            starts.append(1)
            if len(starts) == 1:
                result = fault()
                if asyncio.iscoroutine(result):
                    await result
            yield len(starts)
            await asyncio.Event().wait()

        @pubsub.channel_callback("ticks", Output("out", "children"))
        def show(message):
            got.append(message)

    async with World(define, workers=1):
        await until(lambda: got == [2])
    assert caplog.records


@pytest.mark.parametrize("fault", FAULTS)
async def test_11_7_a_handler_of_joins_goes_on(fault, caplog):
    came = []

    def define(pubsub):
        pubsub.authorize("room/{room}")(lambda client, room: True)

        @pubsub.on_join("room/{room}")
        async def first(client, room):
            result = fault()
            if asyncio.iscoroutine(result):
                await result

        @pubsub.on_join("room/{room}")
        def second(client, room):
            came.append(room)

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        subscribe(page, world.pubsubs[0], "room/a")
        await until(lambda: came == ["a"])
        subscribe(page, world.pubsubs[0], "room/b")
        await until(lambda: came == ["a", "b"])


class Panics:
    """A result whose conversion to JSON panics."""

    def to_plotly_json(self):
        raise PanicException("native code")


@pytest.mark.parametrize("result", [object(), Panics(), "x" * 3_000_000])
@pytest.mark.parametrize("once", [False, True])
async def test_11_7_a_result_that_cannot_be_sent_holds_up_no_other_message(once, result, caplog):
    got, others = [], []

    def define(pubsub):
        @pubsub.channel_callback("jobs", Output("a", "children"), once=once)
        async def work(message):
            got.append(message)
            return result if message == 1 else message

        @pubsub.channel_callback("jobs", Output("b", "children"), once=once)
        async def other(message):
            others.append(message)
            return message

    async with World(define, workers=1) as world:
        for number in range(4):
            await world.pubsubs[0].publish("jobs", number)
        await until(lambda: others[-1:] == [3])
        # Each was run once.
        assert got == others == [0, 1, 2, 3]
    if once or not isinstance(result, str):
        assert "work" in caplog.text
