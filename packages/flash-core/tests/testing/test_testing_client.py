"""The browserless client, shown on apps of every kind that it has to speak to."""

import asyncio
import gzip
import json
import subprocess
import sys
from contextlib import asynccontextmanager

import dash
import pytest
from dash import ALL, ALLSMALLER, MATCH, Dash, Input, Output, Patch, State, dcc, html, no_update
from dash.exceptions import PreventUpdate
from quart import Quart, redirect, request, session

from flash import Flash
from flash.background import AsyncManager
from flash.errors import ConfigurationError
from flash.testing import (
    CallbackFailed,
    CallbackNotFound,
    FlashClient,
    IncompleteResponse,
    Node,
    PageFailed,
    StartupFailed,
)


def stock(**options):
    return Dash(__name__, backend="quart", **options)


def flash(**options):
    return Flash(__name__, **options)


@pytest.fixture(params=[stock, flash])
def kind(request):
    return request.param


@pytest.fixture
def app(kind):
    return kind(suppress_callback_exceptions=True)


@asynccontextmanager
async def a_client(app, layout=None, **options):
    """A client that nothing hangs in."""
    if layout is not None:
        app.layout = layout
    async with asyncio.timeout(30), FlashClient(app, **options) as client:
        yield client


class TestRequests:
    async def test_an_answer_has_a_status_headers_and_a_body(self):
        app = Quart(__name__)

        @app.post("/echo/<name>")
        async def echo(name):
            return {
                "name": name,
                "query": request.args.getlist("q"),
                "body": (await request.get_json()),
                "header": request.headers["X-Mine"],
                "everywhere": request.headers["X-All"],
            }

        async with a_client(app, headers={"X-All": "each"}) as client:
            answer = await client.post(
                "/echo/ä b?q=1", params={"q": [2, 3]}, json={"a": 1}, headers={"X-Mine": "once"}
            )
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json() == {
            "name": "ä b",
            "query": ["1", "2", "3"],
            "body": {"a": 1},
            "header": "once",
            "everywhere": "each",
        }

    async def test_cookies_persist_and_follow_their_path_and_expiry(self):
        app = Quart(__name__)

        @app.get("/set")
        async def set_cookies():
            response = await app.make_response("")
            response.set_cookie("here", "1")
            response.set_cookie("deep", "2", path="/deep")
            response.set_cookie("safe", "3", secure=True)
            return response

        @app.get("/drop")
        async def drop():
            response = await app.make_response("")
            response.delete_cookie("here")
            return response

        @app.get("/deep/seen")
        @app.get("/seen")
        async def seen():
            return dict(request.cookies)

        async with a_client(app, cookies={"mine": "0"}) as client:
            await client.get("/set")
            assert dict(client.cookies) == {"mine": "0", "here": "1", "deep": "2", "safe": "3"}
            assert (await client.get("/seen")).json() == {"mine": "0", "here": "1"}
            assert "deep" in (await client.get("/deep/seen")).json()
            await client.get("/drop")
            del client.cookies["mine"]
            assert (await client.get("/seen")).json() == {}
            with pytest.raises(KeyError):
                del client.cookies["mine"]

    async def test_redirects_are_shown_unless_they_are_to_be_followed(self):
        app = Quart(__name__)

        @app.post("/from")
        async def start():
            return redirect("/to?x=1")

        @app.get("/to")
        async def end():
            return request.url

        @app.get("/round")
        async def again():
            return redirect("/round")

        async with a_client(app) as client:
            assert (await client.post("/from")).status == 302
            answer = await client.post("/from", json=1, follow_redirects=True)
            assert answer.text == answer.url == "http://testserver/to?x=1"
            with pytest.raises(PageFailed, match="more than 20 times"):
                await client.get("/round", follow_redirects=True)

    async def test_leaving_a_stream_ends_the_app_s_work(self):
        app = Quart(__name__)
        ended = asyncio.Event()

        @app.get("/ticks")
        async def ticks():
            async def lines():
                try:
                    for number in range(10**9):
                        yield f"{number}\n".encode()
                finally:
                    ended.set()

            return lines(), {"Content-Type": "text/plain"}

        async with a_client(app) as client, client.stream("GET", "/ticks") as answer:
            assert answer.headers["content-type"] == "text/plain"
            seen = []
            async for line in answer.lines():
                seen.append(line)
                if line == "2":
                    break
        assert seen == ["0", "1", "2"]
        assert ended.is_set()

    async def test_cancelling_a_request_disconnects(self):
        told = asyncio.Event()
        waiting = asyncio.Event()

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            await receive()
            waiting.set()
            if (await receive())["type"] == "http.disconnect":
                told.set()

        async with a_client(app) as client:
            call = asyncio.create_task(client.get("/"))
            await waiting.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert told.is_set()

    async def test_an_app_that_ignores_the_disconnect_is_cancelled(self):
        cancelled = asyncio.Event()

        async def app(scope, receive, send):
            assert scope["type"] == "http"
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async with a_client(app, grace=0) as client, client.stream("GET", "/"):
            pass
        assert cancelled.is_set()

    async def test_an_error_of_a_bare_app_reaches_the_test(self):
        async def app(scope, receive, send):
            assert scope["type"] == "http"
            if scope["path"] == "/early":
                raise RuntimeError("early")
            await send({"type": "http.response.start", "status": 200})
            if scope["path"] == "/late":
                raise RuntimeError("late")

        async with a_client(app) as client:
            with pytest.raises(RuntimeError, match="early"):
                await client.get("/early")
            with pytest.raises(RuntimeError, match="late"):
                await client.get("/late")
            with pytest.raises(IncompleteResponse, match="http://testserver/half"):
                await client.get("/half")

    async def test_the_app_is_started_and_stopped_around_the_requests(self):
        app = Quart(__name__)
        steps = []

        @app.before_serving
        async def start():
            steps.append("start")

        @app.after_serving
        async def stop():
            steps.append("stop")

        async with a_client(app) as client:
            await client.get("/")
            assert steps == ["start"]
        assert steps == ["start", "stop"]

    async def test_an_app_that_does_not_start_says_why(self):
        app = Quart(__name__)

        @app.before_serving
        async def start():
            raise RuntimeError("no database")

        with pytest.raises(StartupFailed, match="no database"):
            async with a_client(app):
                pass

    async def test_an_app_on_flask_is_refused_with_the_remedy(self):
        with pytest.raises(ConfigurationError, match="from flash import Flash"):
            FlashClient(Dash(__name__))


