"""Channel callbacks, subscriptions, presence and feeders, on several workers of one process."""

import asyncio
import dataclasses

import pydantic
import pytest
from pubsub_worlds import Page, World, pages, until
from typing_extensions import TypedDict

from flash import ConfigurationError, Flash, Input, Output, html, set_props
from flash_pubsub import (
    InvalidChannel,
    InvalidMessage,
    MemoryBroker,
    PubSub,
    Subscription,
    channel_callback,
    shared_callback,
)
from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.channels.subscription import sign
from flash_ws.callbacks.deferred import hub_of


async def frame_of(page, channel):
    while True:
        frame = await page.frame()
        if frame.get("c") == channel:
            return frame


def subscribe(page, pubsub, channel):
    page.send({"t": "subscribe", "channel": channel, "token": sign(pubsub.app, channel)})


async def status(page):
    while (frame := await page.frame())["t"] != "subscription":
        pass
    return frame["channel"], frame["status"]


def rooms(runs=None, **settings):
    """An app with rooms that anybody but a stranger may enter."""

    def define(pubsub):
        pubsub.channel("room/{room}", **settings)

        @pubsub.channel_callback("room/{room}", Output("board", "children"))
        def board(message, room):
            if runs is not None:
                runs.append((room, message))
            return f"{room}: {message}"

        @pubsub.authorize("room/{room}")
        async def may_enter(client, room):
            return room != "secret"

    return define


# -- callbacks -------------------------------------------------------------------------------------


async def test_a_message_runs_once_per_worker_and_reaches_every_page():
    runs = []

    def define(pubsub):
        @pubsub.channel_callback("prices", Output("tape", "title"))
        async def tape(message):
            runs.append(message)
            set_props("more", {"title": "too"})
            return message["p"]

    async with World(define) as world, pages(world, 0, 0, 1) as opened:
        position = await world.pubsubs[0].publish("prices", {"p": 2.0})
        for page in opened:
            frame = await frame_of(page, "channel:prices")
            assert frame["n"] == position.number == 1
            assert frame["u"] == [["tape", {"title": 2.0}], ["more", {"title": "too"}]]
        assert runs == [{"p": 2.0}] * 2


async def test_a_message_may_be_bytes_and_comes_from_any_process():
    got = []

    def define(pubsub):
        @pubsub.channel_callback("raw", Output("size", "children"))
        def size(message):
            got.append(message)
            return len(message)

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        # As a publisher outside does it.
        await world.pubsubs[0].broker.publish("raw", Envelope.of(b"\x00\xff").pack())
        assert (await frame_of(page, "channel:raw"))["u"] == [["size", {"children": 2}]]
        assert got == [b"\x00\xff"]


async def test_a_failing_callback_is_logged_and_the_next_message_handled(caplog):
    def define(pubsub):
        @pubsub.channel_callback("prices", Output("tape", "title"))
        async def tape(message):
            return 1 / message

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        await world.pubsubs[0].publish("prices", 0)
        await world.pubsubs[0].publish("prices", 4)
        frame = await frame_of(page, "channel:prices")
        assert (frame["n"], frame["u"]) == (2, [["tape", {"title": 0.25}]])
        assert "ZeroDivisionError" in caplog.text


async def test_once_runs_on_one_worker_and_reaches_the_pages_of_all():
    runs = []

    def define(pubsub):
        @pubsub.channel_callback("orders", Output("last", "title"), once=True)
        async def record(message):
            runs.append(message)
            return message

    async with World(define) as world, pages(world, 0, 1) as opened:
        for number in range(5):
            await world.pubsubs[number % 2].publish("orders", number)
        for page in opened:
            # A page that takes its time is sent the newest value only.
            while (await frame_of(page, "once:orders"))["u"] != [["last", {"title": 4}]]:
                pass
        assert runs == list(range(5))


