"""The developer's panel (issue 15, number 8): what it shows, and that it is nowhere else."""

import json
import re
from pathlib import Path

import pytest
from documents import connected, fetch
from redis_servers import RedisServer
from selenium.webdriver import ActionChains, Keys
from selenium_axe_python import Axe

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "panel" / "app.py"

TABLES = APP.parents[1] / "tables" / "app.py"

CORE_ALONE = """
from flash import Flash, Input, Output, html

app = Flash(__name__)
app.enable_dev_tools(debug=True, dev_tools_hot_reload=False, dev_tools_disable_version_check=True)
app.layout = html.Main([html.Button("Ask", id="ask"), html.P(id="answer")])

@app.callback(Output("answer", "children"), Input("ask", "n_clicks"))
def answer(clicks):
    return f"answer {clicks}"
"""

ASKED = """return performance.getEntriesByType('resource')
    .filter((entry) => entry.name.includes('_flash/panel')).length"""

READ = """
const root = document.querySelector('#flash-panel').shadowRoot;
root.querySelector(`[data-name="${arguments[0]}"]`).click();
const headings = [...root.querySelectorAll('th')].map((each) => each.textContent);
const rows = root.querySelector('table').hidden ? [] : [...root.querySelectorAll('tbody tr')];
return {
    facts: Object.fromEntries([...root.querySelectorAll('dl > div')].map(
        (each) => [...each.children].map((part) => part.textContent))),
    rows: rows.map((row) => Object.fromEntries(
        [...row.cells].map((cell, at) => [headings[at], cell.textContent]))),
    note: root.querySelector('[role=tabpanel] > p').textContent,
};
"""


@pytest.fixture(scope="module")
def server():
    with AppProcess(APP, env={"DEBUG": "1"}) as process:
        yield process


@pytest.fixture
def page(flash_browser, server):
    # A panel that fails to load, which Dash reports.
    flash_browser.expect_console_errors("500|Object")
    flash_browser.visit(server)
    return connected(flash_browser)


def open_panel(page):
    page.click("#flash-panel-button")
    page.find("#flash-panel")
    return page


def read(page, name):
    """Open a section, and return its facts, its rows and its note."""
    return page.run_js(READ, name)


def facts(page, name):
    return read(page, name)["facts"]


def rows(page, name):
    return read(page, name)["rows"]


def updates_of(page, component):
    """Return (properties, from) of each update of a component, the newest first."""
    found = [row for row in rows(page, "Updates") if row["component"] == component]
    return [(row["properties"], row["from"]) for row in found]


def updates(page):
    """Return the updates without those of the graph, which fits its size when it likes."""
    return [row for row in rows(page, "Updates") if row["component"] != "graph"]


def in_panel(page, css):
    return page.run_js(
        "return document.querySelector('#flash-panel').shadowRoot.querySelector(arguments[0])", css
    )


def press(page, *keys):
    ActionChains(page.driver).send_keys(*keys).perform()


def number(text):
    return int(text.replace(",", ""))


# -- what it shows


