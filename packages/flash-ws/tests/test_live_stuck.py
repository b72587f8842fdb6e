"""Handlers of an app that are slow or never return hold up nothing but themselves."""

import asyncio

import pytest
from page import connected, serving

from flash import Flash, Input, html
from flash_ws import Live, stream_props
from flash_ws.callbacks import event_callbacks
from flash_ws.clients import hub as hubs


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div()
    return app


def call(number, name):
    body = {
        "callback": name,
        "inputs": [{"id": "go", "property": "n_clicks", "value": number}],
        "state": [],
        "changedPropIds": ["go.n_clicks"],
    }
    return {"t": "call", "id": number, "body": body}


async def next_of(page, kind):
    while True:
        frame = await page.frame()
        if frame["t"] == kind:
            return frame


async def test_11_10_a_slow_on_connect_holds_up_neither_the_page_s_leaving_nor_others(app):
    live, gate, order = Live(app, resume_window=0.05), asyncio.Event(), []

    @live.on_connect
    async def greet(client):
        await gate.wait()
        order.append("connected")

    @live.on_disconnect
    async def part(client):
        order.append("disconnected")

    async with serving(app):
        page = await connected(app)
        await live.push("bar", {"value": 1})
        assert (await next_of(page, "props"))["u"] == [["bar", {"value": 1}]]
        await page.leave()
        async with asyncio.timeout(5):
            while await live.clients():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        gate.set()
        async with asyncio.timeout(5):
            while len(order) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert order == ["connected", "disconnected"]


async def test_11_10_events_wait_for_on_connect(app):
    live, gate = Live(app), asyncio.Event()

    @live.on_connect
    async def greet(client):
        await gate.wait()
        client.data["name"] = "ada"

    @live.on_event("hello")
    async def hello(_):
        await live.push("out", {"children": live.client.data["name"]}, to=live.client)

    async with serving(app):
        page = await connected(app)
        page.send({"t": "event", "name": "hello", "k": 1})
        await asyncio.sleep(0.05)
        gate.set()
        assert (await next_of(page, "props"))["u"] == [["out", {"children": "ada"}]]
        await page.leave()


async def test_11_10_an_on_connect_that_never_returns_is_given_up(app, monkeypatch, caplog):
    monkeypatch.setattr(hubs, "INTRODUCTION_TIMEOUT", 0.1)
    live = Live(app)

    @live.on_connect
    async def greet(client):
        await asyncio.Event().wait()

    @live.on_event("hello")
    async def hello(_):
        await live.push("out", {"children": "here"}, to=live.client)

    async with serving(app):
        page = await connected(app)
        page.send({"t": "event", "name": "hello", "k": 1})
        assert (await next_of(page, "props"))["u"] == [["out", {"children": "here"}]]
        await page.leave()
    assert "on_connect" in caplog.text
    assert "0.1 s" in caplog.text


async def test_11_10_many_slow_on_disconnect_handlers_end_together(app):
    live, left = Live(app), []

    @live.on_disconnect
    async def part(client):
        await asyncio.sleep(0.3)
        left.append(client.id)

    async with serving(app):
        opened = [await connected(app) for _ in range(30)]
        loop = asyncio.get_running_loop()
        for page in opened:
            await page.leave()
        began = loop.time()
    assert len(left) == 30
    # One after the other they take 9 s.
    assert loop.time() - began < 6


async def test_11_10_a_call_that_does_not_end_holds_up_only_the_one_that_replaces_it(
    app, monkeypatch, caplog
):
    monkeypatch.setattr(event_callbacks, "END_TIMEOUT", 0.3)
    live = Live(app)

    @live.event_callback(Input("go", "n_clicks"))
    async def stubborn(clicks):
        yield stream_props("out", {"children": clicks})
        while clicks == 1 and not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    @live.on_event("ping")
    async def ping(_):
        await live.push("out", {"children": "pong"}, to=live.client)

    over = asyncio.Event()
    (name,) = live._event_callbacks._callbacks
    async with serving(app):
        page = await connected(app)
        page.send(call(1, name))
        assert (await next_of(page, "props"))["u"] == [["out", {"children": 1}]]
        page.send(call(2, name), {"t": "event", "name": "ping", "k": 1})
        assert (await next_of(page, "props"))["u"] == [["out", {"children": "pong"}]]
        assert (await next_of(page, "props"))["u"] == [["out", {"children": 2}]]
        page.send({"t": "stop", "id": 2})
        over.set()
        await page.leave()
    assert "has not ended within 0.3 s" in caplog.text
