"""B7, B16, B17: what users write, as written, in a browser: on `Flash` and in `DashProxy`."""

import pytest

pytest_plugins = ["flash.testing.plugin"]

# As it stands in what the package promises its users.
CODE = """\
from dash_extensions import SSE, WebSocket
from flash import Flash, Input, Output, html
from flash_ws import Live, LinkStatus, stream_props

app = Flash(__name__)
live = Live(app)                      # or Live() and live.init_app(app)

@live.websocket("/ticker")            # WebSocket(url="/ticker", id="ws") in the layout
async def ticker(connection):
    async for message in connection:
        await connection.send(message.upper())

@live.sse("/answer")                  # SSE(url="/answer", options=sse_options(...), id="sse")
async def answer(request):
    prompt = (await request.get_json())["prompt"]
    async for token in model(prompt):
        yield token                   # ends with dash-extensions' [DONE]

@live.event_callback(
    Input("go", "n_clicks"),
    cancel=[(Input("tabs", "value"), "report")],
    reset_props=[("go", {"disabled": False})],
    on_error=lambda error: stream_props("toast", {"children": str(error)}),
)
async def report(clicks):
    yield stream_props("go", {"disabled": True})
    async for share, rows in build_report():
        yield stream_props([("bar", {"value": share}), ("table", {"rowTransaction": {"add": rows}})])

@app.callback(Output("sent", "children"), Input("all", "n_clicks"))
async def shout(clicks):
    await live.push("banner", {"children": f"{clicks}"})                 # every page
    await live.push("banner", {"children": "just you"}, to=live.client)  # this page
    await live.send_event("price", {"AAPL": 1.0}, to=live.group("desk"))
    return clicks

@live.on_connect
async def joined(client): client.join("desk")
"""  # noqa: E501

# What the code leaves to its reader: the two functions that it calls, and a page.
REST = """
import asyncio

from dash_ag_grid import AgGrid
from dash_extensions.streaming import sse_options
from dash import dcc


async def model(prompt):
    for token in ("You", " said ", prompt):
        yield token


runs = 0
cancelled = asyncio.Event()


async def build_report():
    global runs
    runs += 1
    for share in (50, 100):
        yield share, [{"row": f"{runs}, {share} %"}]
    if runs == 2:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
    if runs == 3:
        raise ValueError("no third report")


@app.callback(Output("state", "children"), Input("link", "status"))
async def show_status(status):
    return status


@app.callback(Output("ws", "send"), Input("say", "value"), prevent_initial_call=True)
async def say(text):
    return text


@app.callback(Output("heard", "children"), Input("ws", "message"), prevent_initial_call=True)
async def hear(message):
    return message["data"]


@app.callback(Output("answered", "children"), Input("sse", "value"), Input("sse", "done"))
async def show_answer(value, done):
    return f"{value}{'.' if done else ''}"


@app.callback(Output("cancelled", "children"), Input("look", "n_clicks"), prevent_initial_call=True)
async def look(clicks):
    return f"{clicks} {cancelled.is_set()}"


@app.callback(
    Output("threaded", "children"), Input("thread", "n_clicks"), prevent_initial_call=True
)
def from_a_thread(clicks):
    live.push_threadsafe("banner", {"children": "from a thread"})
    for number in range(100):
        live.send_event_threadsafe("burst", number)
    return clicks


async def later():
    await live.push("banner", {"children": "from a task"})


tasks = []


@live.on_event("name")
async def named(data):
    tasks.append(asyncio.create_task(later()))
    await live.send_event("named", data[::-1], to=live.client)


app.layout = html.Div(
    [
        LinkStatus(id="link"),
        html.P(id="state"),
        WebSocket(url="/ticker", id="ws"),
        dcc.Input(id="say", debounce=True),
        html.P(id="heard"),
        SSE(url="/answer", options=sse_options('{"prompt": "hello"}'), id="sse", concat=True),
        html.P(id="answered"),
        dcc.Tabs(
            id="tabs",
            value="report",
            children=[
                dcc.Tab(label="Report", value="report"),
                dcc.Tab(label="Else", value="else", id="else"),
            ],
        ),
        html.Button("go", id="go"),
        html.Progress(id="bar", max="100"),
        html.P(id="toast"),
        html.Button("look", id="look"),
        html.P(id="cancelled"),
        html.Button("all", id="all"),
        html.P(id="sent"),
        html.P(id="banner"),
        html.Button("thread", id="thread"),
        html.P(id="threaded"),
        AgGrid(id="table", columnDefs=[{"field": "row"}], rowData=[], style={"height": 400}),
    ]
)
"""

