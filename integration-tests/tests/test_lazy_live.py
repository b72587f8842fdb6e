"""Panels that refresh on every page when they are invalidated, rest unseen, and have thumbnails."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from redis_servers import RedisServer
from workers import two_workers

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "lazy_live.py"
# While a server is away, the browser says so itself.
POST = "return fetch(arguments[0], {method: 'POST'}).then(answer => answer.status)"


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One worker, whose cache is its own."""
    loads = tmp_path_factory.mktemp("alone") / "loads"
    with AppProcess(APP, env={"LOADS": str(loads), "RENDERER": "1"}) as server:
        yield server


@pytest.fixture(scope="module")
def workers(tmp_path_factory, redis_url):
    """Two workers of one app, each to be spoken to by itself."""
    loads = tmp_path_factory.mktemp("workers") / "loads"
    with two_workers(APP, LOADS=str(loads), REDIS_URL=redis_url) as both:
        yield both


def shown(tab, item):
    return int(tab.text(f"#stock-{item}").split()[1])


def wait_for_number(tab, item, number):
    tab.wait_for(lambda: shown(tab, item) == number, f"{item} {number}")


def wait_for_link(tab):
    tab.wait_for(
        lambda: tab.run_js("return flash.statistics().connections") == 1, "the page's live link"
    )


def open_both(browser, first, second):
    browser.visit(first)
    other = browser.new_user()
    other.run_js("window.location = arguments[0]", second.url)
    for tab in (browser, other):
        tab.find("#stock-a")
        tab.find("#stock-b")
        wait_for_link(tab)
    return browser, other


def test_live_panels_refresh_on_every_page_when_they_are_invalidated(flash_browser, alone):
    here, there = open_both(flash_browser, alone, alone)
    number, other = shown(here, "a"), shown(here, "b")
    assert here.run_js(POST, "/invalidate/a") == 204
    for tab in (here, there):
        wait_for_number(tab, "a", number + 1)
    assert [shown(tab, "b") for tab in (here, there)] == [other] * 2
    # Once for both pages.
    assert here.run_js("return fetch('/loads/a').then(a => a.json())") == {"loads": number + 1}
    here.run_js(POST, "/invalidate/all")
    for tab in (here, there):
        wait_for_number(tab, "a", number + 2)
        wait_for_number(tab, "b", other + 1)


def test_what_one_worker_invalidates_refreshes_the_pages_of_all_workers(flash_browser, workers):
    first, second = workers
    here, there = open_both(flash_browser, first, second)
    # Loaded by one worker, kept for all.
    assert shown(here, "a") == shown(there, "a") == 1
    for number, tab in enumerate((here, there, here), 2):
        tab.run_js(POST, "/invalidate/a")
        wait_for_number(here, "a", number)
        wait_for_number(there, "a", number)
    assert there.run_js("return fetch('/loads/a').then(a => a.json())") == {"loads": 4}
    assert shown(here, "b") == 1