async def test_once_goes_on_with_another_worker_and_leaves_no_message_out():
    runs = []
    stuck = asyncio.Event()

    def define(pubsub):
        @pubsub.channel_callback("orders", once=True)
        async def record(message):
            runs.append(message)
            if message == 1 and not stuck.is_set():
                stuck.set()
                await asyncio.Event().wait()

    with pytest.raises(ConfigurationError, match="is no Output"):
        PubSub(Flash("x"), broker=MemoryBroker()).channel_callback("orders", Input("a", "b"))(print)
    async with World(define, lease_ttl=0.3) as world:
        for number in range(3):
            await world.pubsubs[0].publish("orders", number)
        await stuck.wait()
        holder = next(
            index
            for index, each in enumerate(world.pubsubs)
            if each._deliveries._deliveries["orders"]._once_consumer._new_message is not None
        )
        world.freeze(holder)
        await until(lambda: runs == [0, 1, 1, 2])


async def test_b2_a_page_comes_back_to_a_channel_on_another_worker():
    def define(pubsub):
        @pubsub.channel_callback("prices", Output("tape", "title"))
        async def tape(message):
            return message

    async with World(define) as world:
        page = await world.page(0)
        await world.pubsubs[0].publish("prices", 1)
        await frame_of(page, "channel:prices")
        await page.leave()
        for number in (2, 3):
            await world.pubsubs[0].publish("prices", number)
        back = await world.page(1, page.token, page.positions)
        assert back.welcome["recovered"] is True
        assert [(await frame_of(back, "channel:prices"))["n"] for _ in range(2)] == [2, 3]
        await back.leave()


async def test_b2_a_worker_that_started_later_makes_what_a_page_missed():
    def define(pubsub):
        @pubsub.channel_callback("prices", Output("tape", "title"))
        async def tape(message):
            return message

    async with World(define, workers=1) as world:
        page = await world.page(0)
        await world.pubsubs[0].publish("prices", 1)
        await frame_of(page, "channel:prices")
        await page.leave()
        for number in (2, 3):
            await world.pubsubs[0].publish("prices", number)
        async with World(define, workers=1, store=world.store) as later:
            await world.pubsubs[0].publish("prices", 4)
            back = await later.page(0, page.token, page.positions)
            assert back.welcome["recovered"] is True
            frames = [await frame_of(back, "channel:prices") for _ in range(3)]
            assert [(frame["n"], frame["u"][0][1]["title"]) for frame in frames] == [
                (2, 2),
                (3, 3),
                (4, 4),
            ]
            await back.leave()


async def test_b2_a_store_that_is_emptied_is_told_to_pages_of_a_channel():
    def define(pubsub):
        @pubsub.channel_callback("prices", Output("tape", "title"))
        async def tape(message):
            return message

    async with World(define) as world, pages(world, 0, 1) as opened:
        await world.pubsubs[0].publish("prices", 1)
        for page in opened:
            await frame_of(page, "channel:prices")
        world.store.flush()
        await world.pubsubs[0].publish("prices", 2)
        for page in opened:
            told = await frame_of(page, "channel:prices")
            assert (told["t"], told["recovered"]) == ("snapshot", False)
            assert (await frame_of(page, "channel:prices"))["u"] == [["tape", {"title": 2}]]


async def test_a_late_joiner_is_shown_what_the_last_message_set_unless_told_otherwise():
    def define(pubsub):
        pubsub.channel("toast", replay_last=False)
        for channel in ("news", "toast"):
            pubsub.channel_callback(channel, Output(channel, "children"))(lambda message: message)

    async with World(define) as world, pages(world, 1) as (early,):
        for channel in ("news", "toast"):
            await world.pubsubs[0].publish(channel, f"old {channel}")
            # What is still on its way when a page comes is news to it.
            await frame_of(early, f"channel:{channel}")
        async with pages(world, 1) as (page,):
            assert (await frame_of(page, "channel:news"))["u"] == [
                ["news", {"children": "old news"}]
            ]
            await world.pubsubs[0].publish("toast", "new")
            assert (await frame_of(page, "channel:toast"))["u"] == [["toast", {"children": "new"}]]


