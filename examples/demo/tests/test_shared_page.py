"""The page "Shared" as two of its visitors see it, on one worker and on two of a cluster."""

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import prices
import pytest
import rooms

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

DEMO = Path(__file__).parents[1]

SLIDER = "return dash_component_api.getLayout('unrest').props.value"
MOVE = "dash_clientside.set_props('unrest', {value: arguments[0]})"
POINTS = "return document.querySelector('.js-plotly-plot')?.data?.[0]?.x?.length || 0"
LAST = "return document.querySelector('.js-plotly-plot')?.data?.[0]?.x?.at(-1)"
IN_LOBBY = ".room-lobby .visitors li"


@pytest.fixture(scope="module")
def demo():
    """The demo itself; it fills its database first where nobody has started it before."""
    with AppProcess(DEMO / "app.py", env={"FLASH_BROKER_URL": "memory://"}) as process:
        yield process


@pytest.fixture
def tabs(flash_browser, demo):
    """Two users in the lobby, and nobody else."""
    flash_browser.timeout = 60
    flash_browser.visit(demo, "/shared")
    other = flash_browser.new_user(f"{demo.url}/shared")
    both = [flash_browser, other]
    for tab in both:
        tab.find("#wave:not([disabled])")
        # Those of an earlier test are there for a few seconds more.
        tab.wait_for(lambda tab=tab: len(tab.find_all(IN_LOBBY)) == 2, "two in the lobby")
    return both


def test_a_slider_moved_in_one_browser_moves_in_the_other(tabs):
    one, other = tabs
    for mover, watcher, value in ((one, other, 71), (other, one, 12)):
        mover.run_js(MOVE, value)
        watcher.wait_for(lambda tab=watcher, value=value: tab.run_js(SLIDER) == value)
        name = mover.text("#room-note").removeprefix("You are ").rstrip(".")
        for tab in tabs:
            tab.wait_for_text("#unrest-note", f"{value} of 100, set by {name}")


def test_what_is_typed_in_one_browser_is_the_headline_in_both(tabs):
    one, other = tabs
    one.type("#headline-text", "<b>Rates hold</b>", clear=True)
    for tab in tabs:
        tab.wait_for_text("#headline", "<b>Rates hold</b>")
        assert tab.find("#headline-text").get_attribute("value") == "<b>Rates hold</b>"
    late = one.new_tab("/shared")
    late.wait_for_text("#headline", "<b>Rates hold</b>")
    late.close()
    other.type("#headline-text", "Markets open calm", clear=True)
    one.wait_for_text("#headline", "Markets open calm")


def test_the_tape_grows_by_itself(flash_browser, demo):
    flash_browser.timeout = 60
    flash_browser.visit(demo, "/shared")
    flash_browser.wait_for(lambda: flash_browser.run_js(POINTS) > 2)
    last = flash_browser.run_js(LAST)
    flash_browser.wait_for(lambda: flash_browser.run_js(LAST) != last, "another price")
    assert flash_browser.run_js(POINTS) <= prices.KEPT
    flash_browser.wait_for_text("#tape-price", re.compile(r"^\d+\.\d\d$"))


def test_rooms_show_who_is_there(tabs):
    one, other = tabs
    names = [tab.text("#room-note").removeprefix("You are ").rstrip(".") for tab in tabs]
    for tab in tabs:
        assert {each.text.splitlines()[-1] for each in tab.find_all(IN_LOBBY)} == set(names)
    other.click("#room label:nth-of-type(3)")
    for tab in tabs:
        tab.wait_for_text(".room-desk .visitors", re.compile(names[1]))
        tab.wait_for(lambda tab=tab: len(tab.find_all(IN_LOBBY)) == 1, "one in the lobby")
    # A wave is seen in its room, and in no other.
    other.click("#wave")
    other.wait_for_text("#room-said", re.compile(f"^Desk: {names[1]} waves"))
    one.click("#wave")
    one.wait_for_text("#room-said", re.compile(f"^Lobby: {names[0]} waves"))
    assert other.text("#room-said").startswith("Desk")
    other.close()
    one.wait_for_text(".room-desk", re.compile(r"Nobody is here\."))


def test_a_closed_room_lets_nobody_in(tabs):
    one, _ = tabs
    one.click("#room label:nth-of-type(4)")
    one.wait_for_text("#room-note", re.compile(r"^The Board lets nobody in\."))
    assert one.find("#wave[disabled]")
    assert not one.find_all(".room-board .visitors li")


@pytest.fixture(scope="module")
def cluster():
    """What ``make demo-cluster`` starts, and what it has said."""
    process = subprocess.Popen(
        [sys.executable, "cluster.py"], cwd=DEMO, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                break
        yield process, "".join(said)
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def test_a_cluster_shares_across_its_workers_and_leaves_no_process(flash_browser, cluster):
    process, said = cluster
    flash_browser.timeout = 60
    urls = re.findall(r"http://\S+/shared", said)
    pids = [int(pid) for pid in re.findall(r"process (\d+)", said)]
    assert (len(set(urls)), len(set(pids))) == (3, 4), said
    assert all(is_running(pid) for pid in pids)

    flash_browser.open(urls[0])
    other = flash_browser.new_user(urls[1])
    tabs = [flash_browser, other]
    for tab in tabs:
        tab.find("#wave:not([disabled])")
        tab.wait_for(lambda tab=tab: len(tab.find_all(IN_LOBBY)) == 2, "both in the lobby")
        tab.wait_for(lambda tab=tab: tab.run_js(POINTS) > 2)
    assert tabs[0].text("#worker") != tabs[1].text("#worker")
    # One worker draws for both.
    assert tabs[0].text("#tape-by") == tabs[1].text("#tape-by")
    flash_browser.run_js(MOVE, 88)
    other.wait_for(lambda: other.run_js(SLIDER) == 88)

    flash_browser.expect_console_errors()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert not [pid for pid in pids if is_running(pid)]


def test_a_cluster_without_redis_says_what_is_missing():
    done = subprocess.run(
        [sys.executable, "cluster.py"],
        cwd=DEMO,
        env={**os.environ, "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "redis-server is not installed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_price_stays_on_the_tape_however_wild():
    chance, price = random.Random(1), prices.FIRST
    for _ in range(5000):
        price = prices.step(price, 100, chance)
        assert 20 < price < 500


def test_a_tape_keeps_the_last_prices_only():
    tape = prices.Tape(keep=2)
    assert (tape.last, tape.growth) == (prices.FIRST, 0)
    for value in (80.0, 100.0, 110.0):
        tape.note(prices.Price("", value, 1))
    assert [price.value for price in tape.recent] == [100, 110]
    assert tape.growth == pytest.approx(0.1)


def test_a_visitor_has_the_same_name_wherever_it_is_asked_for():
    assert rooms.visitor("one page") == rooms.visitor("one page")
    assert len({rooms.visitor(str(page)).name for page in range(50)}) > 20


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