# The import line that puts an app into DashProxy.
FLASH = "from flash import Flash, Input, Output, html"
PROXY = "from flash.enrich import DashProxy as Flash, Input, Output, html"


def on(kind, code):
    """The code on `Flash`, or in `DashProxy`: one line of imports."""
    assert code.count(FLASH) == 1
    return code if kind == "flash" else code.replace(FLASH, PROXY)


@pytest.fixture(params=["flash", "dash_proxy"])
def kind(request):
    return request.param


def rows(page):
    return page.run_js(
        "return [...document.querySelectorAll('#table .ag-row')]"
        ".sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map(row => row.innerText)"
    )


def keep_events(page, *names):
    page.run_js(
        "window.got = [];"
        "for (const name of arguments) flash.on(name, data => got.push([name, data]))",
        *names,
    )


def got(page):
    return page.run_js("return window.got")


def test_b17_the_code_that_users_write_runs_as_written(flash_browser, tmp_path, kind):
    (tmp_path / "app.py").write_text(on(kind, CODE) + REST)
    page = flash_browser
    page.serve(tmp_path / "app.py")
    other = page.new_user("/")
    for each in (page, other):
        each.wait_for_text("#state", "open")

    # The endpoints, under the components.
    page.wait_for_text("#answered", "You said hello.")
    page.type("#say", "hello", enter=True)
    page.wait_for_text("#heard", "HELLO")

    # An event callback: to its end, cancelled, failed.
    page.click("#go")
    page.wait_for(lambda: rows(page) == ["1, 50 %", "1, 100 %"], "two rows")
    page.wait_for(lambda: page.run_js("return document.querySelector('#bar').value") == 100)
    page.wait_for(lambda: page.find("#go").is_enabled(), "the button after the end")
    page.click("#go")
    page.wait_for(lambda: len(rows(page)) == 4, "two rows more")
    page.wait_for(lambda: not page.find("#go").is_enabled(), "the button to be off")
    page.click("#else")
    page.wait_for(lambda: page.find("#go").is_enabled(), "the button after the cancelling")
    page.click("#look")
    page.wait_for_text("#cancelled", "1 True")
    page.click("#go")
    page.wait_for_text("#toast", "no third report")
    page.wait_for(lambda: page.find("#go").is_enabled(), "the button after the error")
    all_rows = [f"{n}, {share} %" for n in (1, 2, 3) for share in (50, 100)]
    page.wait_for(lambda: rows(page) == all_rows, "all rows")
    assert rows(other) == []

    # Pushes and events: to every page, to this one, to a group, from a thread and from a task.
    for each in (page, other):
        keep_events(each, "price", "burst", "named")
    page.click("#all")
    page.wait_for_text("#sent", "1")
    page.wait_for_text("#banner", "just you")
    other.wait_for_text("#banner", "1")
    page.run_js("flash.send('name', 'abc')")
    other.wait_for_text("#banner", "from a task")
    page.click("#thread")
    page.wait_for_text("#threaded", "1")
    other.wait_for_text("#banner", "from a thread")
    burst = [["burst", number] for number in range(100)]
    for each, own in ((page, [["named", "cba"]]), (other, [])):
        wanted = [*own, *burst]
        each.wait_for(lambda each=each: burst[-1] in got(each), "the events")
        # The callback's calls when the pages were loaded have sent prices, too.
        prices = [event for event in got(each) if event == ["price", {"AAPL": 1}]]
        assert prices
        assert [event for event in got(each) if event not in prices] == wanted


BURST = """\
from dash_extensions import WebSocket
from flash import Flash, Input, Output, html
from flash_ws import Live, stream_props

app = Flash(__name__)
live = Live(app)
handled = []


@live.websocket("/burst")
async def burst(connection):
    async for count in connection:
        for number in range(int(count)):
            await connection.send(str(number))


app.layout = html.Div(
    [
        WebSocket(id="ws", url="/burst"),
        html.P(id="state"),
        html.Button("go", id="go"),
        html.P("", id="list"),
        html.P(id="count"),
        html.Button("show", id="show"),
        html.P(id="handled"),
        html.P(id="streamed"),
    ]
)
"""

