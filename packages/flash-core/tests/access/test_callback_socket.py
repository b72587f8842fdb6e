"""Dash's own socket: who may open it, what it takes, and what it tells (issue 13, A)."""

import asyncio
import json
import logging
from contextlib import asynccontextmanager

import pytest
import quart
from dash import Input, Output, html
from quart.testing.connections import WebsocketDisconnectError, WebsocketResponseError

from flash import Flash, dcc
from flash.access import callback_socket
from flash.testing import FlashClient

OUT = Output("out", "children")
IN = Input("in", "value")
PATH = "/_dash-ws-callback"


pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def app():
    app = Flash(__name__)
    app.server.secret_key = "secret"
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])
    app.callback(OUT, IN, websocket=True)(lambda value: value)
    yield app
    app.pool.close()


@asynccontextmanager
async def opened(app, origin="http://localhost", **headers):
    headers = {"Origin": origin, "Host": "localhost", **headers}
    async with (
        FlashClient(app),
        app.server.test_client().websocket(PATH, headers=headers) as socket,
    ):
        yield socket


def call(value=1, request_id="1", output="out.children"):
    body = {
        "output": output,
        "outputs": {"id": output.split(".")[0], "property": "children"},
        "inputs": [{"id": "in", "property": "value", "value": value}],
        "changedPropIds": ["in.value"],
    }
    message = {"type": "callback_request", "rendererId": "r", "requestId": request_id}
    return json.dumps({**message, "payload": body})


async def messages(socket):
    received = json.loads(await socket.receive())
    return received if isinstance(received, list) else [received]


async def heard(socket, count):
    for _ in range(count):
        await socket.receive()


async def ask(app, origin="http://localhost", **headers):
    """Call the callback over a socket; return the payload of its answer."""
    async with opened(app, origin, **headers) as socket:
        await socket.send(call())
        return (await messages(socket))[0]["payload"]


async def refused_with(app, origin="http://localhost", **headers):
    with pytest.raises(WebsocketDisconnectError) as closed:
        await ask(app, origin, **headers)
    return closed.value.args[0]


async def test_13_a_a_socket_without_the_cookie_is_refused(app):
    @app.server.before_request
    async def guard():
        if quart.request.cookies.get("login") != "yes":
            quart.abort(401)

    assert await refused_with(app) == 4001
    assert (await ask(app, Cookie="login=yes"))["status"] == "ok"


async def test_13_a_a_login_around_the_view_of_the_page_guards_it_too(app):
    page = app.server.view_functions["/"]

    async def guarded(*args, **kwargs):
        if quart.request.cookies.get("login") != "yes":
            return quart.redirect("/login")
        return await page(*args, **kwargs)

    app.server.view_functions["/"] = guarded
    assert await refused_with(app) == 4001
    assert (await ask(app, Cookie="login=yes"))["status"] == "ok"


async def test_13_a_a_guard_of_websockets_refuses_it_too(app):
    asked = []

    @app.server.before_websocket
    async def guard():
        asked.append(quart.websocket.path)
        if quart.websocket.cookies.get("login") != "yes":
            return "no", 403
        return None

    with pytest.raises(WebsocketResponseError):
        await ask(app)
    assert (await ask(app, Cookie="login=yes"))["status"] == "ok"
    assert asked == [PATH, PATH]


@pytest.mark.parametrize(
    "origin", ["https://localhost", "http://localhost:81", "http://evil.test", "null"]
)
async def test_13_a_another_origin_is_refused_before_a_guard_runs(app, origin):
    asked = []
    app.server.before_request(lambda: asked.append(1))
    assert await refused_with(app, origin) == 4003
    assert asked == []


async def test_13_a_an_origin_that_the_app_names_is_allowed():
    app = Flash(__name__, websocket_allowed_origins=["https://other.test", "no origin"])
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])
    app.callback(OUT, IN, websocket=True)(lambda value: value)
    assert (await ask(app, "https://other.test"))["status"] == "ok"
    assert await refused_with(app, "https://third.test") == 4003


async def test_13_a_authorize_decides_and_names_the_user(app):
    app.callback_sockets.require(
        lambda opening: opening.cookies.get("user"), None, app.callback_sockets.places
    )
    assert await refused_with(app) == 4001
    async with opened(app, Cookie="user=ada") as socket:
        await socket.send(call())
        assert (await messages(socket))[0]["payload"]["status"] == "ok"
        app.callback_sockets.disconnect("otto")
        app.callback_sockets.disconnect("ada")
        with pytest.raises(WebsocketDisconnectError) as closed:
            await socket.receive()
    assert closed.value.args[0] == 4001
    assert app.callback_sockets.open == 0


