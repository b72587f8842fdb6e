"""What Dash answers itself, under Flash: its WebSocket, MCP, requests Flash does not know."""

import asyncio
import json
import threading
from contextlib import asynccontextmanager

import dash
import pytest
import quart
from dash import Input, Output, ctx, dcc, hooks, html

from flash import Flash
from flash.seams import dash as dash_seam
from flash.testing import FlashClient

SECONDS = 20


@pytest.fixture(autouse=True)
async def nothing_hangs():
    async with asyncio.timeout(SECONDS):
        yield


OUT = Output("out", "children")
IN = Input("in", "value")


def an_app(**options):
    app = Flash(__name__, **options)
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])
    return app


def in_main_thread():
    return threading.current_thread() is threading.main_thread()


def a_body(value=1, output="out.children"):
    component, _, prop = output.rpartition(".")
    return {
        "output": output,
        "outputs": {"id": component, "property": prop},
        "inputs": [{"id": "in", "property": "value", "value": value}],
        "changedPropIds": ["in.value"],
    }


@asynccontextmanager
async def a_socket(app, path="/_dash-ws-callback", **headers):
    """A connection to Dash's socket, from a page of the app."""
    headers = {"Origin": "http://localhost", "Host": "localhost", **headers}
    client = app.server.test_client()
    async with FlashClient(app), client.websocket(path, headers=headers) as socket:
        yield socket


async def ask(socket, body, request_id="1"):
    message = {"type": "callback_request", "rendererId": "r", "requestId": request_id}
    await socket.send(json.dumps({**message, "payload": body}))


async def answers(socket, wanted):
    """Receive messages until one of type ``wanted``; returns all of them."""
    seen = []
    while not seen or seen[-1]["type"] != wanted:
        received = json.loads(await socket.receive())
        seen.extend(received if isinstance(received, list) else [received])
    return seen


