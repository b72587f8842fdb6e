"""The request that opened a connection, as code of the app sees it; and a client that leaves."""

import asyncio

import dash
import flask
import pytest
import quart
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from flash import Flash, html
from flash.http import disconnect
from flash.http.disconnect import DisconnectWatcher, WatchTimer
from flash.http.gateway import Gateway
from flash.http.handshake import Handshake


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div()
    app.server.secret_key = "secret"
    # Without a request, Dash's current app is the one that was made last.
    other = Flash("another")
    yield app
    other.pool.close()
    app.pool.close()


def opened(**changes):
    return {
        "type": "websocket",
        "scheme": "wss",
        "path": "/socket",
        "raw_path": b"/socket",
        "root_path": "",
        "query_string": b"a=1",
        "headers": [(b"host", b"app.test"), (b"cookie", b"theme=dark")],
        "client": ("192.0.2.7", 1),
        **changes,
    }


async def test_a_connection_was_opened_by_a_get_request_and_belongs_to_its_app(app):
    async with Handshake(app, opened()).active():
        assert quart.request.method == "GET"
        assert quart.request.path == "/socket"
        assert quart.request.args["a"] == "1"
        assert quart.request.cookies["theme"] == "dark"
        assert quart.request.http_version == "1.1"
        assert dash.get_app() is app
    assert not quart.has_request_context()


async def test_what_the_server_says_of_method_and_version_counts(app):
    async with Handshake(app, opened(type="http", method="POST", http_version="2")).active():
        assert (quart.request.method, quart.request.http_version) == ("POST", "2")


async def refusal(app):
    response = await Handshake(app, opened()).refusal()
    return None if response is None else (response.status_code, await response.get_data())


async def test_without_an_answer_of_the_guards_nothing_is_refused(app):
    seen = []
    app.server.before_request(lambda: seen.append(quart.request.path))
    assert await refusal(app) is None
    assert seen == ["/socket"]


class Denied(Exception):
    pass


def raising(error):
    def guard():
        raise error

    return guard


@pytest.mark.parametrize(
    ("guard", "expected"),
    [
        (lambda: ("no", 403), (403, b"no")),
        (lambda: Response("werkzeug's", 402), (402, b"werkzeug's")),
        (lambda: quart.abort(404), (404, b"The requested URL was not found")),
        (lambda: quart.abort(418, "tea"), (418, b"tea")),
        (lambda: quart.abort(quart.Response("whole", 402)), (402, b"whole")),
        (lambda: quart.abort(Response("whole", 402)), (402, b"whole")),
    ],
)
async def test_what_a_guard_answers_is_the_refusal(app, guard, expected):
    app.server.before_request(guard)
    status, body = await refusal(app)
    assert status == expected[0]
    assert body.startswith(expected[1])


async def test_a_refusal_without_status_and_text_is_an_empty_500(app):
    app.server.before_request(raising(HTTPException()))
    assert await refusal(app) == (500, b"")


async def test_an_error_handler_of_the_app_makes_the_refusal(app):
    app.server.before_request(raising(Denied()))
    app.server.register_error_handler(Denied, lambda error: ("handled", 409))
    assert await refusal(app) == (409, b"handled")


async def test_a_guard_that_fails_refuses_with_500_and_is_logged(app, caplog):
    app.server.before_request(raising(Denied("why")))
    status, _ = await refusal(app)
    assert status == 500
    assert "Denied: why" in caplog.text


async def closes():
    await quart.websocket.close(1000)


async def forbids():
    return "no", 403


@pytest.mark.parametrize(
    ("guard", "expected"),
    [
        (lambda: None, None),
        (forbids, (403, b"no")),
        (lambda: quart.abort(404, "none"), (404, b"none")),
        # A guard that has closed it has refused it.
        (closes, (403, b"")),
    ],
)
async def test_what_a_guard_of_websockets_answers_is_the_refusal(app, guard, expected):
    seen = []

    @app.server.before_websocket
    async def before():
        seen.append((quart.websocket.path, dash.get_app() is app))
        result = guard()
        return await result if asyncio.iscoroutine(result) else result

    handshake = Handshake(app, opened(subprotocols=[], http_version="1.1"))
    response = await handshake.websocket_refusal()
    assert seen == [("/socket", True)]
    if expected is None:
        assert response is None
    else:
        assert (response.status_code, await response.get_data()) == expected


# -- a client that leaves


class Client:
    """Sends what it is told to, then waits."""

    def __init__(self, *events):
        self._events = list(events)
        self.read = 0
        self.was_read = asyncio.Event()

    async def receive(self):
        if not self._events:
            await asyncio.Event().wait()
        self.read += 1
        self.was_read.set()
        return self._events.pop(0)


def watcher_of(receive):
    return DisconnectWatcher(receive, WatchTimer(asyncio.get_running_loop()))


LEAVES = {"type": "http.disconnect"}
SENDS = {"type": "http.request"}


async def test_work_for_a_client_that_leaves_is_cancelled_and_the_cancellation_ends_there():
    client = Client(SENDS, LEAVES)
    cancelled = False
    async with asyncio.timeout(5):
        watcher = watcher_of(client.receive)
        async with watcher:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled = True
                raise
    assert cancelled
    assert watcher.happened
    assert asyncio.current_task().cancelling() == 0


