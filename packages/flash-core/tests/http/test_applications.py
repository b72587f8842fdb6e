"""ASGI applications of add-ons, which the gateway serves before Quart."""

import asyncio

import pytest

from flash import ConfigurationError, Flash, html
from flash.http.gateway import Gateway
from flash.testing import FlashClient


@pytest.fixture(autouse=True)
async def nothing_hangs():
    async with asyncio.timeout(20):
        yield


@pytest.fixture
def app():
    app = Flash(__name__, url_base_pathname="/app/")
    app.layout = html.Div()
    return app


class Application:
    """Answers with its name and notes what it is asked."""

    def __init__(self, name):
        self.name = name
        self.scopes = []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.name.encode()})


async def test_an_application_gets_every_request_at_its_path_and_no_other(app):
    mine = Application("mine")
    app.add_asgi_route("mine", mine)
    async with FlashClient(app) as client:
        for method in ("GET", "POST", "DELETE"):
            assert (await client.request(method, "/app/mine")).text == "mine"
        assert [scope["method"] for scope in mine.scopes] == ["GET", "POST", "DELETE"]
        for path in ("/app/", "/app/mine/deep", "/app/other"):
            answer = await client.get(path)
            assert answer.status == 200
            assert "<html" in answer.text
        assert len(mine.scopes) == 3


async def test_the_variables_of_a_rule_are_in_the_scope(app):
    room, plain = Application("room"), Application("plain")
    app.add_asgi_route("room/<name>/<int:number>", room)
    app.add_asgi_route("room/main/0", plain)
    async with FlashClient(app) as client:
        assert (await client.get("/app/room/main/7")).text == "room"
        # A path without variables comes first.
        assert (await client.get("/app/room/main/0")).text == "plain"
        # A slash at the end makes no difference where there are variables.
        assert (await client.get("/app/room/main/8/")).text == "room"
        assert "<html" in (await client.get("/app/room/main/seven")).text
    assert [scope["path_params"] for scope in room.scopes] == [
        {"name": "main", "number": 7},
        {"name": "main", "number": 8},
    ]


async def test_an_application_is_found_below_a_root_path_and_on_a_websocket(app):
    mine = Application("mine")
    app.add_asgi_route("/mine", mine)
    async with FlashClient(app):

        async def nothing():
            await asyncio.Event().wait()

        sent = []

        async def send(message):
            sent.append(message)

        for kind in ("http", "websocket"):
            scope = {"type": kind, "path": "/root/app/mine", "root_path": "/root", "headers": []}
            await app.server(scope, nothing, send)
    assert [scope["type"] for scope in mine.scopes] == ["http", "websocket"]


def test_a_path_has_one_application(app):
    app.add_asgi_route("mine", Application("mine"))
    app.add_asgi_route("mine/<name>", Application("with a name"))
    for rule in ("mine", "mine/<name>"):
        with pytest.raises(ConfigurationError, match=f"'/app/{rule}' is taken"):
            app.add_asgi_route(rule, Application("another"))


def test_apps_on_one_server_share_one_gateway(app):
    gateway = Gateway.of(app.server)
    assert app.server.asgi_app is gateway
    other = Flash(__name__, server=app.server, url_base_pathname="/other/")
    assert Gateway.of(other.server) is gateway
    other.add_asgi_route("mine", Application("other's"))
    with pytest.raises(ConfigurationError, match="/other/mine"):
        other.add_asgi_route("mine", Application("another"))


def test_a_path_that_is_malformed_is_taken_by_nobody(app):
    for _ in range(2):
        with pytest.raises(ValueError, match="malformed"):
            app.add_asgi_route("mine/<name", Application("mine"))
