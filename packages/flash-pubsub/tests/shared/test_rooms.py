"""Rooms: each has a state of its own, and nothing of it reaches a page outside."""

import asyncio
import json
import random

import pytest
from page import Closed
from pubsub_worlds import World, pages, until
from room_pages import (
    Memory,
    Redis,
    absent,
    answer_of,
    ask,
    enter,
    frame_of,
    inside,
    silence,
    until_frame,
)

from flash import ConfigurationError, Flash, Input, Output, Patch, State
from flash_pubsub import InvalidChannel, PubSub, Room, TooManyRooms, UnknownRoom
from flash_pubsub.channels.subscription import sign
from flash_pubsub.shared import rooms as rooms_module
from flash_pubsub.shared.room_pattern import arguments_of
from flash_pubsub.shared.state import SharedState
from flash_ws import CloseCode


@pytest.fixture(params=["memory", "redis"])
def kind(request):
    if request.param == "memory":
        return Memory()
    return Redis(request.getfixturevalue("redis_server"))


def desks(runs=None, allowed=("7", "8"), **options):
    """An app with one slider for each desk."""

    def define(pubsub):
        if allowed is not None:
            pubsub.authorize("desk/{desk}")(lambda client, desk: desk in allowed)

        @pubsub.shared_callback(
            Output("lamp", "title"),
            Input("slider", "value"),
            room="desk/{desk}",
            prevent_initial_call=True,
            **options,
        )
        def lamp(value, desk):
            if runs is not None:
                runs.append((desk, value))
            return f"{desk} at {value}"

    return define


def change(page, pubsub, number, value, room, callback=0, **more):
    """What a page sends when its slider moves."""
    name = list(pubsub.app.page_extras["flash_pubsub"]["shared"])[callback]
    frame = {"t": "share", "cb": name, "k": number, "v": [value], "s": [], "changed": [0]}
    page.send({**frame, "room": room, **more})


async def test_8_rooms_two_pages_of_a_room_converge_and_another_room_sees_nothing(kind):
    runs = []
    async with (
        World(desks(runs), **kind.settings) as world,
        inside(world, (0, "desk/7"), (1, "desk/7"), (1, "desk/8")) as (one, two, other),
    ):
        change(one, world.pubsubs[0], 1, 40, "desk/7")
        frames = [await frame_of(page, "desk/7") for page in (one, two)]
        assert frames[0] == frames[1]
        assert frames[0]["u"] == [["slider", {"value": 40}], ["lamp", {"title": "7 at 40"}]]
        change(other, world.pubsubs[1], 1, 5, "desk/8")
        assert (await frame_of(other, "desk/8"))["u"][1] == ["lamp", {"title": "8 at 5"}]
        assert "40" not in json.dumps(await silence(other, world, 1))
        assert runs == [("7", 40), ("8", 5)]
        # A late page begins with the values of its room, and of no other.
        async with pages(world, 0) as (late,):
            snapshot = await enter(late, world, "desk/7")
            assert snapshot["t"] == "snapshot"
            assert snapshot["u"] == frames[0]["u"]
            assert "desk/8" not in json.dumps(await silence(late, world))


