"""Channels in panels that are out of view: left, and caught up with when the panels are seen."""

import json
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "pubsub" / "resting.py"
MEMORY = {"FLASH_BROKER_URL": "memory://"}

POINTS = "return document.querySelector('#tape .js-plotly-plot')?.data?.[0].y"
APPLIED = "return flash.statistics().applied"
PROPERTY = "return dash_component_api.getLayout(arguments[0]).props[arguments[1]]"
SCROLL = "scrollTo(0, arguments[0] * document.body.scrollHeight)"
TOP, END = 0, 1


@pytest.fixture(scope="module")
def panels():
    """One worker, whose panels rest."""
    with AppProcess(APP, env={**MEMORY, "LAZY": "1"}) as server:
        yield server


def post(server, path):
    with urlopen(Request(server.url + path, b"")) as answer:
        assert answer.status == 204


def figures(server):
    with urlopen(f"{server.url}/figures") as answer:
        return json.loads(answer.read())


def wait_for_status(tab, component, status):
    tab.wait_for(lambda: tab.run_js(PROPERTY, component, "status") == status, f"to be {status}")


@pytest.fixture
def tab(flash_browser, panels):
    """A page whose first panel is in view and has shown three messages."""
    panels.restart()
    flash_browser.visit(panels)
    # Or the next test, whose page has the same address, may find it where this one has left it.
    flash_browser.run_js("history.scrollRestoration = 'manual'")
    flash_browser.wait_for_text("#status", "open")
    # And the page before this one may have left it elsewhere all the same.
    flash_browser.run_js(SCROLL, TOP)
    wait_for_status(flash_browser, "first", "subscribed")
    flash_browser.find("#tape .main-svg")
    post(panels, "/publish/tape/1/1/3")
    wait_for_points(flash_browser, 3)
    return flash_browser


def wait_for_points(tab, last):
    tab.wait_for(lambda: tab.run_js(POINTS) == list(range(1, last + 1)), f"the points to {last}")


def scroll_away(tab, server):
    before = figures(server)
    tab.run_js(SCROLL, END)
    wait_for_status(tab, "first", "suspended")
    tab.wait_for(lambda: figures(server)["members"]["tape/1"] == 0, "the page to leave the channel")
    wait_for_status(tab, "last", "subscribed")
    # One was left, another taken up.
    tab.wait_for(lambda: figures(server)["subscribed"] == before["subscribed"])


def show_one(tab, server, number):
    """Let the page show a message that was published after all others."""
    post(server, f"/publish/shown/1/{number}/{number}")
    tab.wait_for_text("#shown", f"1: {number}")


def test_c4_a_panel_out_of_view_leaves_its_channel_and_catches_up_when_it_is_seen(tab, panels):
    scroll_away(tab, panels)
    applied = tab.run_js(APPLIED)
    post(panels, "/publish/tape/1/4/40")
    show_one(tab, panels, 1)
    # Nothing ran for it, and nothing was sent.
    assert figures(panels)["runs"] == {"tape/1": 3, "shown/1": 1}
    assert tab.run_js(APPLIED) == applied + 1
    assert tab.run_js(POINTS) == [1, 2, 3]
    tab.run_js(SCROLL, TOP)
    wait_for_points(tab, 40)
    wait_for_status(tab, "first", "subscribed")
    tab.wait_for(lambda: tab.run_js(PROPERTY, "first", "recovered") is True, "to be told")
    assert figures(panels)["members"]["tape/1"] == 1
    post(panels, "/publish/tape/1/41/42")
    wait_for_points(tab, 42)


def test_c4_a_panel_that_was_out_of_view_while_the_link_broke_off_misses_nothing(tab, panels):
    scroll_away(tab, panels)
    connections = "return flash.statistics().connections"
    for broken in range(1, 3):
        post(panels, "/break")
        tab.wait_for(lambda broken=broken: tab.run_js(connections) == broken + 1, "to be back")
    post(panels, "/publish/tape/1/4/40")
    show_one(tab, panels, 1)
    assert figures(panels)["members"]["tape/1"] == 0
    assert figures(panels)["runs"] == {"tape/1": 3, "shown/1": 1}
    tab.run_js(SCROLL, TOP)
    wait_for_points(tab, 40)


def test_c4_a_panel_mounted_out_of_view_subscribes_when_it_is_seen(tab, panels):
    assert tab.run_js(PROPERTY, "last", "status") == "suspended"
    post(panels, "/publish/short/1/1/5")
    show_one(tab, panels, 1)
    assert figures(panels)["members"] == {"tape/1": 1, "short/1": 0, "shown/1": 1}
    assert figures(panels)["runs"] == {"tape/1": 3, "shown/1": 1}
    assert tab.text("#short") == "nothing"
    tab.run_js(SCROLL, END)
    tab.wait_for_text("#short", "1: 5")
    assert tab.run_js(PROPERTY, "last", "recovered") is None


def test_c4_a_panel_that_comes_back_too_late_shows_the_last_message_and_says_so(tab, panels):
    tab.run_js(SCROLL, END)
    wait_for_status(tab, "last", "subscribed")
    tab.run_js(SCROLL, TOP)
    wait_for_status(tab, "last", "suspended")
    tab.wait_for(lambda: figures(panels)["members"]["short/1"] == 0, "to leave the channel")
    post(panels, "/publish/short/1/1/9")
    tab.run_js(SCROLL, END)
    tab.wait_for_text("#short", "1: 9")
    tab.wait_for(lambda: tab.run_js(PROPERTY, "last", "recovered") is False, "to be told")
    # The last one alone was of any use.
    assert figures(panels)["runs"]["short/1"] == 1


def test_c4_without_flash_lazy_pages_are_subscribed_wherever_they_are_looked_at(flash_browser):
    flash_browser.expect_lost_connections()
    with AppProcess(APP, env=MEMORY) as server:
        flash_browser.visit(server)
        flash_browser.wait_for_text("#status", "open")
        for component in ("first", "last"):
            wait_for_status(flash_browser, component, "subscribed")
        flash_browser.find("#tape .main-svg")
        assert flash_browser.run_js("return typeof flash_lazy") == "undefined"
        flash_browser.run_js(SCROLL, END)
        post(server, "/publish/tape/1/1/3")
        wait_for_points(flash_browser, 3)
