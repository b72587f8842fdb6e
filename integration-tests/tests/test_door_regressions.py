"""Attacks that an app has withstood, as tables: origins, paths, forged tokens (issue 13).

Most are sent to the app in this process, where the code is that of the servers; a sample goes to
each of the three servers. For keys of the wrong type in Redis see `test_redis_client.py`.
"""

import asyncio
import json
import socket as sockets
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from dash import Input, Output, html

from flash import AsyncManager, Flash, dcc
from flash.seams import dash as dash_seam
from flash.testing import AppClient, AppProcess
from flash_lazy.errors import TokenRefused
from flash_lazy.tokens.token import LoaderCall, Signer
from flash_pubsub.channels.subscription import is_signed, sign
from flash_ws import Live

DOOR = Path(__file__).parents[1] / "apps" / "door" / "app.py"
SERVERS = ("hypercorn", "uvicorn", "granian")
HOST = "app.test:8050"
OWN = f"http://{HOST}"
HELLO = b'[{"t":"hello","v":1}]'

pytestmark = pytest.mark.timeout(240)

# -- origins: ways in × values of the header

REFUSED_ORIGINS = [
    "null",
    "http://evil.test",
    "https://evil.test",
    "http://app.test",
    "http://app.test:80",
    "http://app.test:8051",
    "http://app.test:08050x",
    "https://app.test:8050",
    "ws://app.test:8050",
    "ftp://app.test:8050",
    "http://sub.app.test:8050",
    "http://app.test.evil.test:8050",
    "http://evil.test/app.test:8050",
    "http://evilapp.test:8050",
    "http://app.testevil:8050",
    "http://app.test@evil.test:8050",
    "http://app.test:8050@evil.test",
    "http://evil.test#app.test:8050",
    "http://evil.test?app.test:8050",
    "http://evil.test\\app.test:8050",
    "http://app.test:8050/",
    "http://app.test:8050/path",
    "http://app.test:8050?",
    "http://app.test:8050#",
    "http://user@app.test:8050",
    "http://app.test:8050:8050",
    "http://app.test:8050,http://evil.test",
    "http://evil.test,http://app.test:8050",
    "http://app.test:8050 http://evil.test",
    "http:app.test:8050",
    "//app.test:8050",
    "app.test:8050",
    "app.test",
    "http://",
    "http",
    "*",
    "file://",
    "data:text/html,x",
    "chrome-extension://abcdefghijklmnop",
    "moz-extension://app.test:8050",
    "http://[app.test]:8050",
    "http://[::1]:8050",
    "http://127.0.0.1:8050",
    "http://localhost:8050",
    "http://app.test%00:8050",
    "http://app%2etest:8050",
    "http://\xe0pp.test:8050",
    "http://APP.TEST.EVIL:8050",
    "http://app..test:8050",
    "http://.app.test:8050",
    "http://app.test:-8050",
    "http://app.test:80 50",
    "http://other.test.evil:8050",
    "http://app_test:8050",
]
ALLOWED_ORIGINS = [OWN, OWN.upper().replace("HTTP", "http"), "http://app.test.:8050"]

WAYS = {
    "link over WebSocket": ("websocket", "/_flash/link"),
    "link over events": ("POST", "/_flash/link/events"),
    "posts to a link": ("POST", "/_flash/link/frames"),
    "WebSocket of an endpoint": ("websocket", "/socket"),
    "events of an endpoint": ("GET", "/stream"),
    "events of an endpoint, posted": ("POST", "/stream"),
    "Dash's WebSocket": ("websocket", "/_dash-ws-callback"),
}


def make_app(**settings):
    app = Flash(__name__, websocket_callbacks=True, background_callback_manager=AsyncManager())
    app.server.secret_key = "0123456789abcdef" * 2
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out"), html.P(id="job")])
    live = Live(app, **settings)

    @live.websocket("/socket")
    async def endpoint(connection):
        async for message in connection:
            await connection.send(message)

    @live.sse("/stream", methods=("GET", "POST"))
    async def stream(request):
        yield "x"

    @app.callback(Output("job", "children"), Input("in", "value"), background=True)
    async def work(value):
        await asyncio.sleep(30)

    return app


