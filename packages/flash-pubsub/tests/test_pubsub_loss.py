"""A store that loses what pages share, and workers that still know it."""

import asyncio
import secrets

import pytest
from pubsub_worlds import World, pages, until

from flash import Input, Output, html
from flash_pubsub import BrokerRefused
from flash_ws.protocol.position import Position


def dimmer(runs):
    def define(pubsub):
        pubsub.app.layout = html.Div([html.Div(id="slider"), html.Div(id="lamp")])

        @pubsub.shared_callback(Output("lamp", "title"), Input("slider", "value"))
        async def lamp(value):
            runs.append(value)
            return f"at {value}"

    return define


def share(page, pubsub, number, value):
    (name,) = pubsub.app.page_extras["flash_pubsub"]["shared"]
    frame = {"t": "share", "cb": name, "k": number, "v": [value], "s": []}
    page.send({**frame, "changed": [0] if number else []})


class Memory:
    def __init__(self):
        self.settings = {}

    async def flush(self, world):
        world.store.flush()


class Redis:
    def __init__(self, server):
        self.server = server
        prefix = f"loss{secrets.token_hex(4)}"
        self.settings = {"url": f"{server.url}?prefix={prefix}&probe_interval=0.2"}

    async def flush(self, world):
        await asyncio.to_thread(self.server.flush)


@pytest.fixture(params=["memory", "redis"])
def kind(request):
    if request.param == "memory":
        return Memory()
    return Redis(request.getfixturevalue("redis_server"))


async def told_of_loss(page):
    """Return what a page is shown with the message that something is lost."""
    while True:
        frame = await page.frame()
        if frame.get("c") == "shared" and frame.get("recovered") is False:
            page.positions["shared"] = (frame["e"], frame["n"])
            return frame["u"]


async def stored(world):
    """Return what the store has of properties, a later worker's beginning."""
    values = (await world.pubsubs[0].broker.snapshot("live:shared")).values
    return {name: value for name, value in values.items() if "\t" in name}


async def holds(world, values):
    await until(lambda: stored_is(world, values))


async def stored_is(world, values):
    return await stored(world) == values


async def test_an_emptied_store_gets_back_what_workers_know_and_nothing_jumps(kind):
    runs = []
    async with World(dimmer(runs), **kind.settings) as world, pages(world, 0, 1) as opened:
        share(opened[0], world.pubsubs[0], 1, 40)
        await world.pubsubs[1].shared[{"type": "cell"}, "x"].set([1, "ä"])
        await until(lambda: len(runs) == 1)
        await until(lambda: world.pubsubs[0].shared["lamp", "title"].get())
        before = await stored(world)
        assert before.keys() == {"slider\tvalue", "lamp\ttitle", '{"type":"cell"}\tx'}
        await kind.flush(world)
        for page in opened:
            shown = await told_of_loss(page)
            everything = [["lamp", {"title": "at 40"}], [{"type": "cell"}, {"x": [1, "ä"]}]]
            assert sorted(shown, key=str) == sorted(
                [["slider", {"value": 40}], *everything], key=str
            )
        await holds(world, before)
        # What was known is known: nothing runs for the first time.
        share(opened[1], world.pubsubs[1], 0, 0)
        share(opened[1], world.pubsubs[1], 1, 41)
        await until(lambda: len(runs) == 2)
        assert runs == [40, 41]
        async with World(dimmer(runs), store=world.store, workers=1, **kind.settings) as later:
            assert await later.pubsubs[0].shared["slider", "value"] == 41
            assert await later.pubsubs[0].shared[{"type": "cell"}, "x"] == [1, "ä"]
            layout = await later.apps[0].render_layout()
            assert layout.children[1].title == "at 41"


async def test_what_is_set_after_the_loss_is_not_overwritten(kind):
    async with World(dimmer([]), **kind.settings) as world:
        for component, value in (("slider", 1), ("lamp", 2), ("other", 3)):
            await world.pubsubs[0].shared[component, "value"].set(value)
        await until(lambda: world.pubsubs[1].shared["other", "value"].get())
        await kind.flush(world)
        await world.pubsubs[1].shared["slider", "value"].set(9)
        wanted = {"slider\tvalue": b"9", "lamp\tvalue": b"2", "other\tvalue": b"3"}
        await holds(world, wanted)
        for pubsub in world.pubsubs:
            await until(lambda pubsub=pubsub: knows(pubsub, slider=9, lamp=2, other=3))
        assert await stored(world) == wanted


