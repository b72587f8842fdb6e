"""Two people at one control: what each types stays whole, and what each picks counts."""

import re
from pathlib import Path

import pytest
from redis_servers import RedisServer
from workers import two_workers

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "shared_hands.py"
SET = "dash_clientside.set_props(arguments[0], {value: arguments[1]})"
CURSOR = "const e = document.activeElement; return [e.id, e.selectionStart, e.selectionEnd]"


@pytest.fixture(scope="module")
def hold(tmp_path_factory):
    """The file that keeps what is picked from the other page."""
    return tmp_path_factory.mktemp("hold") / "hold"


@pytest.fixture(scope="module")
def workers(hold, tmp_path_factory):
    """Two workers on two ports, which know of each other through Redis only."""
    with (
        RedisServer(tmp_path_factory.mktemp("redis")) as redis,
        two_workers(APP, FLASH_BROKER_URL=redis.url, HOLD=str(hold)) as both,
    ):
        yield both


@pytest.fixture
def tabs(flash_browser, workers):
    """Two users, each with the page of another worker."""
    flash_browser.visit(workers[0])
    other = flash_browser.new_user()
    other.run_js("window.location = arguments[0]", workers[1].url)
    for tab in (flash_browser, other):
        tab.wait_for_text("#titled", re.compile("title "))
        tab.wait_for_text("#picked", re.compile("."))
        tab.wait_for_text("#ranged", re.compile("."))
    return flash_browser, other


def value_of(tab, name):
    return tab.run_js("return document.getElementById(arguments[0]).value", name)


def test_11_19_picks_of_two_hands_at_once_both_count(tabs, hold):
    here, there = tabs
    hold.touch()
    here.run_js(SET, "picks", ["a", "b"])
    there.run_js(SET, "picks", ["a", "c"])
    hold.unlink()
    for tab in tabs:
        tab.wait_for(lambda t=tab: sorted(t.text("#picked").split()) == ["a", "b", "c"], "both")
    shown = "return dash_component_api.getLayout('picks').props.value"
    here.wait_for(lambda: here.run_js(shown) == there.run_js(shown), "the same on both pages")
    # One takes away what the other has picked, while that one picks another.
    hold.touch()
    here.run_js(SET, "picks", ["b", "c"])
    there.run_js(SET, "picks", [*there.run_js(shown), "d"])
    hold.unlink()
    for tab in tabs:
        tab.wait_for(lambda t=tab: sorted(t.text("#picked").split()) == ["b", "c", "d"], "both")
    here.run_js(SET, "picks", [])
    there.wait_for_text("#picked", "nothing")


def test_11_19_of_a_range_the_later_change_counts_as_a_whole(tabs, hold):
    here, there = tabs
    hold.touch()
    here.run_js(SET, "range", [3, 8])
    there.run_js(SET, "range", [2, 9])
    hold.unlink()
    for tab in tabs:
        tab.wait_for_text("#ranged", "2 9")


@pytest.mark.parametrize("name", ["title", "notes"])
def test_11_19_a_text_is_not_replaced_under_the_hand_that_types(tabs, name):
    here, there = tabs
    said = {"title": ("#titled", "title"), "notes": ("#noted", "notes")}[name]
    box = here.find(f"#{name}")
    before = value_of(here, name)
    # For the page hardly any time passes between two letters, however busy the machine is.
    here.run_js(
        "window.clock = performance.now; performance.now = () => clock.call(performance) / 50"
    )
    letters = "what one hand types"
    for at, letter in enumerate(letters):
        box.send_keys(letter)
        there.run_js(SET, name, f"other {at}")
        assert value_of(here, name) == before + letters[: at + 1]
    box.send_keys("!")
    for tab in tabs:
        tab.wait_for_text(said[0], f"{said[1]} {before}{letters}!")
        tab.wait_for(lambda t=tab: value_of(t, name) == f"{before}{letters}!", "the text")
    # After a pause the other's text is shown.
    here.run_js("performance.now = clock")
    there.run_js(SET, name, "the other's")
    here.wait_for(lambda: value_of(here, name) == "the other's", "the other's text")


def test_11_19_the_cursor_stays_where_it_is_when_the_text_changes(tabs):
    here, there = tabs
    there.run_js(SET, "title", "hello")
    here.wait_for(lambda: value_of(here, "title") == "hello", "the text")
    here.click("#title")
    here.run_js("document.activeElement.setSelectionRange(2, 4)")
    there.run_js(SET, "title", "hello world")
    here.wait_for(lambda: value_of(here, "title") == "hello world", "the other's text")
    here.wait_for(lambda: here.run_js(CURSOR) == ["title", 2, 4], "the cursor")
    there.run_js(SET, "title", "oh, hello world")
    here.wait_for(lambda: value_of(here, "title") == "oh, hello world", "the other's text")
    here.wait_for(lambda: here.run_js(CURSOR) == ["title", 6, 8], "the cursor before the same text")


def test_11_19_a_text_that_is_not_sent_yet_is_kept_as_long_as_the_field_has_the_focus(tabs):
    here, there = tabs
    box = here.find("#late")
    box.send_keys("not yet")
    there.run_js(SET, "late", "the other's")
    here.wait_for_text("#lately", "late the other's")
    # Longer than a pause in typing.
    here.run_js("window.paused = false; setTimeout(() => (window.paused = true), 1600)")
    here.wait_for(lambda: here.run_js("return paused"), "a pause")
    assert value_of(here, "late") == "not yet"
    here.run_js("document.activeElement.blur()")
    for tab in tabs:
        tab.wait_for_text("#lately", "late not yet")
        tab.wait_for(lambda t=tab: value_of(t, "late") == "not yet", "the later text")
