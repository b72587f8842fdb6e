"""WSGI middleware around an ASGI app: what it reads, sends and changes, and who waits."""

import asyncio
import threading

import flask
import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from flash import ConfigurationError, Flash, html


@pytest.fixture(autouse=True)
async def nothing_hangs():
    async with asyncio.timeout(60):
        yield


@pytest.fixture
def app():
    app = Flash("middleware", suppress_callback_exceptions=True)
    app.layout = html.P("text")

    @app.server.route("/length", methods=["POST"])
    def length():
        return f"{len(flask.request.get_data())} bytes"

    @app.server.route("/seen")
    def seen():
        request = flask.request
        return [request.remote_addr, request.url, request.headers.get("X-Who")]

    return app


class Client:
    """A client of ASGI, whose body is sent part by part and which can leave."""

    def __init__(self, server, path, *, method="GET", headers=(), parts=(b"",)):
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"localhost"), *headers],
            "client": ("127.0.0.1", 5),
            "server": ("127.0.0.1", 80),
        }
        self._server = server
        self.sent = asyncio.Queue()
        self.asked = 0
        self.asking = asyncio.Semaphore(0)
        for number, part in enumerate(parts):
            more = number < len(parts) - 1 or part is None
            if part is not None:
                self.sent.put_nowait({"type": "http.request", "body": part, "more_body": more})
        self.status = None
        self.headers = {}
        self.body = b""
        self.changed = asyncio.Event()

    async def _receive(self):
        self.asked += 1
        self.asking.release()
        return await self.sent.get()

    async def _send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message.get("body", b"")
        self.changed.set()

    async def run(self):
        await self._server(self._scope, self._receive, self._send)
        return self

    def leave(self):
        self.sent.put_nowait({"type": "http.disconnect"})


def reading(inner):
    """Middleware that reads the whole body."""

    def middleware(environ, start_response):
        environ["HTTP_X_READ"] = str(len(environ["wsgi.input"].read()))
        return inner(environ, start_response)

    return middleware


async def test_what_middleware_has_read_the_app_gets_again(app):
    app.server.wsgi_app = reading(app.server.wsgi_app)
    client = Client(app.server, "/length", method="POST", parts=[b"a" * 1000, b"b" * 500, b"c"])
    await client.run()
    assert (client.status, client.body) == (200, b"1501 bytes")


async def test_a_body_is_not_read_for_middleware_that_does_not_look(app):
    app.server.wsgi_app = ProxyFix(DispatcherMiddleware(app.server.wsgi_app, {}))
    app.server.config["MAX_CONTENT_LENGTH"] = 100
    client = Client(app.server, "/length", method="POST", parts=[b"a" * 50, b"b" * 60, None])
    await client.run()
    # The app's own limit.
    assert client.status == 413


async def test_middleware_reads_no_more_than_the_limit(app):
    app.server.wsgi_app = reading(app.server.wsgi_app)
    app.server.config["MAX_CONTENT_LENGTH"] = 100
    parts = [b"a" * 60] * 50
    client = Client(app.server, "/length", method="POST", parts=parts)
    await client.run()
    assert client.status == 413
    assert client.asked == 2


async def test_middleware_waits_no_longer_than_the_limit(app):
    app.server.wsgi_app = reading(app.server.wsgi_app)
    app.server.config["BODY_TIMEOUT"] = 0.05
    client = Client(app.server, "/length", method="POST", parts=[b"a", None])
    await client.run()
    assert client.status == 408


async def test_middleware_that_waits_for_a_client_that_leaves_goes_on(app):
    ended = threading.Event()

    def middleware(environ, start_response):
        try:
            environ["wsgi.input"].read()
        finally:
            ended.set()

    app.server.wsgi_app = middleware
    client = Client(app.server, "/length", method="POST", parts=[b"a", None])
    running = asyncio.create_task(client.run())
    await client.asking.acquire()
    await client.asking.acquire()
    client.leave()
    await running
    assert ended.is_set()


