"""The app: mounting, prefixes, several on a server, layouts, callbacks as API, compression."""

import asyncio
import gzip
import inspect
import json
import threading

import brotli
import dash
import pytest
import quart
import zstandard
from dash import Input, Output, dcc, html

import flash
from flash import Flash
from flash.errors import ConfigurationError
from flash.http.backend import QuartBackend
from flash.testing import FlashClient, StartupFailed

SECONDS = 20


@pytest.fixture(autouse=True)
async def nothing_hangs():
    async with asyncio.timeout(SECONDS):
        yield


OUT = Output("out", "children")
IN = Input("in", "value")
LAYOUT = html.Div([dcc.Input(id="in"), html.P(id="out")])


def an_app(server=True, **options):
    app = Flash(__name__, server, **options)
    app.layout = LAYOUT
    return app


def test_everything_dash_s_constructor_takes_is_taken():
    dashs = inspect.signature(dash.Dash.__init__).parameters
    options = {
        name: parameter.default
        for name, parameter in dashs.items()
        if name not in ("self", "obsolete", "server", "backend")
    }
    assert Flash(**options).config.title == "Dash"


# What `Flash` takes beside Dash's arguments.
OWN = {
    *("max_threads", "max_waiting", "allowed_hosts", "redis", "sessions"),
    *("slow_callback_seconds", "tracing", "version", "visitor_share", "page_headers"),
}


def test_s6_the_constructor_lists_the_arguments_of_dash_with_their_defaults():
    ours = dict(inspect.signature(Flash.__init__).parameters)
    dashs = dict(inspect.signature(dash.Dash.__init__).parameters)
    for each in (ours, dashs):
        for name in ("self", "others", "obsolete"):
            each.pop(name, None)
    # A Dash that is newer or older than the other of the two that are tested may have fewer.
    assert dashs.keys() <= ours.keys() - OWN
    # Dash's is an object of its own, which stands for the environment's choice.
    dashs.pop("shared_storage", None)
    for name, parameter in dashs.items():
        assert ours[name].default == parameter.default, name


def test_s6_callbacks_list_the_keywords_of_dash_with_their_defaults():
    dashs = inspect.signature(dash.callback).parameters
    for ours in (flash.callback, Flash.callback):
        parameters = inspect.signature(ours).parameters
        for name, parameter in dashs.items():
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                assert parameters[name].default == parameter.default, name


def test_s6_an_argument_that_this_dash_does_not_know_is_refused_by_it():
    with pytest.raises(TypeError, match="ttle"):
        Flash(__name__, ttle="misspelt")  # type: ignore[arg-type]


