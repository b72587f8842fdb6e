"""Graphs that begin with earlier messages, in real pages of two workers around a real Redis."""

import json
import secrets
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from redis_servers import RedisServer
from workers import two_workers

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "pubsub" / "backfill.py"
SIZE = 500
RATE = 500
# Published until the test has seen enough.
ENDLESS = 1_000_000

POINTS = "return document.querySelector(`#${arguments[0]} .js-plotly-plot`)?.data?.[0].y ?? []"
STATUS = """
const shown = flash.link.isOnPage(arguments[0]) && dash_component_api.getLayout(arguments[0]);
return shown ? shown.props.status : null;
"""
CONNECTIONS = "return flash.statistics().connections"


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def workers(redis):
    """Two workers whose channels are empty."""
    url = f"{redis.url}?prefix={secrets.token_hex(4)}"
    with two_workers(APP, FLASH_BROKER_URL=url) as both:
        yield both


def post(server, path):
    with urlopen(Request(server.url + path, b"")) as answer:
        assert answer.status == 204


def publish(server, channel, first, last, rate=0):
    post(server, f"/publish/{channel}/{first}/{last}/{rate}")


def stop(server, channel):
    """End what a worker publishes at a rate, and return the last number."""
    with urlopen(Request(f"{server.url}/stop", b"")) as answer:
        return json.loads(answer.read())[channel]


def runs(server):
    """How often a worker has run the callback of the prices."""
    with urlopen(f"{server.url}/runs") as answer:
        return json.loads(answer.read())["runs"]


def wait_for_points(tab, name, first, last):
    wanted = list(range(first, last + 1))
    tab.wait_for(lambda: tab.run_js(POINTS, name) == wanted, f"{name} to show {first} to {last}")


def wait_for_more(tab, name):
    """Wait until a graph shows messages that came after those it began with."""
    tab.wait_for(lambda: len(tab.run_js(POINTS, name)) > SIZE, f"{name} to show later messages")


def wait_until_whole(tab, name, last):
    """Wait until a graph ends with a message; from its first point on each is there, once."""
    tab.wait_for(lambda: last in tab.run_js(POINTS, name), f"{name} to show {last}")
    shown = tab.run_js(POINTS, name)
    assert shown == list(range(shown[0], last + 1))
    assert len(shown) > SIZE
    return shown


def test_14_7_pages_loaded_during_500_messages_a_second_end_with_equal_figures(
    flash_browser, workers
):
    for channel in ("prices", "ticks"):
        publish(workers[0], channel, 1, 700)
    for server, channel in zip(workers, ("prices", "ticks"), strict=True):
        publish(server, channel, 701, ENDLESS, RATE)
    flash_browser.visit(workers[0])
    tabs = [flash_browser, flash_browser.new_user(workers[1].url)]
    tabs.append(flash_browser.new_user(workers[0].url))
    for tab in tabs:
        for name in ("tape", "drawn"):
            wait_for_more(tab, name)
    ends = {
        name: stop(server, channel)
        for name, server, channel in zip(
            ("tape", "drawn"), workers, ("prices", "ticks"), strict=True
        )
    }
    for tab in tabs:
        for name, last in ends.items():
            wait_until_whole(tab, name, last)
        # Everything since the position of the layout.
        assert tab.text("#recovered") == "true"


def test_14_7_a_page_shows_the_last_messages_at_once_and_goes_on(flash_browser, workers):
    publish(workers[0], "ticks", 1, 700)
    publish(workers[0], "prices", 1, 700)
    for server in workers:
        flash_browser.wait_for(lambda server=server: runs(server) == 700, "what was published")
    flash_browser.visit(workers[1])
    for name in ("tape", "drawn"):
        wait_for_points(flash_browser, name, 201, 700)
    before = flash_browser.run_js("return flash.statistics().applied")
    other = flash_browser.new_user(workers[1].url)
    wait_for_points(other, "tape", 201, 700)
    # One frame for the second page, and none for the first.
    assert other.run_js("return flash.statistics().applied") == before
    assert [runs(server) for server in workers] == [700, 700]
    publish(workers[0], "prices", 701, 705)
    publish(workers[1], "ticks", 701, 705)
    for tab in (flash_browser, other):
        for name in ("tape", "drawn"):
            wait_for_points(tab, name, 201, 705)


