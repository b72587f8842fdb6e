"""Pushes, events, groups, clients and recovery through several workers."""

import asyncio
import random

import pytest
from page import Closed
from pubsub_worlds import World, pages, until

from flash import ConfigurationError, Flash, Input, Output, html
from flash_pubsub import BrokerUnavailable, PubSub
from flash_ws.callbacks.deferred import hub_of
from flash_ws.clients.recipients import page as audience_of

# The last event of those that are counted.
END = ("the", "end")


async def frame_of(page, channel):
    """The next frame of a channel; the shared state's first snapshot is passed over."""
    while True:
        frame = await page.frame()
        if frame.get("c") == channel:
            return frame


async def taken(page):
    """Up to which number the page is told next that its events were handled."""
    while True:
        frame = await page.frame()
        if frame["t"] == "taken":
            return frame["k"]


async def test_a_push_from_one_worker_reaches_pages_of_the_other():
    async with World() as world, pages(world, 0, 1) as (one, other):
        await world.pubsubs[0].live.push("banner", {"children": "hello"})
        for page in (one, other):
            assert (await frame_of(page, "all"))["u"] == [["banner", {"children": "hello"}]]


async def test_every_worker_sends_the_same_bytes():
    async with World() as world, pages(world, 0, 1) as (one, other):
        await world.pubsubs[0].live.push("banner", {"children": [1.5, "ü", None]})
        assert await frame_of(one, "all") == await frame_of(other, "all")


async def test_groups_span_workers():
    async with World() as world, pages(world, 0, 1) as (one, other):
        for worker, page in enumerate((one, other)):
            hub = hub_of(world.pubsubs[worker].live.app)
            await hub.clients[page.welcome["id"]].join("desk")
        await world.pubsubs[1].live.send_event("price", 7, to=world.pubsubs[1].live.group("desk"))
        for page in (one, other):
            frame = await frame_of(page, "group:desk")
            assert (frame["name"], frame["data"]) == ("price", 7)


async def test_a_page_is_reached_from_any_worker():
    async with World() as world, pages(world, 0, 1) as (one, other):
        del other
        (client,) = [
            each for each in await world.pubsubs[1].live.clients() if each.id == one.welcome["id"]
        ]
        await world.pubsubs[1].live.push("mine", {"title": "x"}, to=audience_of(client.id))
        assert (await frame_of(one, f"page:{client.id}"))["u"] == [["mine", {"title": "x"}]]


async def test_a_callback_knows_the_page_that_another_worker_has():
    def define(pubsub):
        app, live = pubsub.app, pubsub.live
        app.layout = html.Div([html.Button(id="ask"), html.P(id="told"), html.P(id="mine")])

        @app.callback(Output("told", "title"), Input("ask", "n_clicks"))
        async def ask(clicks):
            await live.push("mine", {"title": clicks}, to=live.client)
            return live.client.id

    async with World(define) as world:
        page = await world.page(0)
        (address,) = {each.id for each in await world.pubsubs[1].live.clients()}
        call = {
            "output": "told.title",
            "outputs": {"id": "told", "property": "title"},
            "inputs": [{"id": "ask", "property": "n_clicks", "value": 3}],
            "changedPropIds": ["ask.n_clicks"],
        }
        path = f"/_dash-update-component?endId={page.token}"
        answer = await world.apps[1].server.test_client().post(path, json=call)
        assert (await answer.get_json())["response"]["told"]["title"] == address
        assert (await frame_of(page, f"page:{address}"))["u"] == [["mine", {"title": 3}]]
        await page.leave()


async def test_clients_lists_pages_of_all_workers_and_disconnect_reaches_them():
    async with World() as world, pages(world, 0, 1) as (one, other):
        listed = {each.id for each in await world.pubsubs[0].live.clients()}
        assert listed == {one.welcome["id"], other.welcome["id"]}
        await world.pubsubs[0].live.disconnect(client=other.welcome["id"])
        assert await other.closed() == 4430
        await world.pubsubs[1].live.push("banner", {"children": 1})
        assert (await frame_of(one, "all"))["u"] == [["banner", {"children": 1}]]