async def test_conflation_hands_only_the_newest_of_waiting_messages_over():
    runs = []
    go_on = asyncio.Event()

    def define(pubsub):
        pubsub.channel("mouse", conflate=True)

        @pubsub.channel_callback("mouse", Output("dot", "title"))
        async def move(message):
            runs.append(message)
            await go_on.wait()
            return message

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        for number in range(50):
            await world.pubsubs[0].publish("mouse", number)
        await until(lambda: runs)
        go_on.set()
        frame = await frame_of(page, "channel:mouse")
        while frame["u"][0][1]["title"] != 49:
            frame = await frame_of(page, "channel:mouse")
        assert len(runs) <= 2
        assert frame["n"] == 50


async def test_too_many_waiting_messages_are_skipped_and_the_pages_told():
    go_on = asyncio.Event()

    def define(pubsub):
        pubsub.channel("flood", max_waiting=10)

        @pubsub.channel_callback("flood", Output("x", "title"))
        async def slow(message):
            await go_on.wait()
            return message

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        for number in range(1, 30):
            await world.pubsubs[0].publish("flood", number)
            await asyncio.sleep(0)
        go_on.set()
        frames = [await frame_of(page, "channel:flood")]
        while frames[-1]["n"] < 29 or frames[-1]["t"] != "props":
            frames.append(await frame_of(page, "channel:flood"))
        assert any(frame.get("recovered") is False for frame in frames)
        assert world.pubsubs[0]._deliveries.counters.skipped > 0


async def test_messages_that_come_in_a_burst_are_written_while_they_are_handled():
    go_on = asyncio.Event()

    def define(pubsub):
        @pubsub.channel_callback("log", Output("x", "extendData"))
        async def add(message):
            await go_on.wait()
            return [message]

    # More than may wait for one page.
    lines = [f"{number} " + 3000 * "x" for number in range(600)]
    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        for line in lines:
            await world.pubsubs[0].publish("log", line)
        go_on.set()
        come = [(await frame_of(page, "channel:log"))["u"][0][1]["extendData"] for _ in lines]
        assert come == [[line] for line in lines]


# -- what may be published -------------------------------------------------------------------------


class Price(pydantic.BaseModel):
    t: int
    p: float = 1.0


@dataclasses.dataclass
class Order:
    number: int


class Note(TypedDict):
    text: str


async def test_messages_that_do_not_fit_the_schema_are_refused_where_they_are_published():
    got = []

    def define(pubsub):
        for channel, schema in (("prices", Price), ("orders", Order), ("notes", Note)):
            pubsub.channel(channel, schema=schema)
            pubsub.channel_callback(channel, Output("x", channel))(
                lambda message: got.append(message)
            )

    async with World(define, workers=1) as world:
        (pubsub,) = world.pubsubs
        for channel, wrong, reason in [
            ("prices", {"t": "soon"}, "'prices' takes Price: t: .*integer"),
            ("orders", {}, "number: Field required"),
            ("notes", {"text": 5}, "text: .*string"),
            ("notes", [], "the message"),
        ]:
            with pytest.raises(InvalidMessage, match=reason):
                await pubsub.publish(channel, wrong)
        for channel, right in [
            ("prices", Price(t=1)),
            ("orders", Order(7)),
            ("notes", {"text": "hi"}),
        ]:
            await pubsub.publish(channel, right)
        await until(lambda: len(got) == 3)
        assert sorted(got, key=str) == [{"number": 7}, {"t": 1, "p": 1.0}, {"text": "hi"}]


async def test_a_key_makes_publishing_again_safe():
    async with World(workers=1) as world:
        (pubsub,) = world.pubsubs
        first = await pubsub.publish("orders", 1, key="order-1")
        assert await pubsub.publish("orders", 1, key="order-1") == first
        assert (await pubsub.publish("orders", 2)).number == first.number + 1


async def test_names_of_flashs_own_channels_are_refused():
    async with World(workers=1) as world:
        for name in ("live:all", "who:room/7", "", "a\nb"):
            with pytest.raises(InvalidChannel):
                await world.pubsubs[0].publish(name, 1)


