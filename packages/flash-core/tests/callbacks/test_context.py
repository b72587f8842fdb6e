"""What a callback sees of its call: `dash.ctx`, the request, the session, the app."""

import asyncio
import threading
from types import SimpleNamespace

import dash
import pytest
import quart
from dash import ALL, Dash, Input, Output, State, ctx, html
from werkzeug.datastructures import MultiDict

from flash import Flash
from flash.callbacks.context import CALL_HEADER, arguments_of
from flash.testing import FlashClient

FIELDS = (
    "inputs",
    "states",
    "triggered",
    "triggered_prop_ids",
    "triggered_id",
    "args_grouping",
    "outputs_grouping",
    "using_args_grouping",
    "using_outputs_grouping",
    "cookies",
    "path",
    "args",
    "remote",
    "origin",
    "custom_data",
    "websocket",
    "timing_information",
)
LISTS = ("inputs_list", "states_list", "outputs_list")


def a_slot(component, prop, value=None):
    return {"id": component, "property": prop, "value": value}


FLAT = (
    ([Output("out", "children"), Input("in", "value"), State("s", "data")], {}),
    {
        "output": "out.children",
        "outputs": {"id": "out", "property": "children"},
        "inputs": [a_slot("in", "value", 3)],
        "state": [a_slot("s", "data", {"x": [1]})],
        "changedPropIds": ["in.value"],
    },
)
FIRST_LOAD = (FLAT[0], {**FLAT[1], "changedPropIds": []})
WITHOUT_STATE = (
    ([Output("out", "children"), Input("in", "value")], {}),
    {key: value for key, value in FLAT[1].items() if key != "state"},
)
GROUPED = (
    (
        [],
        {
            "output": {"a": Output("out", "children"), "b": Output("out", "title")},
            "inputs": {"pair": (Input("in", "value"), Input("in", "data"))},
            "state": {"s": State("s", "data")},
        },
    ),
    {
        "output": "..out.children...out.title..",
        "outputs": [
            {"id": "out", "property": "children"},
            {"id": "out", "property": "title"},
        ],
        "inputs": [a_slot("in", "value", 3), a_slot("in", "data", 4)],
        "state": [a_slot("s", "data")],
        "changedPropIds": ["in.data"],
    },
)
PATTERN = (
    (
        [
            Output({"type": "row", "index": ALL}, "children"),
            Input({"type": "item", "index": ALL}, "value"),
            Input("in", "value"),
        ],
        {},
    ),
    {
        "output": '{"index":["ALL"],"type":"row"}.children',
        "outputs": [{"id": {"type": "row", "index": 1}, "property": "children"}],
        "inputs": [
            [
                a_slot({"type": "item", "index": 1}, "value", "one"),
                a_slot({"type": "item", "index": 2}, "value", "two"),
            ],
            a_slot("in", "value", 5),
        ],
        "changedPropIds": ['{"index":2,"type":"item"}.value'],
    },
)
NO_OUTPUT = (
    ([Input("in", "value")], {}),
    {"output": "filled in below", "inputs": [a_slot("in", "value")], "changedPropIds": []},
)
REQUESTS = {
    "flat": FLAT,
    "first load": FIRST_LOAD,
    "without state": WITHOUT_STATE,
    "grouped": GROUPED,
    "pattern": PATTERN,
    "no output": NO_OUTPUT,
}


async def seen_by(kind, request, *, is_async, watched=False):
    """Return what a callback of an app of this kind sees."""
    (declared, options), body = request
    app = kind(__name__, suppress_callback_exceptions=True)
    app.layout = html.Div()
    seen = {}

    def note():
        seen["get_app"] = dash.get_app() is app
        seen.update({name: getattr(ctx, name) for name in FIELDS})
        lists = [name for name in LISTS if not seen["using_args_grouping"]]
        seen.update({name: getattr(ctx, name) for name in lists})
        seen["header"] = ctx.headers["X-Mine"]
        seen["request"] = quart.request.path, quart.request.method, quart.request.args["q"]
        seen["is a dictionary"] = isinstance(ctx.cookies, dict), isinstance(ctx.headers, dict)
        if body["output"].startswith("{"):
            return [dash.no_update]
        return dash.no_update if "output" in options or "." in body["output"] else None

    if is_async:

        @app.callback(*declared, **options)
        async def callback(*args, **kwargs):
            return note()
    else:

        @app.callback(*declared, **options)
        def callback(*args, **kwargs):
            return note()

    if watched:

        @app.server.before_request
        async def watch():
            """Send every request through Quart."""

    async with FlashClient(app, cookies={"who": "ada"}) as client:
        if "filled" in body["output"]:
            body = {**body, "output": (await client.get("/_dash-dependencies")).json()[0]["output"]}
        answer = await client.post(
            "/_dash-update-component?q=1&q=2",
            json=body,
            headers={"X-Mine": "here", "Origin": "http://testserver"},
        )
    assert answer.status in (200, 204), answer.text
    return seen


def stock(name, **options):
    return Dash(name, backend="quart", **options)