class TestLayout:
    async def test_it_is_what_the_browser_gets(self, app):
        layout = html.Div(
            [
                html.H1("Sales", id="title"),
                dcc.Tabs([dcc.Tab(html.P("first"), label="1"), dcc.Tab(label="2")]),
                html.Button("x", id={"type": "b", "index": 1}),
            ]
        )
        async with a_client(app, layout) as client:
            tree = await client.layout()
        assert tree.find("title").text == "Sales"
        assert tree.find({"type": "b", "index": 1}).type == "Button"
        assert [tab["label"] for tab in tree.find_all("Tab")] == ["1", "2"]
        assert tree.find_all(label="2")[0].children is None
        assert tree.text == "Salesfirstx"
        with pytest.raises(LookupError, match="title"):
            tree.find("missing")

    async def test_components_in_any_property_are_found(self, app):
        layout = [dcc.RadioItems([{"label": html.B("bold", id="label"), "value": 1}]), "text"]
        async with a_client(app, layout) as client:
            tree = await client.layout()
        assert tree.find("label").text == "bold"
        assert tree.text == "text"

    async def test_locations_hold_the_page_s_address(self, app):
        layout = html.Div([dcc.Location(id="url"), dcc.Location(id="fixed", pathname="/mine")])
        async with a_client(app, layout) as client:
            tree = await client.layout("/a/b?x=1#there")
        assert tree.find("url")["pathname"] == "/a/b"
        assert tree.find("url")["search"] == "?x=1"
        assert tree.find("url")["hash"] == "#there"
        assert tree.find("fixed")["pathname"] == "/mine"

    async def test_a_layout_function_sees_the_page_as_referrer(self, app):
        def layout():
            return html.Div(request.referrer, id="from")

        async with a_client(app, layout) as client:
            tree = await client.layout("/a?x=1")
        assert tree.find("from").text == "http://testserver/a?x=1"

    async def test_pages_stand_in_their_container(self, kind):
        app = kind(
            use_pages=True,
            pages_folder="",
            routing_callback_inputs={"language": State("language", "value")},
        )
        dash.register_page("home", path="/", layout=html.P("home", id="home"))

        def item(number=None, q=None, language=None):
            return html.P(f"item {number} {q} {language}", id="item")

        dash.register_page("item", path_template="/item/<number>", title="An item", layout=item)
        layout = html.Div([dcc.Input("en", id="language"), dash.page_container])
        try:
            async with a_client(app, layout) as client:
                assert (await client.layout()).find("home").text == "home"
                tree = await client.layout("/item/7?q=8")
                assert tree.find("item").text == "item 7 8 en"
                assert tree.find("_pages_store")["data"] == {"title": "An item"}
                assert "404" in (await client.layout("/nowhere")).text
        finally:
            dash.page_registry.clear()

    async def test_an_app_below_a_prefix_is_found_by_its_own_prefix(self, kind):
        app = kind(url_base_pathname="/board/")

        @app.callback(Output("out", "children"), Input("in", "value"))
        async def show(value):
            return f"{value} at {request.path}"

        layout = html.Div([dcc.Input(id="in"), html.P(id="out")])
        async with a_client(app, layout) as client:
            assert (await client.layout("/board/deep")).find("in").type == "Input"
            result = await client.call("out.children", {"in.value": 1})
            assert result.value == "1 at /board/_dash-update-component"
        async with a_client(app.server, base_url="http://testserver/board") as client:
            assert (await client.layout()).find("in").type == "Input"

    async def test_a_path_without_a_dash_page_says_what_is_there(self):
        server = Quart(__name__)

        @server.get("/")
        async def index():
            return redirect("/login")

        @server.get("/login")
        async def login():
            return "Who are you?"

        async with a_client(server) as client:
            with pytest.raises(PageFailed, match=r"/login has status 200 .*Who are you"):
                await client.layout("/")

    async def test_a_failing_layout_is_told_with_the_server_s_text(self, app):
        def layout():
            return 1 / 0

        app.layout = html.Div()
        async with a_client(app) as client:
            app.layout = layout
            with pytest.raises(PageFailed, match="500"):
                await client.layout()

    async def test_changes_make_a_new_tree(self):
        tree = Node.of({"type": "P", "namespace": "n", "props": {"id": "p", "children": "old"}})
        assert tree.replace({("p", "children"): "new", ("q", "children"): "-"}).text == "new"
        assert tree.text == "old"


