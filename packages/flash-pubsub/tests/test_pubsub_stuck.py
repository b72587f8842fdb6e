"""Application code that is slow or never returns holds up nothing but itself."""

import asyncio
import threading

import pytest
from pubsub_worlds import World, pages, until

from flash import Input, Output
from flash_pubsub.channels import permission
from flash_pubsub.channels.subscription import sign
from flash_pubsub.shared import checks
from flash_ws.callbacks.deferred import hub_of


def subscribe(page, pubsub, channel):
    page.send({"t": "subscribe", "channel": channel, "token": sign(pubsub.app, channel)})


def change(page, pubsub, number, value):
    name = next(iter(pubsub.app.page_extras["flash_pubsub"]["shared"]))
    page.send({"t": "share", "cb": name, "k": number, "v": [value], "s": [], "changed": [0]})


async def next_of(page, kind):
    while True:
        frame = await page.frame()
        if frame["t"] == kind:
            return frame


async def shown(page, component):
    while True:
        frame = await page.frame()
        if frame["t"] in ("props", "snapshot"):
            found = [props for each, props in frame["u"] if each == component]
            if found:
                return found[-1]


def slow_room(asked, gate):
    def define(pubsub):
        @pubsub.channel_callback("room/{room}", Output("last", "title"))
        async def last(message, room):
            return message

        @pubsub.authorize("room/{room}")
        async def may_enter(client, room):
            asked.append(room)
            if room == "slow":
                await gate.wait()
            return True

        @pubsub.shared_callback(Output("lamp", "title"), Input("slider", "value"))
        async def lamp(value):
            return value

    return define


async def test_11_10_a_slow_authorize_holds_up_its_own_subscription_alone():
    asked, gate = [], asyncio.Event()
    async with World(slow_room(asked, gate), workers=1) as world, pages(world, 0) as (page,):
        pubsub = world.pubsubs[0]
        subscribe(page, pubsub, "room/slow")
        subscribe(page, pubsub, "room/1")
        change(page, pubsub, 1, 42)
        # Neither waits for the answer about the other room, and they may come in any order.
        seen = set()
        while len(seen) < 2:
            frame = await page.frame()
            if frame["t"] == "subscription":
                seen.add(frame["channel"])
            elif ["lamp", {"title": 42}] in frame.get("u", ()):
                seen.add("lamp")
        assert seen == {"room/1", "lamp"}
        assert asked == ["slow", "1"]
        assert [len(await pubsub.who(f"room/{room}")) for room in ("1", "slow")] == [1, 0]
        gate.set()
        assert await next_of(page, "subscription") == {
            "t": "subscription",
            "channel": "room/slow",
            "status": "subscribed",
        }


async def test_11_10_a_page_that_goes_during_authorize_leaves_at_once():
    asked, gate = [], asyncio.Event()
    async with World(slow_room(asked, gate), workers=1) as world:
        pubsub = world.pubsubs[0]
        page = await world.page()
        subscribe(page, pubsub, "room/1")
        await next_of(page, "subscription")
        subscribe(page, pubsub, "room/slow")
        await until(lambda: "slow" in asked)
        hub = hub_of(pubsub.live.app)
        (client,) = hub.clients.values()
        await page.leave()
        assert not client.is_connected
        await hub._remove_client(client)
        assert await pubsub.who("room/1") == []
        gate.set()
        await asyncio.sleep(0.05)
        assert await pubsub.who("room/slow") == []


async def test_11_10_an_authorize_that_never_answers_denies_in_time(monkeypatch, caplog):
    monkeypatch.setattr(permission, "AUTHORIZE_TIMEOUT", 0.05)
    async with (
        World(slow_room([], asyncio.Event()), workers=1) as world,
        pages(world, 0) as (page,),
    ):
        subscribe(page, world.pubsubs[0], "room/slow")
        assert (await next_of(page, "subscription"))["status"] == "denied"
    assert "authorize('room/slow')" in caplog.text
    assert "0.05 s" in caplog.text


async def test_11_10_a_page_that_changes_its_mind_gets_what_it_asked_last():
    asked, gate = [], asyncio.Event()
    async with World(slow_room(asked, gate), workers=1) as world, pages(world, 0) as (page,):
        pubsub = world.pubsubs[0]
        subscribe(page, pubsub, "room/slow")
        page.send({"t": "unsubscribe", "channel": "room/slow"})
        subscribe(page, pubsub, "room/slow")
        subscribe(page, pubsub, "room/slow")
        gate.set()
        assert (await next_of(page, "subscription"))["status"] == "subscribed"
        assert len(await pubsub.who("room/slow")) == 1
        page.send({"t": "unsubscribe", "channel": "room/slow"})

        async def gone():
            return not await pubsub.who("room/slow")

        await until(gone)