# -- subscriptions ---------------------------------------------------------------------------------


async def test_a_subscription_is_there_from_mounting_to_unmounting():
    runs = []
    async with World(rooms(runs)) as world, pages(world, 0, 1) as (page, other):
        subscribe(page, world.pubsubs[0], "room/7")
        assert await status(page) == ("room/7", "subscribed")
        await until(lambda: world.pubsubs[0]._deliveries._deliveries)
        await world.pubsubs[1].publish("room/7", "hi")
        frame = await frame_of(page, "channel:room/7")
        assert frame["u"] == [["board", {"children": "7: hi"}]]
        # The other worker has nobody there, and does no work for it.
        assert runs == [("7", "hi")]
        page.send({"t": "unsubscribe", "channel": "room/7"})
        await until(lambda: not world.pubsubs[0]._deliveries._deliveries)
        await world.pubsubs[1].publish("room/7", "anybody?")
        await world.pubsubs[1].live.push("x", {"title": 1})
        for each in (page, other):
            while (frame := await each.frame()).get("c") != "all":
                assert frame.get("c") != "channel:room/7"
        assert runs == [("7", "hi")]


async def test_nobody_gets_in_without_a_signature_or_an_authorization(caplog):
    def define(pubsub):
        rooms()(pubsub)
        pubsub.channel_callback("open/{x}", Output("a", "b"))(lambda message, x: message)

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        (pubsub,) = world.pubsubs
        page.send({"t": "subscribe", "channel": "room/7", "token": sign(pubsub.app, "room/8")})
        assert await status(page) == ("room/7", "denied")
        page.send({"t": "subscribe", "channel": "room/7"})
        assert await status(page) == ("room/7", "denied")
        for channel in ("room/secret", "open/1", "never-heard-of"):
            subscribe(page, pubsub, channel)
            assert await status(page) == (channel, "denied")
        assert "@pubsub.authorize" in caplog.text
        assert not pubsub._deliveries._deliveries
        assert await pubsub.who("room/7") == []


async def test_14_4_a_guard_gets_the_visitor_and_the_variables():
    seen = []

    def define(pubsub):
        rooms()(pubsub)

        @pubsub.authorize("room/{room}")
        async def may(visitor, room):
            seen.append((visitor.user, visitor.path, visitor.client.user, room))
            return visitor.cookies.get("rooms") == room

    async with World(define, workers=1, named=True) as world:
        (pubsub,) = world.pubsubs
        page = await world.page(headers=[(b"x-user", b"ada"), (b"cookie", b"rooms=7")])
        subscribe(page, pubsub, "room/7")
        assert await status(page) == ("room/7", "subscribed")
        subscribe(page, pubsub, "room/8")
        assert await status(page) == ("room/8", "denied")
        await page.leave()
    assert seen == [("ada", "/", "ada", "7"), ("ada", "/", "ada", "8")]


async def test_a_guard_that_fails_lets_nobody_in():
    def define(pubsub):
        rooms()(pubsub)

        @pubsub.authorize("room/{room}")
        def broken(client, room):
            raise KeyError(room)

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        subscribe(page, world.pubsubs[0], "room/7")
        assert await status(page) == ("room/7", "denied")


async def test_a_subscription_is_signed_when_it_is_sent():
    app = Flash(__name__)
    app.layout = html.Div([html.P(), html.Div(Subscription("room/7"))])
    app.server.secret_key = "secret"
    PubSub(app, broker=MemoryBroker())
    layout = await app.render_layout()
    sent = layout.children[1].children
    assert sent.token == sign(app, "room/7")
    assert not hasattr(app.raw_layout.children[1].children, "token")


