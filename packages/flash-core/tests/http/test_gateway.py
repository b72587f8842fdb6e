"""The two ways through the ASGI front, past Quart and through it, and that they are one to see."""

import asyncio
import gzip
import json
from contextlib import asynccontextmanager
from datetime import timedelta

import dash
import pytest
import quart
import quart.signals
from dash import Input, Output, ctx, html

from flash import Flash
from flash.testing import FlashClient, StartupFailed

SECONDS = 20


@pytest.fixture(autouse=True)
async def nothing_hangs():
    async with asyncio.timeout(SECONDS):
        yield


OUT = Output("out", "children")
IN = Input("in", "value")
PATH = "/_dash-update-component"


def a_body(value=1):
    return {
        "output": "out.children",
        "outputs": {"id": "out", "property": "children"},
        "inputs": [{"id": "in", "property": "value", "value": value}],
        "changedPropIds": ["in.value"],
    }


def mounted(server=True, **options):
    app = Flash(__name__, server=server, suppress_callback_exceptions=True, **options)
    app.layout = html.Div("here")

    @app.callback(OUT, IN)
    async def echo(value):
        return value

    return app


@pytest.fixture
def app():
    return mounted()


def watch(app):
    @app.server.before_request
    async def look():
        """Send every request through Quart."""


class Wire:
    """One HTTP request to an ASGI app, message by message."""

    def __init__(self, app, *, method="POST", path=PATH, headers=(), **scope):
        self.sent = []
        self.inbox = asyncio.Queue()
        self.answered = asyncio.Event()
        given = dict(headers)
        given.setdefault("content-type", "application/json")
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("testserver", 80),
            **scope,
        }
        self.task = asyncio.create_task(app(self.scope, self.inbox.get, self._send))

    async def _send(self, message):
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.answered.set()

    def give(self, body=b"", *, more=False):
        self.inbox.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self):
        self.inbox.put_nowait({"type": "http.disconnect"})

    async def answer(self):
        await self.task
        start = self.sent[0]
        body = b"".join(message.get("body", b"") for message in self.sent[1:])
        return start["status"], dict(start["headers"]), body


@asynccontextmanager
async def served(app):
    """Run the app's start and stop around raw requests."""
    async with FlashClient(app):
        yield app


async def posted(app, body, **request):
    wire = Wire(app, **request)
    wire.give(body if isinstance(body, bytes) else json.dumps(body).encode())
    return await wire.answer()


REQUESTS = {
    "a call": a_body("é"),
    "a call that finds no callback": {**a_body(), "output": "nothing.x"},
    "a call whose output is another's": {**a_body(), "outputs": {"id": "x", "property": "y"}},
    "no object": [1],
    "no JSON": b"{",
    "nothing": b"",
    "half a surrogate pair": b'{"output":"out.children","outputs":{"id":"out","property":'
    b'"children"},"inputs":[{"id":"in","property":"value","value":"\\ud800"}]}',
}