async def test_8_rooms_no_byte_of_a_room_reaches_a_page_outside_it(kind):
    secret = "the-secret-of-desk-seven"
    async with (
        World(desks(), **kind.settings) as world,
        inside(world, (0, "desk/7"), (0, "desk/8")) as (page, other),
        pages(world, 0, 1) as outside,
    ):
        received = {each: [] for each in (other, *outside)}
        for each, texts in received.items():
            each._receive = recording(each, texts)
        for number in range(1, 20):
            change(page, world.pubsubs[0], number, f"{secret} {number}", "desk/7")
            await frame_of(page, "desk/7")
        await world.pubsubs[1].live.push(
            "note", {"children": secret}, to=world.pubsubs[1].room("desk/7")
        )
        await until_frame(page, lambda f: f.get("c") == "room:desk/7")
        for worker, each in enumerate((other, *outside)):
            await silence(each, world, worker // 2)
            token = each.token
            await each.leave()
            # Nor with what it missed.
            back = await world.page(worker // 2, token, each.positions)
            await silence(back, world, worker // 2)
            await back.leave()
        assert secret not in json.dumps([each.waiting for each in received])
        assert not [text for texts in received.values() for text in texts if secret in text]


def recording(page, texts):
    receive = page._receive

    async def record(event):
        texts.append(str(event))
        await receive(event)

    return record


async def test_8_rooms_a_page_outside_shares_nothing_and_its_inputs_are_refused():
    runs = []
    async with World(desks(runs)) as world, inside(world, (0, "desk/8")) as (page,):
        for number, room in enumerate(
            ("desk/7", None, 7, "", "floor/1", "desk/8/9", "desk/8\n"), 1
        ):
            change(page, world.pubsubs[0], number, 1, room)
            frame = await until_frame(page, lambda f: f["t"] == "shared")
            assert frame["k"] == number
            assert frame["failed"] == "this page is not in the room"
        async with pages(world, 0) as (outside,):
            change(outside, world.pubsubs[0], 1, 1, "desk/8")
            frame = await until_frame(outside, lambda f: f["t"] == "shared")
            assert frame["failed"] == "this page is not in the room"
        assert not runs
        # An offer for the first run is not answered.
        change(page, world.pubsubs[0], 0, 1, "desk/7", changed=[])
        change(page, world.pubsubs[0], 9, 2, "desk/8")
        await frame_of(page, "desk/8")
        assert runs == [("8", 2)]


async def test_8_rooms_authorize_decides_and_without_it_nobody_enters():
    async with World(desks(allowed=("7",))) as world, pages(world, 0) as (page,):
        ask(page, "desk/8", sign(world.apps[0], "desk/8"))
        assert (await answer_of(page, "desk/8"))["status"] == "denied"
        await enter(page, world, "desk/7")
    async with World(desks(allowed=None)) as world, pages(world, 0) as (page,):
        ask(page, "desk/7", sign(world.apps[0], "desk/7"))
        assert (await answer_of(page, "desk/7"))["status"] == "denied"
        assert not any("desk" in each for each in page.positions)


@pytest.mark.parametrize("token", [None, "", "x" * 43, 7, ["a"]])
async def test_8_rooms_a_token_that_the_server_has_not_made_is_refused(token):
    async with World(desks()) as world, pages(world, 0) as (page,):
        ask(page, "desk/7", token)
        assert (await answer_of(page, "desk/7"))["status"] == "denied"
        ask(page, "desk/7", sign(world.apps[0], "desk/8"))
        assert (await answer_of(page, "desk/7"))["status"] == "denied"


@pytest.mark.parametrize("wants", ["room", ["shared"], [1], {"room": 1}, [["room"]]])
async def test_8_rooms_a_frame_that_asks_for_something_else_is_refused(wants):
    async with World(desks()) as world:
        page = await world.page()
        token = sign(world.apps[0], "desk/7")
        page.send({"t": "subscribe", "channel": "desk/7", "token": token, "with": wants})
        assert await page.closed() == CloseCode.MALFORMED.number


async def test_8_rooms_the_url_may_name_a_room_and_authorize_decides():
    async with (
        World(desks(allowed=("7",), room_from="/desk/<desk>")) as world,
        pages(world, 0) as (page,),
    ):
        assert world.apps[0].page_extras["flash_pubsub"]["rooms"] == {"desk/{desk}": "/desk/<desk>"}
        ask(page, "desk/7", None)
        assert (await answer_of(page, "desk/7"))["status"] == "subscribed"
        for name in ("desk/8", "desk/", "desk/7/8", "other/7", "desk/" + "7" * 500, "live:all"):
            ask(page, name, None)
            assert (await answer_of(page, name))["status"] == "denied"
        # A token that is given must be right.
        ask(page, "desk/7", "wrong")
        assert (await answer_of(page, "desk/7"))["status"] == "denied"
    # Without authorize no URL leads into a room.
    async with (
        World(desks(allowed=None, room_from="/desk/<desk>")) as world,
        pages(world, 0) as (page,),
    ):
        ask(page, "desk/7", None)
        assert (await answer_of(page, "desk/7"))["status"] == "denied"


async def test_8_rooms_a_subscription_gives_no_part_of_a_room():
    async with World(desks()) as world, pages(world, 0) as (page,):
        token = sign(world.apps[0], "desk/7")
        page.send({"t": "subscribe", "channel": "desk/7", "token": token})
        assert (await answer_of(page, "desk/7"))["status"] == "subscribed"
        change(page, world.pubsubs[0], 1, 1, "desk/7")
        frame = await until_frame(page, lambda f: f["t"] == "shared")
        assert frame["failed"]
        await world.pubsubs[0].live.push("a", {"b": 1}, to=world.pubsubs[0].room("desk/7"))
        assert not [f for f in await silence(page, world) if f.get("c") == "room:desk/7"]


@pytest.mark.parametrize("how", ["leave", "unsubscribe"])
async def test_8_rooms_a_page_that_left_or_was_removed_gets_nothing_and_changes_nothing(how):
    runs = []
    async with (
        World(desks(runs)) as world,
        inside(world, (0, "desk/7"), (1, "desk/7")) as (page, other),
    ):
        if how == "leave":
            page.send({"t": "unsubscribe", "channel": "desk/7"})
            await until(lambda: absent(world, page, "desk/7"))
        else:
            await world.pubsubs[1].unsubscribe(page.welcome["id"], "desk/7")
            assert (await answer_of(page, "desk/7"))["status"] == "denied"
            ask(page, "desk/7", sign(world.apps[0], "desk/7"))
            assert (await answer_of(page, "desk/7"))["status"] == "denied"
        change(other, world.pubsubs[1], 1, 66, "desk/7")
        await frame_of(other, "desk/7")
        await world.pubsubs[1].live.push("a", {"b": 1}, to=world.pubsubs[1].room("desk/7"))
        assert not [f for f in await silence(page, world) if "desk/7" in f.get("c", "")]
        change(page, world.pubsubs[0], 1, 1, "desk/7")
        assert (await until_frame(page, lambda f: f["t"] == "shared"))["failed"]
        assert runs == [("7", 66)]


async def test_8_rooms_a_recheck_that_says_no_ends_the_room(monkeypatch):
    allowed = ["7"]
    async with World(desks(allowed=allowed), workers=1) as world:
        monkeypatch.setattr(world.pubsubs[0].live, "_recheck_interval", 0.02)
        async with inside(world, (0, "desk/7"), (0, "desk/7")) as (page, other):
            allowed.clear()
            for each in (page, other):
                assert (await answer_of(each, "desk/7"))["status"] == "denied"
            change(page, world.pubsubs[0], 1, 1, "desk/7")
            frame = await until_frame(page, lambda f: f["t"] == "shared")
            assert frame["failed"] == "this page is not in the room"
            await world.pubsubs[0].shared.room("desk/7")["slider", "value"].set("secret")
            for each in (page, other):
                assert "secret" not in json.dumps(await silence(each, world))


async def test_8_rooms_a_user_whose_rights_are_revoked_is_cut_off_from_the_room():
    async with World(desks(), named=True) as world:
        page = await world.page(headers=[(b"x-user", b"eve")])
        await enter(page, world, "desk/7")
        await world.pubsubs[1].live.revoke(user="eve")
        assert await page.closed() == CloseCode.KICKED.number
        await world.pubsubs[1].shared.room("desk/7")["slider", "value"].set("secret")
        with pytest.raises(Closed):
            await world.page(0, page.token, page.positions, headers=[(b"x-user", b"eve")])


async def test_8_rooms_a_page_that_leaves_while_authorize_is_asked_changes_nothing():
    runs = []
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def may_change(client):
        asked.set()
        await go_on.wait()
        return True

    async with World(desks(runs, authorize=may_change)) as world:
        async with inside(world, (0, "desk/7")) as (page,):
            change(page, world.pubsubs[0], 1, 1, "desk/7")
            await asked.wait()
            page.send({"t": "unsubscribe", "channel": "desk/7"})
            await until(lambda: absent(world, page, "desk/7"))
            go_on.set()
            assert (await until_frame(page, lambda f: f["t"] == "shared"))["failed"]
        assert not runs


async def test_8_rooms_a_reconnecting_page_gets_what_it_missed_in_its_room(kind):
    async with (
        World(desks(), **kind.settings) as world,
        inside(world, (0, "desk/7"), (0, "desk/7")) as (page, other),
    ):
        change(page, world.pubsubs[0], 1, 1, "desk/7")
        await frame_of(page, "desk/7")
        await page.leave()
        for number in (1, 2, 3):
            change(other, world.pubsubs[0], number, number + 1, "desk/7")
            await until_frame(
                other, lambda f, n=number: f.get("o", {}).get(other.welcome["id"]) == n
            )
        for worker in (0, 1):
            back = await world.page(worker, page.token, page.positions)
            assert back.welcome["recovered"] is True
            missed = [await frame_of(back, "desk/7") for _ in range(3)]
            assert [frame["u"][0] for frame in missed] == [
                ["slider", {"value": value}] for value in (2, 3, 4)
            ]
            await back.leave()


async def test_8_rooms_values_survive_a_worker_and_a_store_that_has_lost_them(kind):
    async with (
        World(desks(), **kind.settings) as world,
        inside(world, (0, "desk/7")) as (page,),
    ):
        change(page, world.pubsubs[0], 1, 40, "desk/7")
        await frame_of(page, "desk/7")
        more = kind.settings or {"store": world.store}
        async with (
            World(desks(), workers=1, **more) as later,
            inside(later, (0, "desk/8")),
            pages(later, 0) as (late,),
        ):
            assert (await enter(late, later, "desk/7"))["u"][0] == ["slider", {"value": 40}]
        await kind.flush(world)
        # The worker that knows the values restores them.
        await until(lambda: has(world, 1, "desk/7", 40))
        reset = await until_frame(page, lambda f: f.get("recovered") is False)
        assert reset["c"] in ("shared", "all", "shared:desk/7", "room:desk/7", "channel:desk/7")
        await page.leave()


async def has(world, worker, room, value):
    return await world.pubsubs[worker].shared.room(room)["slider", "value"].get() == value


async def test_8_rooms_server_code_reads_and_sets_the_values_of_a_room(kind):
    async with (
        World(desks(), **kind.settings) as world,
        inside(world, (0, "desk/7"), (0, "desk/8")) as opened,
    ):
        shared = world.pubsubs[1].shared
        await shared.room("desk/7")["slider", "value"].set(9)
        assert (await frame_of(opened[0], "desk/7"))["u"] == [["slider", {"value": 9}]]
        assert await shared.room("desk/7")["slider", "value"] == 9
        assert await shared.room("desk/8")["slider", "value"].get(default=1) == 1
        assert await shared["slider", "value"].get(default=2) == 2
        assert not [f for f in await silence(opened[1], world) if "slider" in json.dumps(f)]
        with pytest.raises(UnknownRoom, match=r"'floor/1'.*desk/"):
            await shared.room("floor/1")["slider", "value"].get()
        with pytest.raises(InvalidChannel):
            await shared.room("desk/" + "7" * 500)["slider", "value"].get()


async def test_5_a_push_to_a_room_reaches_its_pages_on_every_worker(kind):
    async with (
        World(desks(), **kind.settings) as world,
        inside(world, (0, "desk/7"), (1, "desk/7"), (0, "desk/8")) as (one, two, other),
    ):
        live = world.pubsubs[0].live
        assert live.room("desk/7") == world.pubsubs[0].room("desk/7")
        await live.push("note", {"children": "hello"}, to=live.room("desk/7"))
        await live.send_event("bell", 1, to=live.room("desk/7"))
        for page in (one, two):
            frame = await until_frame(page, lambda f: f.get("c") == "room:desk/7")
            assert frame["u"] == [["note", {"children": "hello"}]]
            assert (await until_frame(page, lambda f: f["t"] == "event"))["data"] == 1
        assert not [f for f in await silence(other, world) if "desk/7" in f.get("c", "")]
        with pytest.raises(InvalidChannel):
            world.pubsubs[0].room("")


async def take(page, values):
    """Return a page's next frame, after what it sets was added to ``values``."""
    frame = await page.frame()
    for component, props in frame.get("u", ()):
        values.setdefault(component, {}).update(props)
    return frame


def is_answered(frame, page, number):
    if frame["t"] == "shared":
        return frame["k"] >= number
    return frame.get("o", {}).get(page.welcome["id"], 0) >= number


@pytest.mark.parametrize("where", ["room", "channel"])
async def test_8_rooms_what_a_join_handler_sends_at_once_reaches_the_page_that_has_joined(where):
    def define(pubsub):
        desks()(pubsub)

        @pubsub.channel_callback("desk/{desk}", Output("board", "children"))
        def board(message, desk):
            return message

        @pubsub.on_join("desk/{desk}")
        async def welcome(client, desk):
            if where == "room":
                room = pubsub.room(f"desk/{desk}")
                await pubsub.live.push("board", {"children": "welcome"}, to=room)
            else:
                await pubsub.publish(f"desk/{desk}", "welcome")

        pubsub.channel("desk/{desk}", replay_last=False)

    async with World(define) as world, pages(world, 0) as (page,):
        broker = world.pubsubs[0].broker
        subscribe = broker.subscribe

        async def slowly(channel):
            await asyncio.sleep(0.05)
            return await subscribe(channel)

        broker.subscribe = slowly
        ask(page, "desk/7", sign(world.apps[0], "desk/7"))
        pushed = await until_frame(
            page, lambda f: f.get("u") == [["board", {"children": "welcome"}]]
        )
        assert pushed["c"].startswith(where)


async def test_8_rooms_two_hands_end_on_one_value_while_rooms_run_side_by_side(kind):
    running = {}
    together = 0

    def define(pubsub):
        pubsub.authorize("desk/{desk}")(lambda client, desk: True)

        @pubsub.shared_callback(
            Output("lamp", "title"),
            Input("slider", "value"),
            room="desk/{desk}",
            prevent_initial_call=True,
        )
        async def lamp(value, *, desk):
            nonlocal together
            running[desk] = running.get(desk, 0) + 1
            assert running[desk] == 1
            together = max(together, sum(running.values()))
            await asyncio.sleep(0.001)
            running[desk] -= 1
            return [desk, value]

    places = [(worker, f"desk/{desk}") for desk in (7, 8) for worker in (0, 1)]
    async with World(define, **kind.settings) as world, inside(world, *places) as opened:
        for number in range(1, 31):
            for page, (worker, room) in zip(opened, places, strict=True):
                change(page, world.pubsubs[worker], number, [worker, number], room)
            await asyncio.sleep(0.002)
        shown = [{} for _ in opened]
        for page, values in zip(opened, shown, strict=True):
            while not is_answered(await take(page, values), page, 30):
                pass
        for room in ("desk/7", "desk/8"):
            await world.pubsubs[0].shared.room(room)["end", "title"].set("reached")
        for page, values in zip(opened, shown, strict=True):
            while "end" not in values:
                await take(page, values)
        for first, second, desk in ((0, 1, "7"), (2, 3, "8")):
            assert shown[first]["slider"] == shown[second]["slider"]
            for place in (first, second):
                assert shown[place]["lamp"]["title"] == [desk, shown[place]["slider"]["value"]]
        assert together == 2


async def test_8_rooms_the_first_run_is_one_for_each_room(kind):
    runs = []

    def define(pubsub):
        pubsub.authorize("desk/{desk}")(lambda client, desk: True)

        @pubsub.shared_callback(
            Output("lamp", "title"), Input("slider", "value"), room="desk/{desk}"
        )
        def lamp(value, **variables):
            runs.append((variables["desk"], value))
            return value

    places = [(0, "desk/7"), (1, "desk/7"), (1, "desk/8")]
    async with World(define, **kind.settings) as world, inside(world, *places) as opened:
        for page, (worker, room) in zip(opened, places, strict=True):
            change(page, world.pubsubs[worker], 0, 30, room, changed=[])
        for page, (_, room) in zip(opened, places, strict=True):
            assert (await frame_of(page, room))["u"][0] == ["slider", {"value": 30}]
        assert sorted(runs) == [("7", 30), ("8", 30)]


async def test_8_rooms_a_room_of_one_name_needs_no_authorize_and_functions_need_no_variables():
    def define(pubsub):
        @pubsub.shared_callback(
            Output("list", "data"), Input("word", "value"), room="lobby", prevent_initial_call=True
        )
        def add(word):
            patch = Patch()
            patch.append(word)
            return patch

    async with (
        World(define) as world,
        inside(world, (0, "lobby")) as (page,),
        pages(world, 1) as (outside,),
    ):
        await world.pubsubs[1].shared.room("lobby")["list", "data"].set(["a"])
        await frame_of(page, "lobby")
        change(page, world.pubsubs[0], 1, "b", "lobby")
        assert (await frame_of(page, "lobby"))["u"][1] == ["list", {"data": ["a", "b"]}]
        assert not [f for f in await silence(outside, world, 1) if "lobby" in json.dumps(f)]


async def test_8_rooms_an_app_that_is_served_again_has_its_rooms_again(kind):
    world = World(desks(), **kind.settings)
    for number in (1, 2):
        async with world, inside(world, (0, "desk/7"), (1, "desk/7")) as (page, other):
            change(page, world.pubsubs[0], number, number, "desk/7")
            for each in (page, other):
                await until_frame(
                    each, lambda f, n=number: ["slider", {"value": n}] in f.get("u", ())
                )
            metrics = {each.name: each.value for each in world.pubsubs[0]._metrics()}
            assert metrics["flash_shared_rooms"] == 1
        assert not world.pubsubs[0]._shared_callbacks.rooms


async def test_8_rooms_a_worker_has_a_bounded_number_of_rooms():
    async with (
        World(desks(allowed="123456789"), max_rooms=3) as world,
        inside(world, (0, "desk/1"), (0, "desk/2"), (0, "desk/3")) as opened,
        pages(world, 0) as (page,),
    ):
        ask(page, "desk/4", sign(world.apps[0], "desk/4"))
        assert (await answer_of(page, "desk/4"))["status"] == "denied"
        with pytest.raises(TooManyRooms, match="max_rooms"):
            await world.pubsubs[0].shared.room("desk/4")["slider", "value"].get()
        await enter(page, world, "desk/3")
        # A room without pages makes place.
        opened[0].send({"t": "unsubscribe", "channel": "desk/1"})
        await until(lambda: absent(world, opened[0], "desk/1"))
        await enter(opened[0], world, "desk/4")


async def test_8_rooms_rooms_that_were_left_are_dropped_the_first_left_first(monkeypatch):
    monkeypatch.setattr(rooms_module, "MAX_IDLE_ROOMS", 2)
    started, closed = [], []
    start, close = SharedState.start, SharedState.stop

    async def note_start(state):
        started.append(state.channel)
        await start(state)

    async def note_close(state):
        closed.append(state.channel)
        await close(state)

    monkeypatch.setattr(SharedState, "start", note_start)
    monkeypatch.setattr(SharedState, "stop", note_close)
    async with World(desks(allowed="1234"), workers=1) as world, pages(world, 0) as (page,):
        for desk in (1, 2, 3, 1):
            await enter(page, world, f"desk/{desk}")
            change(page, world.pubsubs[0], desk, desk, f"desk/{desk}")
            await until_frame(page, lambda f: f.get("c", "").startswith("shared:") and "o" in f)
            page.send({"t": "unsubscribe", "channel": f"desk/{desk}"})
            await until(lambda d=desk: absent(world, page, f"desk/{d}"))
        await until(lambda: closed)
        # The third left took the place of the first, which was fetched again and has its value.
        assert closed[0] == "live:shared:desk/1"
        assert started.count("live:shared:desk/1") == 2
        assert await has(world, 0, "desk/2", 2)
        # After a time without pages all go.
        loop = asyncio.get_running_loop()
        rooms = world.pubsubs[0]._shared_callbacks.rooms
        monkeypatch.setattr(rooms_module, "IDLE_SECONDS", -loop.time())
        rooms._close_old()
        await until(lambda: not rooms._open)


def declared(**options):
    pubsub = PubSub(Flash("declared"))

    def function(value):
        return value

    pubsub.shared_callback(Output("a", "title"), Input("b", "value"), **options)(function)
    return pubsub


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"room": 7}, 'room=7 is no text.*"desk/{desk}"'),
        ({"room": "desk/{a}/{a}"}, "twice"),
        ({"room": ""}, "empty"),
        ({"room": "live:x"}, "reserved"),
        ({"room_from": "/desk/<desk>"}, "without room="),
        ({"room": "desk/{desk}", "room_from": "desk/<desk>"}, "begins with a slash"),
        ({"room": "desk/{desk}", "room_from": "/desk/<other>"}, "other"),
        ({"room": "desk/{desk}", "room_from": "/desk/<desk>/<desk>"}, "each once"),
        ({"room": "desk/{desk}", "room_from": 7}, "function': room_from=7 is no path"),
    ],
)
def test_8_rooms_wrong_settings_are_refused_where_they_are_given(options, said):
    with pytest.raises((ConfigurationError, InvalidChannel), match=said):
        declared(**options)


