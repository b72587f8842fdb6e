"""Panels that refresh on every page when they are invalidated, rest unseen, and have thumbnails."""

from pathlib import Path

import pytest
from redis_servers import RedisServer

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "lazy_live.py"
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
    env = {"LOADS": str(loads), "REDIS_URL": redis_url}
    with AppProcess(APP, env=env) as here, AppProcess(APP, env=env) as there:
        yield here, there


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


def test_c4_a_live_panel_out_of_view_rests_and_catches_up_when_it_is_seen(flash_browser, alone):
    tab = flash_browser
    tab.visit(alone)
    tab.find("#stock-a")
    wait_for_link(tab)
    to_far = "document.querySelectorAll('.flash-lazy')[4].scrollIntoView()"
    tab.run_js(to_far)
    tab.find("#stock-far")
    number = shown(tab, "far")
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
    assert len(tab.find_all(".flash-lazy[data-suspended=true]")) == 2
    tab.run_js("scrollTo(0, 0)")
    tab.wait_for_text("#said", "suspended: False")
    tab.wait_for(lambda: tab.run_js("return heard.at(-1)") is False, "the panel to go on")
    assert not tab.find_all(".flash-lazy[data-suspended=true]")


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
