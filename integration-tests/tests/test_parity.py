"""Dash's features, one by one, as `docs/dash-parity.md` lists them, and the table itself."""

import ast
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from selenium.webdriver import ActionChains

from flash import Flash, dcc, html, page_container, page_registry, register_page
from flash.serving.listener import Address, reserved
from flash.testing import AppProcess, FlashClient
from flash.testing.browser import Browser

pytest_plugins = ["flash.testing.plugin"]

ROOT = Path(__file__).parents[2]
APPS = ROOT / "integration-tests" / "apps" / "parity"
TABLE = ROOT / "docs" / "dash-parity.md"


@pytest.fixture(scope="module")
def processes() -> Iterator[Callable[[str], AppProcess]]:
    """Serve each app once, for all tests that look at it."""
    started: dict[str, AppProcess] = {}
    with ExitStack() as running:

        def process(name: str) -> AppProcess:
            if name not in started:
                started[name] = running.enter_context(AppProcess(APPS / f"{name}.py"))
            return started[name]

        yield process


@pytest.fixture
def visit(processes, flash_browser: Browser) -> Callable[..., Browser]:
    """Open one of the apps: `visit(name, path)`."""

    def open_app(name: str, path: str = "/") -> Browser:
        flash_browser.visit(processes(name), path)
        return flash_browser

    return open_app


def texts(browser: Browser, css: str) -> list[str]:
    return [element.text for element in browser.find_all(css)]


def wait_for_texts(browser: Browser, css: str, expected: list[str]) -> None:
    browser.wait_for(lambda: texts(browser, css) == expected, f"{css!r} to show {expected}")


def wait_for_value(browser: Browser, css: str, expected: str) -> None:
    browser.wait_for(
        lambda: browser.run_js(f"return document.querySelector('{css}').value") == expected,
        f"{css!r} to hold {expected!r}",
    )


def get(url: str) -> str:
    with urlopen(url, timeout=60) as answer:
        return answer.read().decode()


# -- the table


def test_every_test_that_the_table_names_exists():
    named = {*re.findall(r"`(test_\w+\.py)::([\w:]+)`", TABLE.read_text())}
    assert len(named) > 100
    there = {
        (file.name, name)
        for folder in ("packages/flash-core/tests", "integration-tests/tests")
        for file in (ROOT / folder).rglob("test_*.py")
        for name in names_in(file)
    }
    assert named - there == set()


def test_every_row_of_the_table_names_a_test_or_says_that_it_does_not_hold():
    rows = [row for row in TABLE.read_text().splitlines() if row.startswith("| ")]
    features = [row for row in rows if not row.startswith("| feature |")]
    assert len(features) > 100
    assert [row for row in features if ".py::" not in row and "**does not hold**" not in row] == []


