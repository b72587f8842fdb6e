"""What a page that comes later gets of earlier messages, and where a drawn layout goes on."""

import asyncio
import gc
import secrets

import pytest
from page import Closed, Page
from pubsub_worlds import World, pages, until

from flash import ConfigurationError, Output, no_update
from flash_pubsub import BrokerUnavailable, Position, Subscription
from flash_pubsub.channels import backfill as backfill_module
from flash_pubsub.channels.subscription import sign
from flash_ws.callbacks.deferred import hub_of


@pytest.fixture(params=["memory", "redis"])
def url(request):
    """None for workers around one store in memory."""
    if request.param == "memory":
        return None
    server = request.getfixturevalue("redis_server")
    return f"{server.url}?prefix=backfill{secrets.token_hex(4)}&probe_interval=0.2"


def tape(runs=None, backfill=20, channel="prices", **settings):
    """An app with a graph of one channel, and with a text that shows its last message."""

    def define(pubsub):
        pubsub.channel(channel, **settings)

        @pubsub.channel_callback(
            channel, Output("tape", "extendData"), Output("last", "children"), backfill=backfill
        )
        async def draw(message, **variables):
            if runs is not None:
                runs.append(message)
            return [{"y": [[message]]}, [0], 500], message

        @pubsub.authorize("room/{room}")
        async def may_enter(client, room):
            return True

    return define


class Drawn:
    """What a page shows of a channel; it applies frames as a page does."""

    def __init__(self, page, channel="prices", points=()):
        self.page = page
        self.channel = f"channel:{channel}"
        self.points = list(points)
        self.last = None
        # Frames of the channel, and frames about the subscription.
        self.frames = []
        self.answers = []

    async def take(self):
        """Apply the next frame of the page."""
        frame = await self.page.frame()
        if frame["t"] == "subscription":
            self.answers.append(frame)
        if frame.get("c") != self.channel:
            return frame
        self.frames.append(frame)
        for component, props in frame["u"]:
            if component == "tape":
                points, _, most = props["extendData"]
                self.points = (self.points + points["y"][0])[-most:]
            elif component == "last":
                self.last = props["children"]
        return frame

    async def first(self):
        """Apply frames until one of the channel has come; returns that."""
        while not self.frames:
            await self.take()
        return self.frames[-1]

    def restart(self):
        """Ignore what comes of the channel until the server says where it begins."""
        applied, is_ignoring = self.page.applied, True

        def apply(frame):
            nonlocal is_ignoring
            if frame["t"] == "at" and self.channel in frame["at"]:
                is_ignoring = False
            if frame.get("c") == self.channel and is_ignoring:
                return {"t": "ignored"}
            return applied(frame)

        self.page.applied = apply

    async def until(self, last):
        """Apply frames until the page shows this message."""
        while self.last != last:
            await self.take()
        return self

    async def answered(self):
        """Apply frames until the page is told whether it has got everything."""
        while not self.answers or "recovered" not in self.answers[-1]:
            await self.take()
        return self.answers[-1]["recovered"]


async def publish(pubsub, numbers, channel="prices"):
    for number in numbers:
        await pubsub.publish(channel, number)


async def processed(world, number, channel="prices", workers=None):
    """Wait until the workers have run their callbacks with a message."""

    def is_processed():
        deliveries = [
            world.pubsubs[each]._deliveries._deliveries[channel]
            for each in (range(len(world.pubsubs)) if workers is None else workers)
        ]
        return all(each._recent.position.number >= number for each in deliveries)

    await until(is_processed)


def subscribe(page, pubsub, channel, since=None, **more):
    frame = {"t": "subscribe", "channel": channel, "token": sign(pubsub.app, channel, since)}
    if since is not None:
        frame["since"] = [since.epoch, since.number]
    page.send({**frame, **more})


# -- a page that comes first -----------------------------------------------------------------------