class TestBothWays:
    """What goes past Quart and what goes through it cannot be told apart."""

    @pytest.mark.parametrize("name", REQUESTS)
    async def test_a_post_is_answered_alike(self, app, name):
        async with served(app):
            direct = await posted(app, REQUESTS[name])
            watch(app)
            through = await posted(app, REQUESTS[name])
        assert direct == through

    async def test_another_content_type_is_answered_alike(self, app):
        async with served(app):
            request = {"headers": {"content-type": "text/plain"}}
            direct = await posted(app, a_body(), **request)
            watch(app)
            through = await posted(app, a_body(), **request)
        assert direct == through
        assert direct[0] == 415

    async def test_no_content_type_is_answered_alike(self, app):
        async with served(app):
            answers = []
            for _ in range(2):
                wire = Wire(app)
                wire.scope["headers"] = []
                wire.give(json.dumps(a_body()).encode())
                answers.append(await wire.answer())
                watch(app)
        assert answers[0] == answers[1]
        assert answers[0][0] == 415

    async def test_an_exception_is_answered_alike(self, app, caplog):
        @app.callback(Output("bad", "children"), IN)
        def bad(_):
            raise ValueError("x")

        body = {
            **a_body(),
            "output": "bad.children",
            "outputs": {"id": "bad", "property": "children"},
        }
        async with served(app):
            direct = await posted(app, body)
            watch(app)
            through = await posted(app, body)
        assert direct == through
        assert direct[0] == 500
        assert [record.message for record in caplog.records] == [
            "Exception on request POST /_dash-update-component"
        ] * 2

    @pytest.mark.parametrize("path", ["/", "/_dash-layout", "/_dash-dependencies", "/deep/page"])
    async def test_a_page_is_answered_alike(self, app, path):
        async with FlashClient(app) as client:
            direct = await client.get(path)
            watch(app)
            through = await client.get(path)
        assert direct.status == through.status == 200
        assert dict(direct.headers) == dict(through.headers)
        # Each page has an identity of its own.
        assert len(direct.body) == len(through.body)

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_a_file_is_answered_alike(self, app, method):
        async with FlashClient(app) as client:
            page = await client.get("/")
            script = next(part for part in page.text.split('"') if "dash_renderer" in part)
            for headers in ({}, {"range": "bytes=0-9"}, {"accept-encoding": "br"}):
                direct = await client.request(method, script, headers=headers)
                quarts = mounted()
                watch(quarts)
                async with FlashClient(quarts) as other:
                    await other.get("/")
                    through = await other.request(method, script, headers=headers)
                assert direct.status == through.status
                assert direct.status in (200, 206)
                assert dict(direct.headers) == dict(through.headers)
                assert direct.body == through.body
                assert bool(direct.body) is (method == "GET")

    async def test_a_file_that_is_none_is_answered_alike(self, app):
        path = "/_dash-component-suites/dash/../dash.py"
        async with FlashClient(app) as client:
            direct = await client.get(path)
            watch(app)
            through = await client.get(path)
        # A path below the app's own that is no file's is a page.
        assert direct.status == through.status == 200
        assert direct.headers["content-type"] == through.headers["content-type"]

    async def test_a_head_of_the_page_has_its_headers(self, app):
        async with FlashClient(app) as client:
            head = await client.request("HEAD", "/")
            watch(app)
            through = await client.request("HEAD", "/")
        assert head.status == through.status == 200
        assert dict(head.headers) == dict(through.headers)

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    async def test_other_methods_on_the_callbacks_path_are_quart_s(self, app, method):
        async with FlashClient(app) as client:
            direct = await client.request(method, PATH)
            watch(app)
            through = await client.request(method, PATH)
        assert direct.status == through.status
        assert dict(direct.headers) == dict(through.headers)


async def everything(client):
    """Ask for one of each kind of thing that an app answers; returns statuses by path."""
    suites = "/_dash-component-suites/dash/dash-renderer/build/dash_renderer.min.js"
    paths = [
        "/",
        "/some/page",
        "/_dash-layout",
        "/_dash-dependencies",
        "/_favicon.ico",
        suites,
        "/assets/missing.css",
        "/_reload-hash",
    ]
    statuses = {path: (await client.get(path)).status for path in paths}
    statuses[PATH] = (await client.post(PATH, json=a_body())).status
    return statuses


