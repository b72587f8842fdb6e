"""Changes for components that a page does not have: what its console says of them."""

import pytest

pytest_plugins = ["flash.testing.plugin"]

# A channel without variables goes to every page; its graph is on one of the two.
PAGES = """
import dash
from flash import Flash, Input, Output, dcc, html, live, pubsub
from flash_ws import LinkStatus

app = Flash(__name__, use_pages=True, pages_folder="", suppress_callback_exceptions={suppress})
if {debug}:
    app.enable_dev_tools(debug=True, dev_tools_hot_reload=False)
dash.register_page("home", path="/", layout=html.Div([html.P("home", id="home"), dcc.Graph(
    id="tape", figure={{"data": [{{"x": [], "y": []}}]}}
)]))
dash.register_page("settings", path="/settings", layout=html.P("settings", id="settings"))
app.layout = html.Div(
    [
        dcc.Link("home", href="/", id="to-home"),
        dash.page_container,
        LinkStatus(id="link"),
        html.P(id="status"),
    ]
)
app.clientside_callback("s => s", Output("status", "children"), Input("link", "status"))


@pubsub.channel_callback("prices", Output("tape", "extendData"))
def draw(message):
    return [{{"x": [[message]], "y": [[message]]}}, [0], 500]


@pubsub.channel_callback("news", Output("tpae", "title"))
def misspelt(message):
    return message


@app.server.post("/publish/<int:count>")
async def publish(count):
    for number in range(count):
        await pubsub.publish("prices", number)
    await pubsub.publish("news", count)
    return "", 204


@app.server.post("/push")
async def push():
    await live.push("setings", {{"title": "misspelt"}})
    await live.push("home", {{"title": "of another page"}})
    await live.push("settings", {{"title": "there"}})
    return "", 204
"""


@pytest.fixture
def settings_page(flash_browser, tmp_path):
    """Open the page without the graph, and collect what the console says from now on."""

    def open_page(*, debug, suppress=False):
        (tmp_path / "app.py").write_text(PAGES.format(debug=debug, suppress=suppress))
        # Of Dash's own tools, which ask for the newest version of Dash.
        flash_browser.expect_console_errors("current_version")
        flash_browser.serve(tmp_path / "app.py", path="/settings")
        flash_browser.wait_for_text("#status", "open")
        flash_browser.run_js(
            "window.warnings = []; console.warn = (text) => window.warnings.push(text);"
            # So that what waits does not grow old on a busy machine.
            "const now = performance.now.bind(performance); performance.now = () => now() / 100;"
            # A component that has not come is named after ten seconds, here after one.
            "const after = setTimeout;"
            "window.setTimeout = (run, wait) => after(run, wait === 10000 ? 1000 : wait);"
        )
        return flash_browser

    return open_page


def post(page, path):
    page.run_js("return fetch(arguments[0], {method: 'POST'})", path)


def warnings(page):
    return page.run_js("return window.warnings.filter((each) => each.startsWith('flash:'))")


def statistics(page):
    return page.run_js("return flash.statistics()")


def test_changes_for_components_of_other_pages_are_dropped_without_a_word(settings_page):
    page = settings_page(debug=False)
    post(page, "/publish/250")
    page.wait_for(lambda: statistics(page)["absent"] == 251)
    assert statistics(page)["droppedUpdates"] == 200
    assert warnings(page) == []


def test_a_component_that_comes_and_lacks_changes_is_named_in_any_mode(settings_page):
    page = settings_page(debug=False)
    post(page, "/publish/150")
    page.wait_for(lambda: statistics(page)["absent"] == 151)
    page.click("#to-home")
    page.wait_for_text("#home", "home")
    page.wait_for(lambda: warnings(page))
    assert warnings(page) == [
        "flash: tape.extendData: too much waited for this component; it lacks changes"
    ]


def test_a_component_that_comes_and_lacks_nothing_is_not_named(settings_page):
    page = settings_page(debug=False)
    post(page, "/publish/90")
    page.wait_for(lambda: statistics(page)["absent"] == 91)
    page.click("#to-home")
    page.wait_for(
        lambda: (
            page.run_js(
                "return dash_component_api.getLayout('tape')?.props.figure.data[0].x.length || 0"
            )
            == 90
        )
    )
    assert statistics(page)["droppedUpdates"] == 0
    assert warnings(page) == []


def test_in_debug_mode_ids_that_are_on_no_page_are_named_and_those_of_others_are_not(
    settings_page,
):
    page = settings_page(debug=True)
    post(page, "/publish/150")
    post(page, "/push")
    page.wait_for(lambda: len(warnings(page)) >= 2)
    assert sorted(warnings(page)) == [
        "flash: setings: a push names this component, which is not on the page",
        "flash: tpae: a push names this component, which is not on the page",
    ]


def test_where_layouts_are_not_known_only_what_was_pushed_is_named(settings_page):
    page = settings_page(debug=True, suppress=True)
    post(page, "/publish/150")
    page.wait_for(lambda: statistics(page)["absent"] == 151)
    # Pushed last, so that all others would be named before it.
    post(page, "/push")
    page.wait_for(lambda: len(warnings(page)) >= 2)
    assert sorted(warnings(page)) == [
        "flash: home: a push names this component, which is not on the page",
        "flash: setings: a push names this component, which is not on the page",
    ]
