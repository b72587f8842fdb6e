"""What the live link promises in situations of real pages: copies, late links, late components."""

import re

import pytest

pytest_plugins = ["flash.testing.plugin"]

BASE = """
import asyncio
import os
from flash import Flash, Input, Output, Patch, State, ctx, dcc, html
from flash_ws import Live, LinkLimits, LinkStatus, RateLimit, stream_props

"""

# Two pages whose HTML is the same, as that of a duplicated tab.
COPIED = (
    BASE
    + """
class Copied(Flash):
    kept = None

    def index(self):
        if Copied.kept is None:
            Copied.kept = super().index()
        return Copied.kept


app = Copied(__name__)
live = Live(app)
app.layout = html.Div(
    [LinkStatus(id="link"), html.P(id="status"), html.Button("go", id="go"), html.P("-", id="mine")]
)


@app.callback(Output("status", "children"), Input("link", "status"))
async def show(status):
    return status


@app.callback(Input("go", "n_clicks"), prevent_initial_call=True)
async def go(clicks):
    await live.push("mine", {"children": f"clicked {clicks}"}, to=live.client)


@app.server.get("/other")
async def other():
    return "<p id='other'>other</p>", 200, {"Content-Type": "text/html"}
"""
)


@pytest.fixture
def app_file(tmp_path):
    """Write an app and return its path."""

    def write(code):
        path = tmp_path / "app.py"
        path.write_text(code, encoding="utf-8")
        return path

    return write


def test_12_1_a_duplicated_tab_gets_its_own_pushes(flash_browser, app_file):
    flash_browser.serve(app_file(COPIED))
    flash_browser.wait_for_text("#status", "open")
    copy = flash_browser.new_tab("/")
    copy.wait_for_text("#status", "open")
    copy.click("#go")
    copy.wait_for_text("#mine", "clicked 1")
    assert flash_browser.text("#mine") == "-"
    flash_browser.click("#go")
    flash_browser.wait_for_text("#mine", "clicked 1")


def test_12_1_a_page_from_the_browsers_cache_has_an_identity_of_its_own(flash_browser, app_file):
    code = COPIED.replace("app = Copied(__name__)", "app = Flash(__name__)")
    flash_browser.serve(app_file(code))
    flash_browser.wait_for_text("#status", "open")
    token = "return JSON.parse(document.getElementById('_dash-config').textContent).end_id"
    before = flash_browser.run_js(token)
    # A page that has opened another is not restored as it was: its scripts run again.
    flash_browser.run_js("window.open('/other', 'small', 'popup,width=100,height=100'); 0")
    flash_browser.run_js("location.href = '/other'")
    flash_browser.find("#other")
    flash_browser.back()
    flash_browser.wait_for_text("#status", "open")
    assert flash_browser.run_js(token) != before
    flash_browser.click("#go")
    flash_browser.wait_for_text("#mine", "clicked 1")


def test_12_1_a_page_whose_user_changes_gets_its_own_pushes(flash_browser, app_file):
    code = (
        COPIED.replace("app = Copied(__name__)", "app = Flash(__name__)").replace(
            "live = Live(app)", "live = Live(app, authorize=lambda request: USER[0])"
        )
        + """
USER = ["ada"]

@app.server.post("/become/<user>")
async def become(user):
    USER[0] = user
    hub = __import__("flash_ws.callbacks.deferred", fromlist=["hub_of"]).hub_of(live.app)
    for client in list(hub.clients.values()):
        await client.link._transport.close(__import__("flash_ws").CloseCode.EXPIRED, "again")
        client.link._stop_reading()
    return "", 204
"""
    )
    flash_browser.serve(app_file(code))
    flash_browser.wait_for_text("#status", "open")
    flash_browser.run_js("return fetch('/become/bob', {method: 'POST'})")
    flash_browser.wait_for(
        lambda: flash_browser.run_js("return flash.statistics().connections") == 2
    )
    flash_browser.wait_for_text("#status", "open")
    flash_browser.click("#go")
    flash_browser.wait_for_text("#mine", "clicked 1")