async def test_a_subscription_survives_a_change_of_worker():
    async with World(rooms()) as world:
        page = await world.page(0)
        subscribe(page, world.pubsubs[0], "room/7")
        await status(page)
        await world.pubsubs[0].publish("room/7", 1)
        await frame_of(page, "channel:room/7")
        await page.leave()
        await world.pubsubs[0].publish("room/7", 2)
        back = await world.page(1, page.token, page.positions)
        assert back.welcome["recovered"] is True
        assert (await frame_of(back, "channel:room/7"))["u"] == [["board", {"children": "7: 2"}]]
        await back.leave()


# -- presence --------------------------------------------------------------------------------------


def attended(told):
    def define(pubsub):
        rooms()(pubsub)

        @pubsub.on_join("room/{room}")
        async def joined(client, room):
            told.append(("joined", client.id, room))

        @pubsub.on_leave("room/{room}")
        def left(client, room):
            told.append(("left", client.id, room))

    return define


async def test_all_may_be_declared_before_there_is_an_app():
    told = []
    pubsub = PubSub(broker=MemoryBroker(), presence_grace=0.05)
    attended(told)(pubsub)
    pubsub.shared_callback(Output("lamp", "style"), Input("brightness", "value"))(
        lambda brightness: {"opacity": brightness}
    )
    app = Flash("declared before")
    app.layout = html.Div()
    pubsub.init_app(app)
    [shared] = app.page_extras["flash_pubsub"]["shared"].values()
    assert shared["outputs"] == [["lamp", "style"]]
    await app.server.startup()
    page = await Page(app).open()
    await page.hello()
    subscribe(page, pubsub, "room/7")
    await status(page)
    await until(lambda: ("joined", page.welcome["id"], "7") in told)
    await page.leave()
    await app.server.shutdown()


async def test_b13_who_is_there_is_known_on_every_worker_and_told_once():
    told = []
    async with World(attended(told), presence_grace=0.05) as world, pages(world, 0, 1) as opened:
        ids = [page.welcome["id"] for page in opened]
        for worker, page in enumerate(opened):
            subscribe(page, world.pubsubs[worker], "room/7")
            await status(page)
        for pubsub in world.pubsubs:
            assert {each.id for each in await pubsub.who("room/7")} == set(ids)
        opened[0].send({"t": "unsubscribe", "channel": "room/7"})
        await until(lambda: ("left", ids[0], "7") in told)
        assert [each.id for each in await world.pubsubs[0].who("room/7")] == [ids[1]]
        assert sorted(told) == sorted(
            [("joined", ids[0], "7"), ("joined", ids[1], "7"), ("left", ids[0], "7")]
        )


async def test_b13_a_page_that_changes_the_worker_has_not_left():
    told = []
    async with World(attended(told), presence_grace=0.2) as world:
        page = await world.page(0)
        subscribe(page, world.pubsubs[0], "room/7")
        await status(page)
        await page.leave()
        back = await world.page(1, page.token, page.positions)
        subscribe(back, world.pubsubs[1], "room/7")
        await status(back)
        await until(lambda: not hub_of(world.pubsubs[0].live.app).clients)
        assert [each.id for each in await world.pubsubs[0].who("room/7")] == [page.welcome["id"]]
        back.send({"t": "unsubscribe", "channel": "room/7"})
        await until(lambda: len(told) == 2)
        assert [each[0] for each in told] == ["joined", "left"]
        await back.leave()


# -- feeders ---------------------------------------------------------------------------------------


async def test_a_feeder_runs_on_one_worker_and_another_takes_over():
    running = []

    def define(pubsub):
        worker = len(running)
        running.append(0)

        @pubsub.feeder("prices")
        async def prices():
            running[worker] += 1
            number = 0
            while True:
                yield [worker, number]
                number += 1
                await asyncio.sleep(0.01)

        @pubsub.channel_callback("prices", Output("tape", "title"))
        async def tape(message):
            return message

    async with World(define, lease_ttl=0.3) as world, pages(world, 0, 1) as opened:
        frame = await frame_of(opened[0], "channel:prices")
        first = frame["u"][0][1]["title"][0]
        assert sorted(running) == [0, 1]
        world.freeze(first)
        while frame["u"][0][1]["title"][0] == first:
            frame = await frame_of(opened[1 - first], "channel:prices")
        assert running == [1, 1]


