"""Feeders, channel callbacks and shared callbacks of functions that share a qualified name."""

import asyncio
import functools

import pytest
from pubsub_worlds import World, pages, until

from flash import ConfigurationError, Flash, Input, Output
from flash_pubsub import MemoryBroker, PubSub


def new_pubsub():
    return PubSub(Flash("names"), broker=MemoryBroker())


async def test_11_6_every_feeder_of_a_loop_runs():
    got = []

    def define(pubsub):
        for symbol in ("tea", "salt", "rice"):

            @pubsub.feeder(f"prices/{symbol}")
            async def feed(symbol=symbol):
                yield f"{symbol} costs 1"
                await asyncio.Event().wait()

            @pubsub.channel_callback(f"prices/{symbol}", Output(symbol, "children"))
            def show(message):
                got.append(message)
                return message

    async with World(define, workers=1):
        await until(lambda: len(got) == 3)
    assert sorted(got) == ["rice costs 1", "salt costs 1", "tea costs 1"]


def test_11_6_two_feeders_of_one_name_are_refused_with_both_places():
    pubsub = new_pubsub()

    def make(city, **name):
        @pubsub.feeder("weather", **name)
        async def feed():
            yield city

    make("Rome")
    with pytest.raises(ConfigurationError) as refused:
        make("Oslo")
    assert str(refused.value).count(f"{__file__}:") == 2
    assert "name=…" in str(refused.value)
    make("Oslo", name="weather of Oslo")
    # A name without a channel.
    pubsub.feeder(name="all")(functools.partial(ticks, "all"))


async def ticks(text):
    yield "ticks", text
    await asyncio.Event().wait()


class Source:
    async def ticks(self):
        yield "ticks", "method"
        await asyncio.Event().wait()

    async def __call__(self):
        yield "ticks", "instance"
        await asyncio.Event().wait()


class Sink:
    def __init__(self, got):
        self.got = got

    def keep(self, message):
        self.got.append(("method", message))
        return message

    async def __call__(self, message):
        self.got.append(("instance", message))
        return message


def keep(got, message):
    got.append(("partial", message))
    return message


async def test_11_6_partials_methods_and_instances_are_feeders_and_channel_callbacks():
    got = []

    def define(pubsub):
        pubsub.feeder(functools.partial(ticks, "partial"))
        pubsub.feeder(Source().ticks)
        pubsub.feeder(Source())
        sinks = [functools.partial(keep, got), Sink(got).keep, Sink(got)]
        for number, sink in enumerate(sinks):
            pubsub.channel_callback("ticks", Output(f"out{number}", "children"))(sink)

    async with World(define, workers=1):
        await until(lambda: len(got) == 9)
    kinds = {"partial", "method", "instance"}
    assert set(got) == {(sink, source) for sink in kinds for source in kinds}


async def test_11_6_a_partial_that_fails_is_logged_by_its_name(caplog):
    def fail(word, message):
        raise ValueError(word)

    def define(pubsub):
        pubsub.channel_callback("jobs", Output("out", "children"))(functools.partial(fail, "no"))

    async with World(define, workers=1) as world:
        await world.pubsubs[0].publish("jobs", 1)
        await until(lambda: "fail:jobs' failed" in caplog.text)


def test_11_6_what_is_no_function_is_refused():
    pubsub = new_pubsub()
    for register in (
        pubsub.channel_callback("jobs"),
        pubsub.shared_callback(Output("a", "children"), Input("b", "value")),
        pubsub.feeder("jobs"),
    ):
        with pytest.raises(ConfigurationError, match="7"):
            register(7)


async def test_11_6_shared_callbacks_of_a_factory_without_outputs_all_run():
    got = []

    def define(pubsub):
        for number in range(2):

            @pubsub.shared_callback(Input("slider", "value"))
            def note(value, number=number):
                got.append((number, value))

        pubsub.shared_callback(Output("lamp", "children"), Input("slider", "value"))(
            functools.partial(lambda word, value: f"{word} {value}", "at")
        )

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        names = list(world.apps[0].page_extras["flash_pubsub"]["shared"])
        assert len(names) == 3
        for number, name in enumerate(names):
            page.send(
                {"t": "share", "cb": name, "k": 1, "v": [5 + number], "s": [], "changed": [0]}
            )
        await until(lambda: len(got) == 2)
        await until(
            lambda: world.pubsubs[0]._shared_callbacks.state.json(("lamp", "children")) is not None
        )
    assert sorted(number for number, _ in got) == [0, 1]