@pytest.mark.parametrize("broker", ["memory", "redis"])
def test_15_8_every_section_shows_true_figures(flash_browser, tmp_path, broker):
    with RedisServer(tmp_path) as redis:
        address = redis.url if broker == "redis" else "memory://"
        flash_browser.expect_console_errors("500|Object")
        env = {"DEBUG": "1", "FLASH_REDIS_URL": address}
        process = flash_browser.serve(APP, env=env)
        page = open_panel(connected(flash_browser))
        page.click("#tell")
        page.wait_for_text("#price", "price 1")

        link = facts(page, "Link")
        assert (link["status"], link["transport"], link["connections"]) == (
            "open",
            "websocket",
            "1",
        )
        statistics = page.run_js("return flash.statistics()")
        assert 3 <= number(link["frames in"]) <= statistics["framesIn"]
        assert 0 < number(link["characters in"]) <= statistics["charactersIn"]
        assert 2 <= number(link["frames out"]) <= statistics["framesOut"]
        assert link["dropped"] == "0"
        page.wait_for(lambda: "conflated by the server" in facts(page, "Link"), "the server's")
        page.wait_for(lambda: number(facts(page, "Link")["sent by the server"]) >= 3, "sent")
        assert facts(page, "Link")["conflated by the server"] == "0"
        # The push comes by a channel of its own, after the price or before it.
        page.wait_for(
            lambda: ("all", "1") in {(row["channel"], row["number"]) for row in rows(page, "Link")},
            "the push to all",
        )
        channels = {row["channel"]: row for row in rows(page, "Link")}
        assert channels["channel:prices"]["frames"] == "1"

        page.wait_for(
            lambda: [row["status"] for row in rows(page, "Subscriptions")] == ["subscribed"] * 2,
            "the subscriptions",
        )
        found = {row["channel"]: row for row in rows(page, "Subscriptions")}
        assert found["prices"]["frames"] == "1"
        assert found["desk/7"]["follows"] == "results, room, present"

        page.type("#level", "7")
        page.wait_for_text("#double", "twice 1717")
        page.wait_for(
            lambda: {row["status"] for row in rows(page, "Shared values")} == {"shared"},
            "the shared values",
        )
        shared = {row["property"]: row for row in rows(page, "Shared values")}
        assert (shared["level.value"]["value"], shared["level.value"]["status"]) == (
            '"17"',
            "shared",
        )
        assert shared["double.children"]["value"] == '"twice 1717"'
        page.wait_for(
            lambda: facts(page, "Shared values")["room desk/{desk}"] == "desk/7 (subscribed)",
            "the room",
        )

        assert rows(page, "Event callbacks") == []
        page.click("#count")
        page.wait_for(
            lambda: [row["status"] for row in rows(page, "Event callbacks")] == ["running"],
            "the call",
        )
        (call,) = rows(page, "Event callbacks")
        assert (call["callback"], call["by"]) == ("count", "count.n_clicks")

        assert [row["status"] for row in rows(page, "Lazy panels")] == ["idle", "idle"]
        page.run_js("window.scrollTo(0, 1e6)")
        page.wait_for(
            lambda: [row["status"] for row in rows(page, "Lazy panels")] == ["loaded", "error"],
            "the panels",
        )
        loaded, failed = rows(page, "Lazy panels")
        assert (loaded["panel"], loaded["arguments"]) == ("app.report", '{"number":1}')
        assert number(loaded["milliseconds"]) >= 0
        assert loaded["begun"].endswith("ago")
        assert failed["milliseconds"] == "–"

        page.wait_for(lambda: facts(page, "Server").get("callbacks: error") == "1", "the error")
        told = facts(page, "Server")
        assert told["worker"] == str(process.pid)
        assert number(told["callbacks answered"]) >= 3
        pools = {row["threads for"]: row for row in rows(page, "Server")}
        assert (pools["callbacks"]["of"], pools["callbacks"]["of at most"]) == ("40", "1,000")


def test_15_8_a_call_in_flight_is_shown_in_the_page_and_at_the_server(page):
    open_panel(page)
    page.run_js("window.scrollTo(0, 0)")
    page.click("#wait")
    page.wait_for(lambda: len(rows(page, "Requests")) == 1, "the request")
    (request,) = rows(page, "Requests")
    assert (request["callback"], request["by"], request["status"]) == (
        "waited.children",
        "wait.n_clicks",
        "sent",
    )
    page.wait_for(lambda: facts(page, "Server").get("callbacks running") == "1", "the call")
    assert {row["threads for"]: row["busy"] for row in rows(page, "Server")}["callbacks"] == "1"
    page.click("#end")
    page.wait_for_text("#waited", "waited")
    page.wait_for(lambda: facts(page, "Server")["callbacks running"] == "0", "the end")
    assert rows(page, "Requests") == []