async def test_a_feeder_may_name_channels_itself_and_fails_without_harm(caplog):
    got = []
    runs = []

    def define(pubsub):
        @pubsub.feeder
        async def mixed():
            runs.append(1)
            yield "a", 1
            yield "b", 2
            if len(runs) == 1:
                yield "not a pair"

        for channel in ("a", "b"):
            pubsub.channel_callback(channel, Output("x", channel))(
                lambda message: got.append(message)
            )

    async with World(define, workers=1, lease_ttl=0.2):
        await until(lambda: got == [1, 2, 1, 2])
    assert "yield (channel, message)" in caplog.text
    assert len(runs) == 2
    with pytest.raises(ConfigurationError, match="async generator"):
        PubSub(Flash("x"), broker=MemoryBroker()).feeder("prices")(lambda: None)


# -- modules of pages/ -----------------------------------------------------------------------------


async def test_callbacks_of_modules_wait_for_the_pubsub():
    app = Flash(__name__)
    app.layout = html.Div()

    @shared_callback(Output("lamp", "title"), Input("slider", "value"))
    async def lamp(value):
        return value

    @channel_callback("prices", Output("tape", "title"))
    async def tape(message):
        return message

    pubsub = PubSub(app, broker=MemoryBroker())
    (described,) = app.page_extras["flash_pubsub"]["shared"].values()
    assert described["inputs"] == [["slider", "value"]]
    assert pubsub._declarations.single_channels() == ["prices"]


# -- pages that stop for a while -------------------------------------------------------------------


def tapes(runs=None, **settings):
    """An app with tapes, of which a page needs every piece."""

    def define(pubsub):
        pubsub.channel("tape/{name}", **settings)

        @pubsub.channel_callback("tape/{name}", Output("tape", "extendData"))
        def tape(message, name):
            if runs is not None:
                runs.append(message)
            return message

        @pubsub.authorize("tape/{name}")
        async def may_look(client, name):
            return True

    return define


def resubscribe(page, pubsub, channel):
    name = f"channel:{channel}"
    token = sign(pubsub.app, channel)
    at = {name: list(page.positions[name])}
    page.send({"t": "subscribe", "channel": channel, "token": token, "at": at})


def unsubscribe(page, channel):
    page.send({"t": "unsubscribe", "channel": channel})


async def caught_up(page, channel):
    """The frames of a channel until the page is told that it has caught up, and how."""
    frames = []
    while True:
        frame = await page.frame()
        if frame.get("c") == f"channel:{channel}":
            frames.append(frame)
        elif frame["t"] == "subscription" and "recovered" in frame:
            return frames, frame["recovered"]


async def test_a_page_that_comes_back_to_a_channel_is_sent_exactly_what_it_has_missed():
    runs = []
    async with World(tapes(runs), workers=1) as world, pages(world, 0, 0) as (page, other):
        pubsub = world.pubsubs[0]
        for each in (page, other):
            subscribe(each, pubsub, "tape/7")
            assert await status(each) == ("tape/7", "subscribed")
        await pubsub.publish("tape/7", 1)
        for each in (page, other):
            await frame_of(each, "channel:tape/7")
        unsubscribe(page, "tape/7")
        await until(
            lambda: len(hub_of(pubsub.live.app).followers.by_channel["channel:tape/7"]) == 1
        )
        for message in (2, 3):
            await pubsub.publish("tape/7", message)
            await frame_of(other, "channel:tape/7")
        resubscribe(page, pubsub, "tape/7")
        frames, recovered = await caught_up(page, "tape/7")
        assert [frame["n"] for frame in frames] == [2, 3]
        assert recovered is True
        await pubsub.publish("tape/7", 4)
        assert (await frame_of(page, "channel:tape/7"))["n"] == 4
        # The first page's absence has not made it run again.
        assert runs == [1, 2, 3, 4]


