"""S5: `set_props` from anywhere, what an event callback may yield, and push without await."""

import asyncio
import logging
import threading
from weakref import WeakKeyDictionary

import pytest
from page import connected, serving

import flash
from flash import (
    AsyncManager,
    Flash,
    Input,
    Output,
    current,
    html,
    live,
    set_props,
)
from flash.testing import FlashClient
from flash_pubsub import BrokerClosed, InvalidChannel, PubSub
from flash_ws import Live, NoCaller, TooManyUnawaited, stream_props
from flash_ws.callbacks.deferred import hub_of

pytest_plugins = ["flash.testing.plugin"]

ALL = live.everybody


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div([html.P(id="a"), html.P(id="b"), html.Button(id="go")])
    Live(app)
    return app


def call(app, name, **more):
    """The frame with which a page calls the event callback of a function."""
    (callback,) = [
        each
        for each in app.server.extensions["flash_ws"][
            id(app)
        ].part._event_callbacks._callbacks.values()
        if each.function.__name__ == name
    ]
    body = {
        "callback": callback.name,
        "inputs": [{"id": "go", "property": "n_clicks", "value": 1}],
        "state": [],
        "changedPropIds": ["go.n_clicks"],
        **more,
    }
    return {"t": "call", "id": 1, "body": body}


async def updates_of(page):
    """What a call sets, message by message, and the frame with which it ends."""
    found = []
    while True:
        frame = await page.frame()
        if frame["t"] == "props":
            found.append({str(name): props for name, props in frame["u"]})
        elif frame["t"] == "call" and frame["state"] != "running":
            return found, frame


# -- event callbacks ------------------------------------------------------------------------------


async def test_s5_an_event_callback_yields_in_every_form(app):
    # A property for each, since a later value of one may replace an earlier.
    @live.event_callback(Input("go", "n_clicks"))
    async def forms(clicks):
        yield {"a.one": 1, "b.two": 2}
        yield "a", {"three": 3}
        yield set_props("b", {"four": 4})
        yield stream_props("a", {"five": 5})
        yield {"index": 1, "type": "row"}, {"six": 6}
        yield {'{"index":1,"type":"row"}.seven': 7}
        yield set_props("a", {"eight": 8}, to=live.client)
        yield None

    async with serving(app):
        page = await connected(app)
        page.send(call(app, "forms"))
        found, end = await updates_of(page)
    assert end["state"] == "done"
    row = str({"index": 1, "type": "row"})
    assert found == [
        {"a": {"one": 1}, "b": {"two": 2}},
        {"a": {"three": 3}},
        {"b": {"four": 4}},
        {"a": {"five": 5}},
        {row: {"six": 6}},
        {row: {"seven": 7}},
        {"a": {"eight": 8}},
    ]


async def test_s5_set_props_in_an_event_callback_is_sent_at_once(app):
    waiting = asyncio.Event()

    @live.event_callback(Input("go", "n_clicks"))
    async def slow(clicks):
        set_props("a", {"children": "now"})
        await waiting.wait()
        await asyncio.to_thread(set_props, "b", {"children": "thread"})
        await asyncio.sleep(0)
        yield "a", {"children": "end"}

    async with serving(app):
        page = await connected(app)
        page.send(call(app, "slow"))
        while (frame := await page.frame())["t"] != "props":
            pass
        assert frame["u"] == [["a", {"children": "now"}]]
        waiting.set()
        found, _ = await updates_of(page)
        assert [each for message in found for each in message.items()] == [
            ("b", {"children": "thread"}),
            ("a", {"children": "end"}),
        ]


@pytest.mark.parametrize(
    "wrong", [5, "text", ["a", {}], {"a": 1}, {".children": 1}, ("a", 1), {}], ids=str
)
async def test_s5_anything_else_is_an_error_with_its_line(app, caplog, wrong):
    @live.event_callback(Input("go", "n_clicks"))
    async def bad(clicks):
        yield wrong

    app.show_errors()
    async with serving(app):
        page = await connected(app)
        page.send(call(app, "bad"))
        _, end = await updates_of(page)
    line = bad.__code__.co_firstlineno + 2
    assert f"yielded {wrong!r} ({__file__}:{line})" in end["error"]
    assert f"{__file__}:{line}" in caplog.text