async def test_14_7_a_page_gets_what_was_made_of_the_last_messages_in_one_frame_and_goes_on(url):
    async with World(tape(), url=url) as world:
        await publish(world.pubsubs[0], range(1, 31))
        for worker in range(2):
            end = 30 + worker
            await processed(world, end)
            async with pages(world, worker) as (page,):
                drawn = Drawn(page)
                frame = await drawn.first()
                assert page.welcome["recovered"] is None
                assert (frame["t"], frame["n"]) == ("snapshot", end)
                assert sorted(frame["u"]) == [
                    ["last", {"children": end}],
                    ["tape", {"extendData": [{"y": [list(range(end - 19, end + 1))]}, [0], 500]}],
                ]
                await publish(world.pubsubs[1], [end + 1])
                await drawn.until(end + 1)
                assert [each["n"] for each in drawn.frames] == [end, end + 1]
                assert drawn.points == list(range(end - 19, end + 2))


async def test_14_7_it_is_made_once_per_worker_and_not_per_page(url):
    runs = []
    async with World(tape(runs), workers=1, url=url) as world:
        await publish(world.pubsubs[0], range(1, 26))
        await processed(world, 25)
        async with pages(world, *[0] * 20) as opened:
            for page in opened:
                assert (await Drawn(page).until(25)).points == list(range(6, 26))
        assert runs == list(range(1, 26))
        # A worker that starts later makes it from the history.
        later_runs = []
        async with World(tape(later_runs), workers=1, store=world.store, url=url) as later:
            async with pages(later, *[0] * 20) as opened:
                for page in opened:
                    assert (await Drawn(page).until(25)).points == list(range(6, 26))
            # The last message has run once more: it is what every later page is shown.
            assert sorted(later_runs) == sorted([25, *range(6, 26)])


async def test_14_7_a_thousand_joins_during_500_messages_a_second_end_with_equal_figures(url):
    joins, rate, size = 1000, 500, 100
    async with World(tape(backfill=size, history=5000), url=url) as world:
        is_done = asyncio.Event()

        async def stream():
            clock = asyncio.get_running_loop()
            begin, number = clock.time(), 0
            while not is_done.is_set():
                number += 1
                await world.pubsubs[number % 2].publish("prices", number)
                await asyncio.sleep(max(0.0, begin + number / rate - clock.time()))
            return number

        async def join(worker):
            page = await world.page(worker)
            return Drawn(page)

        streaming = asyncio.ensure_future(stream())
        await processed(world, size)
        everybody = []
        for first in range(0, joins, 50):
            everybody += await asyncio.gather(
                *(join(each % 2) for each in range(first, first + 50))
            )
        is_done.set()
        last = await streaming
        for drawn in everybody:
            await drawn.until(last)
            first = drawn.points[0]
            # No gap, nothing twice, from the backfill to the end.
            assert drawn.points == list(range(first, last + 1))[-500:]
            snapshot = drawn.frames[0]
            assert snapshot["t"] == "snapshot"
            assert [each["n"] for each in drawn.frames[1:]] == list(
                range(snapshot["n"] + 1, last + 1)
            )
            (points,) = [props for name, props in snapshot["u"] if name == "tape"]
            assert points["extendData"][0]["y"][0] == list(
                range(max(1, snapshot["n"] - size + 1), snapshot["n"] + 1)
            )
        # What graphs with room for a hundred points show.
        assert {tuple(each.points[-size:]) for each in everybody} == {
            tuple(range(last - size + 1, last + 1))
        }
        await asyncio.gather(*(each.page.leave() for each in everybody))


async def test_a_page_of_a_pattern_s_channel_gets_it_when_it_subscribes(url):
    async with World(tape(channel="room/{room}"), url=url) as world, pages(world, 1) as (page,):
        await publish(world.pubsubs[0], range(1, 31), "room/7")
        await publish(world.pubsubs[0], [99], "room/8")
        drawn = Drawn(page, "room/7")
        subscribe(page, world.pubsubs[1], "room/7")
        await drawn.until(30)
        await publish(world.pubsubs[0], [31], "room/7")
        await drawn.until(31)
        assert drawn.points == list(range(11, 32))
        assert len(drawn.frames) == 2