async def test_a_stream_of_middleware_is_sent_part_by_part_and_closed_when_the_client_leaves(app):
    more, closed = threading.Semaphore(0), threading.Event()

    def endless(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        number = 0
        try:
            while True:
                yield f"{number} ".encode()
                number += 1
                more.acquire()
        finally:
            closed.set()

    app.server.wsgi_app = DispatcherMiddleware(app.server.wsgi_app, {"/endless": endless})
    client = Client(app.server, "/endless/x")
    running = asyncio.create_task(client.run())
    more.release()
    while client.body != b"0 1 ":
        await client.changed.wait()
        client.changed.clear()
    client.leave()
    await running
    # The part that was being made is thrown away.
    more.release()
    assert await asyncio.to_thread(closed.wait, 30)


async def test_a_stream_of_a_view_is_closed_when_the_client_leaves(app):
    more, closed = threading.Semaphore(0), threading.Event()

    @app.server.route("/endless")
    def view():
        def parts():
            try:
                while True:
                    yield f"{flask.request.path} "
                    more.acquire()
            finally:
                closed.set()

        return flask.Response(flask.stream_with_context(parts()), mimetype="text/plain")

    client = Client(app.server, "/endless")
    running = asyncio.create_task(client.run())
    while client.body != b"/endless ":
        await client.changed.wait()
        client.changed.clear()
    client.leave()
    await asyncio.wait({running})
    more.release()
    assert await asyncio.to_thread(closed.wait, 30)


async def test_a_status_that_middleware_sets_is_sent(app):
    def forbidding(inner):
        def middleware(environ, start_response):
            def start(status, headers, exc_info=None):
                return start_response("403 FORBIDDEN", [("X-Why", "not you")], exc_info)

            return inner(environ, start)

        return middleware

    app.server.wsgi_app = forbidding(app.server.wsgi_app)
    client = await Client(app.server, "/seen").run()
    assert (client.status, client.headers["x-why"], client.body) == (403, "not you", b"")


async def test_middleware_that_changes_bodies_is_told_how_to(app, caplog):
    def adding(inner):
        def middleware(environ, start_response):
            return [*inner(environ, start_response), b"more"]

        return middleware

    app.server.wsgi_app = adding(app.server.wsgi_app)
    assert (await Client(app.server, "/seen").run()).status == 200
    await Client(app.server, "/seen").run()
    (record,) = [each for each in caplog.records if each.name.startswith("flash.seams")]
    assert "after_request" in record.getMessage()


async def test_an_error_of_middleware_is_raised_to_the_server(app):
    def failing(environ, start_response):
        raise ValueError("middleware fails")

    app.server.wsgi_app = failing
    with pytest.raises(ValueError, match="middleware fails"):
        await Client(app.server, "/seen").run()


@pytest.mark.parametrize("port", [b"abc", b"-1", b"", b"\xb2"])
async def test_a_forwarded_port_that_is_none_is_no_error(app, port):
    app.server.wsgi_app = ProxyFix(app.server.wsgi_app, x_port=1)
    client = Client(app.server, "/seen", headers=[(b"x-forwarded-port", port)])
    assert (await client.run()).status == 200


async def test_a_forwarded_prefix_that_is_not_text_is_no_error(app):
    app.server.wsgi_app = ProxyFix(app.server.wsgi_app, x_prefix=1)
    client = Client(app.server, "/seen", headers=[(b"x-forwarded-prefix", b"/\xff")])
    assert (await client.run()).status in (200, 404)


async def test_a_header_with_an_underscore_does_not_pass_for_one_with_a_dash(app):
    app.server.wsgi_app = ProxyFix(app.server.wsgi_app)
    client = Client(
        app.server,
        "/seen",
        headers=[(b"x_forwarded_for", b"6.6.6.6"), (b"x_who", b"admin")],
    )
    await client.run()
    assert client.body.split() == b'["127.0.0.1","http://localhost/seen",null]'.split()


async def test_middleware_around_a_flask_app_that_is_adopted_stays():
    server = flask.Flask("adopted")
    server.wsgi_app = ProxyFix(DispatcherMiddleware(server.wsgi_app), x_for=1)
    server.route("/seen")(lambda: flask.jsonify(flask.request.remote_addr))
    app = Flash("adopted", server=server)
    app.layout = html.P("text")
    client = Client(app.server, "/seen", headers=[(b"x-forwarded-for", b"10.0.0.9")])
    assert (await client.run()).body.strip() == b'"10.0.0.9"'


def test_middleware_that_hides_a_flask_app_is_refused():
    server = flask.Flask("adopted")
    inner = server.wsgi_app
    server.wsgi_app = lambda environ, start_response: inner(environ, start_response)
    with pytest.raises(ConfigurationError, match=r"app\.server\.wsgi_app = middleware"):
        Flash("adopted", server=server)
