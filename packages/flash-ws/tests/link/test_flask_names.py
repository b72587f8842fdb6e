"""Flask's `request`, `session`, `g` and `current_app` in code that runs for a page's link."""

import asyncio

import flask
import pytest
from page import connected, serving

from flash import Flash, Input, html
from flash_ws import Live, stream_props


@pytest.fixture
def app():
    app = Flash("links")
    app.layout = html.Button(id="go")
    app.server.secret_key = "secret"
    return app


def headers(app, name):
    serializer = app.server.session_interface.get_signing_serializer(app.server)
    cookie = f"session={serializer.dumps({'user': name})}; taste=sweet"
    return [(b"cookie", cookie.encode())]


def seen():
    request = flask.request
    return [
        flask.session["user"],
        request.cookies["taste"],
        request.path,
        flask.g.get("other", "nothing"),
        flask.current_app.name,
    ]


def expected(name):
    return [name, "sweet", "/_flash/link", "nothing", "links"]


def call(live, number):
    (callback,) = live._event_callbacks._callbacks
    trigger = [{"id": "go", "property": "n_clicks", "value": number}]
    return {
        "t": "call",
        "id": number,
        "body": {
            "callback": callback,
            "inputs": trigger,
            "state": [],
            "changedPropIds": ["go.n_clicks"],
        },
    }


async def test_in_handlers_of_events_plain_and_async_of_two_users(app):
    live = Live(app)
    found, everything = [], asyncio.Event()

    def note(value):
        found.append(value)
        if len(found) == 4:
            everything.set()

    @live.on_event("plain")
    def plain(data):
        loop.call_soon_threadsafe(note, ("plain", data, seen()))

    @live.on_event("awaited")
    async def awaited(data):
        await asyncio.sleep(0)
        note(("awaited", data, seen()))

    loop = asyncio.get_running_loop()
    async with serving(app), asyncio.timeout(30):
        pages = [await connected(app, headers=headers(app, name)) for name in ("ann", "bob")]
        for page, name in zip(pages, ("ann", "bob"), strict=True):
            page.send(
                *({"t": "event", "name": each, "data": name} for each in ("plain", "awaited"))
            )
        await everything.wait()
        for page in pages:
            await page.leave()
    assert sorted(found) == [
        (kind, name, expected(name)) for kind in ("awaited", "plain") for name in ("ann", "bob")
    ]


async def test_in_event_callbacks_guards_and_authorize(app):
    told = []

    @app.server.before_request
    def guard():
        told.append(flask.session["user"])

    def authorize(opening):
        told.append(seen()[0])
        return opening.session["user"]

    live = Live(app, authorize=authorize)

    @live.event_callback(Input("go", "n_clicks"))
    async def stream(clicks):
        yield stream_props("out", {"children": seen()})

    async with serving(app), asyncio.timeout(30):
        page = await connected(app, headers=headers(app, "ann"))
        page.send(call(live, 1))
        frames = await page.frames(3)
        await page.leave()
    texts = [frame for frame in frames if frame["t"] == "props"]
    assert str(expected("ann"))[1:-1].replace("'", '"') in str(texts).replace("'", '"')
    assert told == ["ann", "ann"]