BURST_CALLBACKS = '''
import asyncio
import json

from dash import State

app.clientside_callback(
    "s => String(s.readyState)", Output("state", "children"), Input("ws", "state")
)


@app.callback(Output("ws", "send"), Input("go", "n_clicks"), prevent_initial_call=True)
async def go(clicks):
    return "100"


@app.callback(
    Output("list", "children"),
    Input("ws", "message"),
    State("list", "children"),
    prevent_initial_call=True,
)
async def handle(message, shown):
    handled.append(int(message["data"]))
    await asyncio.sleep(0)
    return f"{shown} {message['data']}"


app.clientside_callback(
    """m => {
        window.calls = [...(window.calls || []), Number(m.data)];
        return String(calls.length);
    }""",
    Output("count", "children"),
    Input("ws", "message"),
    prevent_initial_call=True,
)


streamed = []


@live.event_callback(Input("ws", "message"), mode="parallel")
async def stream(message):
    streamed.append(int(message["data"]))
    yield stream_props("streamed", {"children": str(len(streamed))})


@app.callback(Output("handled", "children"), Input("show", "n_clicks"), prevent_initial_call=True)
async def show(clicks):
    return json.dumps([handled, streamed])
'''


def test_b7_a_burst_of_100_messages_is_100_calls_of_every_callback(flash_browser, tmp_path, kind):
    """Dash alone leaves out the calls that a newer message overtakes; flash_ws.js passes the
    component its messages one by one, so that each callback sees, and each result counts.
    """
    (tmp_path / "app.py").write_text(on(kind, BURST) + BURST_CALLBACKS)
    page = flash_browser
    page.serve(tmp_path / "app.py")
    page.wait_for_text("#state", "1")
    numbers = list(range(100))
    page.click("#go")
    page.wait_for_text("#list", " ".join(map(str, numbers)))
    page.wait_for_text("#streamed", "100")
    page.wait_for_text("#count", "100")
    assert page.run_js("return calls") == numbers
    page.click("#show")
    page.wait_for_text("#handled", str([numbers, numbers]))
    assert page.run_js("return flash.statistics().droppedMessages") == 0


PAGE = """\
from flash import Input, html, register_page
from flash_ws import event_callback, stream_props

register_page(__name__, path="/{name}")
layout = html.Div([html.H1("{name}"), html.Button("go", id="{name}-go"), html.P(id="{name}-out")])


@event_callback(Input("{name}-go", "n_clicks"), cancel=[Input("{name}-go", "title")])
async def report(clicks):
    for step in range(3):
        yield stream_props("{name}-out", {{"children": f"{name} {{clicks}}.{{step}}"}})
"""

PAGES_APP = """\
from flash import Flash, Input, Output, html
from flash import page_container
from flash_ws import Live, LinkStatus

app = Flash(__name__, use_pages=True)
app.layout = html.Div([LinkStatus(id="link"), html.P(id="state"), page_container])
app.clientside_callback("s => s", Output("state", "children"), Input("link", "status"))
Live(app)
"""


def test_b16_event_callbacks_of_pages_run_at_module_level(flash_browser, tmp_path, kind):
    (tmp_path / "pages").mkdir()
    for name in ("sales", "stock"):
        (tmp_path / "pages" / f"{name}.py").write_text(PAGE.format(name=name))
    (tmp_path / "app.py").write_text(on(kind, PAGES_APP))
    page = flash_browser
    page.serve(tmp_path / "app.py", path="/sales")
    for name in ("sales", "stock", "sales"):
        page.run_js("history.pushState({}, '', arguments[0])", f"/{name}")
        page.run_js("dispatchEvent(new Event('_dashprivate_pushstate'))")
        page.wait_for_text("h1", name)
        page.wait_for_text("#state", "open")
        page.click(f"#{name}-go")
        page.wait_for_text(f"#{name}-out", f"{name} 1.2")
    assert page.run_js("return flash.statistics().connections") == 1