LATE_LINK = (
    BASE
    + """
now = {"v": 1}


async def slow(request):
    await asyncio.sleep(0.6)
    return True


app = Flash(__name__)
live = Live(app, authorize=slow)


def layout():
    return html.Div(
        [
            html.P(str(now["v"]), id="value"),
            html.P("-", id="own"),
            html.P("x", id="seen"),
            LinkStatus(id="link"),
            html.P(id="status"),
        ]
    )


app.layout = layout


@app.callback(Output("status", "children"), Input("link", "status"))
async def show(status):
    return status


@app.callback(Input("seen", "children"))
async def seen(text):
    # Before the link is open: the layout of this page says 1.
    if now["v"] == 1:
        now["v"] = 2
        await live.push("value", {"children": "2"})
    await live.push("own", {"children": "from the first callback"}, to=live.client)
"""
)


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn", "granian"])
def test_12_3_what_is_pushed_between_layout_and_link_is_shown(flash_browser, app_file, server):
    flash_browser.serve(app_file(LATE_LINK), server)
    flash_browser.wait_for_text("#value", "2")
    flash_browser.wait_for_text("#own", "from the first callback")
    flash_browser.wait_for_text("#status", "open")
    assert flash_browser.run_js("return flash.statistics().recovered") is None


def test_12_3_a_page_made_before_a_restart_learns_that_something_may_be_lost(
    flash_browser, app_file
):
    code = LATE_LINK.replace(
        "app.layout = layout",
        """app.layout = layout
app.page_values.append(lambda: {"at": {"all": ("another-server", 3)}})""",
    )
    flash_browser.serve(app_file(code))
    flash_browser.wait_for_text("#status", "open")
    assert flash_browser.run_js("return flash.statistics().recovered") is False


LATE_CONTENT = (
    BASE
    + """
app = Flash(__name__, use_pages=True, pages_folder="", suppress_callback_exceptions=True)
live = Live(app)


def tabs():
    return html.Div(
        [
            html.P("-", id="in-page"),
            html.P("-", id="patched"),
            dcc.RadioItems(["one", "two"], "one", id="tabs"),
            html.Div(id="content"),
        ]
    )


import dash

dash.register_page("home", path="/", layout=tabs)
app.layout = html.Div([dash.page_container, LinkStatus(id="link"), html.P(id="status")])


@live.on_connect
async def hi(client):
    await live.push("in-page", {"children": "hi"}, to=client)
    await live.push("in-page", {"children": "hello"}, to=client)
    patched = Patch()
    patched += " and more"
    await live.push("patched", {"children": patched}, to=client)


@app.callback(Output("content", "children"), Input("tabs", "value"))
async def show(tab):
    return html.P("-", id=f"in-{tab}")


@app.callback(Output("status", "children"), Input("link", "status"))
async def state(status):
    return status


@app.server.post("/push/<id>/<text>")
async def push(id, text):
    await live.push(id, {"children": text})
    return "", 204


@app.server.post("/misspelt")
async def misspelt():
    await live.push("in-page", {"childern": 1})
    await live.push("in-pge", {"children": 1})
    return "", 204
"""
)


def test_12_4_a_component_that_comes_later_gets_what_was_pushed(flash_browser, app_file):
    flash_browser.serve(app_file(LATE_CONTENT))
    flash_browser.wait_for_text("#in-page", "hello")
    flash_browser.wait_for_text("#patched", "- and more")
    flash_browser.wait_for_text("#status", "open")
    flash_browser.wait_for_text("#in-one", "-")
    flash_browser.run_js("return fetch('/push/in-two/1', {method: 'POST'})")
    flash_browser.run_js("return fetch('/push/in-two/2', {method: 'POST'})")
    flash_browser.wait_for(
        lambda: flash_browser.run_js("return flash.statistics().waitingUpdates") == 1
    )
    flash_browser.run_js("document.querySelectorAll('#tabs input')[1].click()")
    flash_browser.wait_for_text("#in-two", "2")
    assert flash_browser.run_js("return flash.statistics().droppedUpdates") == 0


