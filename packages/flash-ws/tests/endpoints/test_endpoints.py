"""Who gets in, sixteen ways to be refused, and streams of server-sent events."""

import asyncio
import gc
import json
import weakref

import pytest
import quart

from flash import ConfigurationError, Flash, html
from flash.access import admission
from flash.errors import BadRequest
from flash.serving.drain import Drain
from flash.testing import AppClient
from flash_ws.endpoints.event_stream import EventStream
from flash_ws.endpoints.registration import Endpoints
from flash_ws.endpoints.sse import ServerSentEvent
from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.limits import RateLimit


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div()
    app.server.secret_key = "secret"
    return app


@pytest.fixture
def endpoints(app):
    return Endpoints(app)


@pytest.fixture
async def client(app, no_task_is_left):
    async with AppClient(app) as client:
        yield client


@pytest.fixture
def echo(endpoints):
    @endpoints.websocket("/echo")
    async def echo(connection):
        async for message in connection:
            await connection.send(message)


async def refusal(connect, app, url, **options):
    with pytest.raises(ConnectionRefusedError) as refused:
        async with connect(app, url, **options):
            pass
    return refused.value.status, refused.value.reason


# -- registration


def test_plain_functions_are_refused_with_the_remedy(endpoints):
    with pytest.raises(ConfigurationError, match="write it as async def"):

        @endpoints.websocket("/plain")
        def plain(connection):
            pass

    with pytest.raises(ConfigurationError, match="yield from an async def"):

        @endpoints.sse("/plain")
        def generator(request):
            yield "x"


def test_a_path_is_taken_once(endpoints, echo):
    with pytest.raises(ConfigurationError, match="exists already"):
        endpoints.sse("/echo")(EventStream.serve)


def test_a_decorated_function_stays_what_it_is(endpoints):
    async def handler(connection):
        pass

    async def generator(request):
        yield "x"

    assert endpoints.websocket("/a")(handler) is handler
    assert endpoints.sse("/b")(generator) is generator


async def test_endpoints_registered_before_and_after_the_app_are_served_below_its_prefix(connect):
    endpoints = Endpoints()

    @endpoints.websocket("/before")
    async def before(connection):
        await connection.send("before")

    app = Flash(__name__, url_base_pathname="/sales/")
    app.layout = html.Div()
    endpoints.init_app(app)
    endpoints.init_app(app)

    @endpoints.websocket("/after")
    async def after(connection):
        await connection.send("after")

    async with connect(app, "/sales/before") as socket:
        assert await socket.receive() == "before"
    async with connect(app, "/sales/after") as socket:
        assert await socket.receive() == "after"
    with pytest.raises(ConfigurationError, match="belong to another app"):
        endpoints.init_app(Flash(__name__, url_base_pathname="/other/"))


# -- who gets in


async def test_a_page_of_another_origin_is_closed_with_4403_before_the_handler_runs(
    app, connect, echo
):
    for origin in ("http://evil.test", "null"):
        async with connect(app, "/echo", headers=[("origin", origin)]) as socket:
            with pytest.raises(ConnectionAbortedError) as closed:
                await socket.receive()
        assert closed.value.code == CloseCode.FORBIDDEN.number
        assert origin in closed.value.reason
    async with connect(app, "/echo", headers=[("origin", "http://testserver")]) as socket:
        socket.send("hello")
        assert await socket.receive() == "hello"


async def test_allowed_origins_may_connect(app, connect):
    endpoints = Endpoints(app, allowed_origins=["https://shop.test"])

    @endpoints.websocket("/open")
    async def opened(connection):
        await connection.send("in")

    async with connect(app, "/open", headers=[("origin", "https://shop.test")]) as socket:
        assert await socket.receive() == "in"


async def test_where_a_server_cannot_answer_a_handshake_with_http_it_is_closed(app, connect, echo):
    headers = [("sec-fetch-site", "cross-site")]
    assert (await refusal(connect, app, "/echo", headers=headers, extensions={}))[0] == 403


ORIGIN = ("origin", "http://testserver")