class TestSocket:
    @pytest.mark.parametrize("is_async", [False, True])
    async def test_a_callback_answers_over_it_and_sees_who_asks(self, is_async):
        app = an_app()

        def see(value):
            return [
                value,
                ctx.cookies["who"],
                ctx.headers["X-Mine"],
                quart.websocket.path,
                ctx.triggered_id,
                dash.get_app() is app,
                ctx.websocket is not None,
                in_main_thread(),
            ]

        async def see_on_loop(value):
            return see(value)

        app.callback(OUT, IN, websocket=True)(see_on_loop if is_async else see)
        async with a_socket(app, Cookie="who=ada", **{"X-Mine": "x"}) as socket:
            await ask(socket, a_body(5))
            answer = (await answers(socket, "callback_response"))[-1]
        assert answer["requestId"] == "1"
        assert answer["payload"]["status"] == "ok"
        assert answer["payload"]["data"]["response"]["out"]["children"] == [
            5,
            "ada",
            "x",
            "/_dash-ws-callback",
            "in",
            True,
            True,
            is_async,
        ]

    async def test_a_plain_callback_does_not_hold_up_an_async_one(self):
        app, release = an_app(), threading.Event()
        app.callback(OUT, IN, websocket=True)(lambda value: release.wait(SECONDS))

        @app.callback(Output("in", "title"), IN, websocket=True)
        async def other(value):
            return value

        async with a_socket(app) as socket:
            await ask(socket, a_body(), "slow")
            while not app.statistics().running:  # noqa: ASYNC110  a thread tells nobody
                await asyncio.sleep(0)
            await ask(socket, a_body(output="in.title"), "quick")
            quick = (await answers(socket, "callback_response"))[-1]
            assert quick["requestId"] == "quick"
            release.set()
            slow = (await answers(socket, "callback_response"))[-1]
        assert slow["payload"]["data"]["response"] == {"out": {"children": True}}

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_properties_set_meanwhile_arrive_at_once(self, is_async):
        app, release = an_app(), threading.Event()
        go = asyncio.Event()

        def plain(value):
            dash.set_props("log", {"children": "begun"})
            assert release.wait(SECONDS)
            return value

        async def on_loop(value):
            dash.set_props("log", {"children": "begun"})
            await go.wait()
            return value

        app.callback(OUT, IN, websocket=True)(on_loop if is_async else plain)
        async with a_socket(app) as socket:
            await ask(socket, a_body())
            seen = await answers(socket, "set_props")
            assert seen[-1]["payload"] == {"componentId": "log", "props": {"children": "begun"}}
            release.set()
            go.set()
            assert (await answers(socket, "callback_response"))[-1]["payload"]["status"] == "ok"

    async def test_a_property_can_be_asked_of_the_page(self):
        app = an_app()

        @app.callback(OUT, IN, websocket=True)
        async def callback(value):
            return await ctx.websocket.get_prop("in", "value")

        async with a_socket(app) as socket:
            await ask(socket, a_body())
            question = (await answers(socket, "get_props_request"))[-1]
            assert question["payload"] == {"componentId": "in", "properties": ["value"]}
            await socket.send(
                json.dumps(
                    {
                        "type": "get_props_response",
                        "requestId": question["requestId"],
                        "payload": {"value": "typed"},
                    }
                )
            )
            answer = (await answers(socket, "callback_response"))[-1]
        assert answer["payload"]["data"]["response"] == {"out": {"children": "typed"}}

    async def test_errors_and_prevented_updates_are_told(self):
        app = an_app()
        app.show_errors()

        @app.callback(OUT, IN, websocket=True)
        def callback(value):
            if value == "prevent":
                raise dash.exceptions.PreventUpdate
            raise ValueError("no such thing")

        async with a_socket(app) as socket:
            await ask(socket, a_body("prevent"))
            prevented = (await answers(socket, "callback_response"))[-1]
            await ask(socket, a_body("x"))
            failed = (await answers(socket, "callback_response"))[-1]
        assert prevented["payload"] == {"status": "prevent_update"}
        assert failed["payload"] == {"status": "error", "message": "no such thing"}

    async def test_custom_data_hooks_run_for_it(self):
        @hooks.custom_data("user")
        async def user(context):
            return quart.websocket.cookies["who"]

        app = an_app()
        app.callback(OUT, IN, websocket=True)(lambda value: ctx.custom_data["user"])
        async with a_socket(app, Cookie="who=ada") as socket:
            await ask(socket, a_body())
            answer = (await answers(socket, "callback_response"))[-1]
        assert answer["payload"]["data"]["response"] == {"out": {"children": "ada"}}

    @pytest.mark.parametrize("is_async", [False, True])
    async def test_its_hooks_are_asked_off_the_loop_if_plain(self, is_async):
        where = []

        def connect(websocket):
            where.append(in_main_thread())
            return websocket.cookies.get("who") == "ada"

        async def connect_on_loop(websocket):
            return connect(websocket)

        def message(websocket, sent):
            where.append(in_main_thread())
            return sent["type"] != "forbidden" or (4009, "not that")

        hooks.websocket_connect()(connect_on_loop if is_async else connect)
        hooks.websocket_message()(message)
        app = an_app()
        app.callback(OUT, IN, websocket=True)(lambda value: value)
        async with a_socket(app, Cookie="who=ada") as socket:
            await ask(socket, a_body())
            await answers(socket, "callback_response")
            await socket.send(json.dumps({"type": "forbidden"}))
            with pytest.raises(quart.testing.connections.WebsocketDisconnectError) as closed:
                await socket.receive()
        assert closed.value.args[0] == 4009
        assert where == [is_async, False, False]

    async def test_another_origin_is_refused(self):
        app = an_app()
        app.callback(OUT, IN, websocket=True)(lambda value: value)
        async with FlashClient(app):
            client = app.server.test_client()
            with pytest.raises(quart.testing.connections.WebsocketDisconnectError, match="4003"):
                async with client.websocket(
                    "/_dash-ws-callback", headers={"Origin": "http://evil", "Host": "localhost"}
                ) as socket:
                    await socket.receive()

    async def test_pages_hear_of_it_only_where_some_callback_uses_it(self):
        without, with_it = an_app(), an_app()
        with_it.callback(OUT, IN, websocket=True)(lambda value: value)
        for app, told in ((without, False), (with_it, True)):
            async with FlashClient(app) as client:
                await client.layout()
                assert ("websocket" in client._page.config) is told

    async def test_each_of_two_apps_has_its_own(self):
        server = quart.Quart(__name__)
        apps = [an_app(server=server, url_base_pathname=f"/{name}/") for name in "ab"]
        for app, name in zip(apps, "ab", strict=True):
            app.callback(OUT, IN, websocket=True)(
                lambda value, app=app, name=name: [name, dash.get_app() is app]
            )
        for name in "ab":
            async with a_socket(apps[0], f"/{name}/_dash-ws-callback") as socket:
                await ask(socket, a_body())
                answer = (await answers(socket, "callback_response"))[-1]
            assert answer["payload"]["data"]["response"] == {"out": {"children": [name, True]}}

    async def test_leaving_cancels_an_async_callback(self):
        app, cancelled, started = an_app(), asyncio.Event(), asyncio.Event()

        @app.callback(OUT, IN, websocket=True)
        async def callback(value):
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async with a_socket(app) as socket:
            await ask(socket, a_body())
            await started.wait()
        await cancelled.wait()