async def test_11_10_a_slow_authorize_of_a_shared_callback_holds_up_its_own_changes_alone(caplog):
    gate, asked = asyncio.Event(), []

    def define(pubsub):
        async def may(client):
            asked.append(client.id)
            await gate.wait()
            return True

        @pubsub.shared_callback(Output("lamp", "title"), Input("slider", "value"), authorize=may)
        async def lamp(value):
            return value

        @pubsub.live.on_event("ping")
        async def ping(_):
            await pubsub.live.push("out", {"title": "pong"}, to=pubsub.live.client)

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        change(page, world.pubsubs[0], 1, 40)
        page.send({"t": "event", "name": "ping", "k": 1})
        assert await shown(page, "out") == {"title": "pong"}
        change(page, world.pubsubs[0], 2, 41)
        change(page, world.pubsubs[0], 3, 42)
        gate.set()
        while await shown(page, "lamp") != {"title": 42}:
            continue
        assert len(asked) <= 2


async def test_11_10_an_authorize_of_a_shared_callback_that_never_answers_refuses(monkeypatch):
    monkeypatch.setattr(checks, "AUTHORIZE_TIMEOUT", 0.1)

    def define(pubsub):
        async def may(client):
            await asyncio.Event().wait()

        @pubsub.shared_callback(Output("lamp", "title"), Input("slider", "value"), authorize=may)
        async def lamp(value):
            return value

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        change(page, world.pubsubs[0], 1, 40)
        assert "may not change" in (await next_of(page, "shared"))["failed"]


async def metric(pubsub, name):
    return next(each.value for each in pubsub._metrics() if each.name == name)


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_11_11_a_shared_callback_that_never_returns_is_given_up(kind, caplog):
    release = threading.Event()

    def define(pubsub):
        async def hangs(value):
            if value == 66:
                await asyncio.Event().wait()
            return value

        def blocks(value):
            if value == 66:
                release.wait(20)
            return value

        function = hangs if kind == "async" else blocks
        pubsub.shared_callback(Output("lamp", "title"), Input("b", "value"), timeout=1)(function)

    try:
        async with World(define) as world, pages(world, 0, 1) as (one, other):
            change(one, world.pubsubs[0], 1, 66)
            failed = await next_of(one, "shared")
            assert failed["failed"] == "it took longer than 1 s"
            change(other, world.pubsubs[1], 1, 50)
            assert await shown(one, "lamp") == {"title": 50}
            assert await shown(other, "lamp") == {"title": 50}
            assert await metric(world.pubsubs[0], "flash_pubsub_timeouts") == 1
    finally:
        release.set()
    assert "took longer than its timeout of 1 s" in caplog.text


@pytest.mark.parametrize("once", [False, True])
async def test_11_11_a_channel_callback_that_never_returns_is_given_up(once, caplog):
    def define(pubsub):
        @pubsub.channel_callback("jobs", Output("p", "title"), once=once, timeout=1)
        async def job(message):
            if message == "stuck":
                await asyncio.Event().wait()
            return message

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        await world.pubsubs[0].publish("jobs", "stuck")
        await world.pubsubs[0].publish("jobs", "next")
        assert await shown(page, "p") == {"title": "next"}
        assert await metric(world.pubsubs[0], "flash_pubsub_timeouts") == 1
    assert "took longer than its timeout of 1 s" in caplog.text


async def test_11_11_a_feeder_that_yields_nothing_in_time_starts_again(caplog):
    starts = []

    def define(pubsub):
        @pubsub.channel_callback("prices", Output("p", "title"))
        async def price(message):
            return message

        @pubsub.feeder("prices", timeout=1)
        async def prices():
            starts.append(1)
            if len(starts) == 1:
                await asyncio.Event().wait()
            while True:
                yield len(starts)
                await asyncio.sleep(0.05)

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        assert await shown(page, "p") == {"title": 2}
        assert await metric(world.pubsubs[0], "flash_pubsub_timeouts") == 1
    assert "took longer than its timeout of 1 s" in caplog.text


async def test_11_11_every_kind_has_a_default():
    def define(pubsub):
        pubsub.shared_callback(Output("a", "title"), Input("b", "value"))(lambda value: value)
        pubsub.channel_callback("jobs", Output("p", "title"))(lambda message: message)

        @pubsub.feeder
        async def feed():
            yield "jobs", 1

    async with World(define, workers=1) as world:
        pubsub = world.pubsubs[0]
        (shared,) = pubsub._shared_callbacks.by_name.values()
        assert shared.timeout == pubsub._declarations.callbacks[0].timeout == 30
        assert pubsub._feeders.declared[0].timeout == 3600
