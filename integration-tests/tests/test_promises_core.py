"""What flash-core promises, one test or more for each: A1 to A8.

A1 is the table in `docs/dash-parity.md` as well; `test_parity.py` holds it to what it names.
"""

import asyncio
import importlib.util
import json
import os
import re
import threading
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from flash import Flash, Input, Output, html
from flash.testing import AppProcess, FlashClient

pytest_plugins = ["flash.testing.plugin"]

APPS = Path(__file__).parents[1] / "apps" / "promises"
SECONDS = 60


def get(url: str) -> str:
    with urlopen(url, timeout=SECONDS) as answer:
        return answer.read().decode()


def counts(process: AppProcess) -> dict[str, int]:
    return json.loads(get(f"{process.url}/counts"))


def an_app():
    app = Flash(__name__, suppress_callback_exceptions=True)
    app.layout = html.Div()
    return app


# -- A1: change the import line and a Dash app runs


def test_a1_a_dash_app_runs_with_its_import_line_changed(flash_browser, tmp_path):
    source = (APPS / "orders.py").read_text()
    assert source.count("dash import") == 1
    moved = tmp_path / "orders.py"
    moved.write_text(source.replace("from dash import", "from flash import"))

    browser = flash_browser
    browser.serve(moved)
    browser.wait_for_text("#total", "0 euros")
    assert browser.title == "Orders"
    browser.click("#add")
    browser.wait_for_text("#total", "2 euros")
    browser.click("#fruit")
    browser.type(".dash-dropdown-search", "pears")
    browser.wait_for(lambda: len(browser.find_all(".dash-dropdown-option")) == 1, "one option")
    browser.click(".dash-dropdown-option")
    browser.type("#quantity", "4", clear=True, enter=True)
    browser.click("#add")
    browser.wait_for_text("#total", "14 euros")
    browser.wait_for(lambda: len(browser.find_all("#chart .point")) == 2, "two bars")
    browser.click("#add")
    browser.wait_for_text("#last", "there already")
    browser.click("#lines li:first-child button")
    browser.wait_for_text("#total", "12 euros")
    browser.wait_for_text("#last", "no more apples")
    assert len(browser.find_all("#lines li")) == 1


# -- A2: everything that user code may define can be async


def test_a2_callbacks_layouts_pages_titles_hooks_and_on_error_are_awaited(flash_browser):
    browser = flash_browser
    browser.serve(APPS / "asynchronous.py")
    browser.wait_for_text("#page", "Home")
    assert browser.text("#in-index") == "an index hook was here"
    assert browser.text("#by-hook") == "set up ['Async']"
    browser.click("#to-item")
    browser.wait_for_text("#page", "Item 7 red")
    browser.wait_for(lambda: browser.title == "No. 7", "the title that was awaited")
    browser.click("#ask")
    browser.wait_for_text("#answer", "answer 1 for Alma")
    browser.click("#fail")
    browser.wait_for_text("#failed", "on_error: told to")
    browser.wait_for_text("#told", "hook: told to")


# -- A3: plain functions never block the loop


async def test_a3_plain_functions_never_block_the_loop():
    """All 32 are inside their function at once, and meanwhile the loop turns and answers."""
    callers = 32
    together = threading.Barrier(callers + 1)
    released = threading.Event()
    app = an_app()

    @app.callback(Output("held", "children"), Input("hold", "n_clicks"))
    def hold(clicks):
        together.wait(SECONDS)
        released.wait(SECONDS)
        return clicks

    @app.callback(Output("answer", "children"), Input("ask", "n_clicks"))
    async def answer(clicks):
        await asyncio.sleep(0)
        return clicks

    turns = 0

    async def probe():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with asyncio.timeout(SECONDS), FlashClient(app) as client, asyncio.TaskGroup() as tasks:
        probing = tasks.create_task(probe())
        held = [
            tasks.create_task(client.call("held.children", {"hold.n_clicks": number}))
            for number in range(callers)
        ]
        # Passes only when all of them run, each in a thread, at the same time.
        await asyncio.to_thread(together.wait, SECONDS)
        assert app.statistics().running == callers
        for clicks in range(100):
            before = turns
            result = await client.call("answer.children", {"ask.n_clicks": clicks})
            assert result.value == clicks
            assert turns > before
        assert not any(task.done() for task in held)
        released.set()
        assert [(await task).value for task in held] == list(range(callers))
        probing.cancel()


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn", "granian"])
def test_a3_a_page_answers_while_plain_callbacks_of_it_wait(flash_browser, server):
    browser = flash_browser
    process = browser.serve(APPS / "held.py", server=server)
    browser.find("#ask")
    browser.run_js("document.querySelectorAll('button:not(#ask)').forEach(each => each.click())")

    def state():
        return json.loads(get(f"{process.url}/state"))

    # The barrier opens when all four run at once; then they wait to be let go.
    browser.wait_for(lambda: state() == {"waiting": 0, "running": 4}, "all at once")
    for clicks in range(1, 4):
        browser.click("#ask")
        browser.wait_for_text("#answer", f"answer {clicks}")
    assert state() == {"waiting": 0, "running": 4}
    urlopen(Request(f"{process.url}/release", method="POST"), timeout=SECONDS).close()
    browser.wait_for(lambda: [e.text for e in browser.find_all(".held")] == ["let go"] * 4)