async def test_a_page_that_leaves_a_channel_and_enters_it_anew_gets_it_again(url):
    async with World(tape(channel="room/{room}"), url=url) as world, pages(world, 0) as (page,):
        (one, _) = world.pubsubs
        await publish(one, range(1, 11), "room/7")
        subscribe(page, one, "room/7")
        await Drawn(page, "room/7").until(10)
        page.send({"t": "unsubscribe", "channel": "room/7"})
        followers = hub_of(one.live.app).followers
        await until(lambda: not followers.count("channel:room/7"))
        await publish(one, range(11, 13), "room/7")
        subscribe(page, one, "room/7")
        again = await Drawn(page, "room/7").until(12)
        assert again.points == list(range(1, 13))


async def test_each_callback_of_a_channel_has_a_backfill_of_its_own(url):
    def define(pubsub):
        for size in (0, 2, 5):

            @pubsub.channel_callback("prices", Output(f"tape{size}", "extendData"), backfill=size)
            def draw(message):
                return {"y": [[message]]}

        @pubsub.channel_callback("prices", Output("last", "children"))
        def show(message):
            return message

    async with World(define, workers=1, url=url) as world:
        await publish(world.pubsubs[0], range(1, 11))
        await processed(world, 10)
        async with World(define, workers=1, store=world.store, url=url) as later:
            for each in (world, later):
                async with pages(each, 0) as (page,):
                    frame = await Drawn(page).first()
                    assert sorted(frame["u"]) == [
                        ["last", {"children": 10}],
                        ["tape2", {"extendData": {"y": [[9, 10]]}}],
                        ["tape5", {"extendData": {"y": [[6, 7, 8, 9, 10]]}}],
                    ]


async def test_a_plain_value_is_the_newest_also_without_replay_last():
    def define(pubsub):
        pubsub.channel("prices", replay_last=False)

        @pubsub.channel_callback("prices", Output("last", "children"), backfill=5)
        def show(message):
            return message if message < 9 else no_update

        pubsub.channel_callback("prices", Output("other", "children"))(lambda message: message)

    async with World(define, workers=1) as world:
        await publish(world.pubsubs[0], range(1, 11))
        await processed(world, 10)
        async with pages(world, 0) as (page,):
            frame = await Drawn(page).first()
            # Nothing of the callback that has none.
            assert frame["u"] == [["last", {"children": 8}]]


async def test_a_message_for_which_a_function_fails_is_left_out_and_logged_once(caplog):
    def define(pubsub):
        @pubsub.channel_callback("prices", Output("tape", "extendData"), backfill=20)
        def draw(message):
            if message % 2:
                raise ZeroDivisionError(message)
            return [{"y": [[message]]}, [0], 5]

    async with World(workers=1) as world:
        await publish(world.pubsubs[0], range(1, 11))
        async with World(define, workers=1, store=world.store) as later, pages(later, 0) as (page,):
            frame = await Drawn(page).first()
            assert frame["u"] == [["tape", {"extendData": [{"y": [[2, 4, 6, 8, 10]]}, [0], 5]}]]
        failed = [each for each in caplog.records if "failed" in each.message]
        assert len(failed) == 1
        assert "failed for 5 earlier messages of channel 'prices'" in failed[0].message
        assert "ZeroDivisionError" in caplog.text


async def test_functions_that_set_nothing_give_no_frame():
    def define(pubsub):
        @pubsub.channel_callback("prices", Output("tape", "extendData"), backfill=20)
        def draw(message):
            return no_update

    async with World(define, workers=1) as world:
        await publish(world.pubsubs[0], range(1, 4))
        await processed(world, 3)
        async with pages(world, 0) as (page,):
            await world.pubsubs[0].live.push("x", {"title": 1})
            frames = [await page.frame()]
            while frames[-1].get("u") != [["x", {"title": 1}]]:
                frames.append(await page.frame())
            assert not [each for each in frames if each.get("c") == "channel:prices"]


# -- a page that was away --------------------------------------------------------------------------