async def test_13_a_authorize_is_asked_again_and_failing_is_no(app):
    allowed = [True]
    app.callback_sockets.require(lambda _: allowed[0], 0.02, app.callback_sockets.places)
    async with opened(app) as socket:
        await socket.send(call())
        assert (await messages(socket))[0]["payload"]["status"] == "ok"
        allowed[0] = False
        with pytest.raises(WebsocketDisconnectError) as closed:
            await socket.receive()
    assert closed.value.args[0] == 4532


async def test_13_a_the_text_of_an_exception_stays_on_the_server(app, caplog):
    @app.callback(Output("title", "children"), IN, websocket=True)
    async def failing(value):
        raise LookupError("password hunter2")

    async with opened(app) as socket:
        await socket.send(call(output="title.children"))
        payload = (await messages(socket))[0]["payload"]
        assert payload == {"status": "error", "message": callback_socket.FAILED}
        assert "hunter2" in caplog.text
        app.show_errors()
        await socket.send(call(output="title.children"))
        assert (await messages(socket))[0]["payload"]["message"] == "password hunter2"


async def test_13_a_the_text_of_an_exception_that_dash_reports_stays_on_the_server(app):
    """A generator is run by Dash's own handler, which sends the text of an exception."""

    class Replaced:
        def __call__(self, *args, **kwargs):
            raise LookupError("password hunter2")

    async with opened(app) as socket:
        app.callback_map["out.children"]["callback"] = Replaced()
        await socket.send(call())
        payload = (await messages(socket))[0]["payload"]
    assert payload == {"status": "error", "message": callback_socket.FAILED}


async def test_13_a_calls_under_way_are_bounded(app):
    release = asyncio.Event()

    @app.callback(Output("title", "children"), IN, websocket=True)
    async def waiting(value):
        await release.wait()
        return value

    app.callback_sockets.limits = callback_socket.SocketLimits(max_calls=3)
    async with opened(app) as socket:
        for number in range(5):
            await socket.send(call(output="title.children", request_id=str(number)))
        refused = [*await messages(socket)]
        while len(refused) < 2:
            refused += await messages(socket)
        assert [each["requestId"] for each in refused] == ["3", "4"]
        assert {each["rendererId"] for each in refused} == {"r"}
        assert all("under way" in each["payload"]["message"] for each in refused)
        release.set()
        answered = []
        while len(answered) < 3:
            answered += await messages(socket)
        assert {each["payload"]["status"] for each in answered} == {"ok"}


async def test_13_a_plain_calls_of_one_page_leave_threads_to_others(app, caplog):
    app.pool.max_threads, app.pool.max_waiting = 4, 2
    loop, release = asyncio.get_running_loop(), asyncio.Event()

    @app.callback(Output("title", "children"), IN, websocket=True)
    def slow(value):
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(30)

    async with opened(app) as socket:
        for number in range(50):
            await socket.send(call(output="title.children", request_id=str(number)))
        while app.pool.statistics().running < 2:  # noqa: ASYNC110  a thread tells nobody
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert app.pool.statistics().running == 2
        assert app.pool.statistics().waiting == 0
        release.set()
        answered = []
        while len(answered) < 50:
            answered += await messages(socket)
    assert "Traceback" not in caplog.text


async def test_13_a_a_bad_call_is_answered_without_a_traceback(app, caplog):
    caplog.set_level(logging.INFO)
    bad = json.loads(call())
    bad["payload"]["inputs"] = []
    async with opened(app) as socket:
        await socket.send(json.dumps(bad))
        payload = (await messages(socket))[0]["payload"]
    assert payload["status"] == "error"
    assert "Traceback" not in caplog.text


async def test_13_a_more_messages_than_the_rate_close_the_socket(app):
    rate = callback_socket.RateLimit(per_second=0.001, burst=5)
    app.callback_sockets.limits = callback_socket.SocketLimits(rate=rate)
    async with opened(app) as socket:
        for _ in range(6):
            await socket.send('{"type":"heartbeat"}')
        with pytest.raises(WebsocketDisconnectError) as closed:
            await heard(socket, 6)
    assert closed.value.args[0] == 4529


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_13_a_messages_right_before_the_end_leave_no_handler_behind(app, count):
    # Python 3.11's `wait_for`, in Dash's handler, forgets a cancellation that comes with a message.
    async with asyncio.timeout(20):
        async with opened(app) as socket:
            await socket.send('{"type":"heartbeat"}')
            await socket.receive()
            for _ in range(count):
                await socket.send('{"type":"heartbeat"}')
    assert app.callback_sockets.open == 0


def a_socket(app, receive, sent=None):
    async def send(event):
        if sent is not None:
            sent.append(event)

    limits = callback_socket.SocketLimits()
    return callback_socket.CallbackSocket(app, limits, None, receive, send)


