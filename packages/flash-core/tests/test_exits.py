"""`sys.exit()` and `KeyboardInterrupt` in users' code while the app serves."""

import asyncio
import http.client
import json
import sys
from contextlib import closing
from types import CoroutineType, SimpleNamespace

import dash
import pytest
from dash import Input, Output, dcc, html

from flash import Flash
from flash.errors import ExitRaised
from flash.exits import guard_tasks
from flash.testing import AppProcess, CallbackFailed, FlashClient

SECONDS = 60
OUT = Output("out", "children")
IN = Input("in", "value")
EXITS = [SystemExit(3), KeyboardInterrupt()]


def an_app(**options):
    app = Flash(__name__, suppress_callback_exceptions=True, **options)
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])
    return app


def leave(error=None):
    raise error or SystemExit(3)


async def leave_async(error=None):
    leave(error)


async def fails(client, value=1):
    with pytest.raises(CallbackFailed, match="500"):
        await client.call("out.children", {"in.value": value})


@pytest.mark.parametrize("error", EXITS)
@pytest.mark.parametrize("way", ["plain", "loop", "async", "task", "task group"])
async def test_11_9_a_callback_that_exits_fails_and_the_server_goes_on(error, way):
    app = an_app()

    def plain(_):
        leave(error)

    async def in_async(_):
        leave(error)

    async def in_task(_):
        await asyncio.create_task(leave_async(error))

    async def in_group(_):
        async with asyncio.TaskGroup() as group:
            group.create_task(leave_async(error))

    functions = {
        "plain": plain,
        "loop": plain,
        "async": in_async,
        "task": in_task,
        "task group": in_group,
    }
    app.callback(OUT, IN, run_in="loop" if way == "loop" else "thread")(functions[way])
    app.callback(Output("other", "children"), IN)(lambda value: value)
    async with asyncio.timeout(SECONDS), FlashClient(app) as client:
        await fails(client)
        assert (await client.call("other.children", {"in.value": 5})).value == 5


@pytest.mark.parametrize("function", [leave, leave_async])
async def test_11_9_on_error_that_exits_fails_its_call(function):
    app = an_app(on_error=function)
    app.callback(OUT, IN)(lambda _: 1 / 0)
    async with asyncio.timeout(SECONDS), FlashClient(app) as client:
        await fails(client)


@pytest.mark.parametrize("error", EXITS)
async def test_11_9_on_error_is_told_of_an_exit(error):
    heard = []
    app = an_app(on_error=heard.append)
    app.callback(OUT, IN)(lambda _: leave(error))
    async with asyncio.timeout(SECONDS), FlashClient(app) as client:
        assert (await client.call("out.children", {"in.value": 1})).value is dash.no_update
    assert isinstance(heard[0], ExitRaised)
    assert heard[0].error is error
    assert repr(error) in str(heard[0])


@pytest.mark.parametrize("function", [leave, leave_async])
async def test_11_9_a_layout_that_exits_fails_its_request(function):
    app = an_app()

    async def layout():
        if left:
            left.pop()
            await function() if function is leave_async else function()
        return html.Div("there")

    left = []
    app.layout = layout
    async with asyncio.timeout(SECONDS), FlashClient(app) as client:
        left.append(1)
        assert (await client.get("/_dash-layout")).status == 500
        assert (await client.get("/_dash-layout")).status == 200


async def test_11_9_hooks_that_exit_fail_their_request():
    app = an_app()
    app.callback(OUT, IN)(lambda value: value)
    async with asyncio.timeout(SECONDS), FlashClient(app) as client:
        dash.hooks.layout()(lambda _: leave())
        assert (await client.get("/_dash-layout")).status == 500
        dash.hooks.custom_data("x")(lambda _: leave())
        await fails(client)