async def test_14_7_a_page_that_comes_back_gets_what_it_missed_and_not_the_backfill_again(url):
    async with World(tape(), url=url) as world:
        one = world.pubsubs[0]
        await publish(one, range(1, 11))
        await processed(world, 10)
        page = await world.page(0)
        drawn = await Drawn(page).until(10)
        await page.leave()
        await publish(one, range(11, 14))
        await processed(world, 13)
        back = await world.page(1, page.token, page.positions)
        assert back.welcome["recovered"] is True
        after = await Drawn(back, points=drawn.points).until(13)
        assert after.points == list(range(1, 14))
        assert [each["t"] for each in after.frames] == ["props"] * 3
        await back.leave()


async def test_a_page_that_missed_more_than_is_kept_gets_the_rest_of_it_and_nothing_twice(url):
    define = tape(history=20)
    async with World(define, workers=1, url=url) as world:
        one = world.pubsubs[0]
        await publish(one, range(1, 11))
        await processed(world, 10)
        page = await world.page(0)
        drawn = await Drawn(page).until(10)
        await page.leave()
        # Another worker has not made those that are missing, and the history has lost them.
        await publish(one, range(11, 41))
        async with World(define, workers=1, store=world.store, url=url) as later:
            back = await later.page(0, page.token, page.positions)
            assert back.welcome["recovered"] is False
            after = await Drawn(back, points=drawn.points).until(40)
            assert after.points == [*range(1, 11), *range(21, 41)]
            await back.leave()


async def test_of_two_epochs_a_page_gets_nothing_twice(url, redis_server):
    async with World(tape(), workers=1, url=url) as world:
        one = world.pubsubs[0]
        await publish(one, range(1, 6))
        await processed(world, 5)
        page = await world.page(0)
        other = await world.page(0)
        drawn = await Drawn(page).until(5)
        await page.leave()
        if url is None:
            world.store.flush()
        else:
            await asyncio.to_thread(redis_server.flush)
        before = page.positions["channel:prices"][0]
        delivery = one._deliveries._deliveries["prices"]
        await until(lambda: delivery._recent.position.epoch != before)
        await publish(one, [6, 7])
        await Drawn(other).until(7)
        # One page has the epoch from before, the other none.
        back = await world.page(0, page.token, page.positions)
        assert back.welcome["recovered"] is False
        assert (await Drawn(back, points=drawn.points).until(7)).points == list(range(1, 8))
        new = await world.page(0)
        assert (await Drawn(new).until(7)).points == [6, 7]
        for each in (back, new, other):
            await each.leave()


async def test_after_messages_were_skipped_a_new_page_gets_the_last_ones_all_the_same():
    go_on = asyncio.Event()
    go_on.set()

    def define(pubsub):
        pubsub.channel("prices", max_waiting=5)

        @pubsub.channel_callback(
            "prices", Output("tape", "extendData"), Output("last", "children"), backfill=10
        )
        async def draw(message):
            await go_on.wait()
            return [{"y": [[message]]}, [0], 500], message

    async with World(define, workers=1) as world, pages(world, 0) as (page,):
        (pubsub,) = world.pubsubs
        await publish(pubsub, [1, 2])
        await processed(world, 2)
        go_on.clear()
        await publish(pubsub, range(3, 31))
        go_on.set()
        drawn = await Drawn(page).until(30)
        assert pubsub._deliveries.counters.skipped
        assert drawn.points != list(range(1, 31))
        async with pages(world, 0) as (new,):
            assert (await Drawn(new).until(30)).points == list(range(21, 31))


# -- bounds ----------------------------------------------------------------------------------------


def declare(pubsub, channel="prices", **options):
    shown = lambda message, **variables: len(message)  # noqa: E731
    pubsub.channel_callback(channel, Output("tape", "extendData"), **options)(shown)


@pytest.mark.parametrize("value", [-1, 2.5, "500", None, True])
def test_the_backfill_is_a_number_of_messages(value):
    world = World(workers=1)
    with pytest.raises(ConfigurationError, match=r"backfill=.*must be a whole number, 0 or more"):
        declare(world.pubsubs[0], backfill=value)