@asynccontextmanager
async def open_app(**settings):
    app = make_app(**settings)
    async with AppClient(app, base_url=OWN) as client:
        yield app, client


async def opens(app, client, way, origin, **more):
    """Send one request of a way in; return whether it passes the check of the origin."""
    kind, path = WAYS[way]
    headers = {"origin": origin, **more}
    if kind == "websocket":
        return await opens_socket(app, path, headers)
    async with client.stream(kind, path, headers=headers, body=HELLO) as exchange:
        # A post for a connection that does not exist is answered with 410, after the check.
        assert exchange.status in (200, 403, 410)
        return exchange.status != 403


async def opens_socket(app, path, headers):
    sent = asyncio.Queue()
    received = asyncio.Queue()
    received.put_nowait({"type": "websocket.connect"})
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"host", HOST.encode()),
            *((name.encode(), value.encode("latin-1")) for name, value in headers.items()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("app.test", 8050),
        "subprotocols": [],
        "state": {},
    }
    serving = asyncio.ensure_future(app(scope, received.get, sent.put))
    try:
        async with asyncio.timeout(20):
            event = await sent.get()
            if event["type"] == "websocket.close":
                return False
            assert event["type"] == "websocket.accept"
            if path == "/_flash/link":
                text = HELLO.decode()
                received.put_nowait({"type": "websocket.receive", "text": text})
            elif path == "/socket":
                received.put_nowait({"type": "websocket.receive", "text": "echo"})
            else:
                # Dash's handler says nothing; a refused page is closed at once.
                for _ in range(20):
                    await asyncio.sleep(0)
                return sent.empty() or (await sent.get())["type"] != "websocket.close"
            return (await sent.get())["type"] == "websocket.send"
    finally:
        received.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await asyncio.wait({serving}, timeout=10)
        serving.cancel()


def test_13_there_are_as_many_checks_of_origins_as_withstood():
    assert len(WAYS) * len(REFUSED_ORIGINS) == 378
    assert len(set(REFUSED_ORIGINS)) == len(REFUSED_ORIGINS)


@pytest.mark.parametrize("way", WAYS)
async def test_13_a_page_of_another_origin_is_refused_on_every_way(way):
    async with open_app() as (app, client):
        opened = [each for each in REFUSED_ORIGINS if await opens(app, client, way, each)]
        assert opened == []
        # Dash compares once more, with the spelling that browsers send.
        for origin in [OWN] if way.startswith("Dash") else ALLOWED_ORIGINS:
            assert await opens(app, client, way, origin), origin


@pytest.mark.parametrize("way", [way for way in WAYS if not way.startswith("Dash")])
async def test_13_a_named_origin_opens_for_itself_alone(way):
    allowed = ["https://named.test", "https://*.wild.test"]
    async with open_app(allowed_origins=allowed) as (app, client):
        for origin in ("https://named.test", "https://a.wild.test", "https://a.b.wild.test"):
            assert await opens(app, client, way, origin), origin
        for origin in (
            "http://named.test",
            "https://named.test.evil.test",
            "https://wild.test",
            "https://evilwild.test",
            "https://a.wild.test.evil.test",
            "https://named.test:444",
        ):
            assert not await opens(app, client, way, origin), origin


@pytest.mark.parametrize("way", WAYS)
async def test_13_a_page_of_another_site_without_an_origin_is_refused(way):
    async with open_app() as (app, client):
        kind, path = WAYS[way]
        for site in ("cross-site", "same-site"):
            headers = {"sec-fetch-site": site}
            if kind == "websocket":
                assert not await opens_socket(app, path, headers)
            else:
                answer = await client.request(kind, path, headers=headers, body=HELLO)
                assert answer.status == 403


# -- paths that lead out of the folders: places × spellings

