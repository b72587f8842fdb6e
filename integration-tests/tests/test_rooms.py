"""Rooms in real pages, on two workers around a real Redis."""

import re
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest
from redis_servers import RedisServer

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "rooms.py"
SET = "dash_clientside.set_props(arguments[0], {value: arguments[1]})"
SHOWN = "return dash_component_api.getLayout(arguments[0]).props.value"


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Two workers on two ports, which know of each other through Redis only."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as redis, ExitStack() as stack:
        yield [
            stack.enter_context(AppProcess(APP, env={"FLASH_BROKER_URL": redis.url}))
            for _ in range(2)
        ]


@pytest.fixture
def people(flash_browser, workers):
    """Return a function that opens a desk as somebody, on one of the workers."""
    flash_browser.expect_console_errors("favicon.ico|WebSocket|ERR_CONNECTION")
    tabs = []

    def open_as(name, desk, worker=0):
        url = f"{workers[worker].url}/as/{name}/{desk}"
        if tabs:
            tab = flash_browser.new_user(url)
        else:
            tab = flash_browser
            tab.open(url)
        tabs.append(tab)
        return tab

    return open_as


def value(tab, name):
    return tab.run_js(SHOWN, name)


def test_8_rooms_two_browsers_in_one_room_converge_and_a_third_sees_nothing(people):
    ann, bob, eve = people("Ann", 7), people("Bob", 7, 1), people("Eve", 8, 1)
    for tab, room in ((ann, "desk/7"), (bob, "desk/7"), (eve, "desk/8")):
        tab.wait_for_text("#status", f"{room} subscribed")
    ann.run_js(SET, "unrest", 9)
    for tab in (ann, bob):
        tab.wait_for_text("#unrest-note", "desk 7: 9")
        tab.wait_for(lambda t=tab: value(t, "unrest") == 9, "the slider")
    eve.run_js(SET, "unrest", 4)
    eve.wait_for_text("#unrest-note", "desk 8: 4")
    bob.run_js(SET, "unrest", 6)
    for tab in (ann, bob):
        tab.wait_for_text("#unrest-note", "desk 7: 6")
        tab.wait_for(lambda t=tab: value(t, "unrest") == 6, "the slider")
    assert value(eve, "unrest") == 4
    assert eve.text("#unrest-note") == "desk 8: 4"


def test_8_rooms_a_page_that_changes_its_room_shows_the_new_one_and_then_its_own_again(people):
    ann, bob = people("Ann", 7), people("Bob", 8, 1)
    ann.wait_for_text("#status", "desk/7 subscribed")
    bob.wait_for_text("#status", "desk/8 subscribed")
    ann.run_js(SET, "unrest", 9)
    ann.run_js(SET, "light", 8)
    bob.run_js(SET, "unrest", 5)
    ann.wait_for_text("#unrest-note", "desk 7: 9")
    ann.wait_for_text("#light-note", "hall 7: 8")
    bob.wait_for_text("#unrest-note", "desk 8: 5")
    ann.click("#to-8")
    ann.wait_for_text("#status", "desk/8 subscribed")
    ann.wait_for_text("#unrest-note", "desk 8: 5")
    ann.wait_for(lambda: value(ann, "unrest") == 5, "the slider of the other room")
    # Of the room of the URL, nothing was ever set in hall 8.
    ann.wait_for_text("#light-note", "dark")
    assert value(ann, "light") == 3
    ann.click("#to-out")
    ann.wait_for_text("#page", "outside")
    ann.wait_for_text("#unrest-note", "nothing")
    ann.wait_for(lambda: value(ann, "unrest") == 2, "its own value")
    # Outside, what it changes is its own.
    ann.run_js(SET, "unrest", 1)
    bob.run_js(SET, "unrest", 7)
    bob.wait_for_text("#unrest-note", "desk 8: 7")
    assert ann.text("#unrest-note") == "nothing"
    # And does not go into a room that it enters.
    ann.click("#to-7")
    ann.wait_for_text("#unrest-note", "desk 7: 9")
    ann.wait_for(lambda: value(ann, "unrest") == 9, "the slider")
    ann.run_js("history.back()")
    ann.wait_for_text("#page", "outside")
    ann.wait_for(lambda: value(ann, "unrest") == 1, "its own value")