def test_15_8_a_component_shows_what_it_got_and_from_where(page):
    open_panel(page)
    page.type("#name", "x")
    page.wait_for_text("#greeting", "hello x")
    page.click("#count")
    page.wait_for_text("#counted", re.compile(r"\d"))
    page.click("#tell")
    page.wait_for(lambda: page.text("#price").startswith("price"))
    page.type("#level", "9")
    page.wait_for(lambda: page.text("#double").endswith("9"))
    double = page.text("#double")
    page.type("#lots", "5")
    page.wait_for(lambda: page.text("#lots_seen").endswith("5"))
    lots = page.text("#lots_seen")
    page.run_js("dash_clientside.set_props('answer', {children: 'by hand'})")
    page.run_js("window.scrollTo(0, 1e6)")
    page.find(".report")
    expected = {
        "name": ('value = "x"', "the user or the component"),
        "greeting": ('children = "hello x"', "callback of greeting.children, by name.value"),
        "mirror": (
            'children = "mirror x"',
            "clientside callback of mirror.children, by name.value",
        ),
        "counted": ("children = 1", "event callback count"),
        "price": ('children = "price 1"', "channel prices"),
        "pushed": ('children = "<img src=x onerror=alert(1)>"', "push to everybody"),
        "double": (f'children = "{double}"', "shared callback of double.children"),
        "lots_seen": (
            f'children = "{lots}"',
            "shared callback of lots_seen.children, in the room desk/7",
        ),
        "answer": ('children = "by hand"', "set_props in JavaScript"),
    }
    for component, update in expected.items():
        page.wait_for(
            lambda component=component, update=update: update in updates_of(page, component),
            f"{component}: {update}",
        )
    loads = [row for row in rows(page, "Updates") if row["from"] == "load of a lazy panel"]
    assert any('P("report 1")' in row["properties"] for row in loads)


def test_15_8_a_push_to_a_component_that_is_not_there_is_shown(page):
    open_panel(page)
    page.click("#absent")
    page.wait_for(lambda: updates_of(page, "nowhere"), "the update")
    assert updates_of(page, "nowhere") == [
        (
            'children = "nobody"',
            "push to everybody; waits, since the component is not on the page",
        )
    ]


def test_15_8_a_value_with_html_is_shown_as_text(page):
    open_panel(page)
    page.click("#tell")
    page.wait_for(lambda: updates_of(page, "pushed"), "the update")
    assert updates_of(page, "pushed")[0][0].startswith('children = "<img src=x onerror=alert(')
    assert in_panel(page, "img") is None


def test_15_8_what_the_server_conflates_is_counted(page):
    open_panel(page)
    page.wait_for(lambda: "conflated by the server" in facts(page, "Link"), "the server's")
    assert facts(page, "Link")["conflated by the server"] == "0"
    page.click("#many")
    page.wait_for_text("#pushed", "push 299")
    page.wait_for(lambda: facts(page, "Link")["conflated by the server"] != "0", "the count")
    link = facts(page, "Link")
    channels = {row["channel"]: row for row in rows(page, "Link")}
    shown = number(channels["all"]["frames"])
    assert shown + number(link["conflated by the server"]) == 300
    assert len(updates_of(page, "pushed")) == min(shown, 200)


def test_15_8_the_newest_200_updates_are_kept_and_filtered_by_id(page):
    open_panel(page)
    page.run_js(
        "for (let at = 0; at < 300; at += 1)"
        " dash_clientside.set_props('pushed', {children: `push ${at}`})"
    )
    page.wait_for(lambda: len(rows(page, "Updates")) == 200, "200 updates")
    assert updates(page)[0]["properties"] == 'children = "push 299"'
    page.type("#name", "y")
    page.wait_for(lambda: updates_of(page, "name"), "the update")
    in_panel(page, "input").send_keys("NAM")
    page.wait_for(
        lambda: {row["component"] for row in rows(page, "Updates")} == {"name"}, "the filter"
    )
    # The first Escape takes the filter away.
    press(page, Keys.ESCAPE)
    page.wait_for(lambda: len(rows(page, "Updates")) == 200, "all")
    in_panel(page, ".tools button").click()
    assert updates(page) == []


