"""Rooms in real pages, on two workers around a real Redis."""

import re
from pathlib import Path
from urllib.request import urlopen

import pytest
from redis_servers import RedisServer
from workers import two_workers

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "rooms.py"
SET = "dash_clientside.set_props(arguments[0], {value: arguments[1]})"
SHOWN = "return dash_component_api.getLayout(arguments[0]).props.value"


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Two workers on two ports, which know of each other through Redis only."""
    with (
        RedisServer(tmp_path_factory.mktemp("redis")) as redis,
        two_workers(APP, FLASH_BROKER_URL=redis.url) as both,
    ):
        yield both


@pytest.fixture
def people(flash_browser, workers):
    """Return a function that opens a desk as somebody, on one of the workers."""
    flash_browser.expect_lost_connections()
    flash_browser.expect_console_errors("favicon.ico|does not enter")
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
    ann.wait_for(lambda: value(ann, "light") == 3, "its own value")
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


def test_8_rooms_of_two_rooms_of_one_pattern_the_first_counts_until_it_ends(people):
    ann, bob = people("Ann", 7), people("Bob", 8, 1)
    ann.wait_for_text("#status", "desk/7 subscribed")
    bob.wait_for_text("#status", "desk/8 subscribed")
    ann.run_js(SET, "unrest", 9)
    ann.wait_for_text("#unrest-note", "desk 7: 9")
    bob.run_js(SET, "unrest", 4)
    bob.wait_for_text("#unrest-note", "desk 8: 4")
    ann.click("#add")
    ann.wait_for_text("#second-status", "second denied")
    assert ann.text("#unrest-note") == "desk 7: 9"
    ann.click("#end")
    ann.wait_for_text("#second-status", "second subscribed")
    for tab in (ann, bob):
        tab.wait_for_text("#unrest-note", "desk 8: 4")
        tab.wait_for_text("#twice", "8")


def test_8_rooms_a_room_that_is_denied_leaves_the_place_to_another(people):
    ann, bob = people("Ann", 9), people("Bob", 8, 1)
    ann.wait_for_text("#status", "desk/9 denied")
    ann.click("#add")
    ann.wait_for_text("#second-status", "second subscribed")
    bob.wait_for_text("#status", "desk/8 subscribed")
    ann.run_js(SET, "unrest", 3)
    bob.wait_for_text("#unrest-note", "desk 8: 3")
    ann.click("#to-out")
    ann.wait_for_text("#unrest-note", "nothing")


def test_8_rooms_a_component_that_comes_later_begins_with_the_value_of_the_room(people):
    ann, bob, eve = people("Ann", 7), people("Bob", 7, 1), people("Eve", 8)
    for tab in (ann, bob, eve):
        tab.wait_for_text("#status", re.compile("subscribed"))
    ann.click("#later")
    # The first run is one for each room.
    ann.wait_for_text("#word-note", "desk 7 says nothing yet")
    ann.type("#word", "hello", clear=True)
    ann.wait_for_text("#word-note", "desk 7 says hello")
    bob.click("#later")
    bob.wait_for_text("#word-note", "desk 7 says hello")
    bob.wait_for(lambda: value(bob, "word") == "hello", "the word of the room")
    eve.click("#later")
    eve.wait_for_text("#word-note", "desk 8 says nothing yet")


LATE_FRAME = """
const [room, value] = arguments;
const u = [['unrest', {value}], ['unrest-note', {children: 'late'}]];
const frame = {t: 'snapshot', c: `shared:${room}`, n: 1e6, u};
const push = {t: 'props', c: `room:${room}`, n: 1e6, u: [['notice', {children: 'late'}]]};
sockets.forEach((each) => each.onmessage({data: JSON.stringify([frame, push])}));
"""
KEEP_SOCKETS = """
window.sockets = [];
const { WebSocket } = window;
window.WebSocket = function (...given) {
    const socket = new WebSocket(...given);
    sockets.push(socket);
    return socket;
};
"""


def test_8_rooms_late_frames_of_a_room_that_the_page_has_left_are_not_applied(people):
    ann = people("Ann", 8)
    ann.wait_for_text("#status", "desk/8 subscribed")
    ann.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": KEEP_SOCKETS})
    ann.reload()
    ann.wait_for_text("#status", "desk/8 subscribed")
    ann.run_js(SET, "unrest", 6)
    ann.wait_for_text("#unrest-note", "desk 8: 6")
    ann.run_js(LATE_FRAME, "desk/7", 1)
    assert (value(ann, "unrest"), ann.text("#unrest-note")) == (6, "desk 8: 6")
    ann.click("#to-out")
    ann.wait_for_text("#unrest-note", "nothing")
    ann.wait_for(lambda: value(ann, "unrest") == 2, "its own value")
    ann.run_js(LATE_FRAME, "desk/8", 1)
    assert (value(ann, "unrest"), ann.text("#unrest-note")) == (2, "nothing")
    assert ann.text("#notice") == "no notice"


def tell(worker, desk, component, text):
    with urlopen(f"{worker.url}/tell/{desk}/{component}/{text}") as response:
        assert response.read() == b"told"


def test_8_rooms_a_push_that_waits_for_its_component_goes_with_the_room(people, workers):
    ann, bob = people("Ann", 7), people("Bob", 7, 1)
    for tab in (ann, bob):
        tab.wait_for_text("#status", "desk/7 subscribed")
    tell(workers[0], 7, "kept", "of-7")
    tell(workers[0], 7, "notice", "done")
    for tab in (ann, bob):
        tab.wait_for_text("#notice", "done")
    bob.click("#later")
    bob.wait_for_text("#kept", "of-7")
    ann.click("#to-8")
    ann.wait_for_text("#status", "desk/8 subscribed")
    ann.click("#later")
    ann.wait_for_text("#word-note", re.compile("desk 8"))
    tell(workers[0], 8, "notice", "later")
    ann.wait_for_text("#notice", "later")
    assert ann.text("#kept") == "none"


def test_5_a_push_to_a_room_shows_on_its_pages_only(people, workers):
    ann, bob, eve = people("Ann", 7), people("Bob", 7, 1), people("Eve", 8, 1)
    for tab in (ann, bob, eve):
        tab.wait_for_text("#status", re.compile("subscribed"))
    tell(workers[0], 7, "notice", "lunch")
    tell(workers[1], 8, "notice", "dinner")
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
        flash_browser.expect_lost_connections()
        flash_browser.expect_console_errors("favicon.ico|502")
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
