"""C1 to C5: what is seen is loaded, in a browser, counted by the database."""

import re
import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from urllib.request import Request, urlopen

import pytest
import quart
from redis_servers import RedisServer

from flash import Flash, Input, Output, State, html
from flash.testing import AppProcess, FlashClient
from flash_lazy import Loader

pytest_plugins = ["flash.testing.plugin"]

APPS = Path(__file__).parents[1] / "apps"
DOCUMENT = Path(__file__).parents[2] / "docs" / "lazy.md"
SHIFTS = """
return new Promise(resolve => {
    new PerformanceObserver(list => resolve(list.getEntries().map(entry => entry.value)))
        .observe({type: "layout-shift", buffered: true});
    setTimeout(() => resolve([]), 300);
});
"""


def counted(page, path):
    """What a route of the app counts."""
    return page.run_js("return fetch(arguments[0]).then(answer => answer.json())", path)


def scroll_to(page, css):
    page.find(css)
    page.run_js("document.querySelector(arguments[0]).scrollIntoView()", css)


def statuses(page):
    return page.run_js(
        "return Array.from(document.querySelectorAll('.flash-lazy'), e => e.dataset.status)"
    )


def wait_for_what_is_seen(page):
    """Wait until all panels near the viewport have their graphs; return how many these are."""
    page.find("#orders-1 .js-plotly-plot")
    seen = page.run_js(
        "return Array.from(document.querySelectorAll('.flash-lazy'))"
        ".filter(e => e.getBoundingClientRect().top <= innerHeight + 200).length"
    )
    page.wait_for(lambda: statuses(page).count("loaded") == seen, "what is seen")
    page.wait_for(lambda: len(page.find_all(".js-plotly-plot")) == seen, "a graph in each")
    return seen


@pytest.fixture
def orders(flash_browser):
    flash_browser.serve(APPS / "lazy_orders.py", path=None)
    return flash_browser


@pytest.fixture(scope="module")
def panels_server():
    """One for all tests of these panels; each finds its counts at nothing."""
    with AppProcess(APPS / "lazy_panels.py") as process:
        yield process


@pytest.fixture
def panels(flash_browser, panels_server):
    flash_browser.visit(panels_server, path=None)
    urlopen(Request(f"{panels_server.url}/forget", method="POST")).close()
    return flash_browser


# -- C1: nothing heavy before it is near


def test_c1_only_panels_near_the_viewport_are_queried_sent_and_drawn(orders):
    orders.open("/")
    seen = wait_for_what_is_seen(orders)
    assert 2 <= seen <= 5
    assert len(counted(orders, "/statements")) == seen
    assert statuses(orders)[seen:] == ["idle"] * (51 - seen)
    assert len(orders.find_all(".js-plotly-plot")) == seen
    # Sent, but not drawn before it is near.
    assert not orders.find_all("#heavy")
    scroll_to(orders, "#last")
    orders.find("#heavy .js-plotly-plot")
    assert orders.run_js("return document.querySelector('#heavy').offsetHeight") == 400


def test_c1_nothing_moves_when_panels_are_drawn(orders):
    orders.open("/")
    orders.find("#orders-2 .js-plotly-plot")
    for panel in (10, 20, 30, 49):
        orders.run_js(
            "document.querySelectorAll('.flash-lazy')[arguments[0]].scrollIntoView()", panel
        )
        orders.find(f"#orders-{panel} .js-plotly-plot")
    scroll_to(orders, "#end")
    orders.find("#heavy .js-plotly-plot")
    heights = orders.run_js(
        "return Array.from(document.querySelectorAll('.flash-lazy'), e => e.offsetHeight)"
    )
    assert heights == [320] * 50 + [400]
    assert sum(orders.run_js(SHIFTS)) < 0.001