def test_15_8_a_large_value_is_shown_by_its_beginning(page):
    open_panel(page)
    page.click("#figure")
    page.wait_for(lambda: updates_of(page, "graph"), "the update")
    page.wait_for(
        lambda: (
            (
                'figure = {data: [{y: [… 50000]}], layout: {title: {text: "large"}}}',
                "push to everybody",
            )
            in updates_of(page, "graph")
        ),
        "the figure",
    )


def test_15_8_a_table_is_shown_with_its_rows(flash_browser):
    # Not by `enable_dev_tools`, but by the environment.
    switches = ("DASH_UI", "DASH_SERVE_DEV_BUNDLES", "DASH_DISABLE_VERSION_CHECK")
    env = {**dict.fromkeys(switches, "true"), "ROWS": "25"}
    process = flash_browser.serve(TABLES, env=env)
    page = open_panel(connected(flash_browser))
    page.wait_for(
        lambda: [row["status"] for row in rows(page, "Tables")] == ["subscribed", "subscribed"],
        "the tables",
    )
    assert fetch(process.url + "/fill", method="POST")[0] == 204
    fetch(process.url + "/ticks/3", method="POST")
    page.wait_for(lambda: [row["rows"] for row in rows(page, "Tables")] == ["25", "3"], "the rows")
    page.wait_for(
        lambda: any(origin == "table ticks" for _, origin in updates_of(page, "graph")), "the graph"
    )
    assert [row["table"] for row in rows(page, "Tables")] == ["orders", "ticks"]


def test_15_8_a_script_can_add_a_section_of_its_own(page):
    open_panel(page)
    page.run_js(
        """window.done = 0;
        flash.inspect['Orders'] = () => ({
            facts: { open: 1, '<b>oldest</b>': new Date() },
            rows: [{ order: '<i>7</i>', status: 'loaded', cancel: () => { done += 1; } }],
        });
        flash.inspect['Wrong'] = () => { throw new TypeError('no orders'); };"""
    )
    page.wait_for(lambda: in_panel(page, "[data-name=Orders]"), "the section")
    section = read(page, "Orders")
    assert section["facts"]["open"] == "1"
    assert section["facts"]["<b>oldest</b>"].endswith("s ago")
    assert section["rows"] == [{"order": "<i>7</i>", "status": "loaded", "cancel": "cancel"}]
    in_panel(page, "tbody button").click()
    assert page.run_js("return done") == 1
    assert facts(page, "Wrong") == {"error": "TypeError: no orders"}


def test_15_8_a_running_event_callback_can_be_cancelled(page):
    open_panel(page)
    page.click("#count")
    page.wait_for(
        lambda: [row["callback"] for row in rows(page, "Event callbacks")] == ["count"], "the call"
    )
    button = in_panel(page, "tbody button")
    assert button.get_attribute("aria-label") == "cancel count"
    button.click()
    page.wait_for(lambda: not rows(page, "Event callbacks"), "its end")
    assert page.run_js("return flash.statistics().runningCalls") == 0


# -- what it costs


