"""Tables in real pages: a grid of 10,000 rows under 5,000 changes a second, and graphs."""

import asyncio
import json
import re
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from urllib.request import Request, urlopen

import pytest
from redis_servers import RedisServer
from table_pages import PageTable
from websockets.asyncio.client import connect
from workers import two_workers

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "tables" / "app.py"

# What a grid has, in its order.
GRID = """
const rows = [];
try {
    const api = dash_ag_grid.getApi(arguments[0]);
    api.forEachLeafNode((node) => rows.push(Object.values(node.data)));
} catch (_) {}
return JSON.stringify(rows);
"""

# Counts animation frames until `window.counting` is false.
COUNT = """
window.gaps = [];
window.counting = true;
let last = performance.now();
const count = (now) => {
    window.gaps.push(now - last);
    last = now;
    if (window.counting) requestAnimationFrame(count);
};
requestAnimationFrame(count);
"""

# The traces that plotly has drawn.
FIGURE = """
const drawn = document.querySelector('#graph .js-plotly-plot')?.data ?? [];
return drawn.map((each) => [each.name, Array.from(each.x), Array.from(each.y)]);
"""

HIDE = """
Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});
document.dispatchEvent(new Event('visibilitychange'));
"""

# Pages beside those in the browser.
OTHERS = 49


def post(worker, path):
    with urlopen(Request(f"{worker.url}{path}", method="POST"), timeout=60) as answer:
        return answer.read()


def rows_of(worker):
    with urlopen(f"{worker.url}/rows", timeout=60) as answer:
        return json.loads(answer.read())["rows"]


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    with (
        RedisServer(tmp_path_factory.mktemp("redis")) as server,
        two_workers(APP, FLASH_BROKER_URL=server.url) as both,
    ):
        yield both


def shows(tab, worker, grid="grid"):
    """Wait until a grid shows exactly the rows of the table, in their order."""

    def equal():
        return json.loads(tab.run_js(GRID, grid)) == rows_of(worker)

    tab.wait_for(equal, "the grid to have the rows of the table")


class Watchers:
    """Pages without a browser that show the table, each on one of the workers."""

    def __init__(self, workers, count):
        self.workers = workers
        with urlopen(f"{workers[0].url}/_dash-layout", timeout=60) as answer:
            # The page's own component has it.
            self.token = re.search(r'"token": ?"([^"]+)"', answer.read().decode())[1]
        self.tables = [PageTable() for _ in range(count)]
        self.stop = asyncio.Event()

    async def watch(self, number):
        worker, table = self.workers[number % len(self.workers)], self.tables[number]
        async with connect(f"{worker.url}/_flash/link".replace("http", "ws"), max_size=None) as it:
            await it.send(json.dumps([{"t": "hello", "v": 1, "page": None, "at": {}, "path": "/"}]))
            request = {"t": "table", "table": "orders", "token": self.token}
            await it.send(json.dumps([request]))
            async for message in it:
                for frame in json.loads(message):
                    if frame["t"] == "rows":
                        table.take(frame)

    async def run(self):
        tasks = [asyncio.ensure_future(self.watch(n)) for n in range(len(self.tables))]
        await self.stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    @contextmanager
    def watching(self):
        loop = asyncio.new_event_loop()
        thread = Thread(target=loop.run_until_complete, args=(self.run(),))
        thread.start()
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(self.stop.set)
            thread.join()
            loop.close()


def opened(flash_browser, workers):
    """Fill the table, and show it on a page of each worker."""
    post(workers[0], "/fill")
    flash_browser.visit(workers[0])
    tabs = [flash_browser, *(flash_browser.new_user(each.url) for each in workers[1:])]
    for tab in tabs:
        tab.wait_for_text("#status", "subscribed")
        shows(tab, workers[0])
    return tabs