async def test_a_browser_learns_the_reason_of_a_refusal_and_is_not_listened_to(app, connect, until):
    def authorize(visit):
        match visit.query["how"]:
            case "false":
                return False
            case "aborts":
                quart.abort(418, "a teapot")
            case "fails":
                raise RuntimeError("no database")
        return {"name": "ada"}

    endpoints = Endpoints(app, authorize=authorize)

    @endpoints.websocket("/closed", subprotocols=["v1"])
    async def closed(connection):
        raise AssertionError("never")

    for how, code in (("false", 4401), ("aborts", 4418), ("fails", 1011), ("mistaken", 1011)):
        url = f"/closed?how={how}"
        async with connect(app, url, headers=[ORIGIN], subprotocols=["v1"]) as socket:
            # Without it, a browser would report 1006.
            assert socket.subprotocol == "v1"
            socket.send("hello")
            assert await socket.closed() == code
    assert endpoints.statistics().opened == 0
    assert endpoints.statistics().refused == 4


async def test_a_refused_browser_that_never_answers_is_left(app, connect, monkeypatch):
    monkeypatch.setattr(admission, "CLOSE_TIMEOUT", 0.01)
    endpoints = Endpoints(app, authorize=lambda visit: False)

    @endpoints.websocket("/closed")
    async def closed(connection):
        raise AssertionError("never")

    async with connect(app, "/closed", headers=[ORIGIN], answers=False) as socket:
        await socket.over()


async def test_a_login_guard_of_the_app_guards_every_endpoint(
    app, endpoints, connect, echo, client
):
    ran = []

    @endpoints.sse("/stream")
    async def stream(request):
        ran.append(True)
        yield "x"

    @app.server.before_request
    async def guard():
        match quart.request.cookies.get("user"):
            case None:
                return "log in", 401
            case "stranger":
                return quart.redirect("/login")
            case "banned":
                quart.abort(403, "you are banned")
        return None

    async def answers(cookie):
        headers = [("cookie", cookie)]
        status, reason = await refusal(connect, app, "/echo", headers=headers)
        answer = await client.get("/stream", headers={"cookie": cookie})
        assert (answer.status, answer.text.strip()) == (status, reason)
        return status, reason

    assert await answers("x=y") == (401, "log in")
    assert await answers("user=stranger") == (401, "not allowed to connect: log in first")
    assert await answers("user=banned") == (403, "you are banned")
    assert not ran
    async with connect(app, "/echo", headers=[("cookie", "user=ada")]) as socket:
        socket.send("in")
        assert await socket.receive() == "in"


async def test_authorize_sees_the_handshake_and_its_answer_is_the_user(app, connect, client):
    async def authorize(visit):
        assert quart.request.path == visit.path
        return visit.cookies.get("user")

    def plain(visit):
        return quart.request.args.get("key") == "right"

    async def aborting(visit):
        quart.abort(418)

    endpoints = Endpoints(app, authorize=authorize)

    @endpoints.websocket("/who")
    async def who(connection):
        await connection.send_json(connection.user)

    @endpoints.sse("/who-streams")
    async def who_streams(request):
        yield request.user

    endpoints.websocket("/plain", authorize=plain)(who)
    endpoints.websocket("/aborting", authorize=aborting)(who)

    ada = [("cookie", "user=ada")]
    assert await refusal(connect, app, "/who") == (401, "not allowed to connect")
    async with connect(app, "/who", headers=ada) as socket:
        assert await socket.receive() == '"ada"'
    async with connect(app, "/plain?key=right") as socket:
        # Let in, and nobody by name.
        assert await socket.receive() == "null"
    assert (await refusal(connect, app, "/plain?key=wrong", headers=ada))[0] == 401
    assert (await refusal(connect, app, "/aborting"))[0] == 418
    assert (await client.get("/who-streams")).status == 401
    assert "data: ada" in (await client.get("/who-streams", headers=dict(ada))).text


async def test_an_authorize_that_fails_lets_nobody_in(app, endpoints, connect, caplog):
    async def broken(visit):
        raise RuntimeError("no database")

    @endpoints.websocket("/broken", authorize=broken)
    async def handler(connection):
        raise AssertionError("never")

    assert await refusal(connect, app, "/broken") == (500, "not allowed to connect")
    assert "no database" in caplog.text


async def test_one_that_was_refused_is_forgotten_at_once(app, endpoints, connect):
    visits = weakref.WeakSet()

    async def authorize(visit):
        visits.add(visit)
        return False

    @endpoints.websocket("/closed", authorize=authorize, stall_timeout=0.02)
    async def closed(connection):
        raise AssertionError("never")

    assert (await refusal(connect, app, "/closed"))[0] == 401
    gc.collect()
    assert not visits


