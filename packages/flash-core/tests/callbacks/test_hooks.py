"""Dash's hooks, plain and async, on apps made after they were registered."""

import asyncio
import threading

import dash
import pytest
import quart
from dash import Input, Output, dcc, hooks, html

from flash import Flash
from flash.testing import FlashClient, StartupFailed

SECONDS = 20


@pytest.fixture(autouse=True)
async def nothing_hangs():
    async with asyncio.timeout(SECONDS):
        yield


def an_app(**options):
    app = Flash(__name__, **options)
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])
    return app


def in_main_thread():
    return threading.current_thread() is threading.main_thread()


@pytest.fixture(params=[False, True], ids=["plain", "async"])
def maybe_async(request):
    def make(function):
        if not request.param:
            return function

        async def on_loop(*args):
            await asyncio.sleep(0)
            return function(*args)

        return on_loop

    make.is_async = request.param
    return make


async def test_setup_is_called_once_with_the_app(maybe_async):
    seen = []
    hooks.setup()(maybe_async(seen.append))
    app = an_app()
    async with FlashClient(app) as client:
        await client.layout()
    assert seen == [app]


async def test_an_async_setup_may_register_callbacks():
    @hooks.setup()
    async def setup(app):
        app.callback(Output("out", "children"), Input("in", "value"))(lambda value: value)

    async with FlashClient(an_app()) as client:
        assert (await client.call("out.children", {"in.value": 1})).value == 1


async def test_a_setup_that_fails_keeps_the_app_from_starting():
    @hooks.setup()
    async def setup(app):
        raise RuntimeError("no licence")

    with pytest.raises(StartupFailed, match="no licence"):
        async with FlashClient(an_app()):
            pass


async def test_layout_hooks_change_the_layout_in_their_order(maybe_async):
    where = []

    def first(layout):
        where.append(in_main_thread())
        return html.Section(layout, title=quart.request.path)

    hooks.layout(priority=2)(maybe_async(first))
    hooks.layout(priority=1)(maybe_async(html.Main))
    async with FlashClient(an_app()) as client:
        tree = await client.layout()
    assert tree.type == "Main"
    assert tree.children["type"] == "Section"
    assert tree.children["props"]["title"] == "/_dash-layout"
    assert where == [maybe_async.is_async]


async def test_index_hooks_change_the_page(maybe_async):
    hooks.index()(maybe_async(lambda index: index.replace("<body>", "<body><!-- hooked -->")))
    async with FlashClient(an_app()) as client:
        for path in ("/", "/deep"):
            assert "<!-- hooked -->" in (await client.get(path)).text


async def test_an_index_hook_that_breaks_the_page_is_dash_s_error(maybe_async, caplog):
    hooks.index()(maybe_async(lambda index: "<html></html>"))
    async with FlashClient(an_app()) as client:
        assert (await client.get("/")).status == 500
    assert "Missing items" in caplog.text


async def test_error_hooks_hear_of_errors(maybe_async):
    heard = []
    hooks.error()(maybe_async(lambda error: heard.append((str(error), dash.ctx.triggered_id))))
    app = an_app()

    @app.callback(Output("out", "children"), Input("in", "value"))
    def callback(_):
        raise ValueError("x")

    async with FlashClient(app) as client:
        result = await client.call("out.children", {"in.value": 1})
    assert result.prevented
    assert heard == [("x", "in")]


async def test_routes_are_served(maybe_async):
    def route():
        return f"{quart.request.method} {dash.get_app().title}"

    hooks.route(name="mine", methods=("GET", "POST"))(maybe_async(route))
    async with FlashClient(an_app(title="ours", url_base_pathname="/app/")) as client:
        assert (await client.get("/app/mine")).text == "GET ours"
        assert (await client.post("/app/mine")).text == "POST ours"


async def test_callbacks_are_registered_with_every_app(maybe_async):
    hooks.callback(Output("out", "children"), Input("in", "value"))(
        maybe_async(lambda value: value)
    )
    for _ in range(2):
        async with FlashClient(an_app()) as client:
            assert (await client.call("out.children", {"in.value": 1})).value == 1


async def test_clientside_callbacks_reach_the_page():
    hooks.clientside_callback(
        "function(value) { return value }", Output("out", "children"), Input("in", "value")
    )
    async with FlashClient(an_app()) as client:
        dependencies = (await client.get("/_dash-dependencies")).json()
        page = await client.get("/")
    name = dependencies[0]["clientside_function"]["function_name"]
    assert name in page.text


async def test_scripts_and_styles_are_on_the_page():
    hooks.script([{"external_url": "https://example.org/a.js", "external_only": True}])
    hooks.stylesheet([{"external_url": "https://example.org/a.css", "external_only": True}])
    async with FlashClient(an_app()) as client:
        page = await client.get("/")
    assert 'src="https://example.org/a.js"' in page.text
    assert 'href="https://example.org/a.css"' in page.text


async def test_a_script_hooked_while_the_app_is_served_is_on_the_next_page():
    async with FlashClient(an_app()) as client:
        assert "late.js" not in (await client.get("/")).text
        hooks.script([{"external_url": "https://example.org/late.js", "external_only": True}])
        assert "late.js" in (await client.get("/")).text


async def test_the_final_hook_runs_last():
    hooks.layout(final=True)(html.Main)
    hooks.layout()(html.Section)
    async with FlashClient(an_app()) as client:
        assert (await client.layout()).type == "Main"


async def test_devtools_hooks_are_told_to_the_page_in_development():
    hooks.devtool("ns", "Tool", props=lambda: {"a": 1})
    app = an_app()
    app.enable_dev_tools(debug=True, dev_tools_hot_reload=False)
    async with FlashClient(app) as client:
        await client.layout()
        tools = client._page.config["dev_tools"]
    assert tools[-1] == {"namespace": "ns", "type": "Tool", "props": {"a": 1}, "position": "right"}