class TestQuart:
    """Whatever a Quart app can be told to do with requests is done with these."""

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_a_guard_guards_every_route(self, app, is_async):
        def refuse():
            if "token" not in quart.request.cookies:
                return "who are you?", 401
            return None

        if is_async:

            @app.server.before_request
            async def guard():
                return refuse()
        else:
            app.server.before_request(refuse)

        async with FlashClient(app) as client:
            assert set((await everything(client)).values()) == {401}
        async with FlashClient(app, cookies={"token": "yes"}) as client:
            statuses = await everything(client)
        assert 401 not in statuses.values()
        assert statuses[PATH] == statuses["/"] == 200

    async def test_a_guard_set_while_the_app_is_served_guards_too(self, app):
        async with FlashClient(app) as client:
            assert (await everything(client))["/"] == 200

            @app.server.before_request
            async def guard():
                return "no", 401

            assert set((await everything(client)).values()) == {401}

    async def test_after_request_sees_every_response(self, app):
        @app.server.after_request
        async def mark(response):
            response.headers["X-Marked"] = quart.request.path
            return response

        async with FlashClient(app) as client:
            for path in ("/", "/_dash-layout", "/_favicon.ico"):
                assert (await client.get(path)).headers["x-marked"] == path
            assert (await client.post(PATH, json=a_body())).headers["x-marked"] == PATH

    @pytest.mark.parametrize("kind", ["teardown_request", "teardown_appcontext"])
    async def test_teardown_functions_run_after_every_request(self, app, kind):
        torn = []

        async with FlashClient(app) as client:

            @getattr(app.server, kind)
            async def tear(error):
                torn.append(error)

            await client.get("/")
            await client.post(PATH, json=a_body())
            assert torn == [None, None]

    async def test_signals_tell_of_every_request(self, app):
        told = []

        async def tell(sender, **_):
            told.append(quart.request.path)

        async with FlashClient(app) as client:
            quart.signals.request_started.connect(tell, app.server)
            try:
                await client.get("/")
                await client.post(PATH, json=a_body())
            finally:
                quart.signals.request_started.disconnect(tell, app.server)
        assert told == ["/", PATH]

    async def test_the_signal_of_an_exception_is_sent(self, app):
        told = []

        async def tell(sender, exception, **_):
            told.append(exception)

        @app.callback(Output("bad", "children"), IN)
        def bad(_):
            raise ValueError("x")

        quart.signals.got_request_exception.connect(tell, app.server)
        try:
            async with served(app):
                await posted(
                    app,
                    {
                        **a_body(),
                        "output": "bad.children",
                        "outputs": {"id": "bad", "property": "children"},
                    },
                )
        finally:
            quart.signals.got_request_exception.disconnect(tell, app.server)
        assert [str(error) for error in told] == ["x"]

    @pytest.mark.parametrize("watched", [False, True])
    async def test_a_callback_may_do_what_a_view_may(self, app, watched):
        app.server.secret_key = "secret"

        @app.callback(Output("view", "children"), IN)
        async def view(value):
            quart.g.user = "ada"
            quart.session["visits"] = quart.session.get("visits", 0) + 1

            @quart.after_this_request
            async def mark(response):
                response.headers["X-User"] = quart.g.user
                return response

            body = await quart.request.get_json()
            return [
                quart.session["visits"],
                quart.request.endpoint,
                body["inputs"][0]["value"],
                quart.url_for("/", _external=True),
                quart.current_app.name,
            ]

        if watched:
            watch(app)
        async with FlashClient(app) as client:
            for visits in (1, 2):
                result = await client.call("view.children", {"in.value": 5})
                assert result.value == [visits, PATH, 5, "http://testserver/", app.server.name]
                assert result.response.headers["x-user"] == "ada"

    @pytest.mark.parametrize("watched", [False, True])
    async def test_a_permanent_session_is_kept_alive_by_callbacks(self, app, watched):
        app.server.secret_key = "secret"
        app.server.permanent_session_lifetime = timedelta(minutes=5)

        @app.server.get("/login")
        async def login():
            quart.session.permanent = True
            quart.session["user"] = "ada"
            return ""

        if watched:
            watch(app)
        async with FlashClient(app) as client:
            await client.get("/login")
            assert "session=" in (await client.post(PATH, json=a_body())).headers["set-cookie"]

    async def test_a_session_made_by_a_plain_callback_is_saved(self, app):
        app.server.secret_key = "secret"

        @app.callback(Output("login", "children"), IN)
        def login(value):
            quart.session["user"] = value
            ctx.response.set_cookie("extra", "1")

        @app.callback(Output("who", "children"), IN)
        def who(_):
            return quart.session.get("user")

        async with FlashClient(app) as client:
            await client.call("login.children", {"in.value": "ada"})
            assert client.cookies["extra"] == "1"
            assert (await client.call("who.children", {"in.value": 1})).value == "ada"

    @pytest.mark.parametrize("watched", [False, True])
    async def test_error_handlers_answer_for_callbacks(self, app, watched):
        @app.callback(Output("bad", "children"), IN)
        def bad(value):
            if value == "abort":
                quart.abort(403)
            raise KeyError(value)

        @app.server.errorhandler(KeyError)
        async def handle(error):
            return f"handled {error} at {quart.request.path}", 418, {"X-Mine": "1"}

        if watched:
            watch(app)
        body = {
            **a_body("x"),
            "output": "bad.children",
            "outputs": {"id": "bad", "property": "children"},
        }
        async with FlashClient(app) as client:
            answer = await client.post(PATH, json=body)
            assert (answer.status, answer.text) == (418, f"handled 'x' at {PATH}")
            assert answer.headers["x-mine"] == "1"
            body["inputs"][0]["value"] = "abort"
            assert (await client.post(PATH, json=body)).status == 403

    async def test_middleware_put_around_later_sees_every_request(self, app):
        seen = []

        def around(inner):
            async def middleware(scope, receive, send):
                seen.append(scope.get("path"))
                await inner(scope, receive, send)

            return middleware

        app.server.asgi_app = around(app.server.asgi_app)
        async with FlashClient(app) as client:
            await client.get("/")
            await client.post(PATH, json=a_body())
        assert seen == [None, "/", PATH]

    async def test_middleware_that_was_there_before_sees_every_request(self):
        server, seen = quart.Quart(__name__), []
        inner = server.asgi_app

        async def middleware(scope, receive, send):
            seen.append(scope.get("path"))
            await inner(scope, receive, send)

        server.asgi_app = middleware
        async with FlashClient(mounted(server)) as client:
            await client.get("/_favicon.ico")
            assert (await client.post(PATH, json=a_body())).status == 200
        assert seen == [None, "/_favicon.ico", PATH]

    async def test_a_subclass_that_handles_requests_itself_sees_every_request(self):
        seen = []

        class Server(quart.Quart):
            async def full_dispatch_request(self, request_context=None):
                seen.append(quart.request.path)
                return await super().full_dispatch_request(request_context)

        async with FlashClient(mounted(Server(__name__))) as client:
            await client.get("/_favicon.ico")
            assert (await client.post(PATH, json=a_body())).status == 200
        assert seen == ["/_favicon.ico", PATH]

    async def test_a_session_that_has_to_be_awaited_works(self):
        class Session(dict, quart.sessions.SessionMixin):
            pass

        store = {}

        class Sessions(quart.sessions.SessionInterface):
            async def open_session(self, app, request):
                await asyncio.sleep(0)
                return Session(store)

            async def save_session(self, app, session, response):
                await asyncio.sleep(0)
                store.update(session)

        app = mounted()
        app.server.session_interface = Sessions()

        @app.callback(Output("count", "children"), IN)
        async def count(_):
            quart.session["n"] = quart.session.get("n", 0) + 1
            return quart.session["n"]

        async with FlashClient(app) as client:
            assert (await client.call("count.children", {"in.value": 1})).value == 1
            assert (await client.call("count.children", {"in.value": 1})).value == 2

    async def test_other_routes_and_blueprints_are_served(self, app):
        blueprint = quart.Blueprint("api", __name__, url_prefix="/api")

        @blueprint.get("/data")
        async def data():
            return {"a": 1}

        app.server.register_blueprint(blueprint)
        async with FlashClient(app) as client:
            assert (await client.get("/api/data")).json() == {"a": 1}