async def test_s5_pages_see_no_text_of_an_error_unless_the_app_shows_errors(app):
    @live.event_callback(Input("go", "n_clicks"))
    async def bad(clicks):
        yield "secret"

    async with serving(app):
        page = await connected(app)
        page.send(call(app, "bad"))
        _, end = await updates_of(page)
    assert end["reason"] == "TypeError"
    assert "error" not in end


def test_s5_the_error_is_in_the_page_s_error_panel(flash_browser, tmp_path):
    (tmp_path / "app.py").write_text(
        "from flash import Flash, Input, html, live\n"
        "app = Flash(__name__)\n"
        "app.enable_dev_tools(debug=True, dev_tools_hot_reload=False)\n"
        "app.layout = html.Button('go', id='go')\n"
        "@live.event_callback(Input('go', 'n_clicks'))\n"
        "async def bad(clicks):\n"
        "    yield 5\n"
    )
    # That of the callback, and a request of Dash's panel that leaves this machine.
    flash_browser.expect_console_errors()
    flash_browser.serve(tmp_path / "app.py")
    flash_browser.wait_for(
        lambda: flash_browser.run_js("return window.flash?.statistics().status") == "open"
    )
    flash_browser.click("#go")
    flash_browser.wait_for(
        lambda: (
            "yielded 5" in flash_browser.run_js("return document.body.innerText")
            or "app.py:7"
            in flash_browser.run_js(
                "return JSON.stringify(dash_stores[0].getState().error.backEnd)"
            )
        )
    )


# -- from everywhere ------------------------------------------------------------------------------


async def test_s5_in_an_http_callback_it_is_that_of_dash_and_reaches_others_with_to(app):
    @app.callback(Output("a", "children"), Input("go", "n_clicks"))
    def plain(clicks):
        set_props("b", {"children": "this page"})
        set_props("a", {"title": "everybody"}, to=ALL)
        return "done"

    async with FlashClient(app) as client:
        page = await connected(app)
        answer = await client.call("a.children", {"go.n_clicks": 1})
        assert answer.side_updates == {"b.children": "this page"}
        assert (await page.frame())["u"] == [["a", {"title": "everybody"}]]


async def test_s5_handlers_set_the_page_that_called_them(app):
    @live.on_event("ask")
    async def ask(data):
        set_props("a", {"children": data})

    @live.on_event("plain")
    def plain(data):
        set_props("b", {"children": data})

    async with serving(app):
        page, other = await connected(app), await connected(app)
        page.send({"t": "event", "name": "ask", "data": 1})
        assert (await page.frame())["u"] == [["a", {"children": 1}]]
        page.send({"t": "event", "name": "plain", "data": 2})
        assert (await page.frame())["u"] == [["b", {"children": 2}]]
        set_props("a", {"children": "both"}, to=ALL)
        for each in (page, other):
            assert (await each.frame())["u"] == [["a", {"children": "both"}]]


async def test_s5_channel_callbacks_and_groups():
    app = Flash(__name__)
    app.layout = html.Div(id="a")
    pubsub = PubSub(app)

    @pubsub.channel_callback("prices")
    def price(message):
        set_props("a", {"title": message}, to=live.group("desk"))

    async with serving(app):
        page, other = await connected(app), await connected(app)
        await page.frame()
        await other.frame()
        first = next(iter(hub_of(live.app).clients.values()))
        await first.join("desk")
        await pubsub.publish("prices", "high")
        got = page if first.id == hub_of(live.app).identities.present_id_of(page.token) else other
        assert (await got.frame())["u"] == [["a", {"title": "high"}]]


async def test_s5_a_background_job_sets_its_page_and_others(app):
    app.background_manager = AsyncManager()

    @app.callback(Output("a", "children"), Input("go", "n_clicks"), background=True)
    async def job(clicks):
        await set_props("b", {"children": "from the job"}, to=ALL)
        return "done"

    async with FlashClient(app) as client:
        page = await connected(app)
        await client.call("a.children", {"go.n_clicks": 1})
        assert (await page.frame())["u"] == [["b", {"children": "from the job"}]]


async def test_s5_a_thread_sends_in_order_and_knows_that_it_is_one(app, monkeypatch):
    # A thread of its own belongs to the app that is served, and other tests may have left some.
    monkeypatch.setattr(current, "_apps", WeakKeyDictionary({app: __name__}))
    async with serving(app):
        page = await connected(app)

        def work():
            for number in range(20):
                set_props("a", {"children": number}, to=ALL)

        thread = threading.Thread(target=work)
        thread.start()
        numbers = []
        # A later value may replace one that waits.
        while 19 not in numbers:
            numbers += [props["children"] for _, props in (await page.frame())["u"]]
        assert numbers == sorted(numbers)
        await asyncio.to_thread(thread.join)