def test_9_a_grid_of_10000_rows_under_5000_changes_a_second_ends_equal_on_50_pages(
    flash_browser, workers
):
    (tab, _) = opened(flash_browser, workers)
    with Watchers(workers, OTHERS).watching() as watchers:
        tab.wait_for(lambda: all(each.position for each in watchers.tables), "the other pages")
        tab.run_js(COUNT)
        changes = json.loads(post(workers[0], "/churn/5000/4.0"))["changes"]
        tab.run_js("window.counting = false")
        gaps = tab.run_js("return window.gaps")
        # Shown by `pytest -s`; speed is the concern of the benchmarks.
        print(
            f"{changes} changes; frames per second: {1000 * len(gaps) / sum(gaps):.1f}, "
            f"the longest frame: {max(gaps):.0f} ms"
        )
        shows(tab, workers[0])
        final = rows_of(workers[0])
        tab.wait_for(
            lambda: all(each.as_lists() == final for each in watchers.tables),
            "all pages to have the same rows",
        )
    assert rows_of(workers[1]) == final
    assert len(final) >= 9_900


def test_9_a_page_that_comes_late_and_one_of_another_worker_have_the_same_rows(
    flash_browser, workers
):
    tabs = opened(flash_browser, workers)
    churn = Thread(target=post, args=(workers[0], "/churn/3000/3.0"))
    churn.start()
    tabs.append(flash_browser.new_user(workers[1].url))
    churn.join()
    for tab in tabs:
        shows(tab, workers[0])
    texts = [tab.run_js(GRID, "grid") for tab in tabs]
    assert texts[0] == texts[1] == texts[2]


def test_a_grid_that_is_added_later_shows_the_rows_and_one_that_is_removed_is_forgotten(
    flash_browser, workers
):
    (tab, _) = opened(flash_browser, workers)
    tab.click("#toggle")
    shows(tab, workers[0], "second")
    tab.click("#toggle")
    tab.wait_for_no("#second")
    post(workers[0], "/churn/1000/0.5")
    shows(tab, workers[0])
    tab.click("#toggle")
    shows(tab, workers[0], "second")


def test_a_hidden_page_follows_more_slowly_and_is_equal(flash_browser, workers):
    (tab, _) = opened(flash_browser, workers)
    tab.run_js(HIDE, True)
    post(workers[0], "/churn/2000/1.0")
    shows(tab, workers[0])
    tab.run_js(HIDE, False)
    post(workers[0], "/churn/2000/0.5")
    shows(tab, workers[0])


def test_a_page_whose_connection_is_lost_gets_what_it_missed(flash_browser, workers):
    flash_browser.expect_lost_connections()
    tab, other = opened(flash_browser, workers)
    workers[0].kill()
    post(workers[1], "/churn/2000/1.0")
    workers[0].start()
    tab.wait_for_text("#status", "subscribed")
    for each in (tab, other):
        shows(each, workers[1])
    assert tab.run_js(GRID, "grid") == other.run_js(GRID, "grid")


def test_a_grid_whose_rows_have_no_ids_is_named_in_the_console(flash_browser, workers):
    flash_browser.expect_console_errors("the grid nameless has no getRowId, so rows of the table")
    opened(flash_browser, workers[:1])
    flash_browser.click("#nameless-too")
    flash_browser.wait_for(
        lambda: any("no getRowId" in each.message for each in flash_browser.console("SEVERE")),
        "the error",
    )


def expected(rows, most=100):
    """The traces of ticks."""
    traces = {"a": ([], []), "b": ([], [])}
    for _, t, p, name in rows:
        traces[name][0].append(t)
        traces[name][1].append(p)
    return [[name, *(values[-most:] for values in both)] for name, both in traces.items()]


def test_9_a_graph_shows_inserted_rows_by_extend_data_and_changed_ones_drawn_anew(
    flash_browser, workers
):
    flash_browser.visit(workers[0])
    other = flash_browser.new_user(workers[1].url)

    def drawn():
        with urlopen(f"{workers[0].url}/ticks", timeout=60) as answer:
            wanted = expected(json.loads(answer.read())["rows"])
        return all(tab.run_js(FIGURE) == wanted for tab in (flash_browser, other))

    for count in (10, 3, 300):
        post(workers[1], f"/ticks/{count}")
        flash_browser.wait_for(drawn, "both graphs to have the rows")
    post(workers[0], "/tick/300")
    flash_browser.wait_for(drawn, "both graphs to have the changed row")
    post(workers[0], "/ticks/5")
    flash_browser.wait_for(drawn, "both graphs to have the last rows")