def test_8_rooms_a_property_belongs_to_one_room():
    pubsub = declared(room="desk/{desk}")

    def other(value):
        return value

    place = r"test_rooms\.py:\d+"
    both = rf"b\.value belongs to .*{place}; room='desk.* and to .*{place}; no room"
    with pytest.raises(ConfigurationError, match=both):
        pubsub.shared_callback(Output("c", "title"), Input("b", "value"))(other)
    with pytest.raises(ConfigurationError, match="has one room"):
        pubsub.shared_callback(Output("c", "title"), Input("a", "title"), room="floor/{x}")(other)
    pubsub.shared_callback(
        Output("c", "title"), Input("b", "value"), room="desk/{desk}", room_from="/d/<desk>"
    )(other)

    def third(value):
        return value

    with pytest.raises(ConfigurationError, match=r"third': .*one pattern has one path"):
        pubsub.shared_callback(
            Output("d", "title"), Input("b", "value"), room="desk/{desk}", room_from="/e/<desk>"
        )(third)
    # Also of a callback that was declared after others of the same room.
    pubsub.shared_callback(Output("e", "title"), Input("f", "value"), room="floor/{x}")(third)
    with pytest.raises(ConfigurationError, match=r"f\.value belongs to"):
        pubsub.shared_callback(Output("g", "title"), Input("f", "value"), room="desk/{desk}")(other)