@pytest.mark.parametrize("channel", ["prices", "desk/{desk}"])
def test_a_backfill_beyond_the_history_is_refused_whichever_is_declared_first(channel):
    (pubsub,) = World(workers=1).pubsubs
    declare(pubsub, channel, backfill=1000)
    with pytest.raises(ConfigurationError, match=r"has backfill=1001, .* keeps history=1000 mess"):
        declare(pubsub, channel, backfill=1001)
    with pytest.raises(ConfigurationError, match=r"keep as many, pubsub\.channel\('.*', history="):
        pubsub.channel(channel, history=999)
    pubsub.channel(channel, history=5000)
    declare(pubsub, channel, backfill=5000)


def test_a_backfill_of_what_runs_once_in_the_deployment_is_refused():
    (pubsub,) = World(workers=1).pubsubs
    with pytest.raises(ConfigurationError, match=r"backfill=5 and once=True: .* in one callback"):
        declare(pubsub, once=True, backfill=5)


async def test_results_beyond_the_bound_are_dropped_the_oldest_first(monkeypatch, caplog):
    monkeypatch.setattr(backfill_module, "MAX_BYTES", 1000)
    async with World(tape(), workers=1) as world:
        await publish(world.pubsubs[0], range(1, 31))
        await processed(world, 30)
        async with pages(world, 0) as (page,):
            drawn = await Drawn(page).until(30)
            first = drawn.points[0]
            assert 11 < first < 30
            assert drawn.points == list(range(first, 31))
        backfill = world.pubsubs[0]._deliveries._deliveries["prices"]._backfill
        assert backfill._bytes <= 1000
    assert caplog.text.count("is more than 1000 bytes") == 1


def entries_alive():
    """How many results of messages are in memory."""
    return sum(type(each) is backfill_module._Entry for each in gc.get_objects())


async def test_results_are_dropped_while_the_others_are_still_made(monkeypatch):
    monkeypatch.setattr(backfill_module, "MAX_BYTES", 1000)
    # Other tests of this process may have left some.
    gc.collect()
    kept, others = [], entries_alive()

    def define(pubsub):
        @pubsub.channel_callback(
            "prices", Output("tape", "extendData"), Output("last", "children"), backfill=200
        )
        def draw(message):
            if message in (100, 199):
                kept.append(entries_alive() - others)
            return [{"y": [[message]]}, [0], 500], message

    async with World(workers=1) as world:
        await publish(world.pubsubs[0], range(1, 201))
        async with (
            World(define, workers=1, store=world.store) as later,
            pages(later, 0) as (page,),
        ):
            drawn = await Drawn(page).until(200)
            assert drawn.points == list(range(drawn.points[0], 201))
    # Each result has some fifty bytes.
    assert len(kept) == 2
    assert max(kept) < 30


async def test_a_page_does_not_wait_long_for_slow_functions_and_is_told(monkeypatch, caplog):
    monkeypatch.setattr(backfill_module, "WAIT", 0.05)
    go_on = asyncio.Event()

    def define(pubsub):
        @pubsub.channel_callback(
            "prices", Output("tape", "extendData"), Output("last", "children"), backfill=20
        )
        async def draw(message):
            if message < 5:
                await go_on.wait()
            return [{"y": [[message]]}, [0], 500], message

    async with World(workers=1) as world:
        await publish(world.pubsubs[0], range(1, 6))
        async with World(define, workers=1, store=world.store) as later:
            async with pages(later, 0) as (page,):
                assert page.welcome["recovered"] is False
                frame = await Drawn(page).first()
                assert (frame["recovered"], frame["u"]) == (False, [["last", {"children": 5}]])
                assert "gets no backfill" in caplog.text
                await publish(world.pubsubs[0], [6])
                await Drawn(page).until(6)
            go_on.set()
            await until(
                lambda: later.pubsubs[0]._deliveries._deliveries["prices"]._backfill.is_whole
            )
            async with pages(later, 0) as (page,):
                assert page.welcome["recovered"] is None
                assert (await Drawn(page).until(6)).points == list(range(1, 7))


