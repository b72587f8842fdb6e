"""Text streams on two workers around a Redis, with a page that changes its worker in a text."""

from contextlib import contextmanager

import pytest
from redis_servers import RedisServer
from tcp_proxy import Proxy
from workers import all_running

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

# The words of a text come when the test lets them: their number is in a file. What the generators
# of a worker do is in another.
APP = """
import asyncio
import os
from pathlib import Path

from flash import Flash, Input, Output, html, live
from flash_ws import LinkStatus

HERE = Path(__file__).parent
WORKER = os.environ["WORKER"]
app = Flash(__name__)
app.server.secret_key = "the same everywhere"
app.layout = html.Div(
    [
        html.Button("ask", id="ask"),
        html.P(id="answer"),
        html.P(id="again"),
        LinkStatus(id="link"),
        html.P(id="status"),
    ]
)
app.clientside_callback("s => s", Output("status", "children"), Input("link", "status"))


def note(text):
    with (HERE / "journal").open("a") as journal:
        journal.write(f"{WORKER} {text}\\n")


async def words(name):
    note(f"begins {name}")
    try:
        for number in range(10):
            while int((HERE / "words").read_text()) <= number:
                await asyncio.sleep(0.02)
            yield f"{WORKER}{number} "
    finally:
        note(f"ends {name}")


@live.text_stream(
    Output("answer", "children"),
    Input("ask", "n_clicks"),
    running=[(Output("ask", "disabled"), True, False)],
)
async def answer(clicks):
    async for word in words("answer"):
        yield word


@live.text_stream(Output("again", "children"), Input("link", "status"))
async def again(status):
    async for word in words("again"):
        yield word
"""

WHOLE = {worker: " ".join(f"{worker}{number}" for number in range(10)) for worker in "ab"}


class World:
    """Two workers, a proxy before them, and what a test lets them say."""

    def __init__(self, folder, proxy, workers):
        self._folder = folder
        self.proxy = proxy
        self.workers = workers

    def let(self, words):
        """Let the texts have so many words."""
        # In one step, since workers read it.
        (self._folder / "new").write_text(str(words))
        (self._folder / "new").rename(self._folder / "words")

    @property
    def journal(self):
        """What the generators have done, in order."""
        return (self._folder / "journal").read_text().splitlines()


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@contextmanager
def two_workers(folder, redis):
    (folder / "app.py").write_text(APP)
    (folder / "words").write_text("0")
    (folder / "journal").write_text("")
    env = {"FLASH_REDIS_URL": f"{redis.url}?prefix={folder.name}"}
    with all_running(
        *(AppProcess(folder / "app.py", env={**env, "WORKER": name}) for name in "ab")
    ) as both:
        proxy = Proxy([both[0].port])
        try:
            yield World(folder, proxy, dict(zip("ab", both, strict=True)))
        finally:
            proxy.close()


@pytest.fixture
def page(flash_browser, tmp_path, redis):
    """A page on the first worker, in the middle of its texts, and the world around it."""
    # Connections that the test breaks.
    flash_browser.expect_lost_connections()
    with two_workers(tmp_path, redis) as world:
        flash_browser.visit(world.workers["a"], None)
        flash_browser.open(world.proxy.url)
        flash_browser.wait_for_text("#status", "open")
        flash_browser.click("#ask")
        world.let(3)
        for each in ("#answer", "#again"):
            flash_browser.wait_for_text(each, "a0 a1 a2")
        yield flash_browser, world
        # The pages end before their server.
        flash_browser.open("about:blank")


def is_disabled(page):
    return page.run_js("return document.getElementById('ask').disabled")


def test_a_text_goes_on_without_a_hole_on_the_worker_that_it_runs_on(page):
    browser, world = page
    world.proxy.move_to(world.workers["a"].port)
    browser.wait_for(lambda: browser.run_js("return flash.statistics().connections") == 2)
    world.let(10)
    browser.wait_for_text("#answer", WHOLE["a"])
    browser.wait_for(lambda: not is_disabled(browser))
    # The generator was never called again.
    assert world.journal.count("a begins answer") == 1


def test_a_page_on_another_worker_ends_its_text_and_may_ask_again(page):
    browser, world = page
    assert is_disabled(browser)
    world.proxy.move_to(world.workers["b"].port)
    # Its generator is closed, and the page says that it does not run any more.
    browser.wait_for(lambda: "a ends answer" in world.journal)
    browser.wait_for(lambda: not is_disabled(browser))
    # What the page has stays, without holes or repeats.
    assert browser.text("#answer") == "a0 a1 a2"
    world.let(10)
    # A text that begins with the status of the link begins anew on the new worker.
    browser.wait_for_text("#again", WHOLE["b"])
    assert browser.text("#answer") == "a0 a1 a2"
    browser.click("#ask")
    browser.wait_for_text("#answer", WHOLE["b"])
    browser.wait_for(lambda: not is_disabled(browser))
    assert world.journal.count("a begins answer") == 1


def test_a_page_whose_worker_is_killed_in_a_text_may_ask_another_one_again(page):
    browser, world = page
    browser.expect_lost_connections()
    browser.expect_console_errors("50[0-9]")
    world.proxy.ports = [world.workers["b"].port]
    world.workers["a"].kill()
    browser.wait_for(lambda: not is_disabled(browser))
    assert browser.text("#answer") == "a0 a1 a2"
    world.let(10)
    browser.wait_for_text("#again", WHOLE["b"])
    browser.click("#ask")
    browser.wait_for_text("#answer", WHOLE["b"])
