import asyncio

import pytest
import quart
from page import Closed, Page, connected, serving

from flash import Flash, Input, Patch, html
from flash_ws import CloseCode, LinkLimits, Live, RateLimit, stream_props
from flash_ws.callbacks.deferred import hub_of


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div(id="banner")
    return app


async def until(condition):
    """Let the loop turn until something is so."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  the state of the server has no event
            await asyncio.sleep(0)


def updates(frame):
    assert frame["t"] == "props"
    return frame["u"]


async def test_a_push_reaches_every_page(app):
    live = Live(app)
    async with serving(app):
        pages = [await connected(app) for _ in range(3)]
        await live.push("banner", {"children": "hello"})
        for page in pages:
            assert updates(await page.frame()) == [["banner", {"children": "hello"}]]
            await page.leave()


async def test_a_push_to_one_page_reaches_no_other(app):
    live = Live(app)
    async with serving(app):
        one, other = await connected(app), await connected(app)
        first_page = hub_of(live.app).clients[hub_of(live.app).identities.id_of(one.token)]
        await live.push("banner", {"children": 1}, to=first_page)
        await live.push("footer", {"children": 2})
        assert [updates(frame)[0][0] for frame in await one.frames(2)] == ["banner", "footer"]
        assert updates(await other.frame())[0][0] == "footer"
        await one.leave()
        await other.leave()


async def test_groups_are_joined_on_connect_and_left(app):
    live = Live(app)

    @live.on_connect
    async def joined(client):
        client.join("desk")

    async with serving(app):
        page = await connected(app)
        (client,) = hub_of(live.app).clients.values()
        await until(lambda: client.groups)
        await live.send_event("price", {"AAPL": 1.0}, to=live.group("desk"))
        frame = await page.frame()
        assert (frame["t"], frame["name"], frame["data"]) == ("event", "price", {"AAPL": 1.0})
        client.leave("desk")
        await live.send_event("price", {}, to=live.group("desk"))
        await live.send_event("last")
        assert (await page.frame())["name"] == "last"
        await page.leave()


async def test_a_hundred_events_in_a_burst_all_arrive_in_order(app):
    live = Live(app)
    async with serving(app):
        page = await connected(app)
        for number in range(100):
            await live.send_event("n", number)
        assert [frame["data"] for frame in await page.frames(100)] == list(range(100))
        await page.leave()


async def test_a_page_that_comes_back_gets_exactly_what_it_missed(app):
    live = Live(app)
    async with serving(app):
        page = await connected(app)
        await live.send_event("n", 1)
        await page.frame()
        await page.leave()
        for number in (2, 3, 4):
            await live.send_event("n", number)
        back = await connected(app, page.token, page.positions)
        assert back.welcome["recovered"] is True
        assert [frame["data"] for frame in await back.frames(3)] == [2, 3, 4]
        await live.send_event("n", 5)
        assert (await back.frame())["data"] == 5
        await back.leave()


async def test_a_server_that_knows_nothing_of_a_page_says_so(app):
    live = Live(app)
    async with serving(app):
        page = await connected(app, "a-token-of-another-server~" + "0" * 40, {"all": ("old", 7)})
        assert page.welcome["recovered"] is False
        assert page.welcome["page"] == "a-token-of-another-server~" + "0" * 40
        await live.send_event("n", 1)
        assert (await page.frame())["data"] == 1
        await page.leave()


async def test_lost_history_ends_in_a_snapshot_and_says_so(app):
    live = Live(app)
    async with serving(app):
        page = await connected(app)
        await live.push("banner", {"children": 0})
        await page.frame()
        await page.leave()
        for number in range(1, 1500):
            await live.push("banner", {"children": number})
        back = await connected(app, page.token, page.positions)
        assert back.welcome["recovered"] is False
        frame = await back.frame()
        assert (frame["t"], frame["u"]) == ("snapshot", [["banner", {"children": 1499}]])
        await live.push("banner", {"children": "next"})
        assert updates(await back.frame()) == [["banner", {"children": "next"}]]
        await back.leave()


async def test_a_second_connection_of_a_page_replaces_the_first(app):
    live = Live(app)
    async with serving(app):
        first = await connected(app)
        second = await connected(app, first.token, first.positions)
        assert await first.closed() == CloseCode.REPLACED.number
        await live.send_event("n", 1)
        assert (await second.frame())["data"] == 1
        assert len(await live.clients()) == 1
        await second.leave()


async def test_values_that_wait_are_replaced_and_patches_and_events_are_not(app):
    live = Live(app, limits=LinkLimits(max_batch_delay=0.05))
    async with serving(app):
        page = await connected(app)
        patch = Patch()
        patch.append(1)
        for number in range(50):
            await live.push("banner", {"children": number})
        await live.push("list", {"children": patch})
        await live.push("list", {"children": patch})
        await live.push("graph", {"extendData": [{"y": [[1]]}, [0]]})
        await live.push("graph", {"extendData": [{"y": [[1]]}, [0]]})
        await live.send_event("end")
        frames = await page.frames(6)
        assert updates(frames[0]) == [["banner", {"children": 49}]]
        assert frames[-1]["name"] == "end"
        assert live.statistics().frames_conflated == 49
        await page.leave()


async def test_a_page_that_takes_nothing_is_disconnected_and_the_others_are_not(app):
    live = Live(app, limits=LinkLimits(max_outbox_bytes=10_000, max_batch_delay=0.0))
    async with serving(app):
        stalled, other = await connected(app), await connected(app)
        stalled.taking.clear()
        for number in range(40):
            await live.send_event("n", "x" * 1000)
            assert (await other.frame())["t"] == "event", number
        stalled.taking.set()
        assert await stalled.closed() == CloseCode.TOO_SLOW.number
        await other.leave()


MALFORMED = [
    ("", CloseCode.MALFORMED),
    ("{", CloseCode.MALFORMED),
    ("null", CloseCode.MALFORMED),
    ("{}", CloseCode.MALFORMED),
    ("[1]", CloseCode.MALFORMED),
    ("[null]", CloseCode.MALFORMED),
    ('[{"t":1}]', CloseCode.MALFORMED),
    ('[{"t":"nonsense"}]', CloseCode.MALFORMED),
    ('[{"t":"hello","v":1}]', CloseCode.MALFORMED),
    ('[{"t":"event"}]', CloseCode.MALFORMED),
    ('[{"t":"event","name":5}]', CloseCode.MALFORMED),
    ('[{"t":"call"}]', CloseCode.MALFORMED),
    ('[{"t":"call","id":"x","body":{}}]', CloseCode.MALFORMED),
    ('[{"t":"call","id":1,"body":{"callback":5}}]', CloseCode.MALFORMED),
    ('[{"t":"call","id":1,"body":{"callback":"x","inputs":5}}]', CloseCode.MALFORMED),
    ('["' + "x" * 70_000 + '"]', CloseCode.TOO_LARGE),
    ("[" + '{"t":"beat"},' * 1024 + '{"t":"beat"}]', CloseCode.TOO_FAST),
]


@pytest.mark.parametrize(("text", "code"), MALFORMED, ids=[m[0][:40] for m in MALFORMED])
async def test_a_malformed_message_closes_with_its_code(app, text, code):
    Live(app)
    async with serving(app):
        page = await connected(app)
        page.send_text(text)
        assert await page.closed() == code.number


async def test_a_binary_message_is_malformed(app):
    Live(app)
    async with serving(app):
        page = await connected(app)
        page.send_bytes(b"[]")
        assert await page.closed() == CloseCode.MALFORMED.number


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        ({"t": "beat"}, CloseCode.MALFORMED),
        ({"t": "hello", "v": 99}, CloseCode.UNSUPPORTED_VERSION),
        ({"t": "hello", "v": 1, "page": 5}, CloseCode.MALFORMED),
        ({"t": "hello", "v": 1, "at": []}, CloseCode.MALFORMED),
        ({"t": "hello", "v": 1, "at": {"all": 5}}, CloseCode.MALFORMED),
        ({"t": "hello", "v": 1, "path": 5}, CloseCode.MALFORMED),
    ],
)
async def test_a_wrong_hello_closes_with_its_code(app, hello, code):
    Live(app)
    async with serving(app):
        page = await Page(app).open()
        page.send(hello)
        assert await page.closed() == code.number


async def test_too_many_messages_close_the_link(app):
    Live(app, limits=LinkLimits(rate=RateLimit(per_second=0.001, burst=5)))
    async with serving(app):
        page = await connected(app)
        for _ in range(6):
            page.send({"t": "beat"})
        assert await page.closed() == CloseCode.TOO_FAST.number


async def test_a_silent_page_is_disconnected(app):
    Live(app, limits=LinkLimits(heartbeat=0.02))
    async with serving(app):
        page = await connected(app)
        assert await page.closed() == CloseCode.SILENT.number


async def test_a_silent_page_is_asked_before_it_is_given_up(app):
    Live(app, limits=LinkLimits(heartbeat=0.05))
    async with serving(app):
        page = await connected(app)
        for _ in range(3):
            # As a hidden page does, whose timers hardly run: it answers.
            assert (await page.frame())["t"] == "beat"
            page.send({"t": "beat", "rtt": None})
            assert (await page.frame())["t"] == "beat"
        await page.leave()


async def test_a_copy_of_a_page_is_another_page(app):
    live = Live(app)
    async with serving(app):
        page = await connected(app)
        copy = await connected(app, page.token)
        assert copy.token != page.token
        await live.send_event("n", 1)
        assert (await page.frame())["data"] == (await copy.frame())["data"] == 1
        await page.leave()
        await copy.leave()


async def test_a_call_that_this_server_does_not_know_fails_without_breaking_off(app):
    Live(app)
    async with serving(app):
        page = await connected(app)
        page.send(call(1, "of-an-older-deployment", 1))
        frame = await page.frame()
        assert (frame["id"], frame["state"]) == (1, "failed")
        await page.leave()


async def test_a_page_of_another_origin_is_refused(app):
    Live(app)
    async with serving(app):
        page = await Page(app, headers=[(b"origin", b"https://evil.example")]).open()
        # Nothing that it says is listened to.
        page.send({"t": "hello", "v": 1, "page": None, "at": {}, "path": "/"})
        assert await page.closed() == CloseCode.FORBIDDEN.number
        await page.leave()


@pytest.mark.parametrize(("how", "code"), [("returns", 4401), ("aborts", 4401), ("fails", 1011)])
async def test_a_guard_on_every_request_guards_the_link(app, how, code):
    Live(app)

    @app.server.before_request
    async def guard():
        if how == "aborts":
            quart.abort(401)
        if how == "fails":
            raise RuntimeError("no database")
        return "no", 401

    async with serving(app):
        with pytest.raises(Closed) as closed:
            await Page(app).open()
        assert closed.value.code == code


async def test_a_login_around_the_view_of_the_page_guards_the_link(app):
    Live(app)
    page = app.server.view_functions["/"]

    async def guarded(*args, **kwargs):
        if quart.request.cookies.get("login") != "yes":
            return quart.redirect("/login")
        return await page(*args, **kwargs)

    app.server.view_functions["/"] = guarded
    async with serving(app):
        with pytest.raises(Closed) as closed:
            await Page(app).open()
        assert closed.value.code == 4401
        inside = await connected(app, headers=[(b"cookie", b"login=yes")])
        await inside.leave()


@pytest.mark.parametrize("kind", ["async", "plain", "failing"])
async def test_authorize_decides_who_connects(app, kind):
    def plain(handshake):
        return False

    async def asynchronous(handshake):
        return False

    def failing(handshake):
        raise RuntimeError("database is down")

    Live(app, authorize={"async": asynchronous, "plain": plain, "failing": failing}[kind])
    async with serving(app):
        with pytest.raises(Closed):
            await Page(app).open()


async def test_a_user_is_disconnected_by_name(app):
    async def who(handshake):
        return quart.request.cookies.get("user", False)

    live = Live(app, authorize=who)
    async with serving(app):
        anna = await connected(app, headers=[(b"cookie", b"user=anna")])
        otto = await connected(app, headers=[(b"cookie", b"user=otto")])
        assert {client.user for client in hub_of(live.app).clients.values()} == {"anna", "otto"}
        await live.disconnect(user="anna")
        assert await anna.closed() == CloseCode.KICKED.number
        await otto.leave()


async def test_events_of_a_page_are_handled_in_order_for_that_page(app):
    live = Live(app)
    seen = []

    @live.on_event("count")
    async def count(data):
        await asyncio.sleep(0)
        seen.append(data)
        if data == 9:
            await live.send_event("done", to=live.client)

    async with serving(app):
        page = await connected(app)
        page.send(*({"t": "event", "name": "count", "data": n} for n in range(10)))
        assert (await page.frame())["name"] == "done"
        assert seen == list(range(10))
        await page.leave()


async def test_a_burst_of_events_waits_for_a_slow_handler_and_none_is_lost(app):
    live = Live(app)
    seen = []

    @live.on_event("count")
    async def count(data):
        await asyncio.sleep(0)
        seen.append(data)

    async with serving(app):
        page = await connected(app)
        page.send(*({"t": "event", "name": "count", "data": n} for n in range(1000)))
        await until(lambda: len(seen) == 1000)
        assert seen == list(range(1000))
        await page.leave()


async def test_a_page_whose_events_wait_for_too_long_is_disconnected(app, monkeypatch):
    monkeypatch.setattr("flash_ws.callbacks.page_events.QUEUE_TIMEOUT", 0.02)
    live = Live(app)

    @live.on_event("stuck")
    async def stuck(data):
        await asyncio.Event().wait()

    async with serving(app):
        page = await connected(app)
        page.send(*({"t": "event", "name": "stuck"} for _ in range(200)))
        assert await page.closed() == CloseCode.TOO_FAST.number


async def test_events_that_nobody_handles_fill_no_log(app, caplog):
    Live(app)
    async with serving(app):
        page = await connected(app)
        page.send(*({"t": "event", "name": f"n{number // 2}"} for number in range(600)))
        # Answered once, however often it is asked for.
        page.send({"t": "beat"}, {"t": "beat"}, {"t": "beat"})
        assert [frame["t"] for frame in await page.message()] == ["beat"]
        await page.leave()
    assert caplog.text.count("no @live.on_event handler") == 30


def numbered(*numbers, name="count"):
    return [{"t": "event", "name": name, "data": n, "k": n} for n in numbers]


async def taken(page, number):
    """Wait until the page has been told that its events up to a number were handled."""
    while (await page.frame()) != {"t": "taken", "k": number}:
        pass


async def test_events_that_a_page_sends_again_are_handled_once(app):
    live = Live(app)
    seen = []

    @live.on_event("count")
    async def count(data):
        seen.append(data)

    async with serving(app):
        page = await connected(app)
        page.send(*numbered(5, 6, 7))
        await taken(page, 7)
        await page.leave()
        # It has not read that the last two were handled.
        back = await connected(app, token=page.token, at=page.positions)
        back.send(*numbered(6, 7), *numbered(8, name="nobody's"), *numbered(9))
        await taken(back, 9)
        assert seen == [5, 6, 7, 9]
        await back.leave()


async def test_an_event_whose_handler_runs_when_its_page_breaks_off_is_handled_once(app):
    live = Live(app)
    seen, may_end = [], asyncio.Event()

    @live.on_event("count")
    async def count(data):
        seen.append(data)
        await may_end.wait()

    async with serving(app):
        page = await connected(app)
        page.send(*numbered(1, 2))
        await until(lambda: seen)
        await page.leave()
        back = await connected(app, token=page.token, at=page.positions)
        back.send(*numbered(1, 2, 3))
        may_end.set()
        await taken(back, 3)
        assert seen == [1, 2, 3]
        await back.leave()


@pytest.mark.parametrize("number", [-1, 1.5, "1", True, None, [1]])
async def test_an_event_with_a_number_that_is_none_is_refused(app, number):
    Live(app)
    async with serving(app):
        page = await connected(app)
        page.send({"t": "event", "name": "count", "k": number})
        assert await page.closed() == CloseCode.MALFORMED.number


async def test_a_server_about_to_stop_ends_what_it_handles_and_leaves_the_rest_to_the_next(app):
    live = Live(app)
    seen, may_end, draining = [], asyncio.Event(), asyncio.Event()

    @live.on_event("count")
    async def count(data):
        seen.append(data)
        await may_end.wait()

    async with serving(app):
        page = await connected(app, state={"flash.draining": draining})
        page.send(*numbered(1, 2, 3))
        await until(lambda: seen)
        draining.set()
        page.send(*numbered(4))
        # Nobody is sent away while it runs.
        asyncio.get_running_loop().call_later(0.02, may_end.set)
        assert await page.frame() == {"t": "taken", "k": 1}
        assert (await page.frame())["t"] == "bye"
        assert await page.closed() == CloseCode.DRAINING.number
        assert seen == [1]


async def test_a_page_gone_for_good_is_told_to_the_app(app):
    live = Live(app, resume_window=0.01)
    gone = asyncio.Event()

    @live.on_disconnect
    async def left(client):
        gone.set()

    async with serving(app):
        page = await connected(app)
        await page.leave()
        async with asyncio.timeout(5):
            await gone.wait()
        assert await live.clients() == []


async def test_a_page_that_does_not_even_take_its_dismissal_holds_nothing_for_long(
    app, monkeypatch
):
    monkeypatch.setattr("flash_ws.link.link.CLOSE_TIMEOUT", 0.02)
    live = Live(app)
    async with serving(app):
        page = await connected(app)
        (client,) = hub_of(live.app).clients.values()
        page.taking.clear()
        await live.disconnect(client=client.id)
        async with asyncio.timeout(5):
            await page.task
        assert not client.is_connected


async def test_pages_are_sent_away_before_the_server_stops(app):
    Live(app)
    draining = asyncio.Event()
    async with serving(app):
        page = await connected(app, state={"flash.draining": draining})
        draining.set()
        frame = await page.frame()
        assert frame["t"] == "bye"
        assert frame["after"] >= 0
        assert await page.closed() == CloseCode.DRAINING.number


async def test_nothing_is_left_after_everything_closed(app):
    live = Live(app)
    before = asyncio.all_tasks()
    async with serving(app):
        pages = [await connected(app) for _ in range(20)]
        await live.send_event("n")
        for page in pages[:10]:
            await page.leave()
    for page in pages[10:]:
        async with asyncio.timeout(5):
            await page.task
    await until(lambda: not asyncio.all_tasks() - before)


# -- event callbacks ----------------------------------------------------------------------------


def call(number, name, *values, callback=None):
    inputs = [{"id": "go", "property": "n_clicks", "value": value} for value in values]
    return {
        "t": "call",
        "id": number,
        "body": {
            "callback": name,
            "inputs": inputs,
            "state": [],
            "changedPropIds": ["go.n_clicks"],
        },
    }


@pytest.mark.parametrize("number", [True, False, 1.5, "1", None])
async def test_13_g_a_calls_number_is_an_integer(app, number):
    live = Live(app)

    @live.event_callback(Input("go", "n_clicks"))
    async def report(clicks):
        yield stream_props("go", {"disabled": True})

    async with serving(app):
        page = await connected(app)
        page.send(call(number, only_name(live), 1))
        assert await page.closed() == CloseCode.MALFORMED.number


def only_name(live):
    (name,) = live._event_callbacks._callbacks
    return name


async def test_an_event_callback_streams_to_its_page_and_resets(app):
    live = Live(app)

    @live.event_callback(Input("go", "n_clicks"), reset_props=[("go", {"disabled": False})])
    async def report(clicks):
        yield stream_props("go", {"disabled": True})
        yield stream_props([("bar", {"value": clicks}), ("table", {"rowTransaction": {"add": []}})])

    async with serving(app):
        page = await connected(app)
        page.send(call(1, only_name(live), 3))
        # That the button is disabled is never sent: it is enabled again by the time it would be.
        running, rows, reset, end = await page.frames(4)
        assert (running["state"], running["reset"]) == ("running", [["go", {"disabled": False}]])
        assert updates(rows)[0] == ["bar", {"value": 3}]
        assert updates(reset) == [["go", {"disabled": False}]]
        assert (end["id"], end["state"]) == (1, "done")
        await page.leave()


async def test_a_new_trigger_replaces_the_running_call(app):
    live = Live(app)
    closed = []

    @live.event_callback(Input("go", "n_clicks"))
    async def endless(clicks):
        try:
            yield stream_props("out", {"children": clicks})
            await asyncio.Event().wait()
        finally:
            closed.append(clicks)

    async with serving(app):
        page = await connected(app)
        page.send(call(1, only_name(live), 1))
        await page.frames(2)
        page.send(call(2, only_name(live), 2))
        states = [frame.get("state") for frame in await page.frames(3)]
        assert states == ["cancelled", "running", None]
        assert closed == [1]
        page.send({"t": "stop", "id": 2})
        assert (await page.frame())["state"] == "cancelled"
        assert closed == [1, 2]
        await page.leave()


async def test_twenty_endless_streams_and_the_page_still_answers(app):
    live = Live(app)

    @live.event_callback(Input("go", "n_clicks"), mode="parallel")
    async def endless(clicks):
        yield stream_props(f"out-{clicks}", {"children": clicks})
        await asyncio.Event().wait()

    async with serving(app):
        page = await connected(app)
        page.send(*(call(n, only_name(live), n) for n in range(20)))
        frames = await page.frames(40)
        assert {updates(f)[0][1]["children"] for f in frames if f["t"] == "props"} == set(range(20))
        page.send({"t": "beat", "rtt": None})
        assert (await page.frame())["t"] == "beat"
        await page.leave()
    assert not live._event_callbacks._calls


async def test_an_error_goes_to_on_error_and_resets(app):
    live = Live(app)

    @live.event_callback(
        Input("go", "n_clicks"),
        reset_props=[("go", {"disabled": False})],
        on_error=lambda error: stream_props("toast", {"children": str(error)}),
    )
    async def failing(clicks):
        yield stream_props("go", {"disabled": True})
        raise ValueError("no such report")

    async with serving(app):
        page = await connected(app)
        page.send(call(1, only_name(live), 1))
        frames = await page.frames(1)
        while frames[-1].get("state") != "failed":
            # The button's first value is among them, unless it has waited for the second.
            frames += await page.frames(1)
        *_, toast, reset, end = frames
        assert updates(toast) == [["toast", {"children": "no such report"}]]
        assert updates(reset) == [["go", {"disabled": False}]]
        assert (end["state"], end["reason"]) == ("failed", "ValueError")
        await page.leave()


async def test_a_cancel_input_with_another_value_ends_the_calls(app):
    live = Live(app)

    @live.event_callback(Input("go", "n_clicks"), cancel=[(Input("tabs", "value"), "report")])
    async def endless(clicks):
        yield stream_props("out", {"children": clicks})
        await asyncio.Event().wait()

    async with serving(app):
        page = await connected(app)
        name = only_name(live)
        page.send(call(1, name, 1))
        await page.frames(2)
        page.send(call(2, f"{name}-cancel", "report"))
        assert (await page.frame())["state"] == "done"
        page.send(call(3, f"{name}-cancel", "elsewhere"))
        states = [(frame["id"], frame["state"]) for frame in await page.frames(2)]
        assert states == [(1, "cancelled"), (3, "done")]
        await page.leave()


async def test_ctx_session_and_set_props_work_inside(app):
    from flash import ctx, set_props

    live = Live(app)

    @live.event_callback(Input("go", "n_clicks"))
    async def inside(clicks):
        set_props("aside", {"children": ctx.triggered_id})
        yield stream_props("out", {"children": ctx.cookies["who"]})
        yield stream_props("path", {"children": quart.request.path})

    async with serving(app):
        page = await connected(app, headers=[(b"cookie", b"who=anna")])
        page.send(call(1, only_name(live), 1))
        _, first, second, _ = await page.frames(4)
        assert updates(first) == [
            ["aside", {"children": "go"}],
            ["out", {"children": "anna"}],
        ]
        assert updates(second) == [["path", {"children": "/_flash/link"}]]
        await page.leave()


async def test_the_calls_of_a_page_gone_for_good_end(app):
    live = Live(app, resume_window=0.01)
    ended = asyncio.Event()

    @live.event_callback(Input("go", "n_clicks"))
    async def endless(clicks):
        try:
            while True:
                yield stream_props("out", {"children": clicks})
                await asyncio.sleep(0)
        finally:
            ended.set()

    async with serving(app):
        page = await connected(app)
        page.send(call(1, only_name(live), 1))
        await page.frames(3)
        await page.leave()
        async with asyncio.timeout(5):
            await ended.wait()


async def test_a_module_without_a_live_registers_for_the_current_app(app):
    from flash_ws import event_callback

    @event_callback(Input("go", "n_clicks"))
    async def report(clicks):
        yield stream_props("out", {"children": clicks})

    live = Live(app)
    async with serving(app):
        page = await connected(app)
        page.send(call(1, only_name(live), 7))
        _, frame, _ = await page.frames(3)
        assert updates(frame) == [["out", {"children": 7}]]
        await page.leave()