class TestMounting:
    async def test_an_app_makes_its_own_server(self):
        app = an_app()
        assert isinstance(app.server, quart.Quart)
        async with FlashClient(app) as client:
            assert (await client.get("/")).status == 200

    async def test_it_goes_on_a_server_that_is_there(self):
        server = quart.Quart(__name__)

        @server.get("/other")
        async def other():
            return "other"

        app = an_app(server)
        assert app.server is server
        async with FlashClient(server) as client:
            assert (await client.layout()).find("in").type == "Input"
            assert (await client.get("/other")).text == "other"

    async def test_it_goes_on_a_server_later(self):
        app = an_app(server=False, suppress_callback_exceptions=True)
        app.callback(OUT, IN)(lambda value: value)
        server = quart.Quart("late")
        app.init_app(
            server,
            url_base_pathname="/x/",
            routes_pathname_prefix="/x/",
            requests_pathname_prefix="/x/",
        )
        assert app.server is server
        async with FlashClient(app) as client:
            assert (await client.layout()).find("in").type == "Input"
            assert (await client.call("out.children", {"in.value": 1})).value == 1

    async def test_mounting_it_again_on_the_same_server_changes_nothing(self):
        app = an_app()
        app.init_app()
        app.init_app(app.server)
        async with FlashClient(app) as client:
            assert (await client.get("/")).status == 200

    @pytest.mark.parametrize("server", [object(), "quart", 5])
    def test_what_is_no_quart_app_is_refused_with_the_remedy(self, server):
        with pytest.raises(ConfigurationError, match=r"quart\.Quart"):
            Flash(__name__, server)
        with pytest.raises(ConfigurationError, match=r"quart\.Quart"):
            Flash(__name__, server=False).init_app(server)

    @pytest.mark.parametrize("backend", ["flask", "fastapi", object])
    def test_another_backend_is_refused_with_the_remedy(self, backend):
        with pytest.raises(ConfigurationError, match="leave out backend="):
            Flash(__name__, backend=backend)

    @pytest.mark.parametrize("backend", ["quart", QuartBackend])
    async def test_its_own_backend_may_be_named(self, backend):
        async with FlashClient(an_app(backend=backend)) as client:
            assert (await client.get("/")).status == 200

    async def test_requests_and_routes_may_have_different_prefixes(self):
        app = an_app(requests_pathname_prefix="/proxied/app/", routes_pathname_prefix="/app/")
        async with FlashClient(app) as client:
            page = await client.get("/app/")
            assert '"requests_pathname_prefix":"/proxied/app/"' in page.text
            assert 'src="/proxied/app/_dash-component-suites/' in page.text
            assert (await client.get("/app/_dash-layout")).status == 200

    async def test_the_assets_url_path_may_be_anything(self, tmp_path):
        (tmp_path / "style.css").write_text("body {}")
        app = an_app(assets_folder=str(tmp_path), assets_url_path="/static/mine")
        async with FlashClient(app) as client:
            page = await client.get("/")
            assert "static/mine/style.css?m=" in page.text
            assert (await client.get("/static/mine/style.css")).text == "body {}"


class TestSeveral:
    async def test_apps_on_one_server_have_each_their_own_callbacks_and_context(self):
        server = quart.Quart(__name__)
        apps = {}
        for name in ("a", "b"):
            app = apps[name] = an_app(server, url_base_pathname=f"/{name}/")

            @app.callback(OUT, IN)
            def plain(value, name=name):
                return [name, dash.get_app() is apps[name], quart.request.path]

            @app.callback(Output("in", "title"), Input("out", "title"))
            async def on_loop(value, name=name):
                return [name, dash.get_app() is apps[name]]

        apps["a"].callback(Output("only", "x"), IN)(lambda value: value)
        async with FlashClient(apps["a"]) as a:
            b = FlashClient(apps["b"])
            for name, client in (("a", a), ("b", b)):
                result = await client.call("out.children", {"in.value": 1})
                assert result.value == [name, True, f"/{name}/_dash-update-component"]
                assert (await client.call("in.title", {"out.title": 1})).value == [name, True]
            await a.call("only.x", {"in.value": 1})
            refused = await b.post("/b/_dash-update-component", json={"output": "only.x"})
            assert refused.status == 404

    async def test_each_has_its_own_layout_index_assets_and_bundles(self, tmp_path):
        server = quart.Quart(__name__)
        for name in ("a", "b"):
            folder = tmp_path / name
            folder.mkdir()
            (folder / "own.css").write_text(name)
            app = Flash(
                __name__,
                server,
                url_base_pathname=f"/{name}/",
                title=name,
                assets_folder=str(folder),
            )
            app.layout = lambda app=app: html.Div(f"{app.title} {dash.get_app() is app}")
        async with FlashClient(server) as client:
            for name in ("a", "b"):
                page = await client.get(f"/{name}/")
                assert f"<title>{name}</title>" in page.text
                assert (await client.get(f"/{name}/assets/own.css")).text == name
                layout = await client.get(f"/{name}/_dash-layout")
                assert layout.json()["props"]["children"] == f"{name} True"
                script = next(part for part in page.text.split('"') if "dash_renderer" in part)
                assert script.startswith(f"/{name}/")
                assert (await client.get(script)).status == 200
                assert (await client.get(f"/{name}/_favicon.ico")).status == 200

    async def test_one_at_the_root_leaves_the_other_its_paths(self):
        server = quart.Quart(__name__)
        root, below = an_app(server), an_app(server, url_base_pathname="/below/")
        for app, name in ((root, "root"), (below, "below")):
            app.callback(OUT, IN)(lambda value, name=name: name)
        async with FlashClient(root) as client:
            assert (await client.call("out.children", {"in.value": 1})).value == "root"
            other = FlashClient(below)
            assert (await other.call("out.children", {"in.value": 1})).value == "below"

    async def test_callbacks_without_an_app_belong_to_the_first_that_starts(self):
        first, second = an_app(), an_app()
        flash.callback(OUT, IN)(lambda value: value)
        async with FlashClient(first) as client:
            assert (await client.call("out.children", {"in.value": 1})).value == 1
            async with FlashClient(second) as other:
                answer = await other.post(
                    "/_dash-update-component", json={"output": "out.children"}
                )
                assert answer.status == 404