def names_in(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names.update(
                f"{node.name}::{each.name}"
                for each in node.body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            )
    return names


# -- callbacks


def test_several_outputs_states_and_chains(visit):
    browser = visit("callbacks")
    browser.wait_for_text("#initial", "at first Alma, triggered False None")
    assert browser.text("#greeting") == ""
    browser.type("#name", "x")
    browser.wait_for_text("#initial", "at first Almax, triggered True name")
    browser.click("#chain")
    browser.wait_for_text("#greeting", "Almax Rosé 1")
    browser.wait_for_text("#length", "9")
    browser.wait_for_text("#doubled", "18")
    browser.wait_for_text("#before", "in the browser")


def test_outputs_are_left_alone_or_shared(visit):
    browser = visit("callbacks")
    browser.click("#prevented")
    browser.wait_for_text("#changed", "click 1")
    browser.click("#prevented")
    browser.click("#prevented")
    browser.wait_for_text("#changed", "click 3")
    assert browser.text("#kept") == "as it was"
    browser.wait_for_text("#side", "right None")
    browser.click("#left")
    browser.wait_for_text("#side", "left")
    browser.click("#right")
    browser.wait_for_text("#side", "right 1")


def test_flexible_signatures_components_as_ids_and_optional_inputs(visit):
    browser = visit("callbacks")
    browser.click("#shapes")
    browser.wait_for_text("#shape-a", "Alma Rosé 1")
    browser.wait_for_text("#shape-b", "True Alma shape-a")
    browser.run_js(
        "[...document.querySelectorAll('button')].find(e => e.innerText == 'nameless').click()"
    )
    browser.wait_for(lambda: "nameless 1" in texts(browser, "p"), "the text without an id")
    browser.click("#optional")
    browser.wait_for_text("#optional-seen", "1 None")


def test_ctx_knows_what_happened(visit):
    browser = visit("callbacks")
    browser.click("#context")
    browser.wait_for_text(
        "#seen",
        "id context; triggered [{'prop_id': 'context.n_clicks', 'value': 1}]; "
        "ids {'context.n_clicks': 'context'}; inputs {'context.n_clicks': 1, 'name.n_submit': None}"
        "; states {'surname.value': 'Rosé'}; lists context surname seen; "
        "path /_dash-update-component; origin True; address 127.0.0.1",
    )
    browser.click("#cookie")
    browser.wait_for_text("#cookie-seen", "cookie None")
    browser.click("#cookie")
    browser.wait_for_text("#cookie-seen", "cookie salty")


def test_set_props_running_and_on_error(visit):
    browser = visit("callbacks")
    browser.click("#silent")
    browser.wait_for_text("#set", "set 1")
    assert browser.find("#set").get_attribute("title") == "a title"
    assert "set by a dictionary" in browser.text("#react-entry-point")
    # The page keeps what it shows: a look from outside may come too late.
    browser.run_js(
        "const [state, slow] = ['state', 'slow'].map(id => document.getElementById(id));"
        "window.shown = [];"
        "new MutationObserver(() => shown.push([state.textContent, slow.disabled]))"
        ".observe(document.body, {subtree: true, childList: true, characterData: true,"
        " attributes: true});"
    )
    browser.click("#slow")
    browser.wait_for_text("#slow-done", "done 1")
    browser.wait_for_text("#state", "idle")
    assert ["running", True] in browser.run_js("return shown")
    browser.find("#slow:not([disabled])")
    browser.click("#fail")
    browser.wait_for_text("#failed", "handled told to")


def test_a_patch_changes_a_part(visit):
    browser = visit("callbacks")
    browser.click("#patch")
    browser.wait_for_text(
        "#patched-shown",
        "{'list': [0, 0.5, 1, 3, 4, 5, 6], 'deep': {'kept': 11, 'new': True}} B",
    )


def test_circular_callbacks_come_to_rest(visit):
    browser = visit("callbacks")
    browser.type("#celsius", "100", clear=True)
    wait_for_value(browser, "#fahrenheit", "212")
    browser.type("#fahrenheit", "50", clear=True)
    wait_for_value(browser, "#celsius", "10")


def test_patterns_match_all_one_and_smaller(visit):
    browser = visit("callbacks")
    for count in (1, 2, 3):
        browser.click("#more")
        browser.wait_for(lambda count=count: len(browser.find_all("#items > div")) == count)
    browser.click("#items > div:nth-child(2) button")
    browser.click("#items > div:nth-child(3) button")
    browser.wait_for_text("#all", "[None, 1, 1] from 3")
    browser.wait_for_text("#items > div:nth-child(2) span", "2:1")
    browser.wait_for_text("#items > div:nth-child(3) span", "3:1")
    browser.wait_for_text("#items > div:nth-child(3) span:last-child", "before 3: ['0', '2:1']")


def test_callbacks_of_components_that_come_later(visit):
    browser = visit("callbacks")
    browser.click("#nested")
    browser.wait_for_text("#inner-seen", "inner inside")
    browser.type("#inner", "!")
    browser.wait_for_text("#inner-seen", "inner inside!")


# -- in the browser


def test_clientside_callbacks_of_every_form_below_a_content_security_policy(visit):
    browser = visit("clientside")
    browser.wait_for_text("#inline", "inline 1")
    browser.type("#number", "21", clear=True)
    browser.wait_for_text("#inline", "inline 21")
    browser.wait_for_text("#doubled", "42")
    browser.wait_for_text("#promised", "later 21")
    browser.wait_for_text("#on-server", "server saw later 21")
    browser.click("#keep")
    browser.wait_for_text("#clicked", "click 1")
    assert browser.text("#kept") == "as it was"
    browser.click("#set")
    browser.wait_for_text("#told", "triggered by set 1")
    browser.wait_for_text("#side", "set beside 21")
    browser.click("#throw")
    browser.run_js("""document.querySelector("button[id*='\\"n\\":1']").click()""")
    wait_for_texts(browser, ".matched", ["", "1: 1"])
    assert browser.text("#thrown") == "unthrown"
    # Whatever script is not Dash's own is refused.
    browser.expect_console_errors("Content Security Policy")
    browser.run_js(
        "const script = document.createElement('script');"
        "script.textContent = 'window.foreign = true';"
        "document.body.append(script);"
    )
    assert browser.run_js("return window.foreign") is None


# -- components


def test_locations_and_links(visit):
    browser = visit("components", "/here?a=1")
    browser.wait_for_text("#path", "/here ?a=1")
    browser.run_js("window.same = true")
    browser.click("#link")
    browser.wait_for_text("#path", "/there ?by=link #end")
    browser.click("#go")
    browser.wait_for_text("#path", "/elsewhere ?by=callback")
    browser.back()
    browser.wait_for_text("#path", "/there ?by=link #end")
    assert browser.run_js("return window.same") is True


def test_stores_and_persistence_last_as_long_as_they_say(visit):
    browser = visit("components")
    browser.wait_for_text("#from-memory", "stored None")
    browser.click("#store")
    for kind in ("memory", "local", "session"):
        browser.wait_for_text(f"#from-{kind}", "stored 1")
    browser.type("#persistent", "kept")
    browser.click("#checks label")
    browser.wait_for_text("#persisted", "kept ['a']")
    browser.reload()
    browser.wait_for_text("#from-local", "stored 1")
    browser.wait_for_text("#from-session", "stored 1")
    browser.wait_for_text("#from-memory", "stored None")
    browser.wait_for_text("#persisted", "kept ['a']")
    tab = browser.new_tab("/")
    tab.wait_for_text("#from-local", "stored 1")
    tab.wait_for_text("#from-session", "stored None")
    tab.wait_for_text("#persisted", "kept []")


def test_intervals_debounce_tabs_dialogues_and_markdown(visit):
    browser = visit("components")
    browser.wait_for_text("#ticked", "3 ticks")
    browser.type("#lazy", "abc")
    assert browser.text("#lazy-seen") == ""
    browser.type("#lazy", "d", enter=True)
    browser.wait_for_text("#lazy-seen", "saw abcd")
    browser.wait_for_text("#tab", "tab one")
    browser.click("#tabs .tab:nth-child(2)")
    browser.wait_for_text("#tab", "tab two")
    browser.wait_for_text(".tab-content", "In two")
    browser.run_js("window.confirm = (question) => question === 'Sure?'")
    browser.click("#ask")
    browser.wait_for_text("#answered", "sure.submit_n_clicks")
    assert browser.text("#markdown strong") == "bold"


def test_loading_is_shown_while_a_callback_runs(visit, processes):
    browser = visit("components")
    browser.wait_for(lambda: browser.title == "Parts", "the title")
    browser.click("#load")
    browser.find("#spinner")
    browser.find("#loaded[data-dash-is-loading=true]")
    browser.wait_for(lambda: browser.title == "Working…", "the title meanwhile")
    get(f"{processes('components').url}/load")
    browser.wait_for_text("#loaded", "loaded 1")
    browser.wait_for_no("#spinner")
    browser.wait_for(lambda: browser.title == "Parts", "the title again")


def test_a_table_is_edited_selected_and_sorted(visit):
    browser = visit("components")
    browser.wait_for_text("#edited", re.compile(r"\[130, 330, 140\] selected None order \['Ulm'"))
    cell = "#table td[data-dash-column=people]"
    browser.click(cell)
    ActionChains(browser.driver).send_keys("7").perform()
    browser.type(f"{cell} input", "", enter=True)
    browser.wait_for_text("#edited", re.compile(r"\[7, 330, 140\]|\['7', 330, 140\]"))
    browser.click("#table tr:nth-child(2) td.dash-select-cell input")
    browser.wait_for_text("#edited", re.compile(r"selected \[0\]"))
    browser.click("#table th[data-dash-column=town] .column-header--sort")
    browser.wait_for_text("#edited", re.compile(r"order \['Bern', 'Bonn', 'Ulm'\]"))
    assert len(browser.find_all(cell)) == 2


def test_a_graph_tells_of_clicks_and_zooms_and_is_extended(visit):
    browser = visit("components")
    browser.wait_for(lambda: len(browser.find_all("#graph .point")) == 3, "three points")
    points = "return JSON.stringify(document.querySelector('#graph .js-plotly-plot').data[0].x)"
    browser.click("#extend")
    browser.wait_for(lambda: browser.run_js(points) == "[1,2,3,4]", "a point more at the end")
    browser.click("#prepend")
    browser.wait_for(lambda: browser.run_js(points) == "[0,1,2,3,4]", "a point more before")
    browser.wait_for(lambda: len(browser.find_all("#graph .point")) == 5, "five points")
    middle = browser.find_all("#graph .point")[2]
    ActionChains(browser.driver).move_to_element(middle).pause(0.2).click().perform()
    browser.wait_for_text("#graph-event", "clicked 2 hovered True")
    browser.run_js(
        "Plotly.relayout(document.querySelector('#graph .js-plotly-plot'), {'xaxis.range': [1, 2]})"
    )
    browser.wait_for_text("#zoomed", "range [1, 2]")


# -- what stands around the layout


def test_the_page_its_assets_and_what_comes_from_outside(visit, processes):
    browser = visit("document", "/below/")
    browser.wait_for_text("#clicks", "None /below/elsewhere")
    assert browser.title == "A page"
    assert browser.text("#above") == "above the app"
    meta = browser.find("meta[name=description]").get_attribute("content")
    assert meta == "All <about> it"
    assert browser.run_js("return window.order") == ["b", "nested/c"]
    assert browser.find("h1").value_of_css_property("color") == "rgba(1, 2, 3, 1)"
    assert browser.find("h1").value_of_css_property("background-color") == "rgba(4, 5, 6, 1)"
    assert browser.run_js("return [window.outside, document.querySelector('#again').src]") == [
        2,
        f"{browser.address}/outside.js?again",
    ]
    browser.find("link[title=outside]")
    browser.wait_for(lambda: browser.run_js("return document.querySelector('#dot').complete"))
    assert browser.run_js("return document.querySelector('#dot').naturalWidth") == 1
    icon = browser.find("link[rel=icon]").get_attribute("href")
    assert "/below/assets/favicon.ico?m=" in icon
    address = processes("document").url
    assert get(f"{address}/below/assets/ignored.js")
    assert get(f"{address}/below/assets/hidden/d.js")
    assert get(f"{address}/below/health") == "OK"

    browser.click("#click")
    browser.wait_for_text("#clicks", "1 /below/elsewhere")
    assert browser.run_js("return window.sent") == ["..clicks.children...header.children.."] * 2
    assert browser.text("#header") == "token None"
    # Undo and redo step through what was clicked.
    browser.click("._dash-undo-redo-link")
    browser.wait_for_text("#clicks", "None /below/elsewhere")


def test_plugins_are_plugged_and_the_csrf_token_travels(visit):
    browser = visit("document", "/plugged")
    browser.expect_console_errors("favicon.ico")
    assert browser.text("body") == "A page"
    browser.open("/below/")
    browser.wait_for_text("#header", "token abc")


async def test_libraries_and_assets_may_come_from_elsewhere(tmp_path):
    (tmp_path / "a.css").write_text("")
    app = Flash(
        __name__,
        serve_locally=False,
        assets_folder=str(tmp_path),
        assets_external_path="https://files.example.org",
    )
    app.layout = dcc.Graph()
    bare = Flash(__name__, assets_folder=str(tmp_path), include_assets_files=False)
    bare.layout = html.Div()
    async with FlashClient(app) as client:
        page = (await client.get("/")).text
    assert re.search(r'src="https://unpkg.com/dash-renderer@', page)
    assert 'href="https://files.example.org/assets/a.css' in page
    async with FlashClient(bare) as client:
        assert "a.css" not in (await client.get("/")).text
        assert (await client.get("/assets/a.css")).status == 200


# -- pages


def test_pages_of_a_folder_with_their_tags_and_the_app_s_own_inputs(visit, processes):
    browser = visit("multipage")
    browser.wait_for_text("#heading", "Shelf en")
    wait_for_texts(browser, "li", ["Shelf", "By author", "Novel"])
    assert browser.text("#colours") == "red--"
    browser.wait_for(lambda: browser.title == "The shelf", "the page's title")
    browser.click("#language label:nth-of-type(2)")
    browser.wait_for_text("#heading", "Shelf de")
    # All callbacks are known to all pages: the panel has no error.
    browser.type("#search", "a")
    browser.wait_for_text("#searched", "searched a")
    browser.click("li:nth-child(3) a")
    browser.wait_for_text("#heading", "A novel")
    assert browser.url.endswith("/books/novel")
    browser.click("#read")
    browser.wait_for_text("#pages-read", "1 read")
    browser.open("/authors/Ada?year=1843")
    browser.wait_for_text("#heading", "Ada 1843")
    browser.wait_for(lambda: browser.title == "By Ada", "the title of the path")
    assert not browser.find_all(".dash-debug-error-count")
    browser.open("/writers")
    browser.wait_for(lambda: "/writers" not in browser.url, "the redirection")

    index = get(f"{processes('multipage').url}/")
    for tag in (
        '<meta name="description" content="What stands on it"',
        '<meta property="og:title" content="The shelf"',
        '<meta property="og:image" content="http://127.0.0.1',
        '<meta property="twitter:card" content="summary_large_image"',
    ):
        assert tag in index
    index = get(f"{processes('multipage').url}/authors/Ada")
    assert 'content="All of Ada"' in index


async def test_a_page_s_meta_tags_can_be_left_out():
    async def page(**options):
        app = Flash(__name__, use_pages=True, pages_folder="", **options)
        app.layout = html.Div(page_container)
        async with FlashClient(app) as client:
            return (await client.get("/")).text

    page_registry.clear()
    register_page("home", path="/", title="Home", layout=html.P())
    try:
        assert 'property="og:title" content="Home"' in await page()
        assert "og:title" not in await page(include_pages_meta=False)
    finally:
        page_registry.clear()


# -- hooks


def test_hooks_of_every_kind(visit, processes):
    browser = visit("hooked")
    wait_for_texts(browser, ".by-hook", ["inner", "outer"])
    assert browser.find("body").get_attribute("data-hook") == "index"
    assert browser.run_js("return window.hooked") == "script"
    assert browser.find("#told").value_of_css_property("color") == "rgba(7, 8, 9, 1)"
    browser.wait_for_text("#tool", "a tool")
    browser.click("#click")
    browser.wait_for_text("#hooked", "1 in shop of 1 inputs")
    browser.wait_for_text("#clientside", "browser 1")
    browser.click("#fail")
    browser.wait_for_text("#told", "hook saw told to")
    assert browser.text("#failed") == "unchanged"
    assert get(f"{processes('hooked').url}/hooked/where") == "set up 1"


# -- Dash's own socket


def test_a_callback_over_the_socket_sends_before_it_ends_and_asks_the_page(visit, processes):
    browser = visit("sockets")
    browser.click("#count")
    browser.wait_for_text("#step", "half way")
    assert browser.text("#counted") == ""
    get(f"{processes('sockets').url}/release")
    browser.wait_for_text("#counted", "counted, shut down False")
    browser.click("#plain")
    browser.wait_for_text("#plain-step", "step 2")
    browser.wait_for_text("#plain-done", "plain 1")
    browser.click("#ask")
    browser.wait_for_text("#answer", "it says a title")
    browser.wait_for_text("#clock", re.compile(r"tick \d\d"))


def test_all_callbacks_may_go_over_the_socket(visit):
    browser = visit("all_sockets")
    browser.wait_for_text("#out", "a True")
    browser.type("#in", "b")
    browser.wait_for_text("#out", "ab True")


def test_the_socket_s_hooks_refuse_connections_and_messages(visit):
    browser = visit("sockets", "/release?say=x")
    browser.expect_console_errors("")
    browser.run_js("document.cookie = 'banned=1; path=/'")
    browser.open("/")
    closed = (
        "return new Promise(resolve => {"
        "  const socket = new WebSocket(`ws://${location.host}/_dash-ws-callback`);"
        "  socket.onclose = event => resolve([event.code, event.reason]);"
        "  socket.onopen = () => socket.send(JSON.stringify(arguments[0]));"
        "})"
    )
    # Refused before it is open, so that the browser is told no code.
    assert browser.run_js(closed, {"type": "x"}) == [1006, ""]
    browser.run_js("document.cookie = 'banned=; path=/; max-age=0'")
    browser.run_js("document.cookie = 'mute=1; path=/'")
    assert browser.run_js(closed, {"type": "callback_request"})[0] == 4001


# -- development


@contextmanager
def run_script(file: Path) -> Iterator[str]:
    """Run an app as its developer does: ``python file.py``. Gives its address."""
    with reserved(Address("tcp", "127.0.0.1")) as free:
        process = subprocess.Popen(
            [sys.executable, file],
            cwd=file.parent,
            env={**os.environ, "PORT": str(free.port)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield free.url(tls=False, path="")
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def open_when_it_listens(browser: Browser, address: str) -> None:
    port = int(address.rpartition(":")[2])

    def listens() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    browser.wait_for(listens, "the app to listen")
    browser.address = address
    browser.open("/")


def test_the_error_panel_shows_tracebacks_props_checks_and_the_callback_graph(flash_browser):
    browser = flash_browser
    browser.expect_console_errors("")
    with run_script(APPS / "developing.py") as address:
        open_when_it_listens(browser, address)
        errors = ".dash-fe-error__title"
        wait_for_texts(browser, errors, ["ID not found in layout"])
        browser.click("#divide")
        browser.wait_for(lambda: "Callback error updating share.children" in texts(browser, errors))
        browser.run_js(
            f"[...document.querySelectorAll('{errors}')]"
            ".find(e => e.innerText.includes('share.children')).click()"
        )
        frame = browser.find(".dash-backend-error iframe")
        browser.driver.switch_to.frame(frame)
        browser.wait_for_text("h1", "ZeroDivisionError")
        wait_for_texts(
            browser,
            "section h2",
            [
                f"{APPS / 'developing.py'}, line {line}, in {name}"
                for line, name in developing_lines(("return share(12, 0)", "total / people"))
            ],
        )
        assert "return total / people" in browser.text("section:last-of-type pre b")
        browser.driver.switch_to.default_content()

        browser.click("#unwritable")
        browser.wait_for(
            lambda: "Callback error updating unwritten.children" in texts(browser, errors)
        )
        browser.click("#wrong")
        browser.wait_for(
            lambda: any("Invalid argument `interval`" in text for text in texts(browser, errors)),
            "the check of properties",
        )

        timing = browser.run_js(
            "document.querySelector('#time').click();"
            "return new Promise(resolve => {"
            "  new PerformanceObserver(list => list.getEntries().forEach(entry => {"
            "    const found = entry.serverTiming.find(each => each.name == 'query');"
            "    if (found) resolve([found.description, found.duration]);"
            "  })).observe({type: 'resource', buffered: true});"
            "})"
        )
        assert timing == ["the query", 12]
        browser.run_js(
            "[...document.querySelectorAll('.dash-debug-menu__button')]"
            ".find(e => e.innerText.includes('Callbacks')).click()"
        )
        browser.find(".dash-callback-dag--container canvas")


def developing_lines(texts: tuple[str, ...]) -> list[tuple[int, str]]:
    """Return where in the app these lines are, and in which function."""
    found: list[tuple[int, str]] = []
    for text in texts:
        name = ""
        for number, line in enumerate((APPS / "developing.py").read_text().splitlines(), 1):
            if match := re.match(r"(?:async )?def (\w+)", line):
                name = match[1]
            if text in line:
                found.append((number, name))
    return found


RELOADED = """
from flash import Flash, html

app = Flash(__name__)
app.layout = html.Div([html.H1("before", id="heading"), html.P("text", id="text")])
app.enable_dev_tools(
    debug=True,
    dev_tools_hot_reload_interval=0.1,
    dev_tools_hot_reload_watch_interval=0.1,
    dev_tools_disable_version_check=True,
)
"""


def test_changed_styles_and_changed_code_are_seen_without_a_hand_on_the_page(
    flash_browser, tmp_path
):
    browser = flash_browser
    app, style = tmp_path / "reloaded.py", tmp_path / "assets" / "style.css"
    style.parent.mkdir()
    app.write_text(RELOADED)
    style.write_text("#text { color: rgb(1, 0, 0); }")
    browser.expect_lost_connections()
    browser.expect_console_errors("_reload-hash|Failed to load")
    browser.serve(app, arguments=["--reload"])

    def colour():
        return browser.find("#text").value_of_css_property("color")

    browser.wait_for_text("#heading", "before")
    browser.wait_for(lambda: colour() == "rgba(1, 0, 0, 1)", "the style")
    browser.run_js("window.same = true")
    # What has changed is what differs from the first answer that the page has got.
    asked = "performance.getEntriesByType('resource').filter(e => e.name.includes('_reload-hash'))"
    browser.wait_for(lambda: browser.run_js(f"return {asked}.length") > 1, "the first answer")
    style.write_text("#text { color: rgb(2, 0, 0); }")
    browser.wait_for(lambda: colour() == "rgba(2, 0, 0, 1)", "the changed style")
    assert browser.run_js("return window.same") is True
    app.write_text(RELOADED.replace("before", "after"))
    browser.wait_for_text("#heading", "after")


# -- without a browser

IN_A_THREAD = """
import socket
from urllib.request import urlopen

from dash.testing.application_runners import ThreadedRunner

from flash import Flash, html

app = Flash(__name__)
app.layout = html.P("text of the page")
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
runner = ThreadedRunner(stop_timeout=30)
runner.start(app, port=port)
with urlopen(f"{runner.url}/_dash-layout") as answer:
    print(answer.read().decode())
runner.stop()
print("the thread lives on" if runner.thread.is_alive() else "the thread has ended")
"""


def test_dash_s_own_test_runner_serves_an_app_in_a_thread_and_stops_it(tmp_path):
    script = tmp_path / "in_a_thread.py"
    script.write_text(IN_A_THREAD)
    # In another process: a server that cannot be stopped would stay in this one.
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert "text of the page" in ended.stdout
    assert "the thread has ended" in ended.stdout


def test_the_page_is_told_the_same_as_by_dash():
    flashs, dashs = (
        json.loads(
            subprocess.run(
                [sys.executable, "told.py", kind],
                cwd=APPS,
                stdout=subprocess.PIPE,
                check=True,
            ).stdout
        )
        for kind in ("flash", "dash")
    )
    own = [file for file in flashs["files"] if "/flash/flash_core." in file]
    assert len(own) == 1
    flashs["files"] = [file for file in flashs["files"] if file not in own]
    assert flashs == dashs