class TestCall:
    async def test_one_output_gives_its_value(self, app):
        @app.callback(Output("out", "children"), Input("in", "value"), State("st", "data"))
        async def show(value, data):
            return f"{value} {data}"

        async with a_client(app, html.Div()) as client:
            result = await client.call("out.children", {"in.value": 3, "st.data": [1]})
            assert result.value == result["out.children"] == "3 [1]"
            result = await client.call("out.children", {"in.value": 3}, {"st.data": 2})
            assert result.value == "3 2"
            result = await client.call(Output("out", "children"), {Input("in", "value"): 3})
            assert result.value == "3 None"

    async def test_several_outputs_give_a_dictionary(self, app):
        @app.callback(Output("a", "x"), Output("b", "y"), Input("in", "value"))
        def both(value):
            return value, no_update if value == 2 else -value

        async with a_client(app, html.Div()) as client:
            expected = {"a.x": 1, "b.y": -1}
            assert (await client.call("..a.x...b.y..", {"in.value": 1})).value == expected
            assert (await client.call(["a.x", "b.y"], {"in.value": 1})).value == expected
            result = await client.call("a.x", {"in.value": 2})
            assert result.value == 2
            assert result["b.y"] is no_update
            assert result.updates == {"a.x": 2}

    async def test_the_body_is_the_renderer_s(self, app):
        seen = []

        @app.server.before_request
        async def look():
            if request.path.endswith("update-component"):
                seen.append(await request.get_json())

        @app.callback(
            Output({"type": "out", "index": MATCH}, "children"),
            Input({"type": "in", "index": MATCH}, "value"),
            Input({"type": "in", "index": ALL}, "n_clicks"),
            State({"type": "in", "index": ALLSMALLER}, "value"),
            State("plain", "data"),
        )
        def show(*values):
            return json.dumps(values)

        def box(index, prop="value"):
            return Input({"type": "in", "index": index}, prop)

        async with a_client(app, html.Div()) as client:
            result = await client.call(
                Output({"type": "out", "index": 1}, "children"),
                {
                    box(0): "a",
                    box(1): "b",
                    box(2): "c",
                    box(1, "n_clicks"): 5,
                    box(0, "n_clicks"): 4,
                },
                triggered=['{"index": 1, "type": "in"}.value'],
            )
        assert result.value == '["b", [5, 4], ["a"], null]'
        one, zero = {"index": 1, "type": "in"}, {"index": 0, "type": "in"}
        assert seen == [
            {
                "output": '{"index":["MATCH"],"type":"out"}.children',
                "outputs": {"id": {"index": 1, "type": "out"}, "property": "children"},
                "inputs": [
                    {"id": one, "property": "value", "value": "b"},
                    [
                        {"id": one, "property": "n_clicks", "value": 5},
                        {"id": zero, "property": "n_clicks", "value": 4},
                    ],
                ],
                "changedPropIds": ['{"index":1,"type":"in"}.value'],
                "parsedChangedPropsIds": [one],
                "state": [
                    [{"id": zero, "property": "value", "value": "a"}],
                    {"id": "plain", "property": "data"},
                ],
            }
        ]

    async def test_what_triggered_is_all_that_is_given_unless_told(self, app):
        @app.callback(Output("out", "children"), Input("a", "x"), Input("b", "x"), State("c", "x"))
        def show(*_):
            return sorted(dash.ctx.triggered_prop_ids)

        values = {"a.x": 1, "b.x": 2, "c.x": 3}
        async with a_client(app, html.Div()) as client:
            assert (await client.call("out.children", values)).value == ["a.x", "b.x"]
            result = await client.call("out.children", values, triggered=["b.x"])
            assert result.value == ["b.x"]
            result = await client.call("out.children", values, triggered=[])
            assert result.value == []

    async def test_match_is_settled_by_the_input_that_triggered(self, app):
        @app.callback(
            Output({"t": "out", "i": MATCH}, "children"), Input({"t": "in", "i": MATCH}, "value")
        )
        def show(value):
            return [value, dash.ctx.outputs_list["id"]["i"]]

        async with a_client(app, html.Div()) as client:
            result = await client.call(
                Output({"t": "out", "i": MATCH}, "children"),
                {Input({"t": "in", "i": "ä"}, "value"): 1},
            )
            assert result[Output({"t": "out", "i": "ä"}, "children")] == [1, "ä"]
            with pytest.raises(CallbackNotFound, match="MATCH"):
                await client.call(Output({"t": "out", "i": MATCH}, "children"))

    async def test_an_output_for_all_goes_to_the_components_named(self, app):
        @app.callback(
            Output({"t": "row", "i": ALL}, "children"), Input({"t": "row", "i": ALL}, "value")
        )
        def show(values):
            return [value * 2 for value in values]

        def row(index, prop):
            return Output({"t": "row", "i": index}, prop)

        async with a_client(app, html.Div()) as client:
            values = {row(7, "value"): 1, row(5, "value"): 2}
            result = await client.call(row(ALL, "children"), values)
            assert result[row(7, "children")] == 2
            assert result[row(5, "children")] == 4
            result = await client.call([row(5, "children"), row(7, "children")], values)
            assert result[row(5, "children")] == 2
            assert (await client.call(row(ALL, "children"))).updates == {}

    async def test_duplicate_outputs_are_told_apart_by_their_inputs(self, app):
        for name in ("a", "b"):
            app.callback(
                Output("out", "children", allow_duplicate=True),
                Input(name, "n_clicks"),
                prevent_initial_call=True,
            )(lambda clicks, name=name: f"{name}{clicks}")

        async with a_client(app, html.Div()) as client:
            assert (await client.call("out.children", {"a.n_clicks": 1})).value == "a1"
            assert (await client.call("out.children", {"b.n_clicks": 2})).value == "b2"
            with pytest.raises(CallbackNotFound, match="several callbacks match"):
                await client.call("out.children")

    async def test_a_callback_without_outputs_is_named_by_its_inputs(self, app):
        @app.callback(Input("in", "value"))
        def store(value):
            dash.set_props("box", {"children": html.B(value)})
            dash.set_props({"t": "x", "i": 1}, {"title": "t"})

        async with a_client(app, html.Div()) as client:
            result = await client.call(None, {"in.value": "v"})
        assert not result.prevented
        assert Node.of(result.side_updates["box.children"]).text == "v"
        assert result.side_updates['{"i":1,"t":"x"}.title'] == "t"

    async def test_a_prevented_update_is_a_no_update(self, app):
        @app.callback(Output("out", "children"), Input("in", "value"))
        async def stop(_):
            raise PreventUpdate

        async with a_client(app, html.Div()) as client:
            result = await client.call("out.children", {"in.value": 1})
        assert result.value is no_update
        assert result.prevented
        assert result.response.status == 204

    async def test_a_patch_arrives_as_its_operations(self, app):
        @app.callback(Output("out", "figure"), Input("in", "value"))
        def change(value):
            patch = Patch()
            patch["title"] = value
            return patch

        async with a_client(app, html.Div()) as client:
            result = await client.call("out.figure", {"in.value": "T"})
        assert result.value["operations"] == [
            {"operation": "Assign", "location": ["title"], "params": {"value": "T"}}
        ]

    async def test_an_error_raises_with_the_server_s_text(self, app):
        @app.callback(Output("out", "children"), Input("in", "value"))
        def fail(_):
            raise RuntimeError("boom")

        @app.server.errorhandler(RuntimeError)
        async def explain(error):
            return f"because {error}", 418

        async with a_client(app, html.Div()) as client:
            with pytest.raises(CallbackFailed, match=r"out\.children.*418.*because boom") as caught:
                await client.call("out.children", {"in.value": 1})
        assert caught.value.status == 418
        assert caught.value.text == "because boom"

    async def test_what_the_app_has_not_is_told_with_what_it_has(self, app):
        app.callback(Output("out", "children"), Input("in", "value"))(lambda value: value)
        app.clientside_callback("x => x", Output("there", "title"), Input("in", "value"))

        async with a_client(app, html.Div()) as client:
            with pytest.raises(CallbackNotFound, match=r"out\.children ← in\.value"):
                await client.call("nowhere.children")
            with pytest.raises(CallbackNotFound, match=r"in\.valeu is not an input or state"):
                await client.call("out.children", {"in.valeu": 1})
            with pytest.raises(CallbackNotFound, match="browser only"):
                await client.call("there.title", {"in.value": 1})
            with pytest.raises(ValueError, match=r"id\.property"):
                await client.call("out")

    async def test_a_callback_sees_the_client_s_cookies_and_page(self, app):
        app.server.secret_key = "s"

        @app.callback(Output("out", "children"), Input("in", "value"))
        async def who(_):
            session["calls"] = session.get("calls", 0) + 1
            return [request.cookies["name"], request.referrer, session["calls"]]

        async with a_client(app, html.Div(), cookies={"name": "Ada"}) as client:
            await client.layout("/page")
            await client.call("out.children", {"in.value": 1})
            result = await client.call("out.children", {"in.value": 1})
        assert result.value == ["Ada", "http://testserver/page", 2]

    async def test_values_may_be_components_and_figures(self, app):
        @app.callback(Output("out", "children"), Input("in", "children"))
        def kind(children):
            return children["type"]

        async with a_client(app, html.Div()) as client:
            assert (await client.call("out.children", {"in.children": html.B("x")})).value == "B"