async def knows(pubsub, **values):
    for component, value in values.items():
        if await pubsub.shared[component, "value"].get() != value:
            return False
    return True


async def test_the_worker_that_had_followed_furthest_has_the_last_word(kind, monkeypatch):
    async with World(dimmer([]), **kind.settings) as world:
        newest, behind = world.pubsubs
        for component, value in (("slider", 1), ("lamp", 1)):
            await newest.shared[component, "value"].set(value)
        await until(lambda: knows(behind, slider=1, lamp=1))
        # Cut off while one value is set, and back when the other worker is still away.
        with monkeypatch.context() as cut:
            cut.setattr(behind._shared_callbacks.state, "deliver", lambda publication: None)
            await newest.shared["slider", "value"].set(2)
            await until(lambda: behind._listeners.position("live:shared").number == 3)
        assert behind._shared_callbacks.state.value(("slider", "value")) == 1
        back = asyncio.Event()
        snapshot = newest.broker.snapshot

        async def later(channel):
            await back.wait()
            return await snapshot(channel)

        monkeypatch.setattr(newest.broker, "snapshot", later)
        await kind.flush(world)

        async def is_put_back():
            return (await behind.broker.position("live:shared")).number == 1

        await until(is_put_back)
        back.set()
        await holds(world, {"slider\tvalue": b"2", "lamp\tvalue": b"1"})
        for pubsub in world.pubsubs:
            await until(lambda pubsub=pubsub: knows(pubsub, slider=2, lamp=1))


async def test_a_large_state_is_put_back_in_parts(kind):
    async with World(**kind.settings) as world:
        values = {f"c{number}": "x" * 150_000 for number in range(9)}
        for component, value in values.items():
            await world.pubsubs[0].shared[component, "value"].set(value)
        await until(lambda: knows(world.pubsubs[1], **values))
        before = await stored(world)
        await kind.flush(world)
        await holds(world, before)


async def test_what_the_store_does_not_take_back_pages_still_see(kind, monkeypatch, caplog):
    async with World(dimmer([]), **kind.settings) as world, pages(world, 0) as (page,):
        await world.pubsubs[0].shared["lamp", "title"].set("on")
        await until(lambda: world.pubsubs[1].shared["lamp", "title"].get())

        async def full(*_, **__):
            raise BrokerRefused("publish", "OOM")

        for pubsub in world.pubsubs:
            monkeypatch.setattr(pubsub.broker, "publish", full)
        await kind.flush(world)
        assert await told_of_loss(page) == [["lamp", {"title": "on"}]]
        await until(lambda: caplog.text.count("are not restored") == 2)
        for app in world.apps:
            assert (await app.render_layout()).children[1].title == "on"
        assert await stored(world) == {}


@pytest.mark.parametrize("noticed", ["before the answer", "after it"])
async def test_a_change_that_was_acknowledged_and_lost_before_anybody_heard_runs_again(
    kind, monkeypatch, noticed
):
    runs = []
    async with World(dimmer(runs), **kind.settings) as world, pages(world, 0) as (page,):
        broker, state = world.pubsubs[0].broker, world.pubsubs[0]._shared_callbacks.state
        publish, epoch = broker.publish, state.epoch

        async def into_the_void(channel, *arguments, **more):
            if channel != "live:shared":
                return await publish(channel, *arguments, **more)
            monkeypatch.setattr(broker, "publish", publish)
            await kind.flush(world)
            if noticed == "before the answer":
                await until(lambda: state.epoch != epoch)
            return Position(epoch, 1)

        monkeypatch.setattr(broker, "publish", into_the_void)
        share(page, world.pubsubs[0], 1, 40)
        while (frame := await page.frame()).get("o") != {page.welcome["id"]: 1}:
            if frame.get("recovered") is False:
                page.positions[frame["c"]] = (frame["e"], frame["n"])
        assert frame["u"] == [["slider", {"value": 40}], ["lamp", {"title": "at 40"}]]
        # Once more if the lease was lost as well.
        assert len(runs) > 1
        assert set(runs) == {40}