def test_15_8_nothing_is_recorded_or_asked_for_while_it_is_closed(flash_browser):
    # A server of its own: no earlier message of the channel comes late.
    flash_browser.expect_console_errors("500|Object")
    flash_browser.serve(APP, env={"DEBUG": "1"})
    page = connected(flash_browser)
    page.run_js(
        """window.subscribed = 0;
        const [store] = dash_stores, subscribe = store.subscribe;
        store.subscribe = (fn) => { subscribed += 1; return subscribe(fn); };"""
    )
    page.click("#tell")
    page.wait_for_text("#price", "price 1")
    page.wait_for_text("#pushed", re.compile(r"alert\(1\)"))
    assert page.run_js(ASKED) == 0
    assert page.run_js("return [flash.watch, subscribed]") == [None, 0]
    assert not page.find_all("#flash-panel")

    open_panel(page)
    assert updates(page) == []
    if not rows(page, "Updates"):
        note = read(page, "Updates")["note"]
        assert note == "No component has been updated since the panel was opened."
    page.wait_for(lambda: page.run_js(ASKED) > 0, "the server")
    press(page, Keys.ESCAPE)
    page.wait_for_no("#flash-panel")
    before = page.run_js(ASKED)
    assert page.run_js("return flash.watch") is None
    page.click("#tell")
    page.wait_for_text("#pushed", re.compile(r"alert\(2\)"))
    # Twice as long as between two questions of an open panel.
    page.run_js("return new Promise((resolve) => setTimeout(resolve, 4000))")
    assert page.run_js(ASKED) == before
    open_panel(page)
    assert updates(page) == []


def test_15_8_a_server_that_does_not_answer_is_asked_once(page):
    page.run_js(
        """window.asked = 0;
        const { fetch } = window;
        window.fetch = (url, ...more) => {
            if (!String(url).includes('_flash/panel')) {
                return fetch(url, ...more);
            }
            asked += 1;
            return new Promise(() => {});
        };"""
    )
    open_panel(page)
    # More than twice as long as between two questions.
    page.run_js("return new Promise((resolve) => setTimeout(resolve, 5000))")
    assert page.run_js("return asked") == 1


@pytest.mark.parametrize(
    "environment",
    [{}, {"DEBUG": "1", "DASH_UI": "false"}, {"DEBUG": "1", "DASH_SERVE_DEV_BUNDLES": "false"}],
)
def test_15_8_nothing_of_it_is_there_otherwise(flash_browser, environment):
    process = flash_browser.serve(APP, env=environment)
    page = connected(flash_browser)
    assert "flash_dev" not in page.driver.page_source
    assert not page.find_all("#flash-panel-button, #flash-panel")
    assert page.run_js("return [typeof flash_dev, flash.watch ?? null]") == ["undefined", None]
    # No route: any path shows the page.
    assert fetch(process.url + "/_flash/panel")[1].lstrip().startswith("<!DOCTYPE html>")
    assert fetch(process.url + "/_dash-component-suites/flash/flash_dev.js")[0] == 404
    page.click("#count")
    page.wait_for_text("#counted", re.compile(r"\d"))


def test_15_8_a_page_with_flash_core_alone_has_the_sections_of_flash_core(flash_browser, tmp_path):
    (tmp_path / "app.py").write_text(CORE_ALONE, encoding="utf-8")
    page = flash_browser
    page.serve(tmp_path / "app.py")
    page.wait_for_text("#answer", "answer None")
    open_panel(page)
    page.click("#ask")
    page.wait_for(lambda: updates_of(page, "answer"), "the update")
    assert updates_of(page, "answer") == [
        ('children = "answer 1"', "callback of answer.children, by ask.n_clicks")
    ]
    page.wait_for(lambda: facts(page, "Server").get("callbacks answered") == "2", "the server")
    tabs = page.run_js(
        "return [...document.querySelector('#flash-panel').shadowRoot"
        ".querySelectorAll('[role=tab]')].map((tab) => tab.dataset.name)"
    )
    assert tabs == ["Updates", "Requests", "Server"]


# -- how it is used