PLACES = (
    "/assets/",
    "/_dash-component-suites/dash/",
    "/_dash-component-suites/flash_ws/",
    "/_dash-component-suites/",
)
SPELLINGS = [
    "../secret.txt",
    "../../secret.txt",
    "../../../../../../../../etc/passwd",
    "..%2fsecret.txt",
    "%2e%2e/secret.txt",
    "%2e%2e%2fsecret.txt",
    "%252e%252e%252fsecret.txt",
    "..%252fsecret.txt",
    "..\\secret.txt",
    "..%5csecret.txt",
    "%2e%2e%5csecret.txt",
    "..%c0%afsecret.txt",
    "..%ef%bc%8fsecret.txt",
    "..;/secret.txt",
    "....//secret.txt",
    "..././secret.txt",
    "./../secret.txt",
    ".//../secret.txt",
    "/../secret.txt",
    "//etc/passwd",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "%2f%2fetc/passwd",
    "style.css/../../secret.txt",
    "style.css%2f..%2f..%2fsecret.txt",
    "nested/../../secret.txt",
    "nested/..%2f..%2fsecret.txt",
    "../assets/../secret.txt",
    "../assets-other/secret.txt",
    "..%00/secret.txt",
    "../secret.txt%00.css",
    "style.css%00../secret.txt",
    "secret-link.txt",
    "~/secret.txt",
    "file:///etc/passwd",
    "C:/windows/win.ini",
    "C:%5cwindows%5cwin.ini",
    "%c0%ae%c0%ae/secret.txt",
    "%u002e%u002e/secret.txt",
    "..%2f" * 12 + "etc/passwd",
]
SECRET = "the secret of this folder"


@pytest.fixture
def shelf(tmp_path):
    """A folder of assets, and secrets around it."""
    assets = tmp_path / "assets"
    (assets / "nested").mkdir(parents=True)
    (tmp_path / "assets-other").mkdir()
    (assets / "style.css").write_text("p { color: red }")
    (assets / "nested" / "more.css").write_text("p { color: blue }")
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "assets-other" / "secret.txt").write_text(SECRET)
    return assets


def leaks(body):
    return SECRET.encode() in body or b"root:" in body or b"[fonts]" in body


def test_13_there_are_as_many_paths_as_withstood():
    assert len(PLACES) * len(SPELLINGS) == 160
    assert len(set(SPELLINGS)) == len(SPELLINGS)


@pytest.mark.parametrize("is_guarded", [False, True])
async def test_13_no_path_leads_out_of_the_folders(shelf, is_guarded):
    app = Flash(__name__, assets_folder=str(shelf))
    app.layout = html.Div()
    if is_guarded:
        # Then Quart routes the request.
        app.server.before_request(lambda: None)
    async with AppClient(app) as client:
        assert (await client.get("/assets/style.css")).status == 200
        for place in PLACES:
            for spelling in SPELLINGS:
                answer = await client.get(f"http://testserver{place}{spelling}")
                assert not leaks(answer.body), (place, spelling)
                assert answer.status < 500, (place, spelling, answer.status)


# -- forged tokens