async def test_a_full_house_answers_503_until_somebody_leaves(app, connect):
    endpoints = Endpoints(app, max_connections=1)

    @endpoints.websocket("/one")
    async def one(connection):
        await connection.receive()

    async with connect(app, "/one"):
        assert await refusal(connect, app, "/one") == (503, "all 1 connections are in use")
        assert endpoints.statistics().refused == 1
    async with connect(app, "/one"):
        pass
    assert endpoints.statistics().opened == 2


# -- the server's end


async def test_a_server_that_stops_closes_with_1012_and_lets_no_more_in(
    app, endpoints, connect, echo
):
    draining = asyncio.Event()
    state = {"flash.draining": draining}
    async with (
        connect(app, "/echo", state=state) as first,
        connect(app, "/echo", state=state) as second,
    ):
        first.send("last words")
        assert await first.receive() == "last words"
        draining.set()
        assert [await first.closed(), await second.closed()] == [1012, 1012]
        assert (await refusal(connect, app, "/echo", state=state))[0] == 503
    assert endpoints.statistics().closed == {1012: 2}


# -- bad input

BAD_SOCKETS = {
    "another origin": ({"headers": [("origin", "http://evil.test")]}, 4403),
    "a sandboxed page": ({"headers": [("origin", "null")]}, 4403),
    "no origin at all in the header": ({"headers": [("origin", "")]}, 4403),
    "two origins": (
        {"headers": [("origin", "http://testserver"), ("origin", "http://testserver")]},
        4403,
    ),
    "a second host": (
        {"headers": [("origin", "http://evil.test"), ("host", "evil.test")]},
        4403,
    ),
    "another site": ({"headers": [("sec-fetch-site", "cross-site")]}, 403),
    "only unknown subprotocols": ({"subprotocols": ["v9"]}, 400),
    "only unknown subprotocols of a page": (
        {"subprotocols": ["v9"], "headers": [("origin", "http://testserver")]},
        4400,
    ),
}
BAD_MESSAGES = {
    "text too large": ("x" * 101, 4413),
    "binary too large": (b"x" * 101, 4413),
    "text too large in bytes alone": ("ä" * 51, 4413),
    "too many": (["x"] * 11, 4529),
}
BAD_REQUESTS = {
    "a method that is not for it": ({"method": "DELETE"}, 405),
    "a preflight from another origin": (
        {"method": "OPTIONS", "headers": {"origin": "http://evil.test"}},
        403,
    ),
    "a post from another origin": (
        {"method": "POST", "headers": {"origin": "http://evil.test"}},
        403,
    ),
    "an image of another site": ({"headers": {"sec-fetch-site": "cross-site"}}, 403),
    "a body too large": ({"method": "POST", "body": b"x" * 101}, 413),
    "a length of thousands of digits": (
        {"method": "POST", "headers": {"content-length": "9" * 5000}},
        413,
    ),
    "a body that is no JSON": ({"method": "POST", "body": b"{"}, 400),
    "a body nested too deep": ({"method": "POST", "body": b"[" * 100}, 400),
}


def test_there_are_sixteen_and_more_bad_inputs():
    assert len(BAD_SOCKETS) + len(BAD_MESSAGES) + len(BAD_REQUESTS) >= 16


@pytest.fixture
def strict(endpoints):
    @endpoints.websocket(
        "/strict",
        subprotocols="v1",
        max_message_bytes=100,
        rate=RateLimit(per_second=0.001, burst=10),
    )
    async def strict(connection):
        async for _ in connection:
            pass

    @endpoints.sse("/strict-stream", max_body_bytes=100)
    async def strict_stream(request):
        yield await request.get_json()


@pytest.mark.parametrize("name", BAD_SOCKETS)
async def test_b8_a_bad_handshake_is_refused(app, strict, connect, name):
    options, expected = BAD_SOCKETS[name]
    if expected < 1000:
        refused, reason = await refusal(connect, app, "/strict", **options)
    else:
        async with connect(app, "/strict", **options) as socket:
            with pytest.raises(ConnectionAbortedError) as closed:
                await socket.receive()
        refused, reason = closed.value.code, closed.value.reason
    assert refused == expected
    assert reason
    assert reason.count("\n") == 0