async def test_s5_without_a_page_and_without_to_it_is_refused(app):
    async with serving(app):
        with pytest.raises(NoCaller, match="to="):
            await asyncio.get_running_loop().create_task(outside())


async def outside():
    set_props("a", {"children": 1})


# -- push without await ---------------------------------------------------------------------------


async def test_s5_push_does_it_without_await_in_the_order_of_the_calls(app, recwarn):
    async with serving(app):
        page = await connected(app)
        live.push("a", {"children": 1})
        live.push("b", {"children": 2})
        await live.push("a", {"title": 3})
        live.send_event("said", 4)
        frames = await page.frames(4)
        assert [frame["n"] for frame in frames] == sorted(frame["n"] for frame in frames)
        assert [frame["u"] for frame in frames[:3]] == [
            [["a", {"children": 1}]],
            [["b", {"children": 2}]],
            [["a", {"title": 3}]],
        ]
        assert frames[3]["t"] == "event"
    assert not [each for each in recwarn if "never awaited" in str(each.message)]


async def test_s5_the_result_of_push_is_a_coroutine_for_asyncio(app):
    async with serving(app):
        page = await connected(app)
        await asyncio.create_task(live.push("a", {"children": 1}))
        await asyncio.gather(live.push("a", {"title": 2}), live.push("b", {"children": 3}))
        late = live.push("b", {"title": 4})
        await asyncio.sleep(0.01)
        await late
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(
            lambda: asyncio.run_coroutine_threadsafe(live.push("a", {"lang": "en"}), loop).result(
                10
            )
        )
        assert len(await page.frames(5)) == 5


async def test_s5_an_error_that_nobody_awaits_is_logged_and_one_that_is_awaited_is_raised(
    app, caplog, monkeypatch
):
    async with serving(app):
        with pytest.raises(TypeError):
            live.push("a", {"children": object()})

        async def broken(channel, message):
            raise ConnectionError("the store is away")

        monkeypatch.setattr(hub_of(live.app), "publish", broken)
        with caplog.at_level(logging.ERROR):
            with pytest.raises(ConnectionError):
                await live.push("a", {"children": 1})
            assert "store is away" not in caplog.text
            live.push("a", {"children": 1})
            await asyncio.sleep(0.01)
        assert "what nobody awaits has failed: the store is away" in caplog.text


async def test_s5_what_waits_without_await_is_bounded(app, monkeypatch):
    monkeypatch.setattr("flash_ws.clients.sending.MAX_UNAWAITED", 3)
    async with serving(app):
        for number in range(3):
            live.push("a", {"children": number})
        with pytest.raises(TooManyUnawaited, match="write await"):
            live.push("a", {"children": 4})
        await asyncio.sleep(0.01)
        live.push("a", {"children": 5})


# -- await, or none, everywhere -------------------------------------------------------------------


async def test_set_props_without_to_may_be_awaited_in_an_ordinary_callback(app):
    @app.callback(Output("a", "children"), Input("go", "n_clicks"))
    async def call_it(clicks):
        await set_props("b", {"children": "awaited"})
        set_props("b", {"title": "not awaited"})
        return "done"

    async with FlashClient(app) as client:
        answer = await client.call("a.children", {"go.n_clicks": 1})
    assert answer.side_updates == {"b.children": "awaited", "b.title": "not awaited"}


