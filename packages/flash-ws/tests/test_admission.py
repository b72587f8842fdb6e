"""One guard for pages and endpoints: who gets in, who stays, who is somebody else by now."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
import quart
from page import Closed, Page, connected, serving
from quart.sessions import SecureCookieSessionInterface

from flash import ConfigurationError, Flash, html
from flash.access.admission import Recheck
from flash.testing import AppClient
from flash_ws import CloseCode, Live
from flash_ws.callbacks.deferred import hub_of

HELLO = json.dumps([{"t": "hello", "v": 1, "page": None, "at": {}, "path": "/"}]).encode()
EVENTS = "/_flash/link/events"
FRAMES = "/_flash/link/frames"
BEAT = b'[{"t":"beat"}]'


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div()
    app.server.secret_key = "secret"
    return app


def cookie(app, **session):
    serializer = app.server.session_interface.get_signing_serializer(app.server)
    return f"session={serializer.dumps(session)}"


def by_session(visit):
    assert visit.path == quart.request.path
    return visit.session.get("user")


async def test_one_guard_decides_for_pages_sockets_and_streams(app, connect):
    live = Live(app, authorize=by_session)
    names = []

    @live.websocket("/socket")
    async def socket(connection):
        names.append(connection.user)

    @live.sse("/stream")
    async def stream(request):
        names.append(request.user)
        yield "x"

    @live.websocket("/public", authorize=lambda visit: True)
    async def public(connection):
        names.append(connection.user)

    ada = cookie(app, user="ada")
    async with AppClient(app) as client:
        page = await connected(app, headers=[(b"cookie", ada.encode())])
        names.extend(each.user for each in hub_of(live.app).clients.values())
        async with connect(app, "/socket", headers=[("cookie", ada)]) as known:
            assert await known.closed() == 1000
        assert (await client.get("/stream", headers={"cookie": ada})).status == 200
        async with connect(app, "/public") as anybody:
            assert await anybody.closed() == 1000
        assert names == ["ada", "ada", "ada", None]

        with pytest.raises(Closed) as closed:
            await Page(app).open()
        assert closed.value.code == CloseCode.UNAUTHORIZED.number
        for method, url in (("GET", "/stream"), ("POST", EVENTS)):
            refused = await client.request(method, url)
            assert (refused.status, refused.text) == (401, "not allowed to connect\n")
        with pytest.raises(ConnectionRefusedError):
            async with connect(app, "/socket"):
                pass
        await page.leave()


async def test_a_page_in_a_browser_learns_that_it_may_not_connect(app):
    Live(app, authorize=by_session)
    async with serving(app):
        page = await Page(app, headers=[(b"origin", b"http://testserver")]).open()
        assert await page.closed() == CloseCode.UNAUTHORIZED.number
        await page.leave()


async def test_an_authorize_that_returns_something_else_lets_nobody_in(app, caplog):
    live = Live(app, authorize=lambda visit: {"name": "ada"})
    async with AppClient(app) as client:
        assert (await client.post(EVENTS, body=HELLO)).status == 500
        assert not hub_of(live.app).clients
    assert "return True, False or the name of the user" in caplog.text


async def test_a_page_no_longer_allowed_is_sent_to_ask_again_and_then_refused(app):
    allowed = {"ada", "otto"}
    live = Live(
        app,
        authorize=lambda visit: visit.cookies["user"] in allowed and visit.cookies["user"],
        recheck_interval=0.01,
    )
    async with serving(app):
        ada = await connected(app, headers=[(b"cookie", b"user=ada")])
        otto = await connected(app, headers=[(b"cookie", b"user=otto")])
        allowed.remove("ada")
        assert await ada.closed() == CloseCode.EXPIRED.number
        with pytest.raises(Closed) as closed:
            await Page(app, headers=[(b"cookie", b"user=ada")]).open()
        assert closed.value.code == CloseCode.UNAUTHORIZED.number
        await live.send_event("still")
        assert (await otto.frame())["name"] == "still"
        await otto.leave()


class SessionsAreAway(SecureCookieSessionInterface):
    """A session store that does not answer for a while."""

    failures = 0

    async def open_session(self, app, request):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the session store is away")
        return await super().open_session(app, request)


async def test_a_recheck_that_fails_is_asked_again_soon(app, until, caplog):
    allowed = [True]
    sessions = app.server.session_interface = SessionsAreAway()
    Live(app, authorize=lambda visit: allowed[0], recheck_interval=0.01)
    async with serving(app):
        page = await connected(app)
        sessions.failures = Recheck.MAX_FAILURES - 1
        await until(lambda: not sessions.failures)
        await until(lambda: caplog.text.count("a recheck failed") == Recheck.MAX_FAILURES - 1)
        allowed[0] = False
        assert await page.closed() == CloseCode.EXPIRED.number


async def test_rechecks_that_go_on_failing_are_no_yes(app, caplog):
    sessions = app.server.session_interface = SessionsAreAway()
    Live(app, authorize=lambda visit: True, recheck_interval=0.01)
    async with serving(app):
        page = await connected(app)
        sessions.failures = 1000
        assert await page.closed() == CloseCode.EXPIRED.number
    assert caplog.text.count("a recheck failed") == Recheck.MAX_FAILURES
    assert "the permission is withdrawn" in caplog.text


async def test_a_page_that_says_nothing_to_its_end_is_cut_off(app, until):
    answers = iter([True])
    live = Live(app, authorize=lambda visit: next(answers, False), recheck_interval=0.01)
    async with serving(app):
        page = await connected(app)
        async with asyncio.timeout(5):
            # Never answers the close frame.
            await asyncio.wait({page.task})
        assert not [client for client in hub_of(live.app).clients.values() if client.is_connected]


async def test_a_page_of_another_user_is_not_taken_for_the_same_client(app):
    live = Live(app, authorize=lambda visit: visit.cookies["user"])
    async with serving(app):
        page = await connected(app, headers=[(b"cookie", b"user=ada")])
        (ada,) = hub_of(live.app).clients.values()
        await page.leave()
        await live.send_event("secret", to=ada)
        back = await connected(app, page.token, page.positions, headers=[(b"cookie", b"user=otto")])
        assert back.welcome["recovered"] is False
        assert back.token != page.token
        await live.send_event("public")
        assert (await back.frame())["name"] == "public"
        await back.leave()


async def test_b8_an_identity_that_was_tampered_with_is_another_pages(app):
    live = Live(app)
    async with serving(app):
        page = await connected(app)
        (client,) = hub_of(live.app).clients.values()
        forged = page.token[:-1] + ("A" if page.token[-1] != "A" else "B")
        thief = await connected(app, forged, page.positions)
        assert thief.welcome["recovered"] is False
        assert f"page:{client.id}" not in thief.positions
        await live.send_event("secret", to=client)
        await live.send_event("public")
        assert (await thief.frame())["name"] == "public"
        assert (await page.frame())["name"] == "secret"
        await page.leave()
        await thief.leave()


async def test_a_page_on_event_streams_is_asked_again_too(app):
    answers = iter([True, True])
    Live(app, authorize=lambda visit: next(answers, False), recheck_interval=0.01)
    async with AppClient(app) as client:
        answer = await client.post(EVENTS, body=HELLO)
        assert answer.status == 200
        assert f'event: close\ndata: {{"code":{CloseCode.EXPIRED.number},' in answer.text


async def test_disconnecting_a_user_closes_pages_sockets_and_streams(app, connect):
    live = Live(app, authorize=lambda visit: visit.cookies["user"])

    @live.websocket("/socket", linger=0.01)
    async def socket(connection):
        await asyncio.Event().wait()

    @live.sse("/stream")
    async def stream(request):
        yield "x"
        await asyncio.Event().wait()

    async with AppClient(app) as client:
        page = await connected(app, headers=[(b"cookie", b"user=ada")])
        async with (
            connect(app, "/socket", headers=[("cookie", "user=ada")]) as ada,
            client.stream("GET", "/stream", headers={"cookie": "user=ada"}) as reading,
        ):
            await anext(reading.chunks())
            await live.disconnect(user="ada")
            assert await ada.closed() == CloseCode.KICKED.number
            assert await page.closed() == CloseCode.KICKED.number
            await reading.read()


async def test_no_link_is_opened_while_the_server_stops_or_when_it_is_full(app):
    Live(app, max_clients=1)
    draining = asyncio.Event()
    browser = [(b"origin", b"http://testserver")]
    async with serving(app):
        # One that has not said hello counts, too.
        first = await Page(app).open()
        second = await Page(app, headers=browser).open()
        assert await second.closed() == CloseCode.FULL.number
        await first.leave()
        draining.set()
        third = await Page(app, headers=browser, state={"flash.draining": draining}).open()
        assert await third.closed() == CloseCode.DRAINING.number
        for page in (second, third):
            await page.leave()


BAD_REQUESTS = {
    "a post to the socket": ("POST", "/_flash/link", {}, 426),
    "a get for the events": ("GET", EVENTS, {}, 405),
    "a hello in the address": ("GET", f"{EVENTS}?hello=%7B%7D", {}, 426),
    "a get for the frames": ("GET", FRAMES, {}, 405),
    "events for another origin": ("POST", EVENTS, {"headers": {"origin": "http://evil.test"}}, 403),
    "events for another site": ("POST", EVENTS, {"headers": {"sec-fetch-site": "cross-site"}}, 403),
    "a hello too long": ("POST", EVENTS, {"body": b"x" * 101}, 413),
    "a hello that is no text": ("POST", EVENTS, {"body": b"\xff"}, 400),
    "frames of another origin": (
        "POST",
        FRAMES,
        {"headers": {"origin": "http://evil.test"}},
        403,
    ),
    "frames of no connection": ("POST", FRAMES, {"body": b"[]"}, 410),
    "frames of a guessed connection": ("POST", FRAMES, {"headers": {"flash-connection": "1"}}, 410),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_b8_a_bad_request_to_the_link_is_answered_with_a_4xx_and_one_line(app, name):
    Live(app, max_message_bytes=100)
    method, url, options, status = BAD_REQUESTS[name]
    async with AppClient(app) as client:
        answer = await client.request(method, url, **options)
        assert answer.status == status
        assert answer.text.count("\n") == 1


@asynccontextmanager
async def event_stream(client, **headers):
    """Open a link over server-sent events; yield the headers of posts for it."""
    async with client.stream("POST", EVENTS, body=HELLO, headers=headers) as stream:
        # "data: [{…}]"
        (welcome,) = json.loads((await anext(stream.chunks())).decode()[5:])
        yield {**headers, "flash-connection": welcome["connection"]}


async def test_b8_what_a_page_posts_is_limited(app):
    Live(app, max_message_bytes=100)
    async with AppClient(app) as client, event_stream(client) as own:
        assert (await client.post(FRAMES, body=BEAT, headers=own)).status == 204
        assert (await client.post(FRAMES, body=b"x" * 101, headers=own)).status == 413
        assert (await client.post(FRAMES, body=b"\xff", headers=own)).status == 400


async def test_13_e_posts_to_a_stream_are_taken_from_the_user_who_opened_it_alone(app):
    asked = []

    def authorize(opening):
        asked.append(opening.cookies.get("user"))
        return asked[-1]

    live = Live(app, authorize=authorize)

    async def post(client, headers):
        return (await client.post(FRAMES, body=BEAT, headers=headers)).status

    async with AppClient(app) as client, event_stream(client, cookie="user=ada") as ada:
        for _ in range(3):
            assert await post(client, ada) == 204
        # Its headers are those of the opening: `authorize` is not asked again.
        assert asked == ["ada"]
        assert await post(client, {**ada, "cookie": "user=ada; theme=dark"}) == 204
        assert await post(client, {**ada, "cookie": "user=eve"}) == 410
        assert await post(client, {**ada, "cookie": "theme=dark"}) == 401
        assert await post(client, ada) == 204
        assert [each.user for each in hub_of(live.app).clients.values()] == ["ada"]


async def test_13_e_posts_to_a_stream_pass_the_guards_when_the_cookies_change(app):
    @app.server.before_request
    async def guard():
        if quart.request.cookies.get("login") != "yes":
            quart.abort(403)

    Live(app)
    async with AppClient(app) as client, event_stream(client, cookie="login=yes") as own:
        assert (await client.post(FRAMES, body=BEAT, headers=own)).status == 204
        other = {**own, "cookie": "login=no"}
        assert (await client.post(FRAMES, body=BEAT, headers=other)).status == 403


@pytest.mark.parametrize("path", ["/_flash/link/events", "/_flash/link/frames"])
async def test_a_socket_where_http_is_spoken_is_refused(app, path):
    Live(app)
    async with serving(app):
        with pytest.raises(Closed):
            await Page(app, path=path).open()


async def test_the_link_is_below_the_apps_prefix():
    app = Flash(__name__, url_base_pathname="/sales/")
    app.layout = html.Div()
    live = Live(app)
    async with AppClient(app) as client:
        page = await connected(app, path="/sales/_flash/link")
        await live.send_event("here")
        assert (await page.frame())["name"] == "here"
        await page.leave()
        for path, status in (("health", 200), ("ready", 200), ("metrics", 404)):
            assert (await client.get(f"/sales/_flash/{path}")).status == status


def test_13_e_a_star_together_with_authorize_is_refused(app):
    with pytest.raises(ConfigurationError, match="name the origins, or leave out authorize="):
        Live(app, allowed_origins=["*"], authorize=by_session)


async def test_13_a_the_links_authorize_is_asked_for_dashs_socket(app):
    live = Live(app, authorize=by_session, recheck_interval=7)
    sockets = app.callback_sockets
    assert sockets._authorize is by_session
    assert sockets._recheck_interval == 7
    assert sockets.places is live._acceptor.places