class TestMcp:
    @pytest.fixture
    def app(self):
        app = an_app(enable_mcp=True)

        @app.callback(OUT, IN, mcp_expose_docstring=True)
        def plain(value: str):
            """Say it in a thread."""
            return f"{value} {in_main_thread()} {quart.request.path} {ctx.cookies['who']}"

        @app.callback(Output("in", "title"), IN)
        async def on_loop(value: str):
            """Say it on the loop."""
            await asyncio.sleep(0)
            return f"{value} {in_main_thread()} {dash.get_app() is app}"

        return app

    async def asked(self, client, method, **params):
        answer = await client.post(
            "/_mcp", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        )
        assert answer.status == 200, answer.text
        return answer.json()["result"]

    async def test_tools_are_listed_with_what_the_functions_say_of_themselves(self, app):
        async with FlashClient(app) as client:
            tools = (await self.asked(client, "tools/list"))["tools"]
        described = {tool["name"]: tool for tool in tools}
        assert {"plain", "on_loop"} <= described.keys()
        assert "Say it in a thread." in described["plain"]["description"]
        assert "value" in described["on_loop"]["inputSchema"]["properties"]

    async def test_tools_are_called_where_they_run_otherwise(self, app):
        async with FlashClient(app, cookies={"who": "ada"}) as client:
            plain = await self.asked(client, "tools/call", name="plain", arguments={"value": "x"})
            on_loop = await self.asked(
                client, "tools/call", name="on_loop", arguments={"value": "x"}
            )
        assert "x False /_mcp ada" in json.dumps(plain)
        assert "x True True" in json.dumps(on_loop)

    @pytest.mark.parametrize("name", ["plain", "on_loop"])
    def test_11_21_tools_are_called_before_the_app_has_started(self, name):
        from dash.mcp.primitives.tools import call_tool
        from dash.mcp.primitives.tools.callback_adapter_collection import (
            CallbackAdapterCollection,
        )

        app = an_app(enable_mcp=True)

        @app.callback(OUT, IN)
        def plain(value: str):
            """Say it."""
            return f"plain {value}"

        @app.callback(Output("in", "title"), IN)
        async def on_loop(value: str):
            """Say it later."""
            await asyncio.sleep(0)
            return f"on_loop {value}"

        app.mcp_callback_map = CallbackAdapterCollection(app)
        token = dash_seam.app_context.set(app)
        try:
            with app.server.test_request_context("/_mcp"):
                result = call_tool(name, {"value": "x"})
        finally:
            # Otherwise it would be the current app of later tests.
            dash_seam.app_context.reset(token)
        assert not result.isError, result
        assert f"{name} x" in str(result)

    async def test_a_slow_tool_does_not_hold_up_the_loop(self):
        app, release = an_app(enable_mcp=True), threading.Event()

        @app.callback(OUT, IN)
        def slow(value: str):
            """Wait."""
            return release.wait(SECONDS)

        async with FlashClient(app) as client:
            call = asyncio.create_task(
                self.asked(client, "tools/call", name="slow", arguments={"value": "x"})
            )
            while not app.statistics().running:  # noqa: ASYNC110  a thread tells nobody
                await asyncio.sleep(0)
            assert (await client.get("/")).status == 200
            release.set()
            assert "true" in json.dumps(await call).lower()

    async def test_the_layout_it_reads_may_be_async(self):
        app = an_app(enable_mcp=True)

        async def layout():
            return html.Div([dcc.Input(id="in"), html.P(id="out")])

        app.layout = layout
        app.callback(OUT, IN)(lambda value: value)
        async with FlashClient(app) as client:
            resources = await self.asked(client, "resources/list")
            read = await self.asked(client, "resources/read", uri="dash://layout")
        assert resources["resources"]
        assert json.loads(read["contents"][0]["text"])["props"]["children"][0]["props"] == {
            "id": "in"
        }

    @pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"5", b'"x"'])
    async def test_what_is_no_call_is_refused(self, app, body):
        async with FlashClient(app) as client:
            answer = await client.post(
                "/_mcp", body=body, headers={"content-type": "application/json"}
            )
            assert answer.status == 400
            assert (await self.asked(client, "tools/list"))["tools"]


class TestForeignRequests:
    async def test_a_kind_of_callback_that_flash_does_not_compile_runs_off_the_loop(self):
        app = an_app()
        app.callback(OUT, IN)(lambda value: value)

        def unknown(*values, outputs_list, callback_context, **_):
            return json.dumps({"multi": True, "response": {"out": {"children": in_main_thread()}}})

        app.callback_map["out.children"]["callback"] = unknown
        async with FlashClient(app) as client:
            assert (await client.call("out.children", {"in.value": 1})).value is False

    async def test_a_request_without_an_output_is_refused_where_dash_knows_no_better(self):
        async with FlashClient(an_app()) as client:
            answer = await client.post("/_dash-update-component", json={"something": "new"})
        assert answer.status == 400
        assert "'output'" in answer.text