def events(*texts):
    waiting = [{"type": "websocket.receive", "text": text} for text in texts]

    async def receive():
        return waiting.pop(0) if waiting else {"type": "websocket.disconnect", "code": 1000}

    return receive


async def test_13_a_calls_are_handled_behind_messages_that_wait_for_dash(app):
    handled = []

    def handle(text):
        handled.append(text)
        return text != "for Dash"

    socket = a_socket(app, events("early", "1", "2", "for Dash", "3", "4"))
    # No handler is there yet.
    assert (await socket.receive())["text"] == "early"
    socket.handle_early(handle)
    assert (await socket.receive())["text"] == "1"
    socket.taken()
    assert (await socket.receive())["text"] == "2"
    socket.taken()
    socket.taken()
    assert (await socket.receive())["text"] == "for Dash"
    assert (await socket.receive())["text"] == "3"
    socket.taken()
    socket.taken()
    assert (await socket.receive())["type"] == "websocket.disconnect"
    assert handled == ["for Dash", "4"]
    assert socket.is_gone
    await socket.ended()


async def test_13_a_a_page_that_sends_without_pause_gives_others_their_turn(app):
    turns = []

    async def receive():
        turns.append("page")
        return {"type": "websocket.receive", "text": "{}"}

    async def other():
        for _ in range(10):
            turns.append("other")
            await asyncio.sleep(0)
        socket.end(4000, "seen enough")

    socket = a_socket(app, receive)
    socket.handle_early(lambda _: True)
    others = asyncio.create_task(other())
    assert (await socket.receive())["code"] == 4000
    await others
    assert turns.count("page") <= 8 * 12
    await socket.ended()


async def test_13_a_an_end_between_two_messages_ends_the_reading(app):
    read = 0

    async def receive():
        nonlocal read
        read += 1
        if read > 8:
            # A page that answers no close frame.
            await asyncio.Event().wait()
        return {"type": "websocket.receive", "text": "{}"}

    socket = a_socket(app, receive)
    socket.handle_early(lambda _: True)
    # Runs in the turn that others have after eight messages.
    asyncio.get_running_loop().call_soon(socket.end, 4001, "ended from this side")
    async with asyncio.timeout(10):
        assert await socket.receive() == {"type": "websocket.disconnect", "code": 4001}
    assert read == 8
    await socket.ended()


async def test_13_a_a_reader_that_is_cancelled_by_others_stays_cancelled(app):
    never = asyncio.Event()

    async def receive():
        await never.wait()

    for is_ended in (False, True):
        socket = a_socket(app, receive)
        reader = asyncio.create_task(socket.receive())
        await asyncio.sleep(0)
        if is_ended:
            socket.end(4001, "ended from this side")
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await socket.ended()


async def test_13_a_a_reader_goes_on_when_the_socket_is_closed_from_this_side(app):
    never = asyncio.Event()
    sent = []
    socket = a_socket(app, never.wait, sent)
    reader = asyncio.create_task(socket.receive())
    await asyncio.sleep(0)
    socket.end(4001, "ended from this side")
    assert await reader == {"type": "websocket.disconnect", "code": 4001}
    assert not reader.cancelling()
    await socket.ended()
    assert [event["type"] for event in sent] == ["websocket.close"]


async def test_13_a_a_message_longer_than_a_request_closes_the_socket(app):
    app.server.config["MAX_CONTENT_LENGTH"] = 1000
    for text in ("x" * 1001, "\u00e4" * 501):
        async with opened(app) as socket:
            await socket.send(text)
            with pytest.raises(WebsocketDisconnectError) as closed:
                await socket.receive()
        assert closed.value.args[0] == 1009


async def test_13_a_a_silent_socket_is_closed(app):
    app._websocket_heartbeat_interval = 0
    app.callback_sockets.limits = callback_socket.SocketLimits(idle_timeout=0.05)
    async with opened(app) as socket:
        with pytest.raises(WebsocketDisconnectError) as closed:
            await socket.receive()
    assert closed.value.args[0] == 4508


async def test_13_a_sockets_take_places_and_a_full_server_refuses(app):
    app.callback_sockets.places.max_open = 1
    async with opened(app) as socket:
        await socket.send(call())
        await messages(socket)
        assert app.callback_sockets.open == 1
        assert await refused_with(app) == 4533
    assert app.callback_sockets.places.open == 0


async def test_13_a_dashs_handler_does_not_run_for_a_socket_that_passed_no_check(app, caplog):
    app.server.asgi_app._socket_doors.clear()
    with pytest.raises(WebsocketResponseError):
        await ask(app)
    assert "was opened past the checks" in caplog.text