def invalidate_by_command(redis_url, item):
    return subprocess.run(
        [
            *(sys.executable, "-m", "flash_lazy.cli", "invalidate"),
            *("lazy_live:stock", item, "--url", redis_url),
        ],
        cwd=APP.parent,
        env={**os.environ, "LOADS": "unused"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_11_2_a_worker_that_has_served_nothing_a_restarted_one_and_a_command_invalidate(
    flash_browser, tmp_path, redis_url
):
    tab, redis_url = flash_browser, f"{redis_url}?prefix={tmp_path.name}"
    tab.expect_lost_connections()
    env = {"LOADS": str(tmp_path / "loads"), "REDIS_URL": redis_url}
    with two_workers(APP, **env) as (here, there):
        tab.visit(here)
        tab.find("#stock-a")
        wait_for_link(tab)
        assert shown(tab, "a") == 1
        with urlopen(Request(f"{there.url}/invalidate/a", b""), timeout=60) as answer:
            assert answer.status == 204
        wait_for_number(tab, "a", 2)
        # The page resumes its link to a worker that has placed no panel.
        here.restart()
        connections = "return flash.statistics().connections"
        tab.wait_for(lambda: tab.run_js(connections) == 2, "the link to come back")
        tab.run_js(POST, "/invalidate/a")
        wait_for_number(tab, "a", 3)
        command = invalidate_by_command(redis_url, "a")
        assert (command.returncode, command.stderr) == (0, "")
        wait_for_number(tab, "a", 4)
    # No worker runs, and what is kept is dropped all the same.
    assert invalidate_by_command(redis_url, "a").returncode == 0
    with AppProcess(APP, env=env) as anew:
        tab.visit(anew)
        wait_for_number(tab, "a", 5)


def test_11_2_a_page_whose_link_has_lost_messages_loads_its_live_panels_again(
    flash_browser, tmp_path, redis_url
):
    tab, redis_url = flash_browser, f"{redis_url}?prefix={tmp_path.name}"
    tab.expect_lost_connections()
    env = {"LOADS": str(tmp_path / "loads"), "REDIS_URL": redis_url}
    with AppProcess(APP, env=env) as here:
        tab.visit(here)
        tab.find("#stock-a")
        wait_for_link(tab)
        assert shown(tab, "a") == 1
        here.terminate()
        # While the page is connected to nobody.
        assert invalidate_by_command(redis_url, "a").returncode == 0
        here.start()
        wait_for_number(tab, "a", 2)


def test_11_13_after_a_change_of_the_secret_a_panel_asks_for_a_new_page(flash_browser, tmp_path):
    tab, loads = flash_browser, str(tmp_path / "loads")
    tab.expect_lost_connections()
    tab.expect_console_errors("400|dash_renderer")
    before = AppProcess(APP, env={"LOADS": loads})
    after = AppProcess(APP, env={"LOADS": loads, "SECRET": "another"}, port=before.port)
    with before:
        tab.visit(before)
        tab.find("#stock-a")
        wait_for_link(tab)
    with after:
        # A panel that was not loaded, and one whose content is refreshed when the link is back.
        tab.run_js("document.querySelectorAll('.flash-lazy')[4].scrollIntoView()")
        notice = ".flash-lazy:not(:has(#stock-a)) > .flash-lazy-error"
        tab.wait_for_text(
            f"{notice} p", "This page is from before a change of the app or of your session."
        )
        tab.wait_for_text(f"{notice} button", "Reload the page")
        tab.click(f"{notice} button")
        tab.find("#stock-far, #stock-a")
        tab.wait_for_no(".flash-lazy-error")
        tab.run_js("document.querySelectorAll('.flash-lazy')[4].scrollIntoView()")
        tab.find("#stock-far")


def test_11_13_a_panel_that_only_failed_still_offers_another_attempt(flash_browser, tmp_path):
    tab = flash_browser
    tab.expect_lost_connections()
    tab.expect_console_errors("500|400|dash_renderer")
    with AppProcess(APP, env={"LOADS": str(tmp_path)}) as server:
        # Its loads fail: the file is a directory.
        tab.visit(server)
        tab.wait_for_text(".flash-lazy-error p", "This part could not be loaded.")
        body = "return fetch('/_flash_lazy/check', {method: 'POST', body: arguments[0]})"
        check = f"{body}.then(answer => answer.text())"
        assert tab.run_js(check, '{"token": "x"}').strip() == '{"refused":true}'
        assert tab.run_js(check, "[]").strip() == '{"refused":true}'
        assert tab.run_js(f"{body}.then(answer => answer.status)", "nonsense") == 400
        assert tab.text(".flash-lazy-error button") == "Try again"


def test_c4_a_live_panel_out_of_view_rests_and_catches_up_when_it_is_seen(flash_browser, alone):
    tab = flash_browser
    tab.visit(alone)
    tab.find("#stock-a")
    wait_for_link(tab)
    to_far = "document.querySelectorAll('.flash-lazy')[4].scrollIntoView()"
    tab.run_js(to_far)
    tab.find("#stock-far")
    number = shown(tab, "far")
    # Or the page says still what it has said before.
    tab.wait_for_text("#said", "suspended: True")
    tab.run_js("scrollTo(0, 0)")
    tab.wait_for_text("#said", "suspended: False")
    tab.run_js(POST, "/invalidate/far")
    # What is seen hears of its own news after those, and is refreshed.
    seen = shown(tab, "a")
    tab.run_js(POST, "/invalidate/a")
    wait_for_number(tab, "a", seen + 1)
    assert tab.run_js("return fetch('/loads/far').then(a => a.json())") == {"loads": number}
    tab.run_js(to_far)
    wait_for_number(tab, "far", number + 1)


def test_c4_a_suspended_panel_tells_callbacks_and_scripts_to_rest(flash_browser, alone):
    tab = flash_browser
    tab.visit(alone)
    tab.wait_for_text("#said", "suspended: False")
    tab.find("#rest")
    tab.run_js(
        """
        window.heard = [];
        const panel = document.querySelector("#rest").closest(".flash-lazy");
        panel.addEventListener("flash-lazy-suspend", event => heard.push(event.detail));
        """
    )
    tab.run_js("document.querySelector('#chart').scrollIntoView()")
    tab.wait_for_text("#said", "suspended: True")
    tab.wait_for(lambda: tab.run_js("return heard.at(-1)") is True, "the panel to rest")
    tab.wait_for(lambda: len(tab.find_all(".flash-lazy[data-suspended=true]")) == 2, "both")
    tab.run_js("scrollTo(0, 0)")
    tab.wait_for_text("#said", "suspended: False")
    tab.wait_for(lambda: tab.run_js("return heard.at(-1)") is False, "the panel to go on")
    tab.wait_for_no(".flash-lazy[data-suspended=true]")


def test_a_thumbnail_stands_in_the_place_of_a_graph_until_it_is_near(flash_browser, alone):
    tab = flash_browser
    tab.visit(alone)
    tab.find("#stock-a")
    image = "document.querySelector('#chart img.flash-lazy-thumbnail')"
    tab.wait_for(lambda: tab.run_js(f"return {image} && {image}.naturalHeight"), "the picture")
    assert tab.run_js(f"return [{image}.naturalWidth, {image}.naturalHeight]") == [700, 300]
    assert tab.run_js(f"return {image}.offsetHeight") == 300
    assert not tab.find_all("#drawn")
    tab.run_js("document.querySelector('#chart').scrollIntoView()")
    tab.find("#drawn .js-plotly-plot")
    tab.wait_for_no(".flash-lazy-thumbnail")
    assert tab.run_js("return document.querySelector('#chart').offsetHeight") == 300


def test_a_loaded_graph_that_waits_for_plotly_looks_as_its_skeleton(flash_browser, workers):
    tab = flash_browser
    tab.visit(workers[0])
    tab.find("#stock-a")
    colour = """
    const graph = document.querySelector("#stock-a").appendChild(document.createElement("div"));
    graph.className = "dash-graph dash-graph--pending";
    const waiting = getComputedStyle(graph).backgroundColor;
    graph.innerHTML = '<svg class="main-svg"></svg>';
    return [waiting, getComputedStyle(graph).backgroundColor];
    """
    assert tab.run_js(colour) == ["rgba(128, 128, 128, 0.14)", "rgba(0, 0, 0, 0)"]


def test_without_a_renderer_a_message_stands_there(flash_browser, workers):
    tab = flash_browser
    tab.visit(workers[0])
    tab.wait_for_text("p.flash-lazy-thumbnail", "This chart is drawn when it comes near.")