class Jobs:
    """An app with background callbacks; made outside of a loop, since Dash reads their source."""

    def __init__(self):
        self.app = app = Flash(__name__, background_callback_manager=AsyncManager())
        app.layout = html.Div([html.P(id=name) for name in ("in", "stop", "out", "bar")])
        # Set when a page has been told of progress, and when the endless one runs.
        self.told = asyncio.Event()
        self.running = asyncio.Event()
        # The numbers of the endless calls that ended.
        self.ended = []

        @app.callback(
            Output("out", "children"),
            Input("in", "title"),
            background=True,
            progress=[Output("bar", "title"), Output("bar", "lang")],
        )
        async def with_progress(set_progress, value):
            set_progress(("1", "2"))
            await self.told.wait()
            dash.set_props("stop", {"title": "halfway"})
            return f"done {value}"

        @app.callback(Output("out", "title"), Input("in", "title"), background=True)
        async def failing(value):
            raise RuntimeError("boom")

        @app.callback(
            Output("out", "lang"),
            Input("in", "title"),
            background=True,
            cancel=Input("stop", "title"),
        )
        async def endless(value):
            self.running.set()
            try:
                await asyncio.Event().wait() if value == 1 else None
            finally:
                self.ended.append(value)
            return value

        @app.server.after_request
        async def look(response):
            polled = request.path.endswith("_dash-update-component")
            if polled and b'"progress"' in await response.get_data(as_text=False):
                self.told.set()
            return response