def test_12_4_a_misspelt_name_is_named_in_debug_mode(flash_browser, app_file):
    code = LATE_CONTENT + "\napp.enable_dev_tools(debug=True, dev_tools_hot_reload=False)\n"
    flash_browser.expect_console_errors("current_version")
    flash_browser.serve(app_file(code))
    flash_browser.wait_for_text("#status", "open")
    flash_browser.run_js(
        "window.warnings = []; console.warn = (text) => window.warnings.push(text);"
        # A component that has not come is named after ten seconds, here after one.
        "const after = setTimeout;"
        "window.setTimeout = (run, wait) => after(run, wait === 10000 ? 1000 : wait);"
    )
    flash_browser.run_js("return fetch('/misspelt', {method: 'POST'})")

    def said(pattern):
        return any(
            re.search(pattern, each) for each in flash_browser.run_js("return window.warnings")
        )

    flash_browser.wait_for(lambda: said("in-page: P has no property childern"))
    flash_browser.wait_for(lambda: said("in-pge: a push names this component"))


SOCKET_CALLBACKS = (
    BASE
    + """
app = Flash(__name__, websocket_callbacks=True)
live = Live(app)
app.layout = html.Div(
    [
        LinkStatus(id="link"),
        html.P(id="status"),
        html.Button("go", id="go"),
        html.P("-", id="mine"),
        html.P("-", id="how"),
    ]
)
app.clientside_callback("s => s", Output("status", "children"), Input("link", "status"))
got = 0


@app.callback(Output("how", "children"), Input("go", "n_clicks"), prevent_initial_call=True)
async def go(clicks):
    await live.push("mine", {"children": f"clicked {clicks}"}, to=live.client)
    return "socket" if ctx.websocket else "http"


@live.on_event("burst")
async def burst(number):
    global got
    got += 1
    if got == 3000:
        await live.push("mine", {"children": "all of them"})
"""
)


def test_12_1_a_callback_over_dash_s_socket_knows_its_page(flash_browser, app_file):
    flash_browser.serve(app_file(SOCKET_CALLBACKS))
    other = flash_browser.new_tab("/")
    for tab in (flash_browser, other):
        tab.wait_for_text("#status", "open")
    other.click("#go")
    other.wait_for_text("#how", "socket")
    other.wait_for_text("#mine", "clicked 1")
    flash_browser.click("#go")
    flash_browser.click("#go")
    flash_browser.wait_for_text("#mine", "clicked 2")
    assert other.text("#mine") == "clicked 1"


def test_12_a_burst_of_events_in_one_task_arrives(flash_browser, app_file):
    flash_browser.serve(app_file(SOCKET_CALLBACKS))
    flash_browser.wait_for_text("#status", "open")
    flash_browser.run_js("for (let n = 0; n < 3000; n += 1) { flash.send('burst', n); }")
    flash_browser.wait_for_text("#mine", "all of them")
    assert flash_browser.run_js("return flash.statistics().droppedFrames") == 0


NEW_CODE = (
    BASE
    + """
app = Flash(__name__, version=os.environ["VERSION"])
live = Live(app, on_new_version=os.environ.get("WAY", "ask"))
app.layout = html.Div(
    [html.P(os.environ["VERSION"], id="version"), dcc.Graph(id="g"), dcc.Input(id="text")]
)
"""
)


def restart_with_new_code(flash_browser, path, process):
    """Restart the server with a layout that says "two"."""
    flash_browser.find("#g .js-plotly-plot .plotly")
    flash_browser.wait_for_text("#version", "one")
    flash_browser.wait_for(
        lambda: flash_browser.run_js("return flash.statistics().status") == "open"
    )
    process.kill()
    path.write_text(path.read_text().replace('os.environ["VERSION"]', "'two'"))
    process.start()