def test_c1_what_is_only_passed_is_neither_queried_nor_drawn(orders):
    orders.open("/")
    orders.find("#orders-1 .js-plotly-plot")
    orders.run_js(
        """
        // A machine that draws few frames passes what is on the way as fast as any other.
        const { now } = Date;
        const start = now();
        Date.now = () => start + (now() - start) / 50;
        const step = () => {
            const before = scrollY;
            scrollBy(0, 600);
            if (scrollY !== before) requestAnimationFrame(step);
            else Date.now = now;
        };
        step();
        """
    )
    orders.find("#heavy .js-plotly-plot")
    orders.wait_for(lambda: statuses(orders)[49] == "loaded", "what is seen in the end")
    assert len(counted(orders, "/statements")) < 25


# -- C2: once for all


def test_c2_viewers_of_one_page_share_its_queries(orders):
    tabs = [orders, *(orders.new_user() for _ in range(3))]
    for tab in tabs:
        tab.run_js("window.location = arguments[0]", orders.address)
    for tab in tabs:
        wait_for_what_is_seen(tab)
    ran = counted(orders, "/statements")
    assert len(ran) == len(set(ran))
    # Kept: a page that comes later asks nothing.
    late = orders.new_user("/")
    wait_for_what_is_seen(late)
    assert counted(orders, "/statements") == ran
    orders.run_js("return fetch('/invalidate', {method: 'POST'}).then(() => 1)")
    late.reload()
    late.find("#orders-2 .js-plotly-plot")
    assert len(counted(orders, "/statements")) > len(ran)


# -- C3: signed


def test_c3_a_page_that_changes_a_token_gets_400_in_one_line_and_no_query(orders):
    orders.expect_console_errors("400")
    orders.open("/")
    wait_for_what_is_seen(orders)
    before = counted(orders, "/statements")
    status, text = orders.run_js(
        """
        const layout = await (await fetch("/_dash-layout")).json();
        const {id, token} = layout.props.children[40].props;
        const put = (property, value) => ({id, property, value});
        const answer = await fetch("/_dash-update-component", {
            method: "POST",
            headers: {"Content-Type": "application/json"},
            body: JSON.stringify({
                output: '..{"flash_lazy":["MATCH"]}.children...{"flash_lazy":["MATCH"]}.answer..',
                outputs: [put("children"), put("answer")],
                inputs: [put("request", {n: 1})],
                state: [put("token", token.slice(0, -6) + "AAAAAA")],
                changedPropIds: [JSON.stringify(id) + ".request"],
            }),
        });
        return [answer.status, await answer.text()];
        """
    )
    assert status == 400
    assert text == "this panel's token was not signed by this app for this visitor; reload the page"
    assert counted(orders, "/statements") == before


# -- C4: hidden again


def test_c4_a_panel_refreshes_while_seen_stops_when_hidden_and_catches_up(panels):
    panels.open("/ticking")
    panels.wait_for(lambda: int(panels.text("#ticks")) >= 3, "refreshes")
    scroll_to(panels, "#far")
    panels.wait_for(lambda: panels.run_js("return scrollY") > 1000, "the panel out of view")

    # One that was under way when it left may still land.
    def rests():
        before = counted(panels, "/loads")["ticking"]
        panels.run_js("return new Promise(resolve => setTimeout(resolve, 500))")
        return counted(panels, "/loads")["ticking"] == before

    panels.wait_for(rests, "the panel to rest")
    hidden = counted(panels, "/loads")["ticking"]
    panels.run_js("return new Promise(resolve => setTimeout(resolve, 1000))")
    assert counted(panels, "/loads")["ticking"] == hidden
    panels.run_js("scrollTo(0, 0)")
    panels.wait_for(lambda: int(panels.text("#ticks")) > hidden, "the panel to catch up")


# -- C5: print, keyboard, screen readers, no observer


def test_c5_printing_loads_everything_and_then_prints(panels):
    panels.open("/print")
    panels.find(".flash-lazy")
    assert not panels.find_all("#inner")
    panels.run_js("window.print()")
    panels.wait_for_text("#inner", "inner is here")
    panels.wait_for_text("#drawn", "drawn for print")
    panels.wait_for(lambda: set(statuses(panels)) == {"loaded"}, "all of it")
    assert panels.run_js("return scrollY") == 0


