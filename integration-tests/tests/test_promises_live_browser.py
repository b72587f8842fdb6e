"""What the live link promises, as only a browser can show it: B4, B9, B10, B16."""

import contextlib
import json
import re
import socket
import threading
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "live_promises" / "app.py"

# While a server is away, the browser says so itself.


@pytest.fixture(scope="module")
def server():
    with AppProcess(APP, env={"RESUME_WINDOW": "0.5"}) as process:
        yield process


class Wall:
    """A proxy that lets no WebSocket through, as those of some companies do."""

    def __init__(self, port):
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://{}:{}".format(*self._listener.getsockname())
        self.turned_away = 0
        self._open = []
        self._threads = []
        self._run(self._accept)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for each in (self._listener, *self._open):
            shut(each)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _run(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self):
        while True:
            try:
                browser, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(browser)
            self._run(self._pass_on, browser)

    def _pass_on(self, browser):
        with browser, socket.create_connection(("127.0.0.1", self._to)) as server:
            back = self._run(self._copy, server, browser)
            self._copy(browser, server, refuse=b"upgrade: websocket")
            back.join()

    def _copy(self, source, target, refuse=None):
        try:
            while data := source.recv(65536):
                if refuse is not None and refuse in data.lower():
                    self.turned_away += 1
                    break
                target.sendall(data)
        except OSError:
            # One of them has gone; the other goes, too.
            pass
        shut(source)
        shut(target)