@pytest.mark.filterwarnings("ignore:outputs_list is deprecated")
@pytest.mark.parametrize("watched", [False, True], ids=["direct", "through Quart"])
@pytest.mark.parametrize("is_async", [False, True], ids=["thread", "loop"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_every_field_is_what_dash_gives(name, is_async, watched):
    dashs = await seen_by(stock, REQUESTS[name], is_async=is_async)
    ours = await seen_by(Flash, REQUESTS[name], is_async=is_async, watched=watched)
    assert dashs["cookies"] == {"who": "ada"}
    assert ours == dashs


@pytest.fixture
def app():
    app = Flash(__name__, suppress_callback_exceptions=True)
    app.layout = html.Div()
    return app


@pytest.mark.parametrize("run_in", ["thread", "loop"])
async def test_cookies_and_headers_can_be_added_to_the_response(app, run_in):
    @app.callback(Output("out", "children"), Input("in", "value"), run_in=run_in)
    def callback(value):
        ctx.response.set_cookie("seen", "yes", httponly=True)
        ctx.response.headers["X-First"] = "1"
        ctx.response.set_header("X-Second", "2")
        ctx.response.append_header("X-Many", "a")
        ctx.response.append_header("X-Many", "b")
        return value

    async with FlashClient(app) as client:
        result = await client.call("out.children", {"in.value": 1})
        assert client.cookies["seen"] == "yes"
    headers = result.response.headers
    assert headers["x-first"] == "1"
    assert headers["x-second"] == "2"
    assert headers.get_all("x-many") == ["a", "b"]
    assert headers["content-type"] == "application/json"
    assert "HttpOnly" in headers["set-cookie"]


async def test_a_cookie_can_be_deleted(app):
    @app.callback(Output("out", "children"), Input("in", "value"))
    def callback(value):
        ctx.response.delete_cookie("seen")
        return value

    async with FlashClient(app, cookies={"seen": "yes"}) as client:
        await client.call("out.children", {"in.value": 1})
        assert "seen" not in client.cookies


async def test_custom_data_hooks_may_be_async_and_see_the_call(app):
    @dash.hooks.custom_data("plain")
    def plain(context):
        return quart.request.headers["X-Mine"], context["triggered_inputs"][0]["prop_id"]

    @dash.hooks.custom_data("awaited")
    async def awaited(context):
        await asyncio.sleep(0)
        return context.cookies["who"]

    @app.callback(Output("out", "children"), Input("in", "value"))
    def callback(value):
        return [ctx.custom_data["plain"], ctx.custom_data.awaited]

    async with FlashClient(app, cookies={"who": "ada"}, headers={"X-Mine": "x"}) as client:
        result = await client.call("out.children", {"in.value": 1})
    assert result.value == [["x", "in.value"], "ada"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_times_recorded_reach_the_browser_in_development(app, is_async):
    app.enable_dev_tools(debug=True, dev_tools_hot_reload=False)

    def record(value):
        ctx.record_timing("query", 0.25, "the database")
        assert ctx.timing_information["query"] == {"dur": 250, "desc": "the database"}
        return value

    if is_async:

        @app.callback(Output("out", "children"), Input("in", "value"))
        async def callback(value):
            return record(value)
    else:
        app.callback(Output("out", "children"), Input("in", "value"))(record)

    async with FlashClient(app) as client:
        result = await client.call("out.children", {"in.value": 1})
    timings = result.response.headers["server-timing"]
    assert 'query;desc="the database";dur=250' in timings
    assert "__dash_server;dur=" in timings


async def test_calls_at_the_same_time_do_not_see_each_other(app):
    here, go = threading.Barrier(8), []

    @app.callback(Output("out", "children"), Input("in", "value"))
    def plain(value):
        dash.set_props("log", {"children": value})
        here.wait(20)
        go.append(value)
        return [ctx.triggered[0]["value"], quart.request.cookies["n"], ctx.cookies["n"]]

    async def one(number):
        async with asyncio.timeout(20):
            return await FlashClient(app, cookies={"n": str(number)}).call(
                "out.children", {"in.value": number}
            )

    async with FlashClient(app):
        results = await asyncio.gather(*(one(number) for number in range(8)))
    for number, result in enumerate(results):
        assert result.value == [number, str(number), str(number)]
        assert result.side_updates == {"log.children": number}


async def test_outside_of_a_callback_dash_says_so(app):
    with pytest.raises(dash.exceptions.MissingCallbackContextException):
        ctx.triggered  # noqa: B018


async def test_a_task_that_outlives_the_callback_still_has_its_context(app):
    go, seen = asyncio.Event(), asyncio.Future()

    @app.callback(Output("out", "children"), Input("in", "value"))
    async def callback(value):
        async def later():
            await go.wait()
            seen.set_result((ctx.triggered_id, ctx.cookies["who"], dash.get_app() is app))

        callback.task = asyncio.create_task(later())
        return value

    async with FlashClient(app, cookies={"who": "ada"}) as client:
        await client.call("out.children", {"in.value": 1})
        go.set()
        assert await seen == ("in", "ada", True)


def test_arguments_in_the_header_are_added_to_those_in_the_url():
    in_url = MultiDict([("b", "1")])
    request = SimpleNamespace(args=in_url, headers={CALL_HEADER: "a=&b=2&c=%C3%A9"})
    assert arguments_of(request).to_dict(flat=False) == {"a": [""], "b": ["1", "2"], "c": ["é"]}
    assert in_url.to_dict(flat=False) == {"b": ["1"]}
    assert arguments_of(SimpleNamespace(args=in_url, headers={})) is in_url