@pytest.mark.parametrize(
    ("function", "taken"),
    [
        (lambda value: None, ()),
        (lambda value, desk: None, ("desk",)),
        (lambda value, *, floor: None, ("floor",)),
        (lambda value, **variables: None, ("floor", "desk")),
        # The value of the Input has this name.
        (lambda desk: None, ()),
        (lambda desk, **others: None, ("floor",)),
    ],
)
def test_8_rooms_a_function_gets_the_variables_that_it_names(function, taken):
    assert arguments_of(function, ("floor", "desk"), after=1) == taken


def test_8_rooms_the_component_makes_the_name_and_refuses_what_fits_no_name():
    assert Room("desk/{desk}", desk=7).channel == "desk/7"
    assert Room("{a}/{b}", "the-id", a="x", b="y").id == "the-id"
    assert Room("lobby").channel == "lobby"
    for arguments in (
        {},
        {"desk": ""},
        {"desk": None},
        {"desk": 1.5},
        {"desk": "7/8"},
        {"desk": 7, "floor": 1},
        {"desk": "{x}"},
    ):
        with pytest.raises(ConfigurationError, match="desk"):
            Room("desk/{desk}", **arguments)
    with pytest.raises(InvalidChannel):
        Room("desk/{desk}", desk="a\nb")