@pytest.mark.parametrize("name", BAD_MESSAGES)
async def test_b8_a_bad_message_closes_with_its_code(app, strict, connect, name, caplog):
    messages, code = BAD_MESSAGES[name]
    async with connect(app, "/strict") as socket:
        for message in messages if isinstance(messages, list) else [messages]:
            socket.send(message)
        assert await socket.closed() == code
    assert caplog.text == ""


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_b8_a_bad_request_is_answered_with_a_4xx_and_one_line(strict, client, name, caplog):
    options, status = BAD_REQUESTS[name]
    answer = await client.request(
        options.get("method", "GET"),
        "/strict-stream",
        **{key: value for key, value in options.items() if key != "method"},
    )
    assert answer.status == status
    assert answer.text.count("\n") == 1
    assert "Traceback" not in caplog.text


async def test_a_path_for_sockets_answers_http_with_426_and_one_for_streams_no_socket(
    app, strict, connect, client
):
    answer = await client.get("/strict")
    assert (answer.status, answer.headers["upgrade"]) == (426, "websocket")
    assert (await refusal(connect, app, "/strict-stream"))[0] == 400


# -- streams


def test_what_is_not_async_is_no_stream(endpoints):
    with pytest.raises(ConfigurationError, match="plain function"):
        endpoints.sse("/list")(lambda request: ["x"])


async def test_a_stream_sends_each_value_and_then_the_end_that_the_component_knows(
    endpoints, client
):
    @endpoints.sse("/answer", retry=1500)
    async def answer(request):
        prompt = (await request.get_json())["prompt"]
        yield prompt
        yield {"n": 1}
        yield ServerSentEvent("a\nb", event="tick", id="7")

    response = await client.post("/answer", json={"prompt": "why?"})
    assert response.status == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.text == (
        "retry: 1500\ndata: why?\n\n"
        'data: {"n":1}\n\n'
        "id: 7\nevent: tick\ndata: a\ndata: b\n\n"
        "id: [DONE]\ndata: [DONE]\n\n"
    )


async def test_the_end_can_be_another_or_none(endpoints, client):
    async def stream(request):
        yield "x"

    async def nothing(request):
        return
        yield

    endpoints.sse("/own", end="that's it")(stream)
    endpoints.sse("/none", end=None)(stream)
    endpoints.sse("/nothing", end=None)(nothing)
    assert (await client.get("/own")).text.endswith("data: that's it\n\n")
    assert (await client.get("/none")).text == "data: x\n\n"
    empty = await client.get("/nothing")
    assert (empty.status, empty.text) == (200, ":\n")


async def test_a_coroutine_may_return_the_iterator(endpoints, client):
    async def numbers():
        for number in range(3):
            yield number

    @endpoints.sse("/numbers", end=None)
    async def stream(request):
        return numbers()

    assert (await client.get("/numbers")).text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"


async def test_the_request_is_at_hand_in_the_generator_and_from_quart(app, endpoints, client):
    serializer = app.server.session_interface.get_signing_serializer(app.server)
    cookie = f"theme=dark; session={serializer.dumps({'user': 'ada'})}"

    @endpoints.sse("/about/<thing>", end=None)
    async def about(request):
        yield [request.method, request.path_params["thing"], request.args["q"]]
        yield [request.cookies["theme"], request.session["user"], request.last_event_id]
        yield [(await request.get_data()).decode(), request.headers["content-type"]]
        yield [quart.request.method, quart.session["user"], await quart.request.get_json()]

    headers = {"cookie": cookie, "last-event-id": "41"}
    answer = await client.post("/about/cats?q=1", json={"a": 1}, headers=headers)
    assert [json.loads(line[6:]) for line in answer.text.splitlines() if line] == [
        ["POST", "cats", "1"],
        ["dark", "ada", "41"],
        ['{"a":1}', "application/json"],
        ["POST", "ada", {"a": 1}],
    ]


async def test_an_event_source_that_comes_back_after_the_end_is_told_that_there_is_no_more(
    endpoints, client
):
    ran = []

    @endpoints.sse("/finite")
    async def finite(request):
        ran.append(request.last_event_id)
        yield ServerSentEvent("x", id="1")

    answer = await client.get("/finite")
    last = [line[4:] for line in answer.text.splitlines() if line.startswith("id: ")][-1]
    assert (await client.get("/finite", headers={"last-event-id": last})).status == 204
    assert (await client.get("/finite", headers={"last-event-id": "1"})).status == 200
    assert ran == [None, "1"]