class TestPlaces:
    @pytest.mark.parametrize("watched", [False, True])
    @pytest.mark.parametrize("path", ["/root", ""])
    async def test_below_a_root_path_everything_is_found(self, app, path, watched):
        if watched:
            watch(app)
        async with served(app):
            status, _, body = await posted(app, a_body(), path=f"{path}{PATH}", root_path=path)
            assert (status, json.loads(body)["response"]) == (200, {"out": {"children": 1}})
            icon = Wire(app, method="GET", path=f"{path}/_favicon.ico", root_path=path)
            icon.give()
            assert (await icon.answer())[0] == 200

    async def test_a_server_may_leave_out_that_there_is_no_root_path(self, app):
        async with served(app):
            wire = Wire(app)
            del wire.scope["root_path"]
            wire.give(json.dumps(a_body()).encode())
            assert (await wire.answer())[0] == 200
        assert app.config.requests_pathname_prefix == "/"

    async def test_a_root_path_is_a_whole_part_of_the_path(self, app):
        async with served(app):
            status, _, _ = await posted(app, a_body(), path=f"/rooted{PATH}", root_path="/root")
            watch(app)
            through, _, _ = await posted(app, a_body(), path=f"/rooted{PATH}", root_path="/root")
        assert status == through


class TestBodies:
    @pytest.mark.parametrize("watched", [False, True])
    async def test_one_in_pieces_is_put_together(self, app, watched):
        if watched:
            watch(app)
        async with served(app):
            wire, body = Wire(app), json.dumps(a_body("x" * 1000)).encode()
            for start in range(0, len(body), 100):
                wire.give(body[start : start + 100], more=True)
            wire.give()
            status, _, answer = await wire.answer()
        assert status == 200
        assert json.loads(answer)["response"]["out"]["children"] == "x" * 1000

    async def test_a_server_may_leave_out_what_is_empty(self, app):
        async with served(app):
            wire = Wire(app)
            wire.give(json.dumps(a_body()).encode(), more=True)
            wire.inbox.put_nowait({"type": "http.request"})
            status, _, answer = await wire.answer()
        assert status == 200
        assert json.loads(answer)["response"]["out"]["children"] == 1

    @pytest.mark.parametrize("watched", [False, True])
    @pytest.mark.parametrize("declared", [False, True])
    async def test_one_that_is_too_long_is_refused(self, app, declared, watched):
        app.server.config["MAX_CONTENT_LENGTH"] = 500
        if watched:
            watch(app)
        body = json.dumps(a_body("x" * 1000)).encode()
        headers = {"content-length": str(len(body))} if declared else {}
        async with served(app):
            wire = Wire(app, headers=headers)
            wire.give(body[:600], more=True)
            wire.give(body[600:])
            assert (await wire.answer())[0] == 413
            assert (await posted(app, a_body()))[0] == 200

    @pytest.mark.parametrize("watched", [False, True])
    @pytest.mark.parametrize("declared", [False, True])
    @pytest.mark.parametrize("way", ["plain", "gzip"])
    async def test_the_limit_is_met_to_the_byte(self, app, way, declared, watched):
        body = json.dumps(a_body("x" * 1000)).encode()
        app.server.config["MAX_CONTENT_LENGTH"] = len(body)
        if watched:
            watch(app)

        async def status_of(body):
            headers = {}
            if way == "gzip":
                # The limit is one of what is sent and of what it becomes; this is the second.
                body = gzip.compress(body)
                headers["content-encoding"] = "gzip"
            if declared:
                headers["content-length"] = str(len(body))
            return (await posted(app, body, headers=headers))[0]

        async with served(app):
            assert await status_of(body) == 200
            assert await status_of(body + b" ") == 413

    @pytest.mark.parametrize("watched", [False, True])
    async def test_one_compressed_with_gzip_is_read(self, app, watched):
        if watched:
            watch(app)
        body = gzip.compress(json.dumps(a_body("x" * 1000)).encode())
        async with served(app):
            status, _, answer = await posted(app, body, headers={"content-encoding": "gzip"})
        assert status == 200
        assert json.loads(answer)["response"]["out"]["children"] == "x" * 1000

    @pytest.mark.parametrize(
        ("coding", "body", "expected"),
        [
            ("br", b"x", 415),
            ("gzip, gzip", b"x", 415),
            ("gzip", b"no gzip", 400),
            ("gzip", b"", 400),
            ("gzip", gzip.compress(b"{}")[:-9], 400),
            ("gzip", gzip.compress(b" " * 2**25), 413),
            ("gzip", gzip.compress(b"{}"), 400),
        ],
        ids=[
            "another coding",
            "two codings",
            "no gzip",
            "empty",
            "cut off",
            "a bomb",
            "no callback",
        ],
    )
    async def test_one_compressed_badly_is_refused(self, app, coding, body, expected):
        async with served(app):
            status, _, text = await posted(app, body, headers={"content-encoding": coding})
        assert status == expected
        assert text.count(b"\n") == 0

    async def test_one_declared_too_long_is_refused_before_it_is_sent(self, app):
        async with served(app):
            wire = Wire(app, headers={"content-length": str(100 * 2**20)})
            status, _, text = await wire.answer()
        assert status == 413
        assert text == (
            b"the request is longer than the 4194304 bytes that this app accepts; it can accept "
            b'more with app.server.config["MAX_CONTENT_LENGTH"]'
        )

    @pytest.mark.parametrize("watched", [False, True])
    async def test_one_that_does_not_come_is_given_up(self, app, watched):
        app.server.config["BODY_TIMEOUT"] = 0.01
        if watched:
            watch(app)
        async with served(app):
            wire = Wire(app)
            wire.give(b'{"output":', more=True)
            assert (await wire.answer())[0] == 408

    @pytest.mark.parametrize("watched", [False, True])
    async def test_a_client_that_leaves_while_it_sends_is_forgotten(self, app, watched):
        if watched:
            watch(app)
        async with served(app):
            wire = Wire(app)
            wire.give(b'{"output":', more=True)
            wire.leave()
            await wire.task
        assert not wire.sent

    @pytest.mark.parametrize("value", ["-1", "x", "", "9" * 5000])
    async def test_a_length_that_is_no_length_is_no_obstacle(self, app, value):
        async with served(app):
            status, _, _ = await posted(app, a_body(), headers={"content-length": value})
        assert status in (200, 400, 413)


