"""Who is in a room, as `Present` gets it: a list with the subscription, and then each change."""

import asyncio

import pytest
from pubsub_worlds import World, until
from room_pages import Memory, Redis, absent, answer_of, ask, frame_of, silence, until_frame

from flash import ConfigurationError
from flash_pubsub import Present, present_list
from flash_pubsub.channels.subscription import sign


@pytest.fixture(params=["memory", "redis"])
def kind(request):
    if request.param == "memory":
        return Memory()
    return Redis(request.getfixturevalue("redis_server"))


def desks(pubsub):
    pubsub.authorize("desk/{desk}")(lambda client, desk: desk != "9")


async def person(world, name, worker=0, room="desk/7", wants=("present",)):
    """A page of a user that shows who is in a room."""
    page = await world.page(worker, headers=[(b"x-user", name.encode())])
    ask(page, room, sign(world.apps[worker], room), wants)
    return page


async def list_of(page, *names, room="desk/7"):
    """Return the list that has these names, in the order in which they came."""
    return await until_frame(
        page, lambda f: f.get("c") == f"present:{room}" and f["who"] == list(names)
    )


async def test_10_present_begins_with_the_list_and_follows_joins_and_leaves_over_workers(kind):
    async with World(desks, named=True, presence_grace=0, **kind.settings) as world:
        ann = await person(world, "Ann")
        first = await frame_of(ann, "desk/7", "present")
        assert (first["t"], first["who"], first["count"]) == ("snapshot", ["Ann"], 1)
        bob = await person(world, "Bob", 1)
        # With the subscription comes a list in which the page itself is.
        assert (await frame_of(bob, "desk/7", "present"))["who"] == ["Ann", "Bob"]
        assert (await list_of(ann, "Ann", "Bob"))["count"] == 2
        # One of another room, and one who does not show the list.
        eve = await person(world, "Eve", 1, "desk/8")
        assert (await frame_of(eve, "desk/8", "present"))["who"] == ["Eve"]
        dan = await person(world, "Dan", 0, wants=("room",))
        for page in (ann, bob):
            await list_of(page, "Ann", "Bob", "Dan")
        bob.send({"t": "unsubscribe", "channel": "desk/7"})
        await list_of(ann, "Ann", "Dan")
        for page, worker in ((bob, 1), (dan, 0), (eve, 1)):
            assert not [f for f in await silence(page, world, worker) if "Dan" in str(f)]
            await page.leave()
        await ann.leave()


async def test_10_present_counts_a_user_once_and_pages_without_a_user_each():
    async with World(desks) as world:
        opened = [await world.page(worker) for worker in (0, 1, 1)]
        for worker, page in zip((0, 1, 1), opened, strict=True):
            ask(page, "desk/7", sign(world.apps[worker], "desk/7"), ["present"])
        await until_frame(
            opened[0], lambda f: f.get("c") == "present:desk/7" and f["count"] == 3 and not f["who"]
        )
        for page in opened:
            await page.leave()
    async with World(desks, named=True) as world:
        opened = [await person(world, "Ann", worker) for worker in (0, 1)]
        bob = await person(world, "Bob")
        assert (await list_of(opened[0], "Ann", "Bob"))["count"] == 2
        opened[0].send({"t": "unsubscribe", "channel": "desk/7"})
        await until(lambda: absent(world, opened[0], "desk/7"))
        # She is there with her other page.
        assert set((await world_list(world, bob))["who"]) == {"Ann", "Bob"}
        for page in (*opened, bob):
            await page.leave()


async def world_list(world, page):
    """Ask for the list again; it is sent with every subscription."""
    token = sign(world.apps[0], "desk/7")
    page.send({"t": "unsubscribe", "channel": "desk/7"})
    await until(lambda: absent(world, page, "desk/7"))
    ask(page, "desk/7", token, ["present"])
    return await frame_of(page, "desk/7", "present")


async def test_10_present_has_the_names_that_the_application_gives(caplog):
    asked = []

    def define(pubsub):
        desks(pubsub)

        @pubsub.present_name("desk/{desk}")
        async def name(client, desk):
            asked.append((client.user, desk))
            if client.user == "eve":
                raise KeyError(client.user)
            return None if client.user == "dan" else f"{client.user.title()} of {desk}" + 200 * "!"

    async with World(define, named=True, workers=1) as world:
        ann = await person(world, "ann")
        others = [await person(world, name) for name in ("eve", "dan", "bob")]
        frame = await until_frame(ann, lambda f: f.get("c") == "present:desk/7" and f["count"] == 4)
        assert [each.rstrip("!") for each in frame["who"]] == ["Ann of 7", "Bob of 7"]
        assert {len(each) for each in frame["who"]} == {present_list.MAX_NAME_LENGTH}
        assert sorted(asked) == [(name, "7") for name in ("ann", "bob", "dan", "eve")]
        assert "present_name failed" in caplog.text
        for page in (ann, *others):
            await page.leave()