def test_15_8_the_keyboard_opens_moves_and_closes(page):
    page.run_js("document.querySelector('#flash-panel-button').focus()")
    button = page.find("#flash-panel-button")
    assert button.get_attribute("aria-expanded") == "false"
    press(page, Keys.ENTER)
    page.find("#flash-panel")
    assert button.get_attribute("aria-expanded") == "true"
    focused = "return document.querySelector('#flash-panel').shadowRoot.activeElement.dataset.name"
    assert page.run_js(focused) == "Updates"
    press(page, Keys.ARROW_DOWN)
    assert page.run_js(focused) == "Link"
    press(page, Keys.END)
    assert page.run_js(focused) == "Server"
    press(page, Keys.ARROW_DOWN)
    assert page.run_js(focused) == "Updates"
    press(page, Keys.ESCAPE)
    page.wait_for_no("#flash-panel")
    assert page.run_js("return document.activeElement.id") == "flash-panel-button"
    assert button.get_attribute("aria-expanded") == "false"


def test_15_8_a_reload_keeps_it_open_and_shows_what_the_page_began_with(page):
    open_panel(page)
    page.reload()
    connected(page)
    page.find("#flash-panel")
    page.click("#tell")
    page.wait_for(lambda: updates_of(page, "pushed"), "the update")
    in_panel(page, ".close").click()
    page.wait_for_no("#flash-panel")
    page.reload()
    connected(page)
    assert not page.find_all("#flash-panel")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(390, 844), (1440, 900)], ids=["phone", "desk"])
def test_15_8_nobody_is_kept_out_of_it(page, size, scheme):
    page.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    page.set_viewport(*size)
    open_panel(page)
    page.run_js("document.querySelector('#count').click()")
    page.run_js("document.querySelector('#tell').click()")
    page.wait_for(lambda: rows(page, "Updates") and rows(page, "Event callbacks"), "the updates")
    found = {}
    tabs = page.run_js(
        "return [...document.querySelector('#flash-panel').shadowRoot"
        ".querySelectorAll('[role=tab]')].map((tab) => tab.dataset.name)"
    )
    axe = Axe(page.driver)
    axe.inject()
    assert len(tabs) >= 8
    for tab in tabs:
        read(page, tab)
        context = {"include": [["#flash-panel"], ["#flash-panel-button"]]}
        for violation in axe.run(context)["violations"]:
            if violation["impact"] in ("serious", "critical"):
                found[f"{tab}: {violation['id']}"] = [
                    node["html"][:200] for node in violation["nodes"]
                ]
        # Nothing is out of reach to the right.
        wide = page.run_js(
            "const body = document.querySelector('#flash-panel').shadowRoot"
            ".querySelector('[role=tabpanel]'); return body.scrollWidth - body.clientWidth"
        )
        if wide > 0:
            found[f"{tab} is wider than its panel"] = wide
    assert not found, json.dumps(found, indent=1)
    box = page.run_js(
        "const {left, right, top} = document.querySelector('#flash-panel').getBoundingClientRect();"
        "return [left, right - innerWidth, top]"
    )
    assert box[0] >= 0
    assert box[1] <= 0
    assert box[2] >= 0


def test_15_8_a_policy_for_contents_does_not_refuse_its_style(flash_browser):
    # Those are of Dash's developer tools, which put elements with styles into the page.
    flash_browser.expect_console_errors("Content.Security.Policy|500|Object")
    flash_browser.serve(APP, env={"DEBUG": "1", "CSP": "1"})
    page = connected(flash_browser)
    # Plotly's script, which may come late, puts styles into the page.
    page.find("#graph .main-svg")
    page.run_js(
        "window.refused = [];"
        "document.addEventListener('securitypolicyviolation',"
        " (event) => refused.push(`${event.sourceFile} ${event.effectiveDirective}`))"
    )
    page.run_js("document.querySelector('#flash-panel-button').click()")
    page.find("#flash-panel")
    page.wait_for(lambda: facts(page, "Server").get("worker"), "the server")
    assert (
        page.run_js("return getComputedStyle(document.querySelector('#flash-panel')).position")
        == "fixed"
    )
    assert page.run_js("return refused") == []