class TestBackground:
    @pytest.fixture
    def jobs(self):
        return Jobs()

    async def test_it_is_followed_to_its_end(self, jobs):
        async with a_client(jobs.app) as client:
            result = await client.call("out.children", {"in.title": 1})
        assert result.value == "done 1"
        assert result.progress[0] == {"bar.title": "1", "bar.lang": "2"}
        assert result.side_updates["stop.title"] == "halfway"

    async def test_its_error_raises(self, jobs):
        async with a_client(jobs.app) as client:
            with pytest.raises(CallbackFailed, match="500"):
                await client.call("out.title", {"in.title": 1})

    async def test_another_callback_cancels_it(self, jobs):
        async with a_client(jobs.app) as client:
            call = asyncio.create_task(client.call("out.lang", {"in.title": 1}))
            await jobs.running.wait()
            await client.call("stop.id", {"stop.title": 1})
            assert (await call).prevented
        assert jobs.ended == [1]

    async def test_a_newer_call_of_it_takes_its_place(self, jobs):
        async with a_client(jobs.app) as client:
            old = asyncio.create_task(client.call("out.lang", {"in.title": 1}))
            await jobs.running.wait()
            assert (await client.call("out.lang", {"in.title": 2})).value == 2
            assert (await old).prevented
        assert sorted(jobs.ended) == [1, 2]