def test_14_7_a_link_that_breaks_brings_nothing_twice(flash_browser, workers):
    publish(workers[0], "prices", 1, 100)
    publish(workers[0], "ticks", 1, 100)
    publish(workers[0], "desk/1", 1, 100)
    flash_browser.visit(workers[0])
    flash_browser.wait_for_text("#status", "open")
    flash_browser.click("#enter")
    for name in ("tape", "drawn", "desk"):
        wait_for_points(flash_browser, name, 1, 100)
    for broken in range(1, 3):
        first, last = 100 * broken + 1, 100 * broken + 100
        for channel in ("prices", "ticks", "desk/1"):
            publish(workers[1], channel, first, last, 100)
        post(workers[0], "/break")
        flash_browser.wait_for(
            lambda broken=broken: flash_browser.run_js(CONNECTIONS) == broken + 1, "to be back"
        )
        for name in ("tape", "drawn", "desk"):
            wait_for_points(flash_browser, name, 1, last)


def test_14_7_a_link_that_breaks_before_the_layout_is_drawn_brings_the_backfill_again(
    flash_browser, workers
):
    publish(workers[0], "prices", 1, 100)
    post(workers[0], "/hold")
    flash_browser.visit(workers[0])
    flash_browser.wait_for(lambda: flash_browser.run_js(CONNECTIONS) == 1, "a link")
    post(workers[0], "/break")
    flash_browser.wait_for(lambda: flash_browser.run_js(CONNECTIONS) == 2, "to be back")
    # It has come before there was anything to show it on.
    assert not flash_browser.find_all("#tape")
    post(workers[0], "/draw")
    wait_for_points(flash_browser, "tape", 1, 100)
    publish(workers[1], "prices", 101, 103)
    wait_for_points(flash_browser, "tape", 1, 103)


def test_14_7_a_server_that_has_forgotten_the_page_sends_nothing_twice(flash_browser, workers):
    for channel in ("prices", "ticks", "desk/1"):
        publish(workers[0], channel, 1, 100)
    flash_browser.visit(workers[0])
    flash_browser.wait_for_text("#status", "open")
    flash_browser.click("#enter")
    for name in ("tape", "drawn", "desk"):
        wait_for_points(flash_browser, name, 1, 100)
    for channel in ("prices", "ticks", "desk/1"):
        publish(workers[1], channel, 101, 150, 50)
    post(workers[0], "/forget")
    flash_browser.wait_for(lambda: flash_browser.run_js(CONNECTIONS) == 2, "to be back")
    for name in ("tape", "drawn", "desk"):
        wait_for_points(flash_browser, name, 1, 150)
    for channel in ("prices", "ticks", "desk/1"):
        publish(workers[1], channel, 151, 155)
    for name in ("tape", "drawn", "desk"):
        wait_for_points(flash_browser, name, 1, 155)


def test_a_page_that_enters_a_channel_anew_begins_with_the_last_messages(flash_browser, workers):
    publish(workers[0], "desk/1", 1, 50)
    flash_browser.visit(workers[0])
    flash_browser.wait_for_text("#status", "open")
    flash_browser.click("#enter")
    wait_for_points(flash_browser, "desk", 1, 50)
    flash_browser.click("#enter")
    flash_browser.wait_for_no("#desk")
    publish(workers[1], "desk/1", 51, 60)
    flash_browser.click("#enter")
    wait_for_points(flash_browser, "desk", 1, 60)


def test_14_7_a_graph_that_is_drawn_later_and_again_from_the_history_has_no_seam(
    flash_browser, workers
):
    publish(workers[0], "late", 1, 100)
    flash_browser.visit(workers[0])
    flash_browser.wait_for_text("#status", "open")
    publish(workers[1], "late", 101, ENDLESS, RATE)
    for _ in range(3):
        flash_browser.click("#show")
        flash_browser.wait_for(lambda: flash_browser.run_js(STATUS, "of_late") == "subscribed")
        # Some have come after it was drawn.
        wait_for_more(flash_browser, "later")
        shown = flash_browser.run_js(POINTS, "later")
        assert shown == list(range(shown[0], shown[-1] + 1))
    wait_until_whole(flash_browser, "later", stop(workers[1], "late"))