async def test_a_page_comes_again_when_the_history_cannot_be_read():
    async with World(workers=1) as world:
        await publish(world.pubsubs[0], range(1, 6))
        later = World(tape(), workers=1, store=world.store)
        broker = later.pubsubs[0].broker
        kept = broker.kept

        async def unavailable(*_):
            raise BrokerUnavailable("kept", "nobody answers")

        broker.kept = unavailable
        async with later:
            refused = await Page(later.apps[0]).open()
            with pytest.raises(Closed) as closed:
                await refused.hello()
            assert closed.value.code == 4533
            broker.kept = kept
            async with pages(later, 0) as (page,):
                assert (await Drawn(page).until(5)).points == list(range(1, 6))


async def test_a_worker_that_stops_while_it_is_made_stops_at_once():
    never = asyncio.Event()
    begun = asyncio.Event()

    def define(pubsub):
        @pubsub.channel_callback("prices", Output("tape", "extendData"), backfill=20)
        async def draw(message):
            if message == 1:
                begun.set()
                await never.wait()
            return {"y": [[message]]}

    async with World(workers=1) as world:
        await publish(world.pubsubs[0], range(1, 6))
        async with asyncio.timeout(10), World(define, workers=1, store=world.store):
            await begun.wait()


# -- a layout that is drawn from the history -------------------------------------------------------


@pytest.mark.parametrize("channel", ["prices", "room/7"])
async def test_14_7_a_layout_of_the_history_and_a_subscription_join_without_a_seam(url, channel):
    pattern = "room/{room}" if "/" in channel else channel
    async with World(tape(channel=pattern), url=url) as world:
        one, other = world.pubsubs
        await publish(one, range(1, 31), channel)
        layout = await other.history(channel, limit=10)
        drawn = [each.data for each in layout]
        await publish(one, range(31, 36), channel)
        page = await world.page(1)
        shown = Drawn(page, channel, drawn)
        if channel == "prices":
            # Every page follows it. What came before the position is ignored by the page.
            await processed(world, 35)
            await Drawn(page, channel).until(35)
        shown.restart()
        subscribe(page, other, channel, layout.position)
        await publish(one, [36], channel)
        assert await shown.answered() is True
        await shown.until(36)
        assert shown.points == list(range(21, 37))
        assert [each["n"] for each in shown.frames] == list(range(31, 37))
        await page.leave()
        # It goes on where it was.
        await publish(one, [37], channel)
        back = await world.page(0, page.token, page.positions)
        after = Drawn(back, channel, shown.points)
        at = {f"channel:{channel}": list(back.positions[f"channel:{channel}"])}
        subscribe(back, one, channel, layout.position, at=at)
        await after.until(37)
        assert after.points == list(range(21, 38))
        await back.leave()


async def test_a_seam_is_none_for_a_worker_that_is_behind_the_layout_s():
    go_on = asyncio.Event()

    def define(pubsub):
        @pubsub.channel_callback("room/{room}", Output("last", "children"))
        async def show(message, room):
            if message > 1 and pubsub is world.pubsubs[1]:
                await go_on.wait()
            return message

        @pubsub.authorize("room/{room}")
        async def may_enter(client, room):
            return True

    world = World(define)
    async with world, pages(world, 1, 1) as (early, page):
        one, other = world.pubsubs
        subscribe(early, other, "room/7")
        await publish(one, [1], "room/7")
        await Drawn(early, "room/7").until(1)
        await publish(one, [2, 3], "room/7")
        layout = await one.history("room/7")
        subscribe(page, other, "room/7", layout.position)
        drawn = Drawn(page, "room/7")
        while (await drawn.take())["t"] != "subscription":
            pass
        go_on.set()
        assert await drawn.answered() is True
        assert not drawn.frames
        await publish(one, [4], "room/7")
        await drawn.until(4)
        assert [each["n"] for each in drawn.frames] == [4]