def shut(end):
    """Wake whoever waits for this socket."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def post(server, path):
    urlopen(Request(server.url + path, method="POST")).close()


def figures(server):
    with urlopen(f"{server.url}/figures") as answer:
        return json.load(answer)


def statistics(page):
    return page.run_js("return flash.statistics()")


def wait_for_open(page):
    # A page waits up to 20 s between two tries.
    page.wait_for(lambda: page.text("#status") == "open", "an open link", timeout=90)


def streams(page):
    return page.run_js(
        "return [...document.querySelectorAll('.stream')].map(each => Number(each.innerText))"
    )


def start_streams(page):
    for number in range(20):
        # One by one: of clicks in the same moment Dash makes one call.
        page.run_js(f"document.querySelectorAll('#starts button')[{number}].click()")
        page.wait_for(
            lambda count=number + 1: statistics(page)["runningCalls"] == count, "another stream"
        )
    page.wait_for(lambda: min(streams(page)) > 0, "twenty streams")


# -- B4: what builds on the value before is never left out


def test_b4_no_patch_and_no_points_are_left_out_of_a_burst(flash_browser, server):
    page = flash_browser
    page.visit(server)
    wait_for_open(page)
    page.find("#graph .js-plotly-plot")
    post(server, "/add/20")
    page.wait_for_text("#list", " ".join(map(str, range(20))))
    points = "return document.querySelector('#graph .js-plotly-plot').data[0].x"
    page.wait_for(lambda: len(page.run_js(points)) >= 20, "the points")
    assert page.run_js(points) == list(range(20))


# -- B16: any number of streams on one page


@pytest.mark.parametrize("walled", [False, True], ids=["websocket", "sse"])
def test_b16_20_endless_streams_on_a_page_that_still_answers(flash_browser, server, walled):
    page = flash_browser
    page.expect_lost_connections()
    page.expect_console_errors("the server did not respond")
    page.visit(server, None)
    before = figures(server)["ended"]
    with Wall(server.port) as wall:
        page.open(wall.url if walled else "/")
        wait_for_open(page)
        assert statistics(page)["transport"] == ("sse" if walled else "websocket")
        assert (wall.turned_away > 1) is walled
        start_streams(page)
        counted = streams(page)
        for number in (1, 2, 3):
            page.click("#ask")
            page.wait_for_text("#answer", f"answer {number}")
        page.wait_for(
            lambda: all(now > then for now, then in zip(streams(page), counted, strict=True)),
            "every stream to go on",
        )
        page.wait_for_text("#running", "running")
        page.click("#stop")
        page.wait_for_text("#running", "reset")
        page.wait_for(lambda: statistics(page)["runningCalls"] == 0, "the end of all calls")
        page.wait_for(lambda: figures(server)["ended"] == before + 20, "the generators' end")


def test_b16_the_streams_of_a_page_that_was_closed_end_and_leave_no_task(flash_browser, server):
    page = flash_browser
    page.visit(server)
    page.wait_for(lambda: figures(server)["clients"] == 1, "the pages before to be gone")
    idle = figures(server)
    other = page.new_tab("/")
    wait_for_open(other)
    start_streams(other)
    assert len(figures(server)["tasks"]) >= len(idle["tasks"]) + 20
    other.close()
    page.wait_for(lambda: figures(server)["ended"] == idle["ended"] + 20, "the generators' end")
    page.wait_for(lambda: figures(server)["clients"] == 1, "the page to be forgotten")
    page.close()
    page.wait_for(lambda: figures(server)["clients"] == 0, "all pages to be forgotten")
    page.wait_for(lambda: len(figures(server)["tasks"]) <= 1, "but the task that waits for the end")


# -- B9: pages come back


def test_b9_where_sockets_are_blocked_pages_work_by_sse(flash_browser, server):
    page = flash_browser
    page.expect_lost_connections()
    page.expect_console_errors("the server did not respond")
    page.visit(server, None)
    with Wall(server.port) as wall:
        page.open(wall.url)
        wait_for_open(page)
        assert statistics(page)["transport"] == "sse"
        page.run_js("window.got = []; flash.on('n', each => got.push(each))")
        post(server, "/say/0/100")
        page.wait_for(lambda: len(page.run_js("return got")) == 100, "a hundred events")
        # Each channel keeps its order; odd numbers go to a group.
        numbers = page.run_js("return got")
        assert sorted(numbers) == list(range(100))
        assert [n for n in numbers if n % 2] == list(range(1, 100, 2))
        post(server, "/show/set")
        page.wait_for_text("#shown", "set")


def test_b9_open_pages_recover_by_themselves_from_a_server_that_was_killed(flash_browser):
    page = flash_browser
    page.expect_lost_connections()
    page.expect_console_errors("the server did not respond")
    process = page.serve(APP)
    pages = [page, page.new_tab("/"), page.new_user("/")]
    for each in pages:
        wait_for_open(each)
    page.run_js("document.querySelector('#starts button').click()")
    page.wait_for_text("#running", "running")
    process.kill()
    for each in pages:
        each.wait_for_text("#status", "reconnecting")
    # Calls wait for a server.
    process.start()
    for each in pages:
        wait_for_open(each)
        assert statistics(each)["recovered"] is False
    # The call that the server has lost has ended, and reset what it said to reset.
    page.wait_for_text("#running", "reset")
    assert statistics(page)["runningCalls"] == 0
    post(process, "/show/again")
    for each in pages:
        each.wait_for_text("#shown", "again")
        each.run_js("window.got = []; flash.on('n', data => got.push(data))")
    post(process, "/say/0/10")
    for each in pages:
        # In their groups, too.
        each.wait_for(lambda each=each: len(each.run_js("return got")) == 10, "ten events")


def test_b9_a_page_that_was_away_is_told_what_its_group_was_told(flash_browser):
    """The group was joined after the welcome, by a frame of its own."""
    page = flash_browser
    page.expect_lost_connections()
    page.expect_console_errors("the server did not respond")
    process = page.serve(APP)
    wait_for_open(page)
    page.run_js("window.got = []; flash.on('n', data => got.push(data))")
    post(process, "/say/0/10")
    page.wait_for(lambda: len(page.run_js("return got")) == 10, "ten events")
    page.run_js(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "dispatchEvent(new Event('pagehide'))"
    )
    page.wait_for(lambda: figures(process)["connected"] == 0, "the page to be away")
    post(process, "/say/10/10")
    page.run_js("delete document.hidden; dispatchEvent(new Event('pageshow'))")
    page.wait_for(lambda: len(page.run_js("return got")) == 20, "what was missed")
    assert sorted(page.run_js("return got")) == list(range(20))
    assert statistics(page)["recovered"] is True


# -- B10: deploys nobody notices


def test_b10_pages_come_through_drained_restarts_by_themselves_and_repeat_nothing(
    flash_browser, tmp_path
):
    page = flash_browser
    page.expect_lost_connections()
    page.expect_console_errors("the server did not respond")
    notes = tmp_path / "notes"
    process = page.serve(APP, env={"NOTES": str(notes)})
    pages = [page, page.new_tab("/"), page.new_user("/")]
    for number, each in enumerate(pages):
        wait_for_open(each)
        each.run_js(
            """
            window.states = [];
            flash.link.onStatus(state => states.push(state.status));
            window.sent = 0;
            window.sending = setInterval(
                who => flash.send('note', [who, window.sent++]), 50, arguments[0]
            );
            """,
            number,
        )
    page.wait_for(lambda: notes.exists() and len(notes.read_text()) > 200, "the first notes")
    for _ in range(2):
        process.restart()
        for each in pages:
            wait_for_open(each)
    for number, each in enumerate(pages):
        sent = each.run_js("clearInterval(sending); return sent")
        last = json.dumps([number, sent - 1])
        each.wait_for(lambda last=last: last in notes.read_text().splitlines(), "the last note")
        noted = [json.loads(line) for line in notes.read_text().splitlines()]
        counts = [count for who, count in noted if who == number]
        assert counts == sorted(set(counts))
        assert "offline" not in each.run_js("return states")
    # The servers ended by themselves, in time.
    assert "Traceback" not in process.output
    assert not re.search("do not finish", process.output)
    post(process, "/show/still-here")
    for each in pages:
        each.wait_for_text("#shown", "still-here")