async def test_nothing_runs_for_a_channel_that_all_pages_have_left_and_history_makes_up_for_it():
    runs = []
    async with World(tapes(runs), workers=1) as world, pages(world, 0) as (page,):
        pubsub = world.pubsubs[0]
        subscribe(page, pubsub, "tape/7")
        assert await status(page) == ("tape/7", "subscribed")
        subscribed = pubsub.status.subscribed
        await pubsub.publish("tape/7", 1)
        await frame_of(page, "channel:tape/7")
        unsubscribe(page, "tape/7")
        await until(lambda: pubsub.status.subscribed < subscribed)
        for message in (2, 3, 4):
            await pubsub.publish("tape/7", message)
        assert runs == [1]
        resubscribe(page, pubsub, "tape/7")
        frames, recovered = await caught_up(page, "tape/7")
        assert [frame["u"] for frame in frames] == [
            [["tape", {"extendData": n}]] for n in (2, 3, 4)
        ]
        assert recovered is True


async def test_a_page_that_comes_back_too_late_is_shown_the_last_message_and_told_so():
    async with World(rooms(history=2), workers=1) as world, pages(world, 0) as (page,):
        pubsub = world.pubsubs[0]
        subscribe(page, pubsub, "room/7")
        await pubsub.publish("room/7", 1)
        await frame_of(page, "channel:room/7")
        unsubscribe(page, "room/7")
        for message in range(2, 9):
            await pubsub.publish("room/7", message)
        resubscribe(page, pubsub, "room/7")
        frames, recovered = await caught_up(page, "room/7")
        assert [(frame["t"], frame["u"]) for frame in frames] == [
            ("snapshot", [["board", {"children": "7: 8"}]])
        ]
        assert recovered is False


async def test_a_page_may_change_its_mind_as_fast_as_it_likes():
    async with World(tapes(), workers=1) as world, pages(world, 0) as (page,):
        pubsub = world.pubsubs[0]
        subscribe(page, pubsub, "tape/7")
        await status(page)
        await pubsub.publish("tape/7", 1)
        await frame_of(page, "channel:tape/7")
        for _ in range(20):
            unsubscribe(page, "tape/7")
            resubscribe(page, pubsub, "tape/7")
        await pubsub.publish("tape/7", 2)
        numbers = {(await frame_of(page, "channel:tape/7"))["n"]}
        unsubscribe(page, "tape/7")
        await until(lambda: "channel:tape/7" not in hub_of(pubsub.live.app).followers.by_channel)
        assert numbers == {2}
        assert not hub_of(pubsub.live.app).clients[page.welcome["id"]].link._held


async def test_a_channel_that_every_page_follows_is_followed_without_a_subscription_too():
    def define(pubsub):
        @pubsub.channel_callback("prices", Output("tape", "title"))
        def tape(message):
            return message

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        subscribe(page, world.pubsubs[0], "prices")
        assert await status(page) == ("prices", "subscribed")
        unsubscribe(page, "prices")
        resubscribe(page, world.pubsubs[0], "prices")
        assert await caught_up(page, "prices") == ([], True)
        unsubscribe(page, "prices")
        await world.pubsubs[0].publish("prices", 1)
        assert (await frame_of(page, "channel:prices"))["u"] == [["tape", {"title": 1}]]


async def test_positions_that_are_none_close_the_page(caplog):
    async with World(tapes(), workers=1) as world, pages(world, 0) as (page,):
        page.send({"t": "subscribe", "channel": "tape/7", "token": "", "at": ["tape/7"]})
        assert await page.closed() == 4400


# -- rights that are taken back (issue 13, C)