BAD_LAYOUTS = {
    "an id twice": html.Div([html.P(id="a"), html.P(id="a")]),
    "no component": "text",
    "nothing": None,
}


class TestLayout:
    async def test_a_function_is_called_for_each_page_in_a_thread(self):
        app, threads = an_app(), []

        def layout():
            threads.append(threading.current_thread())
            return html.Div(len(threads))

        app.layout = layout
        async with FlashClient(app) as client:
            before = len(threads)
            texts = [(await client.layout()).text for _ in range(2)]
        assert texts == [str(before + 1), str(before + 2)]
        assert threading.main_thread() not in threads[-2:]

    async def test_an_async_function_is_awaited_on_the_loop(self):
        app, loops = an_app(), []

        async def layout():
            await asyncio.sleep(0)
            loops.append(asyncio.get_running_loop())
            return LAYOUT

        app.layout = layout
        async with FlashClient(app) as client:
            assert (await client.layout()).find("in").type == "Input"
        assert set(loops) == {asyncio.get_running_loop()}

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_it_sees_the_request_and_the_session(self, is_async):
        app = an_app(suppress_callback_exceptions=True)
        app.server.secret_key = "secret"

        def make():
            quart.session["seen"] = True
            return html.Div(quart.request.cookies.get("who", "nobody"))

        async def layout():
            return make()

        app.layout = layout if is_async else make
        async with FlashClient(app, cookies={"who": "ada"}) as client:
            assert (await client.layout()).text == "ada"
            assert "session" in client.cookies

    async def test_an_async_one_that_must_have_a_request_is_validated_with_a_made_up_one(self):
        app = an_app()

        async def layout():
            return html.Div(f"{quart.request.path} {dict(quart.session)}", id="in")

        app.layout = layout
        async with FlashClient(app) as client:
            assert (await client.layout()).text == "/_dash-layout {}"

    @pytest.mark.parametrize("name", BAD_LAYOUTS)
    async def test_a_bad_one_is_refused_at_start_with_dash_s_words(self, name):
        bad = BAD_LAYOUTS[name]

        async def layout():
            return bad

        with pytest.raises(Exception) as plainly:  # noqa: PT011  whatever Dash raises
            dash.Dash(__name__).layout = lambda: bad
        app = an_app()
        app.layout = layout
        with pytest.raises(StartupFailed) as at_start:
            async with FlashClient(app):
                pass
        assert str(plainly.value) in str(at_start.value)

    @pytest.mark.parametrize("bad", ["text", 5, None])
    def test_what_is_no_layout_at_all_is_refused_at_once(self, bad):
        with pytest.raises(dash.exceptions.NoLayoutException):
            an_app().layout = bad

    async def test_the_page_validates_callbacks_against_an_async_one_as_against_a_plain_one(self):
        async def layout():
            return LAYOUT

        configs = []
        for made in (lambda: LAYOUT, layout):
            app = an_app()
            app.layout = made
            async with FlashClient(app) as client:
                await client.layout()
                configs.append(client._page.config)
        assert configs[0]["validation_layout"] == configs[1]["validation_layout"]
        assert configs[0]["validation_layout"]["type"] == "Div"

    async def test_one_that_shows_less_to_a_visitor_is_validated_whole(self):
        def make():
            shown = [html.P(id="shown")]
            return html.Div(shown if quart.has_request_context() else [*shown, html.P(id="later")])

        async def layout():
            return make()

        for made in (make, layout):
            app = an_app()
            app.layout = made
            async with FlashClient(app) as client:
                tree = await client.layout()
                assert not [node for node in tree.walk() if node.id == "later"]
                validated = client._page.config["validation_layout"]
                ids = [child["props"]["id"] for child in validated["props"]["children"]]
                assert ids == ["shown", "later"]

    async def test_a_list_of_components_is_a_layout(self):
        app = an_app()
        app.layout = [html.P("a", id="in"), html.P("b", id="out")]
        async with FlashClient(app) as client:
            assert (await client.layout()).text == "ab"

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_get_layout_gives_it_to_a_thread(self, is_async):
        app = an_app()

        async def layout():
            return LAYOUT

        if is_async:
            app.layout = layout
        dash.hooks.layout()(lambda given: html.Section(given))
        async with FlashClient(app) as client:
            await client.get("/")
            got = await asyncio.to_thread(app.get_layout)
        assert isinstance(got, html.Section)
        assert got.children.children[0].id == "in"

    async def test_get_layout_on_the_loop_says_what_to_do_instead(self):
        with pytest.raises(RuntimeError, match="await"):
            an_app().get_layout()

    def test_get_layout_works_without_a_loop(self):
        app = an_app()

        async def layout():
            return LAYOUT

        app.layout = layout
        assert app.get_layout() is LAYOUT

    async def test_extra_components_of_plugins_are_in_it(self):
        class Plugin:
            def plug(self, app):
                app._extra_components.append(html.P("extra", id="extra"))

        app = an_app(plugins=[Plugin()])

        async def layout():
            return LAYOUT

        for made in (LAYOUT, layout):
            app.layout = made
            async with FlashClient(app) as client:
                assert (await client.layout()).find("extra").text == "extra"

    async def test_a_full_pool_is_said_to_the_page(self):
        app, release = an_app(max_threads=1, max_waiting=0), threading.Event()
        release.set()

        def layout():
            release.wait(SECONDS)
            return html.Div(id="in")

        app.layout = layout
        async with FlashClient(app) as client:
            release.clear()
            first = asyncio.create_task(client.get("/_dash-layout"))
            while not app.page_pool.statistics().running:  # noqa: ASYNC110  a thread tells nobody
                await asyncio.sleep(0)
            answer = await client.get("/_dash-layout")
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            release.set()
            assert (await first).status == 200

    async def test_13_f_a_layout_finds_a_thread_while_callbacks_have_all(self):
        app, release = an_app(max_threads=1, max_waiting=0), threading.Event()

        def layout():
            return html.Div(id="in")

        app.layout = layout
        app.callback(OUT, IN)(lambda value: release.wait(SECONDS))
        app.config.suppress_callback_exceptions = True
        async with FlashClient(app) as client:
            call = asyncio.create_task(client.call("out.children", {"in.value": 1}))
            while not app.statistics().running:  # noqa: ASYNC110  a thread tells nobody
                await asyncio.sleep(0)
            assert (await client.get("/_dash-layout")).status == 200
            release.set()
            await call