async def test_a_silent_stream_begins_at_once_and_is_kept_alive(endpoints, client, monkeypatch):
    monkeypatch.setattr("flash_ws.endpoints.event_stream._FIRST_EVENT_TIMEOUT", 0.01)

    @endpoints.sse("/silent", keep_alive=0.01)
    async def silent(request):
        await asyncio.Event().wait()
        yield "never"

    async with client.stream("GET", "/silent") as exchange:
        assert exchange.status == 200
        lines = exchange.lines()
        assert [await anext(lines) for _ in range(4)] == [":"] * 4


async def test_a_generator_is_closed_as_soon_as_the_browser_goes(endpoints, client):
    closed = []

    @endpoints.sse("/endless")
    async def endless(request):
        try:
            for number in range(10**9):
                yield number
                await asyncio.sleep(0)
        finally:
            closed.append("yielding")

    @endpoints.sse("/waiting")
    async def waiting(request):
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            closed.append("waiting")

    for path in ("/endless", "/waiting"):
        async with client.stream("GET", path) as exchange:
            await anext(exchange.chunks())
        assert closed.pop() == path.strip("/").replace("endless", "yielding")
    assert endpoints.statistics().streams == 0


async def test_a_slow_reader_slows_the_generator_and_a_stalled_one_ends_it(
    endpoints, client, until
):
    sent = []

    @endpoints.sse("/fast", stall_timeout=0.05, keep_alive=0.02)
    async def fast(request):
        try:
            while True:
                yield "x" * 10_000
                sent.append(True)
        finally:
            sent.append("closed")

    async with client.stream("GET", "/fast"):
        await until(lambda: "closed" in sent)
    assert len(sent) < 100


async def test_an_error_before_the_first_event_is_an_http_status(endpoints, client, caplog):
    @endpoints.sse("/bad")
    async def bad(request):
        raise BadRequest("choose another", status=422)
        yield

    @endpoints.sse("/aborted")
    async def aborted(request):
        quart.abort(404, "no such thing")
        yield

    @endpoints.sse("/broken")
    async def broken(request):
        raise RuntimeError("the secret reason")
        yield

    answer = await client.get("/bad")
    assert (answer.status, answer.text) == (422, "choose another\n")
    answer = await client.get("/aborted")
    assert (answer.status, answer.text) == (404, "no such thing\n")
    assert caplog.text == ""
    answer = await client.get("/broken")
    assert (answer.status, answer.text) == (500, "the stream failed\n")
    assert "the secret reason" in caplog.text


async def test_an_error_later_is_an_error_event_and_no_end(endpoints, client, caplog):
    @endpoints.sse("/breaking")
    async def breaking(request):
        yield "first"
        raise RuntimeError("the secret reason")

    @endpoints.sse("/unwritable")
    async def unwritable(request):
        yield "first"
        yield object()

    for path in ("/breaking", "/unwritable"):
        answer = await client.get(path)
        assert answer.status == 200
        assert answer.text == "data: first\n\nevent: error\ndata: the stream failed\n\n"
        assert f"the stream of {path} failed" in caplog.text
    assert "the secret reason" in caplog.text


async def test_a_stream_may_finish_while_the_server_stops_and_an_endless_one_ends_without_the_end(
    app, endpoints
):
    @endpoints.sse("/finishing")
    async def finishing(request):
        yield "a"
        await draining.wait()
        yield "b"

    @endpoints.sse("/endless", linger=0.01)
    async def endless(request):
        yield "a"
        await asyncio.Event().wait()

    drain = Drain(app, grace_period=5)
    draining = drain.draining
    async with (
        AppClient(drain) as client,
        client.stream("GET", "/finishing") as finite,
        client.stream("GET", "/endless") as infinite,
    ):
        drain.begin()
        assert (await finite.read()).text.endswith("data: b\n\nid: [DONE]\ndata: [DONE]\n\n")
        ended = (await infinite.read()).text
        assert ended.startswith("data: a\n\nretry: ")
        assert "[DONE]" not in ended
        assert (await client.get("/endless")).status == 503
        drain.close()