def test_12_11_a_page_reloads_itself_if_the_app_says_so(flash_browser, app_file):
    flash_browser.expect_lost_connections()
    path = app_file(NEW_CODE)
    process = flash_browser.serve(path, env={"VERSION": "one", "WAY": "reload"})
    restart_with_new_code(flash_browser, path, process)
    flash_browser.wait_for_text("#version", "two")
    assert not flash_browser.find_all("#flash-new-version")


def test_12_11_a_page_in_which_somebody_has_typed_asks_first(flash_browser, app_file):
    flash_browser.expect_lost_connections()
    path = app_file(NEW_CODE)
    process = flash_browser.serve(path, env={"VERSION": "one", "WAY": "reload"})
    flash_browser.type("#text", "unsaved")
    restart_with_new_code(flash_browser, path, process)
    flash_browser.find("#flash-new-version button")
    flash_browser.wait_for_text("#version", "one")


def test_12_12_no_warning_of_react_in_debug_mode(flash_browser, app_file):
    code = NEW_CODE + "\napp.enable_dev_tools(debug=True, dev_tools_hot_reload=False)\n"
    flash_browser.expect_console_errors("current_version")
    flash_browser.serve(app_file(code), env={"VERSION": "one"})
    flash_browser.find("#g .js-plotly-plot .plotly")
    flash_browser.wait_for(
        lambda: flash_browser.run_js("return flash.statistics().status") == "open"
    )
    said = [entry.message for entry in flash_browser.console()]
    assert not [text for text in said if "DrawnInOrder" in text or "OrderedGraph" in text]


def test_12_11_a_page_of_an_earlier_version_asks_to_be_reloaded(flash_browser, app_file):
    flash_browser.expect_lost_connections()
    path = app_file(NEW_CODE)
    process = flash_browser.serve(path, env={"VERSION": "one"})
    restart_with_new_code(flash_browser, path, process)
    flash_browser.click("#flash-new-version button")
    flash_browser.wait_for_text("#version", "two")
    assert not flash_browser.find_all("#flash-new-version")


GRID = (
    BASE
    + """
import dash_ag_grid as dag

app = Flash(__name__)
live = Live(app)
app.layout = html.Div(
    [
        dag.AgGrid(
            id="grid",
            columnDefs=[{"field": "n"}],
            rowData=[],
            getRowId="params.data.n",
        ),
        LinkStatus(id="link"),
    ]
)


@app.server.post("/rows/<int:count>")
async def rows(count):
    for number in range(count):
        await live.push("grid", {"rowTransaction": {"add": [{"n": str(number)}]}})
    await live.push("grid", {"rowTransaction": {"remove": [{"n": "0"}]}})
    await live.push("grid", {"rowTransaction": {"remove": [{"n": "1"}]}})
    return "", 204
"""
)


def test_12_12_many_transactions_of_one_row_are_applied_as_few(flash_browser, app_file):
    flash_browser.serve(app_file(GRID))
    flash_browser.find("#grid .ag-root")
    flash_browser.wait_for(
        lambda: flash_browser.run_js("return flash.statistics().status") == "open"
    )
    flash_browser.run_js(
        "window.drawn = 0; const flushSync = ReactDOM.flushSync;"
        "ReactDOM.flushSync = (fn) => { window.drawn += 1; return flushSync(fn); };"
    )
    flash_browser.run_js("return fetch('/rows/1000', {method: 'POST'})")
    count = "let n = 0; dash_ag_grid.getApi('grid').forEachNode(() => { n += 1; }); return n"
    flash_browser.wait_for(lambda: flash_browser.run_js(count) == 998)
    assert flash_browser.run_js("return window.drawn") < 100
