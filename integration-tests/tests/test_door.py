"""Every way in to an app, against every rule of the door, on three servers (issue 13)."""

import asyncio
import json
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from flash.testing import AppProcess

APP = Path(__file__).parents[1] / "apps" / "door" / "app.py"
SERVERS = ("hypercorn", "uvicorn", "granian")
ALLOWED = "login=yes; user=ada"
PATIENCE = 60

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", params=SERVERS)
def served(request):
    # What is under way at the end of these tests is not waited for.
    options = {"arguments": ("--grace-period", "1"), "ready_path": "/open"}
    with AppProcess(APP, server=request.param, **options) as process:
        yield process


def callback_socket(served, cookie, origin=None):
    return connect(
        served.url.replace("http", "ws") + "/_dash-ws-callback",
        proxy=None,
        origin=origin or served.url,
        additional_headers={"Cookie": cookie} if cookie else {},
    )


def call(value):
    body = {
        "output": "out.children",
        "outputs": {"id": "out", "property": "children"},
        "inputs": [{"id": "in", "property": "value", "value": value}],
        "changedPropIds": ["in.value"],
    }
    return json.dumps(
        {"type": "callback_request", "rendererId": "r", "requestId": "1", "payload": body}
    )


async def answer(socket, value):
    async with asyncio.timeout(PATIENCE):
        await socket.send(call(value))
        received = json.loads(await socket.recv())
    return (received[0] if isinstance(received, list) else received)["payload"]


async def until_closed(socket):
    async with asyncio.timeout(PATIENCE):
        while True:
            await socket.recv()


async def refused(served, cookie, origin=None):
    with pytest.raises(ConnectionClosed) as closed:
        async with asyncio.timeout(PATIENCE), callback_socket(served, cookie, origin) as socket:
            await answer(socket, "x")
    return closed.value.rcvd.code


async def test_13_a_a_socket_without_the_cookie_is_refused(served):
    async with callback_socket(served, ALLOWED) as socket:
        assert (await answer(socket, 7))["data"]["response"] == {"out": {"children": 7}}
    assert await refused(served, "") == 4001
    assert await refused(served, "user=ada") == 4001
    assert await refused(served, "login=yes") == 4001


async def test_13_a_a_page_of_another_origin_is_refused(served):
    for origin in ("http://evil.test", served.url.replace("http", "https"), "null"):
        assert await refused(served, ALLOWED, origin) == 4003


async def test_13_a_the_text_of_an_exception_stays_on_the_server(served):
    async with callback_socket(served, ALLOWED) as socket:
        payload = await answer(socket, "fail")
    assert payload["status"] == "error"
    assert "hunter2" not in json.dumps(payload)
    assert "hunter2" in await asyncio.to_thread(lambda: served.output)


async def test_13_a_a_withdrawn_permission_closes_the_socket(served):
    async with callback_socket(served, "login=yes; user=eve") as socket:
        await answer(socket, 1)
        async with callback_socket(served, ALLOWED) as other:
            await answer(other, 1)
        request = Request(f"{served.url}/withdraw/eve", headers={"Cookie": ALLOWED})
        await asyncio.to_thread(urlopen, request)
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(PATIENCE):
                await socket.recv()
    assert closed.value.rcvd.code == 4532
    assert await refused(served, "login=yes; user=eve") == 4001


async def test_13_a_twenty_thousand_calls_at_once_end_the_socket(served):
    async with callback_socket(served, ALLOWED) as socket:

        async def flood():
            for _ in range(20_000):
                await socket.send(call(1))

        sending = asyncio.ensure_future(flood())
        with pytest.raises(ConnectionClosed) as closed:
            await until_closed(socket)
        await asyncio.gather(sending, return_exceptions=True)
    assert closed.value.rcvd is None or closed.value.rcvd.code == 4529
    async with callback_socket(served, ALLOWED) as socket:
        assert (await answer(socket, 7))["status"] == "ok"
    output = await asyncio.to_thread(lambda: served.output)
    assert "Traceback" not in output.split("hunter2")[-1]


# -- the table of docs/security.md


def table():
    """Return what the table says: (way, rule) and whether the request is refused."""
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    start = next(index for index, row in enumerate(rows) if row[0].strip() == "way in")
    rules = [each.strip() for each in rows[start][1:]]
    for row in rows[start + 2 :]:
        if len(row) != len(rules) + 1:
            return
        for rule, cell in zip(rules, row[1:], strict=True):
            yield row[0].strip(), rule, cell.strip() == "refused"


PATHS = {
    "HTTP callback": "/_dash-update-component",
    "page": "/",
    "Dash's WebSocket": "/_dash-ws-callback",
    "live link, WebSocket": "/_flash/link",
    "live link, SSE": "/_flash/link/events",
    "endpoint, WebSocket": "/socket",
    "endpoint, SSE": "/stream",
}
BODIES = {
    "HTTP callback": json.dumps(json.loads(call(1))["payload"]).encode(),
    "live link, SSE": b'[{"t":"hello","v":1}]',
}
HEADERS = {
    "nothing": {},
    "other host": {"Host": "evil.test"},
    "other origin": {"Origin": "http://evil.test"},
    "no login (`before_request`)": {"Cookie": "user=ada"},
    "`authorize` says no": {"Cookie": "login=yes"},
}


async def is_refused(served, way, rule):
    """Send the request; return whether it was refused."""
    sent = {"Cookie": ALLOWED, "Origin": served.url, **HEADERS[rule]}
    path = PATHS[way]
    if "WebSocket" in way:
        return await is_socket_refused(served, path, sent)
    body = BODIES.get(way)
    kind = {"Content-Type": "application/json"} if body else {}
    request = Request(served.url + path, data=body, headers={**sent, **kind})

    def fetch():
        try:
            with urlopen(request, timeout=PATIENCE):
                return False
        except HTTPError as error:
            return error.code in (400, 401, 403)

    return await asyncio.to_thread(fetch)


async def is_socket_refused(served, path, sent):
    address = served.url.replace("http", "ws") + path
    host = sent.pop("Host", None)
    if host is not None:
        address = address.replace("127.0.0.1", host)
    options = {"host": "127.0.0.1", "port": served.port} if host else {}
    origin = sent.pop("Origin")
    try:
        async with (
            asyncio.timeout(PATIENCE),
            connect(address, proxy=None, origin=origin, additional_headers=sent, **options) as link,
        ):
            # What is admitted stays open; a refused page's socket is closed at once.
            await asyncio.wait_for(link.wait_closed(), 1)
            return link.close_code not in (1000, 1001)
    except TimeoutError:
        return False
    except InvalidStatus:
        return True


@pytest.mark.parametrize("way", PATHS)
async def test_13_the_table_of_the_ways_in_is_true(served, way):
    assert not await is_refused(served, way, "nothing")
    said = {rule: refused for name, rule, refused in table() if name == way}
    assert set(said) == set(HEADERS) - {"nothing"}
    found = {rule: await is_refused(served, way, rule) for rule in said}
    assert found == said