async def test_13_c_a_channel_is_taken_from_a_page_of_another_worker():
    async with World(rooms()) as world, pages(world, 0, 1) as (page, other):
        for each in (page, other):
            subscribe(each, world.pubsubs[0], "room/7")
            assert await status(each) == ("room/7", "subscribed")
        await world.pubsubs[1].unsubscribe(page.welcome["id"], "room/7")
        assert await status(page) == ("room/7", "denied")
        await world.pubsubs[0].publish("room/7", "to those who may")
        frame = await frame_of(other, "channel:room/7")
        assert frame["u"] == [["board", {"children": "7: to those who may"}]]
        await world.pubsubs[0].live.push("x", {"title": 1})
        while (frame := await page.frame()).get("c") != "all":
            assert frame.get("c") != "channel:room/7"


async def test_13_c_an_old_token_is_not_granted_again():
    async with World(rooms()) as world:
        pubsub, other = world.pubsubs
        page = await world.page(0)
        subscribe(page, pubsub, "room/7")
        await status(page)
        await pubsub.unsubscribe(hub_of(pubsub.live.app).clients[page.welcome["id"]], "room/7")
        assert await status(page) == ("room/7", "denied")
        subscribe(page, pubsub, "room/7")
        assert await status(page) == ("room/7", "denied")
        # Nor on the worker where the page continues.
        await page.leave()
        back = await world.page(1, page.token, page.positions)
        subscribe(back, other, "room/7")
        assert await status(back) == ("room/7", "denied")
        subscribe(back, other, "room/8")
        assert await status(back) == ("room/8", "subscribed")
        await back.leave()


async def test_13_c_a_request_that_is_under_way_is_taken_back_too():
    asked, answer = asyncio.Event(), asyncio.Event()

    def define(pubsub):
        rooms()(pubsub)

        @pubsub.authorize("room/{room}")
        async def slowly(client, room):
            asked.set()
            await answer.wait()
            return True

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        (pubsub,) = world.pubsubs
        subscribe(page, pubsub, "room/7")
        await asked.wait()
        await pubsub.unsubscribe(page.welcome["id"], "room/7")
        assert await status(page) == ("room/7", "denied")
        answer.set()
        await pubsub.live.push("x", {"title": 1})
        while (frame := await page.frame()).get("c") != "all":
            assert frame["t"] != "subscription"


async def test_13_c_the_withdrawals_that_are_kept_are_bounded(monkeypatch):
    monkeypatch.setattr("flash_pubsub.channels.permission.MAX_WITHDRAWN", 3)
    async with World(rooms(), workers=1) as world:
        (pubsub,) = world.pubsubs
        (withdraw,) = pubsub._backplane.on_unsubscribe
        for number in range(10):
            withdraw("nobody", f"room/{number}")
        assert len(withdraw.__self__._permissions._withdrawn) == 3


async def test_13_c_a_subscription_is_asked_for_again(caplog):
    members = {"7", "8"}

    def define(pubsub):
        rooms()(pubsub)
        pubsub.live._recheck_interval = 0.01

        @pubsub.authorize("room/{room}")
        def is_member(client, room):
            if "fails" in members:
                raise ConnectionError("the store is away")
            return room in members

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        (pubsub,) = world.pubsubs
        for room in ("7", "8"):
            subscribe(page, pubsub, f"room/{room}")
            assert await status(page) == (f"room/{room}", "subscribed")
        members.remove("7")
        assert await status(page) == ("room/7", "denied")
        # A failure is no permission.
        members.add("fails")
        assert await status(page) == ("room/8", "denied")
        assert caplog.text.count("a recheck failed") == 3
        # Nothing was taken for good.
        members.remove("fails")
        subscribe(page, pubsub, "room/8")
        assert await status(page) == ("room/8", "subscribed")
        unsubscribe(page, "room/8")
        (withdraw,) = pubsub._backplane.on_unsubscribe
        await until(lambda: not withdraw.__self__._rechecks)


async def test_13_f_unsigned_subscriptions_are_logged_a_few_times(caplog):
    async with World(rooms(), workers=1) as world, pages(world, 0) as (page,):
        page.send(*({"t": "subscribe", "channel": f"room/{n}"} for n in range(1_000)))
        for _ in range(1_000):
            assert (await status(page))[1] == "denied"
    assert caplog.text.count("without a valid signature") == 30