async def test_set_props_may_be_awaited_in_event_callbacks_handlers_jobs_and_channels(app):
    pubsub = PubSub(app)
    app.background_manager = AsyncManager()

    @live.event_callback(Input("go", "n_clicks"))
    async def stream(clicks):
        await set_props("a", {"one": 1})
        yield await set_props("a", {"two": 2})

    @live.on_event("ask")
    async def ask(data):
        await set_props("a", {"asked": data})

    @pubsub.channel_callback("prices")
    async def price(message):
        # As a result it counts as None.
        return set_props("a", {"price": message}, to=ALL)

    @app.callback(Output("b", "children"), Input("go", "n_clicks"), background=True)
    async def job(clicks):
        await set_props("a", {"title": "from the job"})
        return "done"

    async with FlashClient(app) as client:
        page = await connected(app)
        page.send(call(app, "stream"))
        found, _ = await updates_of(page)
        # What is set close together may be sent together.
        sent = [props for each in found for props in each.values()]
        assert {name: value for props in sent for name, value in props.items()} == {
            "one": 1,
            "two": 2,
        }
        page.send({"t": "event", "name": "ask", "data": 3})
        assert (await page.frame())["u"] == [["a", {"asked": 3}]]
        await pubsub.publish("prices", 4)
        assert (await page.frame())["u"] == [["a", {"price": 4}]]
        answer = await client.call("b.children", {"go.n_clicks": 1})
        assert answer.side_updates == {"a.title": "from the job"}


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("to", [None, ALL])
async def test_a_callback_without_outputs_may_return_what_set_props_returns(app, background, to):
    app.background_manager = AsyncManager()
    app.callback(Input("go", "n_clicks"), background=background)(
        lambda clicks: set_props("b", {"children": clicks}, to=to)
    )
    async with FlashClient(app) as client:
        page = await connected(app)
        if to is None:
            answer = await client.call(None, {"go.n_clicks": 7})
            assert answer.side_updates == {"b.children": 7}
        else:
            await client.call(None, {"go.n_clicks": 7})
            assert (await page.frame())["u"] == [["b", {"children": 7}]]


@pytest.fixture
def world(app):
    """An app with everything that may be called without ``await``, and what was heard of it."""
    pubsub, heard = PubSub(app), []
    orders = pubsub.table("orders", key="id", columns=["id", "n"])

    @pubsub.channel_callback("prices")
    def price(message):
        heard.append(message)

    def act():
        return [
            pubsub.publish("prices", len(heard)),
            orders.upsert([{"id": 1, "n": 1}, {"id": 2, "n": 2}]),
            orders.remove(2),
            pubsub.unsubscribe("nobody", "prices"),
            live.revoke(user="ada"),
            live.disconnect(user="bob"),
            live.notify("Saved", to=ALL),
        ]

    async def done():
        async with asyncio.timeout(30):
            # The callback runs in a thread.
            while not heard or [row["id"] for row in await orders.rows()] != [1]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    return act, done


async def test_calls_that_nobody_awaits_are_done_on_the_loop(app, world):
    act, done = world
    async with serving(app):
        act()
        await done()


async def test_calls_that_nobody_awaits_are_done_in_a_plain_callback_and_its_thread(app, world):
    act, done = world
    results = []

    @app.callback(Output("a", "children"), Input("go", "n_clicks"))
    def plain(clicks):
        results.extend(act())
        return "done"

    async with FlashClient(app) as client:
        await client.call("a.children", {"go.n_clicks": 1})
        await done()
        # They are done; what they have returned may be awaited all the same.
        position, *nothing = [await each for each in results]
        assert position.number == 1
        assert nothing == [None] * len(nothing)


async def test_calls_may_be_awaited_and_their_errors_are_raised(app, world):
    act, done = world
    async with serving(app):
        position, *nothing = [await each for each in act()]
        assert position.number == 1
        assert nothing == [None] * len(nothing)
        await done()
        positions = await asyncio.gather(*(flash.pubsub.publish("prices", n) for n in range(20)))
        assert [each.number for each in positions] == list(range(2, 22))
        with pytest.raises(InvalidChannel):
            await flash.pubsub.publish("live:x", 1)


async def test_what_nobody_awaits_and_is_wrong_is_raised_or_logged(app, world, caplog, monkeypatch):
    async def broken(*_, **__):
        raise ConnectionError("the store is away")

    async with serving(app):
        # What is wrong by itself is raised at once, where it is written.
        with pytest.raises(InvalidChannel):
            flash.pubsub.publish("live:x", 1)
        with pytest.raises(TypeError):
            flash.pubsub.publish("prices", object())
        monkeypatch.setattr(flash.pubsub.broker, "publish", broken)
        with caplog.at_level(logging.ERROR):
            flash.pubsub.publish("prices", 1)
            await asyncio.sleep(0.01)
        assert "what nobody awaits has failed: the store is away" in caplog.text
        with pytest.raises(ConnectionError):
            await flash.pubsub.publish("prices", 1)


def test_calls_before_the_app_is_served_say_so(app, world):
    act, _ = world
    with pytest.raises(BrokerClosed, match="not running"):
        act()


def test_s5_the_name_of_dash_stays():
    assert flash.set_props is set_props
    assert "set_props" in flash.__all__