class TestEndpoints:
    async def test_the_health_endpoint_says_ok(self):
        async with FlashClient(an_app(health_endpoint="health")) as client:
            assert (await client.get("/health")).text == "OK"

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_a_callback_with_an_api_endpoint_is_called_with_json(self, is_async):
        app = an_app()

        def double(value, times=2):
            return {
                "doubled": value * times,
                "thread": threading.current_thread().name,
                "path": quart.request.path,
            }

        async def double_on_loop(value, times=2):
            return double(value, times)

        app.callback(OUT, IN, api_endpoint="/api/double")(double_on_loop if is_async else double)
        app.setup_apis()
        async with FlashClient(app) as client:
            answer = (await client.post("/api/double", json={"value": 4})).json()
            assert (answer["doubled"], answer["path"]) == (8, "/api/double")
            assert (answer["thread"] == "MainThread") is is_async
            for body in ({"value": 1, "other": 2}, {}, [1], 5):
                refused = await client.post("/api/double", json=body)
                assert refused.status == 400
                assert refused.text.count("\n") == 1
            assert (await client.post("/api/double", body=b"{")).status == 400

    async def test_apps_may_have_the_same_endpoint_below_their_own_prefix(self):
        for name in ("a", "b"):
            app = an_app(url_base_pathname=f"/{name}/")
            app.callback(OUT, IN, api_endpoint="/api")(lambda value, name=name: name + value)
            app.setup_apis()
            async with FlashClient(app) as client:
                assert (await client.post("/api", json={"value": "!"})).json() == f"{name}!"

    async def test_the_reload_hash_is_served(self):
        async with FlashClient(an_app()) as client:
            assert (await client.get("/_reload-hash")).json()["reloadHash"] is None