async def test_b11_a_page_comes_back_on_another_worker_with_its_groups_and_misses_nothing():
    forgotten, gone = [], []

    def define(pubsub):
        @pubsub.live.on_connect
        async def joined(client):
            client.join("desk")

        pubsub.live.on_disconnect(lambda client: gone.append(client.id))
        pubsub.live.on_forget(lambda client: forgotten.append(client.id))

    async with World(define) as world:
        live = [each.live for each in world.pubsubs]
        page = await world.page(0)
        await live[0].push("banner", {"children": 1})
        await frame_of(page, "all")
        await live[0].send_event("first", to=live[0].group("desk"))
        await frame_of(page, "group:desk")
        await page.leave()
        await live[0].push("banner", {"children": 2})
        await live[1].send_event("second", to=live[1].group("desk"))
        back = await world.page(1, page.token, page.positions)
        assert back.welcome["recovered"] is True
        assert back.welcome["moved"] is True
        frames = await back.frames(2)
        assert [frame.get("u") or frame["name"] for frame in frames] == [
            [["banner", {"children": 2}]],
            "second",
        ]
        await until(lambda: forgotten == [back.welcome["id"]])
        assert not hub_of(live[0].app).clients
        await live[0].send_event("third", to=live[0].group("desk"))
        assert (await frame_of(back, "group:desk"))["name"] == "third"
        # And back again, at once.
        await back.leave()
        again = await world.page(0, back.token, back.positions)
        assert again.welcome["recovered"] is True
        assert "desk" in hub_of(live[0].app).clients[again.welcome["id"]].groups
        await again.leave()
        assert not gone


async def test_events_that_a_page_takes_along_to_another_worker_are_handled_there():
    workers, handled, hold = [], [], asyncio.Event()

    def define(pubsub):
        worker = len(workers)
        workers.append(pubsub)

        @pubsub.live.on_event("note")
        async def note(data):
            if worker == 0 and data == 2:
                # Its worker is about to lose the page.
                await hold.wait()
            handled.append((worker, data))

    async with World(define) as world:
        page = await world.page(0)
        events = [{"t": "event", "name": "note", "data": n, "k": n} for n in (1, 2, 3)]
        page.send(*events)
        assert await taken(page) == 1
        await page.leave()
        back = await world.page(1, page.token, page.positions)
        # What it was not told of, as a page does.
        back.send(*events[1:])
        while await taken(back) != 3:
            pass
        hold.set()
        await back.leave()
        assert handled == [(0, 1), (1, 2), (1, 3)]


async def test_a_page_that_was_another_users_is_told_nothing_of_what_that_one_missed():
    async with World(named=True) as world:
        page = await world.page(0, headers=[(b"x-user", b"ada")])
        await page.leave()
        mine = hub_of(world.pubsubs[0].live.app).clients[page.welcome["id"]]
        await world.pubsubs[0].live.push("secret", {"title": 1}, to=mine)
        thief = await world.page(1, page.token, page.positions, headers=[(b"x-user", b"eve")])
        assert thief.welcome["id"] != page.welcome["id"]
        assert "moved" not in thief.welcome
        await world.pubsubs[0].live.push("banner", {"title": 2})
        while (frame := await thief.frame()).get("c") != "all":
            assert "secret" not in str(frame)
        assert frame["u"] == [["banner", {"title": 2}]]
        back = await world.page(1, page.token, page.positions, headers=[(b"x-user", b"ada")])
        assert (await frame_of(back, f"page:{page.welcome['id']}"))["u"] == [
            ["secret", {"title": 1}]
        ]
        await thief.leave()
        await back.leave()


async def test_a_page_of_a_worker_that_nobody_remembers_is_told():
    async with World() as world:
        page = await world.page(0)
        await page.leave()
        world.store.flush()
        back = await world.page(1, page.token, page.positions)
        assert back.welcome["recovered"] is False
        await back.leave()