def forgeries(token):
    """Return texts that are like a token of the app and are not one."""
    flipped = [
        token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        for at in range(0, len(token), max(1, len(token) // 24))
    ]
    other = [
        token[:-1],
        token[1:],
        token + "x",
        token + "~",
        f"~{token}",
        token * 2,
        token[::-1],
        token.partition("~")[0],
        token.rpartition("~")[0] + "~",
        token.rpartition("~")[0] + "~" + "0" * 64,
        "",
        "~",
        "~~",
        "null",
        "None",
        "0" * 24,
        "a" * 64,
        "\u00e4" * 40,
        "💥~💥",
        "\x00" * 40,
        "A" * 100_000,
    ]
    upper = token.upper()
    return [each for each in [*flipped, *other, upper] if each != token]


async def test_13_no_forged_identity_is_taken_for_a_page():
    async with open_app() as (app, _):
        token = app.new_page_identity()
        assert app.page_of(token)
        assert [each for each in forgeries(token) if app.page_of(each)] == []
        scopes = ("job:", "cacheKey:", "END", "", "end ")
        secret = app.signing_secret()
        for scope in scopes:
            assert app.page_of(dash_seam.sign(secret, scope, "a" * 24)) is None
        assert app.page_of(dash_seam.sign(b"another", dash_seam.END_SCOPE, "a" * 24)) is None


async def test_13_no_forged_handle_polls_or_cancels_a_job():
    def call(**handles):
        return json.dumps(
            {
                "output": "job.children",
                "outputs": {"id": "job", "property": "children"},
                "inputs": [{"id": "in", "property": "value", "value": 1}],
                "changedPropIds": ["in.value"],
            }
        ).encode()

    async with open_app() as (app, client):
        page, other = app.new_page_identity(), app.new_page_identity()

        async def post(**query):
            return await client.post(
                "/_dash-update-component",
                params=list(query.items()),
                body=call(),
                headers={"content-type": "application/json"},
            )

        started = (await post(endId=page)).json()
        key, job = started["cacheKey"], started["job"]
        assert (await post(endId=page, cacheKey=key, job=job)).status == 200
        assert (await post(endId=other, cacheKey=key, job=job)).status == 403
        assert (await post(endId=page, cacheKey=job, job=key)).status == 403
        assert (await post(cacheKey=key, job=job)).status == 403
        for forged in forgeries(key):
            if not forged or len(forged) > 10_000:
                continue
            answer = await post(endId=page, cacheKey=forged, job=job)
            assert answer.status == 403, forged
        for forged in forgeries(page):
            if len(forged) > 10_000:
                continue
            answer = await post(endId=forged, cacheKey=key, job=job)
            assert answer.status == 403, forged
        # It still runs.
        assert (await post(endId=page, cacheKey=key, job=job)).status == 200


async def test_13_no_forged_subscription_is_signed():
    async with open_app() as (app, _):
        token = sign(app, "prices")
        assert is_signed(app, "prices", token)
        for forged in (*forgeries(token), None, 5, [], {}, token.encode(), True):
            assert not is_signed(app, "prices", forged), forged
        for channel in ("price", "prices ", "Prices", "prices\x00", ""):
            assert not is_signed(app, channel, token)


def test_13_no_forged_panel_token_is_read():
    signer = Signer(b"secret of the app", "/")
    token = signer.sign(LoaderCall.of("orders", {"customer": 7}), "")
    assert signer.read(token, "").loader == "orders"
    for forged in forgeries(token):
        with pytest.raises(TokenRefused):
            signer.read(forged, "")
    for other in (Signer(b"another secret", "/"), Signer(b"secret of the app", "/other/")):
        with pytest.raises(TokenRefused):
            other.read(token, "")
    with pytest.raises(TokenRefused):
        signer.read(token, "session:of-another")


# -- a sample on the servers, as bytes on the wire


@pytest.fixture(scope="module", params=SERVERS)
def served(request):
    with AppProcess(DOOR, server=request.param, ready_path="/open") as process:
        yield process


def answer_to(process, request):
    """Send bytes and return the status of the response and the rest of it."""
    with sockets.create_connection(("127.0.0.1", process.port), timeout=60) as connection:
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


@pytest.mark.parametrize("spelling", SPELLINGS[::4])
def test_13_no_path_leads_out_of_the_folders_on_a_server(served, spelling):
    for place in PLACES[:2]:
        path = f"{place}{spelling}".replace(" ", "%20").replace("\\", "%5c")
        request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: login=yes\r\n"
            "Connection: close\r\n\r\n"
        )
        status, body = answer_to(served, request.encode())
        assert not leaks(body)
        assert status < 500


SAMPLE = [each for each in REFUSED_ORIGINS[::6] if each.isascii()]


@pytest.mark.parametrize("origin", SAMPLE)
def test_13_a_page_of_another_origin_is_refused_on_a_server(served, origin):
    request = (
        "POST /_flash/link/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Cookie: login=yes; user=ada\r\nOrigin: {origin}\r\nConnection: close\r\n"
        f"Content-Length: {len(HELLO)}\r\n\r\n"
    )
    status, _ = answer_to(served, request.encode() + HELLO)
    assert status in (400, 403)