@pytest.mark.parametrize("kind", ["plain", "keyword", "all", "none", "positional"])
async def test_8_rooms_a_function_gets_the_variables_that_it_takes(kind):
    got = []
    functions = {
        "plain": lambda value, unit, desk: got.append((value, unit, desk)),
        "keyword": lambda value, unit, *, desk: got.append((value, unit, desk)),
        "all": lambda *values, **variables: got.append((*values, variables["desk"])),
        "none": lambda value, unit: got.append((value, unit, "7")),
        # Named as a variable, but an Input's value.
        "positional": lambda desk, unit: got.append((desk, unit, "7")),
    }

    def define(pubsub):
        pubsub.authorize("desk/{desk}")(lambda client, desk: True)
        pubsub.shared_callback(
            Input("slider", "value"),
            State("unit", "value"),
            room="desk/{desk}",
            prevent_initial_call=True,
        )(functions[kind])

    async with World(define, workers=1) as world, inside(world, (0, "desk/7")) as (page,):
        change(page, world.pubsubs[0], 1, 3, "desk/7", s=["lx"])
        await frame_of(page, "desk/7")
        assert got == [(3, "lx", "7")]


@pytest.mark.parametrize("seed", range(3))
async def test_8_rooms_pages_that_come_and_go_at_random_end_with_the_values_of_their_room(
    monkeypatch, kind, seed
):
    monkeypatch.setattr(rooms_module, "MAX_IDLE_ROOMS", 1)
    chance = random.Random(seed)
    names = [f"desk/{desk}" for desk in (1, 2, 3, 4)]
    async with World(desks(allowed="1234"), **kind.settings) as world:
        opened = [await world.page(worker) for worker in (0, 1, 0, 1, 0)]
        places = {}
        for number in range(1, 120):
            at = chance.randrange(len(opened))
            page, worker = opened[at], at % 2
            here = places.get(at)
            match chance.choice(["enter", "change", "change", "return"]):
                case "enter":
                    if here is not None:
                        page.send({"t": "unsubscribe", "channel": here})
                    places[at] = chance.choice(names)
                    ask(page, places[at], sign(world.apps[worker], places[at]))
                case "change" if here is not None:
                    change(page, world.pubsubs[worker], number, number, here)
                case "return" if chance.random() < 0.3:
                    await page.leave()
                    opened[at] = await world.page(worker, page.token, page.positions)
                    if here is not None:
                        ask(opened[at], here, sign(world.apps[worker], here))
            if chance.random() < 0.3:
                await asyncio.sleep(0.003)
        # Until every frame is read, and no callback runs any more.
        seen = {at: [] for at in range(len(opened))}
        for at, page in enumerate(opened):
            page.send({"t": "beat"})
            await until_frame(page, lambda f: f["t"] == "beat", record=seen[at])
        await until(
            lambda: all(
                entry.opening.done() and entry.runs.is_idle
                for pubsub in world.pubsubs
                for entry in pubsub._shared_callbacks.rooms._open.values()
            )
        )
        for at, room in places.items():
            shared = world.pubsubs[(at + 1) % 2].shared.room(room)
            value = await shared["slider", "value"]
            expected = {} if value is None else lamp_at(room, value)
            # What it has got until now, and what a page gets that enters now. Messages of different
            # channels may overtake each other.
            for _ in range(100):
                seen[at] += await silence(opened[at], world, at % 2)
                values = values_of(seen[at], f"shared:{room}")
                if not values or values == expected:
                    break
                await asyncio.sleep(0.02)
            assert not values or values == expected
            opened[at].send({"t": "unsubscribe", "channel": room})
            await until(lambda p=opened[at], r=room: absent(world, p, r))
            snapshot = await enter(opened[at], world, room, at % 2)
            assert dict(snapshot["u"]) == expected
        for page in opened:
            await page.leave()


def values_of(frames, channel):
    """Return the values that the frames of a channel set, by component."""
    values = {}
    for frame in frames:
        if frame.get("c") == channel:
            for component, props in frame["u"]:
                values.setdefault(component, {}).update(props)
    return values


def lamp_at(room, value):
    return {"slider": {"value": value}, "lamp": {"title": f"{room[-1]} at {value}"}}