@pytest.mark.parametrize("error", EXITS)
@pytest.mark.parametrize("way", ["async", "plain", "before_request", "after_request", "teardown"])
async def test_11_9_a_route_that_exits_answers_500(error, way):
    app = an_app()
    server = app.server

    async def view():
        return leave(error)

    def plain():
        return leave(error)

    async def well():
        return "well"

    server.add_url_rule("/view", "view", {"async": view, "plain": plain}.get(way, well))
    server.add_url_rule("/well", "well", well)
    if way in ("before_request", "after_request"):

        @getattr(server, way)
        async def around(response=None):
            from quart import request

            if request.path == "/view":
                leave(error)
            return response

    async with asyncio.timeout(SECONDS), FlashClient(app) as client:
        if way == "teardown":

            @server.teardown_request
            async def down(_):
                from quart import request

                if request.path == "/view":
                    leave(error)

            with pytest.raises(ExitRaised):
                await client.get("/view")
        else:
            assert (await client.get("/view")).status == 500
        assert (await client.get("/well")).text == "well"


def test_11_9_a_guarded_task_is_as_any_other_and_fails_where_it_would_end_the_loop():
    async def work(value):
        await asyncio.sleep(0)
        if value is None:
            sys.exit(3)
        return value

    async def main():
        loop = asyncio.get_running_loop()
        guard_tasks(loop)
        guard_tasks(loop)
        task = asyncio.create_task(work(5), name="five")
        assert "work" in repr(task)
        assert task.get_name() == "five"
        assert await task == 5
        with pytest.raises(ExitRaised, match=r"work.*SystemExit\(3\)"):
            await asyncio.create_task(work(None))
        unstarted = asyncio.create_task(work(1))
        unstarted.cancel()
        with pytest.raises(asyncio.CancelledError):
            await unstarted

    asyncio.run(main())


def test_a_request_s_task_of_uvicorn_has_no_guard_however_uvicorn_was_started(monkeypatch):
    """uvicorn catches by itself what the app raises, and a guard would cost each request."""

    class Cycle:
        async def run_asgi(self):
            return type(asyncio.current_task().get_coro())

    module = SimpleNamespace(RequestResponseCycle=Cycle)
    monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.httptools_impl", module)

    async def other():
        return type(asyncio.current_task().get_coro())

    async def main():
        loop = asyncio.get_running_loop()
        guard_tasks(loop)
        assert await loop.create_task(Cycle().run_asgi()) is CoroutineType
        assert await loop.create_task(other()) is not CoroutineType

    asyncio.run(main())


APP = """
import asyncio, os, sys
from dash import Input, Output, html
from flash import Flash

app = Flash(__name__, suppress_callback_exceptions=True)
app.layout = html.Div("there")

async def leave():
    sys.exit(3)

@app.callback(Output("out", "children"), Input("in", "value"))
async def forgotten(_):
    asyncio.create_task(leave())
    await asyncio.sleep(0.1)
    return "left"

@app.callback(Output("other", "children"), Input("in", "value"))
async def group(_):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(leave())

@app.server.get("/pid")
async def pid():
    return str(os.getpid())

@app.server.get("/leave")
async def route():
    raise KeyboardInterrupt

@app.server.get("/plain")
def plain():
    sys.exit(1)
"""


def request(process, path, body=None):
    method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=SECONDS)
    with closing(connection):
        connection.request(method, path, data, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()


def call(process, output):
    body = {
        "output": f"{output}.children",
        "outputs": {"id": output, "property": "children"},
        "inputs": [{"id": "in", "property": "value", "value": 1}],
        "changedPropIds": ["in.value"],
    }
    return request(process, "/_dash-update-component", body)


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn", "granian"])
def test_11_9_no_server_ends_when_users_code_exits(server, tmp_path):
    file = tmp_path / f"leaving_{server}.py"
    file.write_text(APP)
    with AppProcess(file, server=server) as process:
        pid = json.loads(request(process, "/pid")[1])
        assert call(process, "out")[0] == 200
        assert call(process, "other")[0] == 500
        assert request(process, "/leave")[0] == 500
        assert request(process, "/plain")[0] == 500
        assert json.loads(request(process, "/pid")[1]) == pid
        assert "ExitRaised" in process.output