# -- A4: context everywhere


def test_a4_callbacks_see_session_cookies_and_headers_over_http_and_the_socket(flash_browser):
    browser = flash_browser
    browser.serve(APPS / "context.py", path="/enter")
    browser.open("/")
    for way in ("http-async", "http-plain", "socket-async", "socket-plain"):
        browser.click(f"#{way}-ask")
        browser.wait_for_text(
            f"#{way}-seen",
            f"{way}-ask, clicks 1, session Alma, cookie red red, browser True, headers True, "
            "address 127.0.0.1",
        )
        browser.wait_for_text(f"#{way}-side", "set beside")


# -- A5: a page that goes away stops its work


def test_a5_a_closed_page_stops_its_work_and_a_newer_call_stops_the_older(flash_browser):
    browser = flash_browser
    process = browser.serve(APPS / "endless.py", path=None)
    tab = browser.new_tab("/")

    def wait_for_counts(**expected):
        browser.wait_for(lambda: counts(process) == expected, f"the counts {expected}")

    tab.click("#search")
    wait_for_counts(begun=1, cancelled=0, running=1)
    tab.click("#search")
    wait_for_counts(begun=2, cancelled=1, running=1)
    tab.close()
    wait_for_counts(begun=2, cancelled=2, running=0)


def test_a5_pages_that_ask_the_same_share_one_call_until_the_last_is_gone(flash_browser):
    browser = flash_browser
    process = browser.serve(APPS / "endless.py", path=None)
    tabs = [browser.new_tab("/") for _ in range(3)]
    for tab in tabs:
        tab.click("#share")
        browser.wait_for(lambda: counts(process)["begun"] == 1, "one call")
    # Another question, so that the third page has asked before the others leave.
    tabs[2].click("#search")
    browser.wait_for(lambda: counts(process)["begun"] == 2, "two calls")
    for tab in tabs[:2]:
        tab.close()
    assert counts(process) == {"begun": 2, "cancelled": 0, "running": 2}
    tabs[2].close()
    browser.wait_for(
        lambda: counts(process) == {"begun": 2, "cancelled": 2, "running": 0}, "no call"
    )


@pytest.mark.parametrize("through_quart", [False, True])
async def test_a5_no_task_is_left_when_callers_go_away(through_quart):
    app = an_app()
    begun = 0
    if through_quart:

        @app.server.before_request
        async def watch():
            """Send every request through Quart."""

    @app.callback(Output("found", "children"), Input("search", "value"))
    async def search(_):
        nonlocal begun
        begun += 1
        await asyncio.Event().wait()

    async with asyncio.timeout(SECONDS), FlashClient(app) as client:
        await client.layout("/")
        before = asyncio.all_tasks()
        calls = [
            asyncio.create_task(client.call("found.children", {"search.value": number}))
            for number in range(20)
        ]
        while begun < len(calls):  # noqa: ASYNC110
            await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        while asyncio.all_tasks() != before:  # noqa: ASYNC110
            await asyncio.sleep(0)


# -- A6: existing Quart apps, extensions, several apps per server


