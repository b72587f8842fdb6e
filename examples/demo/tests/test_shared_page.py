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
from selenium.webdriver import Keys

pytest_plugins = ["flash.testing.plugin"]

DEMO = Path(__file__).parents[1]

SLIDER = "#unrest [role=slider]"
TIMES = "return document.querySelector('.js-plotly-plot')?.data?.[0]?.x || []"
IN_LOBBY = ".room-lobby .visitors li"


@pytest.fixture
def tabs(flash_browser, demo):
    """Two users, let in to the lobby."""
    flash_browser.timeout = 60
    flash_browser.visit(demo, "/shared")
    other = flash_browser.new_user(f"{demo.url}/shared")
    both = [flash_browser, other]
    for tab in both:
        tab.find("#wave:not([disabled])")
    return both


def test_what_is_set_in_one_browser_is_shown_in_both(tabs):
    one, other = tabs
    names = [name_of(tab) for tab in tabs]
    # By keyboard: a slider that is heard has a name.
    slider = one.find(SLIDER)
    slider.send_keys(Keys.END)
    assert one.find(f"#{slider.get_attribute('aria-labelledby')}").text == "Unrest of the price"
    for tab in tabs:
        tab.wait_for(lambda tab=tab: position(tab) == 100, "the slider to move")
        tab.wait_for_text("#unrest-note", f"100 of 100, set by {names[0]}")
    other.find(SLIDER).send_keys(Keys.HOME)
    for tab in tabs:
        tab.wait_for(lambda tab=tab: position(tab) == 0, "the slider to move back")
        tab.wait_for_text("#unrest-note", f"0 of 100, set by {names[1]}")

    one.type("#headline-text", "<b>Rates hold</b>", clear=True)
    box = "return document.querySelector('#headline-text').value"
    for tab in tabs:
        tab.wait_for_text("#headline", "<b>Rates hold</b>")
        tab.wait_for(lambda tab=tab: tab.run_js(box) == "<b>Rates hold</b>", "the text typed")
    late = one.new_tab("/shared")
    late.wait_for_text("#headline", "<b>Rates hold</b>")
    late.close()
    other.type("#headline-text", "Markets open calm", clear=True)
    one.wait_for_text("#headline", "Markets open calm")


def test_the_tape_grows_by_itself_and_shows_each_price_once(flash_browser, demo):
    flash_browser.timeout = 60
    flash_browser.visit(demo, "/shared")
    flash_browser.wait_for(lambda: flash_browser.run_js(TIMES), "prices")
    last = flash_browser.run_js(TIMES)[-1]
    flash_browser.wait_for(lambda: flash_browser.run_js(TIMES)[-1] > last, "another price")
    times = flash_browser.run_js(TIMES)
    assert times == sorted(set(times))
    assert len(times) <= prices.KEPT
    flash_browser.wait_for_text("#tape-price", re.compile(r"^\d+\.\d\d$"))


def test_rooms_show_who_is_there_and_the_closed_one_lets_nobody_in(tabs):
    one, other = tabs
    names = [name_of(tab) for tab in tabs]
    for tab in tabs:
        # Those of an earlier test are there for a few seconds more.
        tab.wait_for(lambda tab=tab: in_lobby(tab) == sorted(names), "the two in the lobby")
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

    one.click("#room label:nth-of-type(4)")
    one.wait_for_text("#room-note", re.compile(r"^The Board lets nobody in\."))
    assert one.find("#wave[disabled]")
    one.wait_for(lambda: not one.find_all(IN_LOBBY), "nobody in the lobby")
    assert not one.find_all(".room-board .visitors li")
    other.close()
    one.wait_for_text(".room-desk", re.compile(r"Nobody is here\."))


@pytest.fixture(scope="module")
def cluster(demo_settings):
    """What ``make demo-cluster`` starts, and what it has said."""
    process = subprocess.Popen(
        [sys.executable, "cluster.py"],
        cwd=DEMO,
        env={**os.environ, **demo_settings},
        stdout=subprocess.PIPE,
        text=True,
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
    urls = [f"{url}/shared" for url in re.findall(r"http://[\d.:]+", said)]
    pids = [int(pid) for pid in re.findall(r"process (\d+)", said)]
    assert (len(set(urls)), len(set(pids))) == (3, 4), said
    assert all(is_running(pid) for pid in pids)

    flash_browser.open(urls[0])
    other = flash_browser.new_user(urls[1])
    tabs = [flash_browser, other]
    for tab in tabs:
        tab.find("#wave:not([disabled])")
        tab.wait_for(lambda tab=tab: len(tab.find_all(IN_LOBBY)) == 2, "both in the lobby")
        tab.wait_for(lambda tab=tab: tab.run_js(TIMES), "prices")
    assert tabs[0].text("#worker") != tabs[1].text("#worker")
    # One worker draws for both.
    tabs[0].wait_for(
        lambda: tabs[0].text("#tape-by") == tabs[1].text("#tape-by") != "", "the same worker"
    )
    flash_browser.find(SLIDER).send_keys(Keys.END)
    other.wait_for(lambda: position(other) == 100, "the slider to move")

    flash_browser.expect_console_errors()
    other.close()
    addresses = dict(zip(pids[1:], urls, strict=True))
    pids.append(a_killed_worker_is_replaced(flash_browser, addresses, process.stdout))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert not [pid for pid in pids if is_running(pid)]


def a_killed_worker_is_replaced(tab, addresses, output):
    """The button of the first page ends the worker that sends the tape; the tape goes on.

    Returns the process id of the worker that is started in its place.
    """
    first = next(iter(addresses.values())).replace("/shared", "/")
    tab.open(first)
    sender = "return Number(document.getElementById('pulse-by')?.textContent) || 0"
    tab.wait_for(lambda: tab.run_js(sender), "the tape")
    by = tab.run_js(sender)
    # From a page of another worker, which goes on without a break.
    tab.open(next(url for pid, url in addresses.items() if pid != by).replace("/shared", "/"))
    tab.wait_for(lambda: tab.run_js(sender) == by, "the tape")
    tab.click("#kill")
    tab.wait_for(lambda: tab.run_js(sender) not in (0, by), "another worker to send the tape")
    assert tab.text("#pulse-missed") == "0"
    tab.wait_for(lambda: not is_running(by), "the process to end")
    # And it is started again where it was.
    assert addresses[by].removesuffix("/shared") in output.readline()
    (started,) = re.findall(r"runs again, as process (\d+)", output.readline())
    tab.open(addresses[by].replace("/shared", "/"))
    tab.wait_for(lambda: tab.run_js(sender), "the tape of the new worker")
    return int(started)


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
    for at, value in enumerate((80.0, 100.0, 110.0)):
        tape.note(prices.Price(at, value, 1))
    # Heard once more.
    tape.note(prices.Price(1, 100.0, 1))
    assert [price.value for price in tape.recent] == [100, 110]
    assert tape.growth == pytest.approx(0.1)


def test_a_visitor_has_the_same_name_wherever_it_is_asked_for():
    assert rooms.visitor("one page") == rooms.visitor("one page")
    assert len({rooms.visitor(str(page)).name for page in range(50)}) > 20


def in_lobby(tab):
    return sorted(each.text.splitlines()[-1] for each in tab.find_all(IN_LOBBY) if each.text)


def name_of(tab):
    tab.wait_for_text("#room-note", re.compile("^You are "))
    return tab.text("#room-note").removeprefix("You are ").rstrip(".")


def position(tab):
    """Where the slider stands."""
    return int(tab.find(SLIDER).get_attribute("aria-valuenow"))


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