@pytest.mark.parametrize("channel", ["prices", "room/7"])
async def test_a_position_that_is_kept_no_more_is_told_and_nothing_comes_twice(url, channel):
    pattern = "room/{room}" if "/" in channel else channel
    define = tape(channel=pattern, backfill=5, history=5)
    async with World(define, url=url) as world:
        one = world.pubsubs[0]
        await publish(one, range(1, 4), channel)
        layout = await one.history(channel)
        await publish(one, range(4, 21), channel)
        # Workers that have not been there when they were published.
        async with (
            World(define, workers=1, store=world.store, url=url) as later,
            pages(later, 0) as (page,),
        ):
            if channel == "prices":
                await Drawn(page).until(20)
            drawn = Drawn(page, channel, [each.data for each in layout])
            drawn.restart()
            subscribe(page, later.pubsubs[0], channel, layout.position)
            assert await drawn.answered() is False
            assert drawn.points == [1, 2, 3, *range(16, 21)]
            await publish(one, [21], channel)
            await drawn.until(21)
            assert drawn.points == [1, 2, 3, *range(16, 22)]


async def test_a_position_of_another_epoch_is_told_and_the_present_shown():
    async with World(tape(channel="room/{room}"), workers=1) as world:
        (pubsub,) = world.pubsubs
        await publish(pubsub, [1, 2], "room/7")
        layout = await pubsub.history("room/7")
        world.store.flush()
        await publish(pubsub, [3, 4], "room/7")
        async with pages(world, 0) as (page,):
            drawn = Drawn(page, "room/7", [each.data for each in layout])
            subscribe(page, pubsub, "room/7", layout.position)
            assert await drawn.answered() is False
            assert drawn.points == [1, 2, 3, 4]
            await publish(pubsub, [5], "room/7")
            await drawn.until(5)


async def test_a_position_that_no_message_has_yet_is_told():
    async with World(tape(channel="room/{room}"), workers=1) as world:
        (pubsub,) = world.pubsubs
        position = await pubsub.publish("room/7", 1)
        async with pages(world, 0) as (page,):
            drawn = Drawn(page, "room/7", [1])
            subscribe(page, pubsub, "room/7", Position(position.epoch, 100))
            assert await drawn.answered() is False
            assert drawn.points == [1]


async def test_a_position_that_was_tampered_with_is_denied(caplog):
    async with World(tape(channel="room/{room}"), workers=1) as world:
        (pubsub,) = world.pubsubs
        position = await pubsub.publish("room/7", 1)
        signed = sign(pubsub.app, "room/7", position)
        earlier = [position.epoch, 0]
        async with pages(world, 0) as (page,):
            for since, token in (
                (earlier, signed),
                (None, signed),
                (earlier, sign(pubsub.app, "room/7")),
                (["x" + position.epoch, 1], signed),
            ):
                frame = {"t": "subscribe", "channel": "room/7", "token": token}
                page.send(frame if since is None else {**frame, "since": since})
                drawn = Drawn(page, "room/7")
                while not drawn.answers:
                    await drawn.take()
                assert [each["status"] for each in drawn.answers] == ["denied"], since
            assert "without a valid signature" in caplog.text
            subscribe(page, pubsub, "room/7", position)
            assert await Drawn(page, "room/7").answered() is True


@pytest.mark.parametrize(
    "since", ["now", [], ["a"], [1, 2], ["a", "b"], ["a", 1, 2], ["a", 10**30], {"a": 1}, 5]
)
async def test_a_position_that_is_none_closes_the_page(since):
    async with World(tape(channel="room/{room}"), workers=1) as world, pages(world, 0) as (page,):
        page.send({"t": "subscribe", "channel": "room/7", "token": "", "since": since})
        assert await page.closed() == 4400


@pytest.mark.parametrize("since", [5, "now", ["a", 1], ("a", 1)])
def test_since_is_a_position(since):
    with pytest.raises(ConfigurationError, match=r"since=.*must be a Position"):
        Subscription("prices", since=since)


async def test_a_layout_s_subscription_carries_its_position_signed():
    async with World(tape(), workers=1) as world:
        (pubsub,) = world.pubsubs
        position = Position("epoch", 5)
        world.apps[0].layout = lambda: Subscription("prices", id="s", since=position)
        sent = await world.apps[0].render_layout()
        assert sent.since == ["epoch", 5]
        assert sent.token == sign(pubsub.app, "prices", position)
        assert sent.token != sign(pubsub.app, "prices")
        assert sent.token != sign(pubsub.app, "prices", Position("epoch", 6))