async def test_10_a_present_name_that_never_answers_counts_the_page_without_a_name(monkeypatch):
    monkeypatch.setattr(present_list, "NAME_TIMEOUT", 0.02)

    def define(pubsub):
        desks(pubsub)

        @pubsub.present_name("desk/{desk}")
        async def name(client, desk):
            await asyncio.Event().wait()

    async with World(define, named=True, workers=1) as world:
        ann = await person(world, "ann")
        frame = await frame_of(ann, "desk/7", "present")
        assert (frame["who"], frame["count"]) == ([], 1)
        await ann.leave()


async def test_10_present_sends_a_bounded_number_of_names_and_counts_the_rest(monkeypatch):
    monkeypatch.setattr(present_list, "MAX_NAMES", 3)
    async with World(desks, named=True) as world:
        opened = [await person(world, f"user {number}", number % 2) for number in range(6)]
        frame = await until_frame(
            opened[0], lambda f: f.get("c") == "present:desk/7" and f["count"] == 6
        )
        assert frame["who"] == ["user 0", "user 1", "user 2"]
        for page in opened:
            await page.leave()


async def test_10_present_of_a_page_that_may_not_enter_shows_nobody():
    async with World(desks, named=True) as world:
        ann = await person(world, "Ann")
        await frame_of(ann, "desk/7", "present")
        eve = await person(world, "Eve", room="desk/9")
        assert (await answer_of(eve, "desk/9"))["status"] == "denied"
        ask(eve, "desk/7", "forged", ["present"])
        assert (await answer_of(eve, "desk/7"))["status"] == "denied"
        # Removed, it gets no list any more.
        await world.pubsubs[1].unsubscribe(ann.welcome["id"], "desk/7")
        assert (await answer_of(ann, "desk/7"))["status"] == "denied"
        bob = await person(world, "Bob")
        await frame_of(bob, "desk/7", "present")
        for page in (ann, eve):
            assert "Bob" not in str(await silence(page, world))
        for page in (ann, eve, bob):
            await page.leave()


async def test_10_present_a_returning_page_has_the_list_of_now_and_never_sees_itself_leave(kind):
    async with World(desks, named=True, **kind.settings) as world:
        ann = await person(world, "Ann")
        bob = await person(world, "Bob", 1)
        await list_of(ann, "Ann", "Bob")
        await list_of(bob, "Ann", "Bob")
        await ann.leave()
        eve = await person(world, "Eve", 1)
        await list_of(bob, "Ann", "Bob", "Eve")
        seen = []
        for worker in (0, 1):
            back = await world.page(worker, ann.token, ann.positions, headers=[(b"x-user", b"Ann")])
            assert back.welcome["recovered"] is True
            ask(back, "desk/7", sign(world.apps[worker], "desk/7"), ["present"])
            seen.append(await frame_of(back, "desk/7", "present"))
            await back.leave()
        assert [frame["who"] for frame in seen] == [["Ann", "Bob", "Eve"]] * 2
        # Nor do the others see it, while it is on no worker.
        assert not [f for f in await silence(bob, world, 1) if f.get("count") == 2]
        await bob.leave()
        await eve.leave()


async def test_10_present_lists_a_page_that_left_for_the_grace_period():
    async with World(desks, named=True, presence_grace=0.2) as world:
        ann = await person(world, "Ann")
        bob = await person(world, "Bob", 1)
        await list_of(ann, "Ann", "Bob")
        bob.send({"t": "unsubscribe", "channel": "desk/7"})
        await until(lambda: absent(world, bob, "desk/7"))
        ask(bob, "desk/7", sign(world.apps[1], "desk/7"), ["present"])
        await answer_of(bob, "desk/7")
        assert not [f for f in await silence(ann, world) if f.get("count") == 1]
        bob.send({"t": "unsubscribe", "channel": "desk/7"})
        await list_of(ann, "Ann")
        await ann.leave()
        await bob.leave()


async def test_10_present_is_the_same_after_the_store_was_emptied(kind):
    async with World(desks, named=True, **kind.settings) as world:
        ann = await person(world, "Ann")
        bob = await person(world, "Bob", 1)
        await list_of(ann, "Ann", "Bob")
        await kind.flush(world)
        eve = await person(world, "Eve", 1)
        await list_of(ann, "Ann", "Bob", "Eve")
        for page in (ann, bob, eve):
            await page.leave()


def test_10_present_checks_its_settings():
    shown = Present("desk/{desk}", "who", desk=7, most=3, label="at the desk", className="big")
    props = shown.to_plotly_json()["props"]
    assert {name: props[name] for name in ("id", "channel", "most", "label", "className")} == {
        "id": "who",
        "channel": "desk/7",
        "most": 3,
        "label": "at the desk",
        "className": "big",
    }
    with pytest.raises(ConfigurationError, match="most=-1"):
        Present("desk/7", most=-1)
    with pytest.raises(ConfigurationError, match="desk"):
        Present("desk/{desk}")