async def test_b2_a_store_that_is_emptied_is_told_to_pages_that_are_there():
    async with World() as world, pages(world, 0, 1) as (one, other):
        live = world.pubsubs[0].live
        await live.push("banner", {"children": 1})
        for page in (one, other):
            await frame_of(page, "all")
        world.store.flush()
        await live.push("banner", {"children": 2})
        for page in (one, other):
            told = await frame_of(page, "all")
            assert (told["t"], told["recovered"]) == ("snapshot", False)
            assert told["e"] != page.welcome["at"]["all"][0]
            if told["u"]:
                assert told["u"] == [["banner", {"children": 2}]]
            else:
                assert (await frame_of(page, "all"))["u"] == [["banner", {"children": 2}]]


async def test_b2_pages_kicked_at_random_while_two_workers_publish_miss_nothing():
    chance = random.Random(5)
    async with World() as world:
        seen = {number: [] for number in range(4)}

        async def publish(worker):
            for number in range(100):
                await world.pubsubs[worker].live.send_event("n", [worker, number])
                await asyncio.sleep(0)

        def take(number, frame):
            if frame["t"] == "event":
                seen[number].append(tuple(frame["data"]))

        async def visit(number):
            at, token = None, None
            while True:
                page = await world.page(chance.randrange(2), token, at)
                if token is not None:
                    assert page.welcome["recovered"] is True
                token = page.token
                for _ in range(chance.randrange(1, 30)):
                    take(number, await page.frame())
                    if END in seen[number]:
                        break
                # These came in one message, and are part of the positions.
                for frame in page.waiting:
                    take(number, frame)
                at = page.positions
                # What is on its way when it breaks off is not applied, and comes again.
                await page.leave()
                if END in seen[number]:
                    return

        visits = [asyncio.ensure_future(visit(number)) for number in seen]
        await until(
            lambda: sum(len(hub_of(each.live.app).clients) for each in world.pubsubs) == len(seen)
        )
        await asyncio.gather(publish(0), publish(1))
        await world.pubsubs[0].live.send_event("n", END)
        async with asyncio.timeout(30):
            await asyncio.gather(*visits)
        last = max(seen.values(), key=len)
        assert len(last) > 150
        for events in seen.values():
            # From where it came on, all of them, once, in one order.
            assert events == last[len(last) - len(events) :]
            assert len(set(events)) == len(events)


async def test_several_workers_without_a_broker_between_them_are_refused(monkeypatch):
    monkeypatch.setenv("FLASH_WORKERS", "3")
    world = World(workers=1)
    with pytest.raises(ConfigurationError, match="FLASH_BROKER_URL=redis"):
        await world.apps[0].server.startup()


async def test_a_start_without_redis_ends_with_its_address_the_time_and_the_cause():
    app = Flash(__name__)
    app.layout = html.Div()
    PubSub(app, broker="redis://ann:secret@127.0.0.1:1/0", start_timeout=0.3)
    with pytest.raises(BrokerUnavailable) as caught:
        await app.server.startup()
    text = str(caught.value)
    assert text.startswith(
        "start: Redis at redis://ann:***@127.0.0.1:1/0 did not answer within 0.3 s"
    )
    assert "Connect call failed" in text


async def test_the_brokers_figures_stand_beside_the_links():
    async with World() as world, pages(world, 0):
        await world.pubsubs[0].publish("prices", 1)
        figures = {each.name: each for each in world.pubsubs[0].live.metrics.read()}
        assert figures["flash_broker_ready"].value == 1
        assert figures["flash_broker_published"].value >= 1
        assert figures["flash_broker_published"].kind == "counter"
        assert figures["flash_shared_fenced"].value == 0


async def test_13_c_a_revocation_reaches_every_worker_and_those_that_start_later(tmp_path):
    def authorized(pubsub):
        pubsub.live._authorize = lambda opening: opening.headers["X-User"]

    ada = {"headers": [(b"x-user", b"ada")]}
    async with World(authorized, named=True) as world:
        page = await world.page(1, **ada)
        await world.pubsubs[0].live.revoke(user="ada")
        assert await page.closed() == 4430
        for worker in (0, 1):
            with pytest.raises(Closed) as closed:
                await world.page(worker, **ada)
            assert closed.value.code == 4401
        async with World(authorized, workers=1, store=world.store, named=True) as later:
            with pytest.raises(Closed) as closed:
                await later.page(0, **ada)
            assert closed.value.code == 4401
            otto = await later.page(0, headers=[(b"x-user", b"otto")])
            await otto.leave()