DECODERS = {
    "br": brotli.decompress,
    "gzip": gzip.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
}


@pytest.fixture(params=[False, True], ids=["direct", "through Quart"])
def compressing(request):
    app = an_app(compress=True, suppress_callback_exceptions=True)
    app.layout = html.Div(["text " * 1000], id="in")
    app.callback(OUT, IN)(lambda value: "result " * value)
    if request.param:

        @app.server.before_request
        async def watch():
            """Send every request through Quart."""

    return app


class TestCompression:
    PATHS = ("/", "/deep/page", "/_dash-layout")

    @pytest.mark.parametrize("coding", DECODERS)
    async def test_what_is_made_per_request_is_compressed(self, compressing, coding):
        async with FlashClient(compressing) as client:
            for path in self.PATHS:
                whole = await client.get(path)
                answer = await client.get(path, headers={"accept-encoding": coding})
                assert answer.headers["content-encoding"] == coding
                assert answer.headers["content-type"] == whole.headers["content-type"]
                assert answer.headers["vary"] == whole.headers["vary"] == "accept-encoding"
                assert int(answer.headers["content-length"]) == len(answer.body) < len(whole.body)
                assert len(DECODERS[coding](answer.body)) == len(whole.body)

    @pytest.mark.parametrize("size", [1000, 100_000])
    async def test_a_callback_s_result_is_compressed(self, compressing, size):
        body = {
            "output": "out.children",
            "outputs": {"id": "out", "property": "children"},
            "inputs": [{"id": "in", "property": "value", "value": size}],
        }
        async with FlashClient(
            compressing, headers={"accept-encoding": "gzip, br, zstd"}
        ) as client:
            answer = await client.post("/_dash-update-component", json=body)
        assert answer.headers["content-encoding"] == "zstd"
        assert b"result result" in DECODERS["zstd"](answer.body)

    @pytest.mark.parametrize(
        ("accepted", "coding"),
        [
            ("gzip;q=1, zstd;q=0.5", "gzip"),
            ("br, zstd;q=0", "br"),
            ("*", "zstd"),
            ("gzip;q=0", None),
            ("identity", None),
            ("deflate", None),
            ("", None),
            (";;,=", None),
        ],
    )
    async def test_the_reader_chooses(self, compressing, accepted, coding):
        async with FlashClient(compressing, headers={"accept-encoding": accepted}) as client:
            answer = await client.get("/_dash-layout")
        assert answer.headers.get("content-encoding") == coding

    async def test_short_ones_go_as_they_are(self, compressing):
        body = {
            "output": "out.children",
            "outputs": {"id": "out", "property": "children"},
            "inputs": [{"id": "in", "property": "value", "value": 1}],
        }
        async with FlashClient(compressing, headers={"accept-encoding": "gzip"}) as client:
            answer = await client.post("/_dash-update-component", json=body)
        assert "content-encoding" not in answer.headers
        assert answer.json()["response"] == {"out": {"children": "result "}}

    async def test_it_is_off_unless_asked_for(self):
        app = an_app()
        app.layout = html.Div("text " * 1000)
        async with FlashClient(app, headers={"accept-encoding": "gzip"}) as client:
            answer = await client.get("/_dash-layout")
        assert "content-encoding" not in answer.headers
        assert "vary" not in answer.headers