def test_c5_the_print_shortcut_waits_for_everything(panels):
    panels.open("/print")
    panels.find(".flash-lazy")
    was_prevented = panels.run_js(
        "return !dispatchEvent(new KeyboardEvent('keydown',"
        " {key: 'p', ctrlKey: true, cancelable: true}))"
    )
    assert was_prevented
    panels.wait_for_text("#inner", "inner is here")


def test_c5_what_is_on_the_page_already_is_in_a_print_from_the_menu(panels):
    panels.open("/print")
    panels.find(".flash-lazy")
    panels.run_js(
        "addEventListener('beforeprint', () => {"
        " window.seenByThePrinter = document.querySelector('#drawn').textContent })"
    )
    panels.driver.execute_cdp_cmd("Page.printToPDF", {})
    assert panels.run_js("return window.seenByThePrinter") == "drawn for print"


def test_c5_the_tab_key_reaches_what_is_not_loaded_yet(panels):
    from selenium.webdriver import Keys

    panels.open("/keyboard")
    panels.click("#first")

    def press_tab():
        panels.driver.switch_to.active_element.send_keys(Keys.TAB)

    def focused():
        return panels.run_js("return document.activeElement.textContent")

    press_tab()
    panels.wait_for_text("#second", "second")
    press_tab()
    assert focused() == "second"
    press_tab()
    panels.wait_for(lambda: counted(panels, "/loads").get("keyboard"), "the loader to be asked")
    panels.wait_for(lambda: statuses(panels)[1] == "loaded", "the loaded panel")
    press_tab()
    assert focused() == "count"
    press_tab()
    assert focused() == "last"


def test_c5_assistive_technology_is_told_what_is_busy(panels):
    panels.open("/nested")
    panels.wait_for_text("#inner", "inner is here")
    panels.wait_for(lambda: statuses(panels) == ["loaded", "loaded"], "both panels")
    assert not panels.find_all('.flash-lazy[aria-busy="true"]')
    panels.open("/print")
    panels.find('.flash-lazy[aria-busy="true"][role="group"][aria-label="Not loaded yet"]')


def test_c5_without_intersection_observer_everything_loads_at_once(panels):
    script = panels.driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": "delete window.IntersectionObserver"}
    )
    try:
        panels.open("/print")
        panels.wait_for_text("#drawn", "drawn for print")
        panels.wait_for_text("#inner", "inner is here")
        panels.wait_for(lambda: set(statuses(panels)) == {"loaded"}, "all of it")
    finally:
        panels.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


# -- LazyLoad


def test_a_panel_is_drawn_when_near_taken_out_when_far_and_says_so(panels):
    panels.open("/plain")
    panels.wait_for_text("#later", "later")
    panels.find("#panel")
    panels.wait_for(lambda: panels.text("#read-status") in ("None", "idle"), "its status")
    panel = "return document.querySelector('#panel')"
    assert panels.run_js(f"{panel}.offsetHeight") == 400
    assert panels.run_js(f"{panel}.style.color") == "red"
    assert panels.run_js(f"{panel}.dataset.kind") == "test"
    assert panels.run_js(f"{panel}.classList.contains('mine')")
    scroll_to(panels, "#panel")
    panels.wait_for_text("#drawn", "drawn")
    panels.wait_for_no("#later")
    panels.wait_for_text("#read-visible", "True")
    panels.wait_for_text("#read-status", "loaded")
    panels.wait_for_text("#read-load_count", "1")
    panels.run_js("scrollTo(0, 0)")
    panels.wait_for_no("#drawn")
    panels.wait_for_text("#read-visible", "False")
    assert panels.run_js(f"{panel}.offsetHeight") == 400
    scroll_to(panels, "#panel")
    panels.wait_for_text("#read-load_count", "2")


@pytest.mark.parametrize("path", ["/container", "/nested-scroll"])
def test_panels_in_what_scrolls_by_itself_are_drawn_when_near(panels, path):
    panels.open(path)
    panels.find(".flash-lazy")
    assert not panels.find_all("#drawn")
    # 150 pixels below what the box shows: within the offset.
    panels.run_js("document.querySelector('#box').scrollTop = 2000 - 300 - 150")
    panels.wait_for_text("#drawn", "drawn")