class TestWire:
    """What only some versions or settings of Dash ask of a page, shown on a server that asks it."""

    @pytest.fixture
    def requests(self):
        return []

    @pytest.fixture
    def server(self, requests):
        server = Quart(__name__)
        config = {"end_id": "signed", "csrf_token_name": "token", "csrf_header_name": "X-Token"}
        dependency = {
            "output": "out.children",
            "inputs": [{"id": "in", "property": "value"}],
            "state": [],
            "compress_payload": True,
            "compress_threshold": 200,
        }

        @server.get("/")
        async def index():
            response = await server.make_response(
                f'<script id="_dash-config" type="application/json">{json.dumps(config)}</script>'
            )
            response.set_cookie("token", "secret")
            return response

        @server.get("/_dash-dependencies")
        async def dependencies():
            return [dependency]

        @server.post("/_dash-update-component")
        async def update():
            requests.append((dict(request.headers), dict(request.args), await request.get_data()))
            frames = [
                {"response": {"out": {"children": 1}}},
                {"response": {"out": {"children": 2}}, "sideUpdate": {"note": {"title": "t"}}},
                {"done": True, **({"error": {"message": "late"}} if len(requests) > 1 else {})},
            ]
            lines = "".join(f"{json.dumps(frame)}\n" for frame in frames)
            return lines, {"Content-Type": "application/x-ndjson"}

        return server

    async def test_a_streaming_callback_gives_each_of_its_frames(self, server):
        async with a_client(server) as client:
            result = await client.call("out.children", {"in.value": 1})
            assert result.value == 2
            assert result.frames == ({"out.children": 1}, {"out.children": 2})
            assert result.side_updates == {"note.title": "t"}
            with pytest.raises(CallbackFailed, match="late"):
                await client.call("out.children", {"in.value": 1})

    async def test_a_call_carries_the_page_s_tokens(self, server, requests):
        async with a_client(server) as client:
            await client.call("out.children", {"in.value": 1})
        headers, arguments, body = requests[0]
        assert headers["X-Token"] == "secret"
        assert arguments == {"endId": "signed"}
        assert json.loads(body)["inputs"][0]["value"] == 1

    async def test_a_large_body_is_compressed_where_the_app_asks_for_it(self, server, requests):
        async with a_client(server) as client:
            await client.call("out.children", {"in.value": "x" * 500})
        headers, _, body = requests[0]
        assert headers["Content-Encoding"] == "gzip"
        assert json.loads(gzip.decompress(body))["inputs"][0]["value"] == "x" * 500


def test_only_the_browser_needs_the_extra_packages():
    source = """
import sys
sys.modules.update(dict.fromkeys(["selenium", "pytest", "psutil"]))
import flash.testing
try:
    import flash.testing.browser
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert "pip install 'flash-core[testing]'" in done.stdout, done.stderr