async def test_a_page_of_an_allowed_origin_may_read_a_stream_and_send_json(app):
    endpoints = Endpoints(app, allowed_origins=["https://shop.test"])

    @endpoints.sse("/shared")
    async def shared(request):
        yield await request.get_json()

    shop = {"origin": "https://shop.test"}
    async with AppClient(app) as client:
        asked = await client.request("OPTIONS", "/shared", headers=shop)
        assert asked.status == 204
        assert asked.headers["access-control-allow-methods"] == "GET, POST"
        answer = await client.post("/shared", json=1, headers=shop)
        assert answer.headers["access-control-allow-origin"] == "https://shop.test"
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert (await client.request("OPTIONS", "/shared")).status == 405


async def test_a_browser_that_leaves_while_it_sends_its_body_runs_nothing(app, endpoints):
    @endpoints.sse("/posted")
    async def posted(request):
        raise AssertionError("never")
        yield

    async def receive():
        return {"type": "http.disconnect"}

    sent = []
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": "/posted",
        "headers": [(b"host", b"testserver")],
    }
    await app(scope, receive, sent.append)
    assert sent == []


async def test_the_figures_count_what_happens(app, endpoints, connect, client, echo):
    @endpoints.sse("/one")
    async def one(request):
        yield endpoints.statistics().streams

    async with connect(app, "/echo") as socket:
        assert endpoints.statistics().connections == 1
        assert "data: 1\n" in (await client.get("/one")).text
        await socket.leave(1001)
    await refusal(connect, app, "/echo", headers=[("sec-fetch-site", "cross-site")])
    figures = endpoints.statistics()
    assert (figures.connections, figures.streams, figures.groups) == (0, 0, 0)
    assert (figures.opened, figures.refused, figures.closed) == (2, 1, {1001: 1})


# -- who may stay


async def test_who_is_no_longer_allowed_is_closed_with_4532_or_ended(app, connect, client):
    banned = set()

    async def authorize(visit):
        user = visit.cookies.get("user", "")
        return user if user not in banned else None

    endpoints = Endpoints(app, authorize=authorize, recheck_interval=0.01)

    @endpoints.websocket("/stay")
    async def stay(connection):
        async for message in connection:
            await connection.send(message)

    @endpoints.sse("/stay-streaming")
    async def stay_streaming(request):
        yield "first"
        await asyncio.Event().wait()

    ada, otto = [("cookie", "user=ada")], [("cookie", "user=otto")]
    async with (
        connect(app, "/stay", headers=ada) as first,
        connect(app, "/stay", headers=otto) as second,
        client.stream("GET", "/stay-streaming", headers=dict(ada)) as stream,
    ):
        banned.add("ada")
        assert await first.closed() == CloseCode.EXPIRED.number
        assert (await stream.read()).text.startswith("data: first")
        second.send("still here")
        assert await second.receive() == "still here"
    assert endpoints.statistics().streams == 0


async def test_a_guard_of_the_app_is_asked_again_too(app, connect, until):
    asked = []

    @app.server.before_request
    async def guard():
        asked.append(True)
        if len(asked) > 2:
            return "the session is over", 401
        return None

    endpoints = Endpoints(app, recheck_interval=0.01)

    @endpoints.websocket("/stay")
    async def stay(connection):
        await asyncio.Event().wait()

    async with connect(app, "/stay") as socket:
        assert await socket.closed() == CloseCode.EXPIRED.number
    assert len(asked) == 3


async def test_who_has_become_somebody_else_is_closed(app, connect):
    names = iter(["ada", "ada", "otto"])
    endpoints = Endpoints(app, authorize=lambda visit: next(names), recheck_interval=0.01)

    @endpoints.websocket("/stay")
    async def stay(connection):
        await asyncio.Event().wait()

    async with connect(app, "/stay") as socket:
        assert await socket.closed() == CloseCode.EXPIRED.number
    assert next(names, None) is None


async def test_all_that_a_user_has_open_is_closed_with_4430(app, connect, client):
    endpoints = Endpoints(app, authorize=lambda visit: visit.query["user"])

    @endpoints.websocket("/stay")
    async def stay(connection):
        async for message in connection:
            await connection.send(message)

    @endpoints.sse("/stay-streaming")
    async def stay_streaming(request):
        yield "first"
        await asyncio.Event().wait()

    async with (
        connect(app, "/stay?user=ada") as first,
        connect(app, "/stay?user=otto") as second,
        client.stream("GET", "/stay-streaming?user=ada") as stream,
    ):
        await anext(stream.chunks())
        endpoints.disconnect("ada")
        assert await first.closed() == CloseCode.KICKED.number
        await stream.read()
        second.send("still here")
        assert await second.receive() == "still here"