class TestStart:
    async def test_without_a_lifespan_the_first_request_starts_the_app(self, app):
        assert not app.has_started
        assert (await posted(app, a_body()))[0] == 200
        assert app.has_started

    async def test_first_requests_at_the_same_time_start_it_once(self):
        app, calls = mounted(), []

        async def layout():
            calls.append(1)
            await asyncio.sleep(0)
            return html.Div()

        app.layout = layout
        answers = await asyncio.gather(*(posted(app, a_body()) for _ in range(5)))
        assert {status for status, *_ in answers} == {200}
        assert len(calls) == 1

    async def test_what_keeps_the_app_from_starting_is_told_each_time(self):
        app = mounted()

        @app.server.before_serving
        async def connect():
            raise RuntimeError("no database")

        for _ in range(2):
            with pytest.raises(StartupFailed, match="no database"):
                async with FlashClient(app):
                    pass
        for _ in range(2):
            with pytest.raises(RuntimeError, match="no database"):
                await posted(app, a_body())

    async def test_it_starts_once_it_can(self):
        app, ready = mounted(use_pages=True, pages_folder=""), []
        app.layout = html.Div(dash.page_container)

        @app.server.before_serving
        async def connect():
            if not ready:
                raise RuntimeError("no database")

        with pytest.raises(RuntimeError, match="no database"):
            await posted(app, a_body())
        ready.append(1)
        assert (await posted(app, a_body()))[0] == 200

    async def test_the_app_and_its_server_are_both_asgi_applications(self, app):
        assert (await posted(app, a_body()))[0] == (await posted(app.server, a_body()))[0] == 200

    async def test_quart_s_own_test_client_works(self, app):
        client = app.server.test_client()
        assert (await client.get("/")).status_code == 200
        response = await client.post(PATH, json=a_body("x"))
        assert (await response.get_json())["response"] == {"out": {"children": "x"}}

    async def test_an_app_can_be_stopped_and_started_again(self, app):
        for _ in range(2):
            async with FlashClient(app) as client:
                assert (await client.call("out.children", {"in.value": 1})).value == 1


class TestDisconnects:
    @pytest.mark.parametrize("watched", [False, True])
    async def test_a_client_that_leaves_cancels_its_callback_and_gets_no_answer(self, app, watched):
        begun, cancelled = asyncio.Event(), asyncio.Event()

        @app.callback(Output("slow", "children"), Input("in", "value"))
        async def slow(_):
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        if watched:
            watch(app)
        body = {**a_body(), "output": "slow.children"}
        body["outputs"] = {"id": "slow", "property": "children"}
        async with served(app):
            wire = Wire(app)
            wire.give(json.dumps(body).encode())
            await begun.wait()
            # Nobody cancels the task of the request: what the server says is all there is.
            wire.leave()
            try:
                async with asyncio.timeout(SECONDS):
                    await cancelled.wait()
                    await asyncio.wait({wire.task})
            finally:
                wire.task.cancel()
        assert not wire.sent
