"""Functions of the app that do not end hold up neither the link nor the page's leaving."""

import asyncio

import pytest
from page import Page, connected, serving

from flash import Flash, Input, html
from flash_ws import Live, NoCaller, stream_props
from flash_ws.callbacks.deferred import hub_of
from flash_ws.clients import hub as hubs


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div()
    return app


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  the state of the server has no event
            await asyncio.sleep(0.005)


def call(live, number):
    name = next(iter(live._event_callbacks._callbacks))
    inputs = [{"id": "go", "property": "n_clicks", "value": number}]
    body = {"callback": name, "inputs": inputs, "state": [], "changedPropIds": ["go.n_clicks"]}
    return {"t": "call", "id": number, "body": body}


async def suppressing(over):
    """Wait for ``over`` whatever is cancelled."""
    while not over.is_set():
        try:
            await over.wait()
        except asyncio.CancelledError:
            continue


async def test_12_7_a_finally_that_hangs_keeps_nobody(app, monkeypatch, caplog):
    """The page returns at once as a new one, and `on_disconnect` of the old one runs."""
    monkeypatch.setattr(hubs, "END_TIMEOUT", 0.3)
    live, over, gone = Live(app, resume_window=0), asyncio.Event(), []

    @live.event_callback(Input("go", "n_clicks"))
    async def endless(clicks):
        try:
            yield stream_props("out", {"children": clicks})
            await asyncio.Event().wait()
        finally:
            await suppressing(over)

    @live.on_disconnect
    def left(client):
        gone.append(client.id)

    async with serving(app):
        page = await connected(app)
        page.send(call(live, 1))
        await page.frames(2)
        await page.leave()
        await until(lambda: not hub_of(live.app).clients)
        assert await live.clients() == []
        # Before the cleanup of the earlier client has ended.
        back = await connected(app, page.token, page.positions)
        assert gone == []
        assert back.welcome["calls"] == []
        await until(lambda: gone)
        assert "have not ended within 0.3 s" in caplog.text
        await back.leave()
        over.set()


async def test_12_7_a_handler_that_hangs_keeps_nobody(app, monkeypatch, caplog):
    monkeypatch.setattr(hubs, "END_TIMEOUT", 0.2)
    live, over, gone = Live(app, resume_window=0), asyncio.Event(), []

    @live.on_event("hang")
    async def hang(data):
        await suppressing(over)

    @live.on_disconnect
    def left(client):
        gone.append(client.id)

    async with serving(app):
        page = await connected(app)
        page.send({"t": "event", "name": "hang", "k": 1})
        await asyncio.sleep(0.05)
        await page.leave()
        await until(lambda: gone)
        assert "have not ended within 0.2 s" in caplog.text
        over.set()


async def test_12_7_an_on_connect_that_suppresses_its_end_is_not_waited_for(
    app, monkeypatch, caplog
):
    monkeypatch.setattr(hubs, "INTRODUCTION_TIMEOUT", 0.1)
    live, over, gone = Live(app, resume_window=0), asyncio.Event(), []

    @live.on_connect
    async def greet(client):
        await suppressing(over)

    @live.on_event("hello")
    async def hello(_):
        await live.push("out", {"children": "here"}, to=live.client)

    @live.on_disconnect
    def left(client):
        gone.append(client.id)

    async with serving(app):
        page = await connected(app)
        page.send({"t": "event", "name": "hello", "k": 1})
        assert (await page.frame())["u"] == [["out", {"children": "here"}]]
        await page.leave()
        await until(lambda: gone)
        assert await live.clients() == []
        over.set()
    assert "on_connect handlers took longer than 0.1 s" in caplog.text


async def test_12_7_an_on_disconnect_that_hangs_is_cancelled(app, monkeypatch, caplog):
    monkeypatch.setattr(hubs, "FAREWELL_TIMEOUT", 0.1)
    live = Live(app, resume_window=0)
    cancelled = asyncio.Event()

    @live.on_disconnect
    async def left(client):
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(app):
        page = await connected(app)
        await page.leave()
        async with asyncio.timeout(5):
            await cancelled.wait()
    assert "on_disconnect handlers took longer than 0.1 s" in caplog.text


async def test_12_7_a_stopping_server_waits_for_nothing_that_hangs(app, monkeypatch):
    monkeypatch.setattr(hubs, "END_TIMEOUT", 0.1)
    monkeypatch.setattr(hubs, "FAREWELL_TIMEOUT", 0.2)
    monkeypatch.setattr(hubs, "CANCEL_TIMEOUT", 0.1)
    live, over = Live(app), asyncio.Event()

    @live.event_callback(Input("go", "n_clicks"))
    async def endless(clicks):
        yield stream_props("out", {"children": clicks})
        await suppressing(over)

    @live.on_disconnect
    async def left(client):
        await suppressing(over)

    @live.on_connect
    async def joined(client):
        await asyncio.sleep(0)

    async with asyncio.timeout(5):
        async with serving(app):
            page = await Page(app).open()
            await page.hello()
            page.send(call(live, 1))
            await page.frames(2)
    over.set()
    await page.leave()


@pytest.mark.parametrize("component", ["", {}, {"i": "all"}])
async def test_12_the_id_of_no_component_is_refused(app, component):
    from flash import ALL

    live = Live(app)
    if component:
        component = {"i": ALL}
    async with serving(app):
        with pytest.raises(ValueError, match="cannot push to the component"):
            await live.push(component, {"children": 1})
        await live.push({"i": 1}, {"children": 1})


async def test_12_a_plain_view_has_no_caller(app):
    live = Live(app)
    seen = []

    @app.server.get("/view")
    async def view():
        try:
            assert live.client
        except NoCaller as error:
            seen.append(str(error))
        return ""

    async with serving(app):
        await app.server.test_client().get("/view")
    assert "live.client" in seen[0]


async def test_12_the_html_of_a_page_is_for_one_browser(app):
    Live(app)
    async with serving(app):
        answer = await app.server.test_client().get("/")
        assert answer.headers["cache-control"] == "private, no-cache"


async def test_a_channel_that_is_prepared_is_kept_only_while_a_page_follows_it(app):
    live = Live(app)
    async with serving(app):
        page = await connected(app)
        (client,) = hub_of(live.app).clients.values()
        kept = live._backplane._channels
        await hub_of(live.app).followers.prepare(["x:1", "x:2"])
        assert {"x:1", "x:2"} <= kept.keys()
        await client.follow("x:1")
        hub_of(live.app).followers.release_unused(["x:1", "x:2"])
        await until(lambda: "x:2" not in kept)
        assert "x:1" in kept
        client.unfollow("x:1")
        await until(lambda: "x:1" not in kept)
        # The channel that every page follows is not dropped.
        hub_of(live.app).followers.release_unused(["all"])
        await page.leave()
        assert "all" in kept
