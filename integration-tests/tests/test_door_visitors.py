"""One `authorize` for the app and narrower ones, on three servers (issue 14, number 4)."""

import asyncio
import json
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from test_door import SERVERS, answer, call, until_closed
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from flash.testing import AppProcess

APP = Path(__file__).parents[1] / "apps" / "door" / "visitors.py"
PATIENCE = 60

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", params=SERVERS)
def served(request):
    with AppProcess(APP, server=request.param, ready_path="/_flash/health") as process:
        yield process


def fetch(served, path, cookie=""):
    """Return the status, the body and the cookie that a request gets."""
    headers = {"Cookie": cookie} if cookie else {}
    body = None
    if path == "/_dash-update-component":
        body = json.dumps(json.loads(call(1))["payload"]).encode()
        headers["Content-Type"] = "application/json"
    try:
        with urlopen(Request(served.url + path, body, headers), timeout=PATIENCE) as response:
            given = response.headers.get("Set-Cookie", "").partition(";")[0]
            return response.status, response.read().decode(), given
    except HTTPError as error:
        return error.code, error.read().decode(), ""


async def log_in(served, user):
    """Return the user's cookie, and the token of the channel desk/fx."""
    status, token, cookie = await asyncio.to_thread(fetch, served, f"/log-in/{user}")
    assert status == 200
    return cookie, token


def opened(served, path, cookie=""):
    return connect(
        served.url.replace("http", "ws") + path,
        proxy=None,
        origin=served.url,
        additional_headers={"Cookie": cookie} if cookie else {},
    )


async def refused(served, path, cookie=""):
    """Return the close code with which a socket is refused."""
    with pytest.raises((ConnectionClosed, InvalidStatus)) as closed:
        async with asyncio.timeout(PATIENCE), opened(served, path, cookie) as socket:
            await socket.recv()
    return closed.value.rcvd.code


async def named(served, path, cookie=""):
    async with asyncio.timeout(PATIENCE), opened(served, path, cookie) as socket:
        return await socket.recv()


async def test_14_4_one_authorize_is_asked_for_all_that_stays_open(served):
    ada, _ = await log_in(served, "ada")
    assert await named(served, "/socket", ada) == "ada"
    assert await refused(served, "/socket") == 4401
    assert await refused(served, "/_flash/link") == 4401
    assert await refused(served, "/_dash-ws-callback") == 4001
    async with opened(served, "/_dash-ws-callback", ada) as socket:
        assert (await answer(socket, 7))["data"]["response"] == {"out": {"children": 7}}
    status, text, _ = await asyncio.to_thread(fetch, served, "/stream", ada)
    assert (status, text.splitlines()[0]) == (200, "data: ada")
    assert (await asyncio.to_thread(fetch, served, "/stream"))[0] == 401


async def test_14_4_requests_over_http_are_left_to_the_guards(served):
    for path in ("/", "/_dash-layout", "/_dash-update-component"):
        assert (await asyncio.to_thread(fetch, served, path))[0] == 200


async def test_14_4_an_endpoint_may_be_narrower_or_open(served):
    (ada, _), (eve, _) = await log_in(served, "ada"), await log_in(served, "eve")
    assert await named(served, "/admin", ada) == "ada"
    assert await refused(served, "/admin", eve) == 4401
    assert await refused(served, "/admin") == 4401
    assert await named(served, "/public", eve) == "eve"
    assert await named(served, "/public") == "None"
    status, text, _ = await asyncio.to_thread(fetch, served, "/admin-stream", ada)
    assert (status, text.splitlines()[0]) == (200, "data: ada")
    assert (await asyncio.to_thread(fetch, served, "/admin-stream", eve))[0] == 401


async def subscription(served, cookie, token, path="/fx"):
    """Return how the server answers a page that subscribes to desk/fx."""
    async with asyncio.timeout(PATIENCE), opened(served, "/_flash/link", cookie) as link:
        hello = {"t": "hello", "v": 1, "page": None, "at": {}, "path": path}
        await link.send(json.dumps([hello]))
        await link.recv()
        await link.send(json.dumps([{"t": "subscribe", "channel": "desk/fx", "token": token}]))
        while True:
            for frame in json.loads(await link.recv()):
                if frame["t"] == "subscription":
                    return frame["status"]


async def test_14_4_a_channels_authorize_gets_the_visitor_and_the_variables(served):
    ada, token = await log_in(served, "ada")
    eve, _ = await log_in(served, "eve")
    assert await subscription(served, ada, token) == "subscribed"
    assert await subscription(served, ada, token, path="/other") == "denied"
    assert await subscription(served, eve, token) == "denied"
    assert await subscription(served, ada, "forged") == "denied"


@pytest.mark.parametrize("path", ["/socket", "/_dash-ws-callback", "/_flash/link"])
async def test_14_4_a_withdrawn_permission_closes_what_the_apps_authorize_opened(served, path):
    user = f"withdrawn{path}".replace("/", "-")
    cookie, _ = await log_in(served, user)
    async with opened(served, path, cookie) as socket:
        if path == "/_flash/link":
            await socket.send('[{"t":"hello","v":1,"page":null,"at":{},"path":"/"}]')
        elif path == "/_dash-ws-callback":
            await answer(socket, 1)
        await asyncio.to_thread(fetch, served, f"/withdraw/{user}")
        # Long before the silence of the connection would end it.
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(15):
                await until_closed(socket)
    assert closed.value.rcvd.code == 4532
    assert await refused(served, path, cookie) in (4401, 4001)


async def test_14_4_a_revoked_users_cookie_opens_nothing_narrower_either(served):
    ada, _ = await log_in(served, "grace")
    assert await named(served, "/socket", ada) == "grace"
    await asyncio.to_thread(fetch, served, "/log-out/grace")
    assert await refused(served, "/socket", ada) == 4401
    assert await refused(served, "/admin", ada) == 4401
    # Whom nobody has to name is let in without a name.
    assert await named(served, "/public", ada) == "None"