class TestDevelopment:
    BODY = json.dumps(
        {
            "output": "out.children",
            "outputs": {"id": "out", "property": "children"},
            "inputs": [{"id": "in", "property": "value", "value": 1}],
        }
    ).encode()

    async def answered(self, *, developing, **tools):
        app = an_app()

        @app.callback(OUT, IN)
        def divide(value):
            return value / 0  # the line that raises

        if developing:
            app.enable_dev_tools(debug=True, dev_tools_hot_reload=False, **tools)
        async with FlashClient(app) as client:
            headers = {"content-type": "application/json"}
            answer = await client.post("/_dash-update-component", body=self.BODY, headers=headers)
        assert answer.status == 500
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        return answer.text

    async def test_an_error_shows_the_user_s_line_and_nobody_else_s(self, caplog):
        page = await self.answered(developing=True)
        assert "ZeroDivisionError" in page
        assert "value / 0  # the line that raises" in page
        assert "dispatch.py" not in page
        assert "the line that raises" in caplog.text

    async def test_unpruned_it_shows_everybody_s(self):
        page = await self.answered(developing=True, dev_tools_prune_errors=False)
        assert "value / 0  # the line that raises" in page
        assert "dispatch.py" in page

    async def test_elsewhere_the_sender_learns_nothing_and_the_log_all(self, caplog):
        assert "division" not in await self.answered(developing=False)
        assert "division by zero" in caplog.text

    async def test_http_errors_stay_what_they_are(self):
        app = an_app()
        app.enable_dev_tools(debug=True, dev_tools_hot_reload=False)

        @app.server.get("/teapot")
        async def teapot():
            quart.abort(418)

        async with FlashClient(app) as client:
            assert (await client.get("/teapot")).status == 418


class TestWarmUp:
    """What the user's functions need is imported after the start; only they wait for it."""

    @pytest.fixture
    async def imports(self, monkeypatch):
        """An import that takes until it is let go on, and where it ran."""
        go_on, begun, threads = threading.Event(), asyncio.Event(), []
        loop = asyncio.get_running_loop()

        def wait():
            threads.append(threading.current_thread())
            loop.call_soon_threadsafe(begun.set)
            go_on.wait(SECONDS)

        monkeypatch.setattr("flash.app._import_for_callbacks", wait)
        yield go_on, begun, threads
        go_on.set()

    def an_app_that_counts(self):
        app, calls = an_app(), []

        @app.callback(OUT, IN)
        async def count(value):
            calls.append(value)
            return value

        return app, calls

    async def test_the_page_and_files_do_not_wait_for_it(self, imports):
        app, _ = self.an_app_that_counts()
        async with FlashClient(app) as client:
            for path in ("/", "/_favicon.ico"):
                assert (await client.get(path)).status == 200
            assert not imports[1].is_set()

    async def test_a_callback_waits_for_it_and_it_runs_once_and_not_on_the_loop(self, imports):
        go_on, begun, threads = imports
        app, calls = self.an_app_that_counts()
        async with FlashClient(app) as client:
            waiting = [
                asyncio.create_task(client.call("out.children", {"in.value": n})) for n in range(3)
            ]
            await begun.wait()
            assert calls == []
            go_on.set()
            for each in waiting:
                await each
        assert sorted(calls) == [0, 1, 2]
        (thread,) = threads
        assert thread is not threading.main_thread()

    async def test_it_begins_by_itself_soon_after_the_start(self, imports, monkeypatch):
        monkeypatch.setattr("flash.app._WARM_UP_SECONDS", 0.01)
        app, _ = self.an_app_that_counts()
        async with FlashClient(app):
            await imports[1].wait()
            imports[0].set()

    async def test_a_numpy_that_cannot_be_imported_is_told_and_the_app_goes_on(
        self, monkeypatch, caplog
    ):
        def fail(name, package=None):
            if name == "numpy":
                raise ImportError("built for another machine")
            return original(name, package)

        original = flash.app.importlib.import_module
        monkeypatch.setattr(flash.app.importlib, "import_module", fail)
        app, calls = self.an_app_that_counts()
        async with FlashClient(app) as client:
            await client.call("out.children", {"in.value": 1})
            await client.call("out.children", {"in.value": 2})
        assert calls == [1, 2]
        assert [each.getMessage() for each in caplog.records if each.name == "flash.app"] == [
            "numpy is installed but cannot be imported: built for another machine"
        ]