@pytest.fixture
def guarded():
    spec = importlib.util.spec_from_file_location("guarded", APPS / "guarded.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_a6_a_login_of_quart_auth_guards_every_route(guarded):
    async with asyncio.timeout(SECONDS), FlashClient(guarded.sales) as client:
        index = (await client.get("/sales/", follow_redirects=False)).status
        assert index == 401
        name = {"name": "Alma"}
        entered = await client.post("/login", form=name, follow_redirects=False)
        assert entered.status == 302

        page = (await client.get("/sales/")).text
        files = re.findall(r'(?:src|href)="(/sales/[^"]+)"', page)
        assert any("/_dash-component-suites/" in file for file in files)
        assert any("/assets/style.css" in file for file in files)
        rules = [
            rule.rule
            for rule in guarded.server.url_map.iter_rules()
            if not rule.arguments and "GET" in rule.methods and not rule.websocket
        ]
        assert {"/sales/_dash-layout", "/stock/_dash-dependencies", "/reports/today"} <= {*rules}
        paths = [path for path in [*files, *rules] if path != "/login"]
        call = {
            "output": "..user.children...app.children..",
            "outputs": [
                {"id": "user", "property": "children"},
                {"id": "app", "property": "children"},
            ],
            "inputs": [{"id": "who", "property": "n_clicks", "value": 1}],
            "changedPropIds": ["who.n_clicks"],
        }

        for app in ("sales", "stock"):
            answer = await client.post(f"/{app}/_dash-update-component", json=call)
            assert answer.json()["response"]["app"] == {"children": app.title()}
            user = answer.json()["response"]["user"]["children"]
            assert user.startswith(f"Alma at /{app}/")
        for path in paths:
            assert (await client.get(path)).status < 400, path
        client.cookies.clear()
        for path in [*paths, "/sales/assets/../secret", "/stock/no/such/page"]:
            assert (await client.get(path)).status == 401, path
        for app in ("sales", "stock"):
            answer = await client.post(f"/{app}/_dash-update-component", json=call)
            assert (answer.status, answer.text) == (401, "log in first")


def test_a6_two_apps_and_a_blueprint_on_one_server_behind_a_login(flash_browser):
    browser = flash_browser
    browser.serve(f"{APPS / 'guarded.py'}:server", path="/stock/")
    assert browser.url.endswith("/login")
    browser.type("input", "Alma")
    browser.click("button")
    for app in ("sales", "stock"):
        browser.open(f"/{app}/")
        browser.wait_for_text("h1", app)
        browser.wait_for_text("#user", f"Alma at /{app}/_dash-update-component")
        browser.click("#who")
        browser.wait_for_text("#app", app.title())
        colour = browser.find("h1").value_of_css_property("color")
        assert colour == "rgba(0, 0, 128, 1)"
    browser.open("/reports/today")
    browser.wait_for_text("body", "today's report for Alma")

    stranger = browser.new_user("/sales/")
    assert stranger.url.endswith("/login")
    assert (
        stranger.run_js(
            "const answer = await fetch('/sales/_dash-update-component', {method: 'POST'});"
            "return answer.status;"
        )
        == 401
    )
    browser.expect_console_errors("401")
    # Chromium asks for it at the pages that are none of Dash's.
    browser.expect_console_errors("favicon.ico")


# -- A7: background callbacks without Celery or disk


def test_a7_a_background_callback_tells_progress_is_cancelled_cached_and_sets_props(flash_browser):
    browser = flash_browser
    process = browser.serve(APPS / "jobs.py")
    pid = get(f"{process.url}/pid")
    browser.wait_for_text("#state", "idle")

    browser.click("#write")
    browser.wait_for_text("#state", "writing")
    browser.wait_for(lambda: browser.find("#bar").get_attribute("max") == "3", "progress")
    browser.wait_for_text("#note", re.compile("click 1, chapter ."))
    get(f"{process.url}/go-on")
    # In the server's own process.
    browser.wait_for_text("#report", f"report 1 by {pid}")
    browser.wait_for_text("#state", "idle")
    browser.wait_for_text("#note", "click 1, chapter 3")

    browser.click("#forever")
    browser.wait_for(lambda: browser.find("#bar").get_attribute("max") == "1000000", "progress")
    assert get(f"{process.url}/running") == "1"
    browser.click("#stop")
    browser.wait_for_text("#state", "idle")
    browser.wait_for(lambda: get(f"{process.url}/running") == "0", "the job to end")
    assert browser.text("#endless") == ""
    assert browser.text("#note") == "click 1, chapter 3"

    # Another page asks the same and gets what is kept.
    other = browser.new_user("/")
    other.click("#write")
    other.wait_for_text("#report", f"report 1 by {pid}")


# -- A8: tests without a browser, browser tests in a separate process


async def test_a8_an_app_is_tested_without_a_browser():
    seen = []
    app = an_app()

    @app.callback(Output("out", "children"), Input("in", "value"))
    def double(value):
        seen.append(os.getpid())
        return value * 2

    async with asyncio.timeout(SECONDS), FlashClient(app) as client:
        assert (await client.call("out.children", {"in.value": 21})).value == 42
    assert seen == [os.getpid()]


def test_a8_a_browser_looks_at_an_app_in_a_process_of_its_own(flash_browser):
    process = flash_browser.serve(APPS / "jobs.py", path="/pid")
    pid = int(flash_browser.text("body"))
    assert pid != os.getpid()
    process.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