async def test_a_change_whose_answer_was_missed_is_answered_and_does_not_run_again(
    kind, monkeypatch
):
    runs = []
    async with World(dimmer(runs), **kind.settings) as world, pages(world, 0) as (page,):
        state, missed = world.pubsubs[0]._shared_callbacks.state, []
        with monkeypatch.context() as cut:
            cut.setattr(state, "deliver", missed.append)
            share(page, world.pubsubs[0], 1, 40)
            await until(lambda: missed)
        # As a broker does when history does not reach back far enough.
        state.reset("live:shared", await world.pubsubs[0].broker.position("live:shared"))
        assert await told_of_loss(page) == [["slider", {"value": 40}], ["lamp", {"title": "at 40"}]]
        while (frame := await page.frame())["t"] != "shared":
            pass
        assert frame["k"] == 1
        assert runs == [40]


@pytest.mark.parametrize("channel", ["all", "shared"])
async def test_a_store_that_is_emptied_again_meanwhile_is_told_as_it_is_in_the_end(
    monkeypatch, channel
):
    async with World(workers=1) as world, pages(world, 0) as (page,):
        broker = world.pubsubs[0].broker
        snapshot = broker.snapshot
        left = [1, 2]

        async def slow(name):
            found = await snapshot(name)
            if name == f"live:{channel}" and left:
                left.pop()
                world.store.flush()
            return found

        monkeypatch.setattr(broker, "snapshot", slow)
        world.store.flush()
        await until(lambda: not left)
        final = await broker.position(f"live:{channel}")
        while (frame := await page.frame()).get("e") != final.epoch:
            if frame.get("recovered") is False:
                page.positions[frame["c"]] = (frame["e"], frame["n"])
        assert frame["recovered"] is False
        assert frame["c"] == channel


async def test_what_is_on_its_way_back_is_not_forgotten_over_a_gap(kind, monkeypatch):
    async with World(workers=1, **kind.settings) as world, pages(world, 0) as (page,):
        (pubsub,) = world.pubsubs
        await pubsub.shared["lamp", "title"].set("on")
        await until(lambda: pubsub.shared["lamp", "title"].get())
        publish, go_on = pubsub.broker.publish, asyncio.Event()

        async def late(*arguments, **more):
            await go_on.wait()
            return await publish(*arguments, **more)

        monkeypatch.setattr(pubsub.broker, "publish", late)
        await kind.flush(world)
        assert await told_of_loss(page) == [["lamp", {"title": "on"}]]
        # As a broker does when history does not reach back far enough.
        pubsub._shared_callbacks.state.reset(
            "live:shared", await pubsub.broker.position("live:shared")
        )
        assert await told_of_loss(page) == [["lamp", {"title": "on"}]]
        go_on.set()
        await holds(world, {"lamp\ttitle": b'"on"'})


async def test_changes_that_come_faster_than_the_state_is_fetched_fill_no_memory(monkeypatch):
    monkeypatch.setattr("flash_pubsub.broker.replica._MAX_WAITING", 5)
    async with World(dimmer([])) as world:
        one, other = (each.shared["lamp", "title"] for each in world.pubsubs)
        broker, state = world.pubsubs[1].broker, world.pubsubs[1]._shared_callbacks.state
        fetch, fetched, may_fetch = broker.snapshot, [], asyncio.Event()

        async def slow(channel):
            snapshot = await fetch(channel)
            fetched.append(snapshot)
            await may_fetch.wait()
            return snapshot

        monkeypatch.setattr(broker, "snapshot", slow)
        state.reset("live:shared", Position("another", 0))
        await until(lambda: fetched)
        for number in range(23):
            await one.set(f"number {number}")
        await until(lambda: broker.status.delivered >= 23)
        assert len(state._waiting) <= 5
        may_fetch.set()
        await until(lambda: state._loaded.is_set())
        assert len(fetched) > 1
        assert await other.get() == "number 22"