def test_a_debounced_panel_that_was_only_passed_is_not_drawn(panels):
    panels.open("/debounce")
    panels.find("#panel")
    # In one script: a busy machine would stay there for longer than to pass.
    panels.run_js(
        """
        document.querySelector("#panel").scrollIntoView();
        await new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve, 50)));
        scrollTo(0, 0);
        await new Promise(resolve => setTimeout(resolve, 600));
        """
    )
    assert not panels.find_all("#drawn")
    scroll_to(panels, "#panel")
    panels.wait_for_text("#drawn", "drawn")


def test_a_throttled_panel_is_drawn(panels):
    panels.open("/throttle")
    scroll_to(panels, "#panel")
    panels.wait_for_text("#drawn", "drawn")


@pytest.mark.parametrize("what", ["section", "chapter"])
def test_an_anchor_inside_a_panel_that_is_not_loaded_leads_there(panels, what):
    def is_seen():
        top = panels.run_js(
            f"const e = document.getElementById('{what}');return e && e.getBoundingClientRect().top"
        )
        return top is not None and -2 <= top < 700

    panels.open("/anchors")
    panels.click(f"#to-{what}")
    panels.wait_for(is_seen, f"#{what} on screen")
    panels.open(f"/anchors#{what}")
    panels.reload()
    panels.wait_for(is_seen, f"#{what} on screen after opening its address")


def test_panels_survive_being_moved_and_drawn_anew(panels):
    panels.open("/rerender")
    for clicks in (1, 2, 3):
        panels.click("#again")
        panels.wait_for_text("#kept", "kept")
        panels.wait_for(lambda: statuses(panels) == ["loaded"] * 2, "both")
        panels.wait_for(lambda n=clicks: counted(panels, "/loads")["rerender"] == n, "a load each")


# -- @lazy


def test_an_error_is_shown_and_retried(panels):
    panels.expect_console_errors("500")
    panels.expect_console_errors("dash_renderer")
    panels.open("/errors")
    panels.wait_for_text("#sorry", "sorry: down")
    panels.wait_for(lambda: statuses(panels) == ["error", "error"], "both errors")
    mine, none = panels.find_all(".flash-lazy-error")
    assert mine.text == "Try again"
    assert none.text.splitlines() == ["This part could not be loaded.", "Try again"]
    assert none.get_attribute("role") == "alert"
    for notice in (mine, none):
        notice.find_element("css selector", "button").click()
    panels.wait_for_text("#recovered", "recovered")
    panels.wait_for_text("#mended", "mended")
    assert not panels.find_all(".flash-lazy-error")


def test_a_server_that_cannot_be_reached_is_asked_again_and_its_refusal_can_be_retried(
    flash_browser,
):
    page = flash_browser
    page.expect_console_errors()
    server = page.serve(APPS / "lazy_panels.py", path="/keyboard")
    page.find(".flash-lazy")
    server.terminate()
    page.run_js("document.querySelectorAll('.flash-lazy')[1].scrollIntoView()")
    page.find(".flash-lazy.flash-stale")
    assert statuses(page)[1] == "loading"
    server.start()
    # By itself; its tokens end with a process that has no secret, and the page says so.
    page.wait_for(lambda: "token was refused" in server.output, "a refusal")
    page.wait_for(lambda: statuses(page)[1] == "error", "an error")
    page.find(".flash-lazy-retry")


def test_callbacks_with_patterns_work_inside_loaded_panels(panels):
    panels.open("/patterns")
    panels.wait_for(lambda: statuses(panels) == ["loaded"] * 2, "both panels")
    first, second = panels.find_all("button")
    first.click()
    second.click()
    second.click()
    panels.wait_for_text("#total", "3")
    assert counted(panels, "/loads") == {"a": 1, "b": 1}