async def test_an_error_that_the_cancellation_meets_comes_out():
    watcher = watcher_of(Client(LEAVES).receive)

    async def work():
        async with watcher:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise LookupError from None

    async with asyncio.timeout(5):
        with pytest.raises(LookupError):
            await work()
    assert watcher.happened
    assert asyncio.current_task().cancelling() == 0


async def test_work_that_ends_although_it_is_cancelled_has_ended():
    watcher = watcher_of(Client(LEAVES).receive)
    async with asyncio.timeout(5), watcher:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()
    assert watcher.happened
    assert asyncio.current_task().cancelling() == 0


async def test_work_that_ends_first_is_not_disturbed_and_nothing_goes_on(monkeypatch):
    monkeypatch.setattr(disconnect, "WATCH_AFTER", 0)
    before = asyncio.all_tasks()
    client = Client(SENDS)
    watcher = watcher_of(client.receive)
    async with watcher, asyncio.timeout(5):
        await client.was_read.wait()
    assert not watcher.happened
    assert asyncio.all_tasks() == before


async def test_work_that_is_over_at_once_is_not_watched(monkeypatch):
    monkeypatch.setattr(disconnect, "WATCH_AFTER", 0)
    client = Client(LEAVES)
    watcher = watcher_of(client.receive)
    async with watcher:
        pass
    for _ in range(3):
        await asyncio.sleep(0)
    assert client.read == 0
    assert not watcher.happened


async def test_work_is_not_watched_before_its_time(monkeypatch):
    monkeypatch.setattr(disconnect, "WATCH_AFTER", 3600)
    client = Client(LEAVES)
    async with watcher_of(client.receive):
        for _ in range(5):
            await asyncio.sleep(0)
    assert client.read == 0


async def test_requests_on_one_loop_share_a_timer(app):
    gateway, loop = Gateway.of(app.server), asyncio.get_running_loop()
    timer = gateway._watch_timer_of(loop)
    assert gateway._watch_timer_of(loop) is timer
    assert timer.loop is loop
    other = asyncio.new_event_loop()
    assert gateway._watch_timer_of(other).loop is other
    other.close()


async def test_all_watchers_of_a_loop_share_one_timer_and_each_begins_in_time(monkeypatch):
    monkeypatch.setattr(disconnect, "WATCH_AFTER", 0.02)
    loop = asyncio.get_running_loop()
    timer, made = WatchTimer(loop), []
    call_at = loop.call_at

    def noted(*call, **options):
        made.append(call)
        return call_at(*call, **options)

    monkeypatch.setattr(loop, "call_at", noted)
    short = [DisconnectWatcher(Client(LEAVES).receive, timer) for _ in range(5)]
    for watcher in short:
        async with watcher:
            pass
    assert len(made) == 1

    async def work(client):
        async with DisconnectWatcher(client.receive, timer):
            await client.was_read.wait()

    first, second = Client(SENDS), Client(SENDS)
    async with asyncio.timeout(5), asyncio.TaskGroup() as works:
        works.create_task(work(first))
        await asyncio.sleep(0.01)
        works.create_task(work(second))
    assert (first.read, second.read) == (1, 1)
    assert not any(watcher.happened for watcher in short)


async def test_an_error_of_the_work_comes_out_and_so_does_a_cancellation_by_somebody_else():
    with pytest.raises(LookupError):
        async with watcher_of(Client().receive):
            raise LookupError

    begun = asyncio.Event()

    async def work():
        async with watcher_of(Client().receive):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    # Nobody takes back what somebody else has asked for.
    assert task.cancelling() == 1


def logged_in(view):
    """A login around a view, as flask-login's `login_required` is."""

    def guarded(*args, **kwargs):
        if "user" not in flask.session:
            return flask.redirect("/login")
        return flask.current_app.ensure_sync(view)(*args, **kwargs)

    return guarded


@pytest.mark.parametrize("prefix", ["/", "/dashboard/"])
async def test_a_login_around_the_view_of_the_page_guards_connections_too(prefix, monkeypatch):
    app = Flash(__name__, url_base_pathname=prefix)
    app.layout = html.Div()
    app.server.secret_key = "secret"
    assert await refusal(app) is None
    for name in list(app.server.view_functions):
        if name.startswith(prefix):
            app.server.view_functions[name] = logged_in(app.server.view_functions[name])
    status, _ = await refusal(app)
    assert status == 302

    @app.server.before_request
    async def log_in():
        quart.session["user"] = "ada"

    made = []
    monkeypatch.setattr(app.views, "index", lambda: made.append("page"))
    assert await refusal(app) is None
    # The page itself is not made for that.
    assert made == []


async def test_a_view_around_the_page_that_answers_nothing_refuses(app):
    async def silent():
        return None

    app.server.view_functions["/"] = silent
    assert await refusal(app) == (403, b"")


async def test_a_view_that_refuses_after_it_has_the_page_refuses(app):
    async def checked_late():
        await app.serve_index()
        return quart.Response("not yours", 403)

    app.server.view_functions["/"] = checked_late
    assert await refusal(app) == (403, b"not yours")


async def test_a_view_that_changes_the_page_lets_through(app):
    async def with_header():
        response = await app.serve_index()
        response.headers["X-Mine"] = "1"
        return response

    app.server.view_functions["/"] = with_header
    assert await refusal(app) is None


async def test_a_view_around_the_page_that_raises_refuses(app):
    async def broken():
        raise ValueError("no database")

    app.server.view_functions["/"] = broken
    status, _ = await refusal(app)
    assert status == 500