def test_8_rooms_a_room_of_the_url_shares_and_one_that_is_denied_does_not(people):
    ann, bob = people("Ann", 7), people("Bob", 7, 1)
    for tab in (ann, bob):
        tab.wait_for_text("#status", "desk/7 subscribed")
    bob.run_js(SET, "light", 10)
    for tab in (ann, bob):
        tab.wait_for_text("#light-note", "hall 7: 10")
    ann.click("#to-9")
    ann.wait_for_text("#status", "desk/9 denied")
    ann.wait_for_text("#light-note", "dark")
    ann.run_js(SET, "light", 1)
    ann.run_js(SET, "unrest", 1)
    bob.run_js(SET, "light", 4)
    bob.wait_for_text("#light-note", "hall 7: 4")
    assert ann.text("#light-note") == "dark"
    assert ann.text("#unrest-note") == "nothing"


def test_5_a_push_to_a_room_shows_on_its_pages_only(people, workers):
    ann, bob, eve = people("Ann", 7), people("Bob", 7, 1), people("Eve", 8, 1)
    for tab in (ann, bob, eve):
        tab.wait_for_text("#status", re.compile("subscribed"))
    with urlopen(f"{workers[0].url}/tell/7/lunch") as response:
        response.read()
    with urlopen(f"{workers[0].url}/tell/8/dinner") as response:
        response.read()
    for tab, text in ((ann, "lunch"), (bob, "lunch"), (eve, "dinner")):
        tab.wait_for_text("#notice", text)


def test_10_present_shows_who_is_in_a_room_and_who_comes_and_goes(people):
    ann = people("Ann", 7)
    ann.wait_for_text("#present", "1 here: Ann")
    bob = people("Bob", 7, 1)
    eve = people("Eve", 8)
    for tab in (ann, bob):
        tab.wait_for_text("#present", "2 here: Ann, Bob")
    eve.wait_for_text("#present", "1 here: Eve")
    ann.wait_for_text("#news", "+['Bob'] -[]")
    assert ann.find("#present").get_attribute("aria-live") == "polite"
    assert "flash-present" in ann.find("#present").get_attribute("class")
    assert [each.text for each in ann.find_all("#present .flash-present-name")] == ["Ann", "Bob"]
    bob.click("#to-8")
    ann.wait_for_text("#present", "1 here: Ann")
    ann.wait_for_text("#news", "+[] -['Bob']")
    for tab in (bob, eve):
        tab.wait_for_text("#present", re.compile("2 here: (Bob, Eve|Eve, Bob)"))


def test_8_rooms_a_page_stays_in_its_room_when_its_worker_restarts(flash_browser, tmp_path):
    with RedisServer(tmp_path) as redis:
        env = {"FLASH_BROKER_URL": redis.url}
        flash_browser.expect_console_errors(
            "ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|WebSocket|favicon.ico|502|ERR_CONNECTION_RESET"
        )
        with AppProcess(APP, env=env) as first:
            port = first.port
            flash_browser.open(f"{first.url}/as/Ann/7")
            flash_browser.wait_for_text("#status", "desk/7 subscribed")
            flash_browser.run_js(SET, "unrest", 9)
            flash_browser.wait_for_text("#unrest-note", "desk 7: 9")
        flash_browser.run_js(SET, "unrest", 5)
        with AppProcess(APP, env=env, port=port):
            flash_browser.wait_for_text("#unrest-note", "desk 7: 5")
            flash_browser.wait_for_text("#present", "1 here: Ann")


def test_10_present_forgets_the_people_of_a_worker_that_was_killed(people, workers):
    ann, bob = people("Ann", 7), people("Bob", 7, 1)
    ann.wait_for_text("#present", "2 here: Ann, Bob")
    workers[1].kill()
    try:
        ann.wait_for_text("#present", "1 here: Ann")
    finally:
        workers[1].start()
    # The page comes back by itself.
    for tab in (ann, bob):
        tab.wait_for_text("#present", "2 here: Ann, Bob")