def test_panels_load_when_their_author_says(panels):
    panels.open("/when")
    panels.wait_for(
        lambda: counted(panels, "/loads") == {"idle": 1, "mount": 1, "prefetched": 1}, "loads"
    )
    # Prefetched is loaded, and drawn when it is seen.
    assert not panels.find_all("#prefetched")
    panels.wait_for_text("#press", "press to load")
    panels.click("[role=button]")
    panels.wait_for_text("#clicked", "clicked")
    panels.run_js("scrollTo(0, document.body.scrollHeight)")
    panels.wait_for_text("#prefetched", "prefetched")
    assert counted(panels, "/loads")["prefetched"] == 1


def test_a_panel_in_a_tab_loads_when_its_tab_is_opened_and_once(panels):
    panels.open("/tabs")
    panels.wait_for(lambda: statuses(panels) == ["loaded"], "the first tab")
    assert counted(panels, "/loads") == {"tab one": 1}
    panels.click("#tab-2")
    panels.wait_for(lambda: counted(panels, "/loads").get("tab two") == 1, "the second tab")
    panels.wait_for(lambda: statuses(panels) == ["loaded"], "the second tab")
    panels.click("#tab-1")
    panels.wait_for(lambda: statuses(panels) == ["loaded"], "the first tab again")
    assert counted(panels, "/loads") == {"tab one": 1, "tab two": 1}


def test_a_panel_inside_dcc_loading_loads(panels):
    panels.open("/loading")
    panels.wait_for(lambda: statuses(panels) == ["loaded"], "the panel")
    assert counted(panels, "/loads") == {"loading": 1}


# -- the script


def test_the_script_is_at_most_4_kb_compressed(orders):
    orders.open("/")
    orders.find(".flash-lazy")
    sizes = orders.run_js(
        "return performance.getEntriesByType('resource')"
        ".filter(entry => /flash_lazy.*\\.js/.test(entry.name))"
        ".map(entry => entry.encodedBodySize)"
    )
    assert len(sizes) == 1
    assert sizes[0] <= 4096


# -- docs/lazy.md


class FakeDatabase:
    async def fetch(self, *question):
        return [1, 2, 3]

    def fetch_blocking(self, *question):
        return [1, 2, 3]


# The address of the documentation, in place of which a Redis of the test's own serves.
WRITTEN = 'redis="redis://127.0.0.1:6379/0"'


def examples():
    return re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(params=range(len(examples())))
def example(request, tmp_path, monkeypatch):
    """The names that one example of the documentation defines."""
    data = ModuleType("data")
    data.database = FakeDatabase()
    data.draw = lambda rows: {"data": [{"y": list(rows)[:3]}], "layout": {}}
    monkeypatch.setitem(sys.modules, "data", data)
    path = tmp_path / "example.py"
    text = examples()[request.param]
    with ExitStack() as running:
        if WRITTEN in text:
            server = running.enter_context(RedisServer(tmp_path))
            text = text.replace(WRITTEN, f'redis="{server.url}"')
        path.write_text(text)
        names = {"__name__": f"example{request.param}"}
        exec(compile(path.read_text(), path, "exec"), names)
        yield names


async def test_the_documentations_examples_run(example):
    loaders = [value for value in example.values() if isinstance(value, Loader)]
    app = example.get("app") or Flash(__name__)
    app.server.secret_key = "secret"
    if "order_was_placed" in example:
        app.layout = html.Div(example["orders"](7))
        await example["order_was_placed"](7)
    elif app.layout is None:
        app.layout = example.get("layout") or (lambda: html.Div([loader() for loader in loaders]))

    @app.server.before_request
    async def log_in():
        quart.session["user"] = "ada"

    async with FlashClient(app) as client:
        layout = await client.layout()
        panels = layout.find_all("LazyPanel")
        assert bool(panels) == bool(loaders)
        for panel in panels[:2]:
            answer = Output(panel.id, "answer")
            asked = {
                Input(panel.id, "request"): {"n": 1},
                State(panel.id, "token"): panel["token"],
            }
            assert (await client.call(answer, asked))[answer] == {"n": 1, "ok": True}
        if "say" in example:
            result = await client.call("seen.children", {"map-panel.status": "loaded"})
            assert result.value == "the map is loaded, drawn 0 times"
