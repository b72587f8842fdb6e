"""Tables in real pages: a grid of 10,000 rows under 5,000 changes a second, and graphs."""

import json
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from urllib.request import Request, urlopen

import pytest
from redis_servers import RedisServer

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "tables" / "app.py"
SCREENSHOTS = None

# What a grid has, in its order.
GRID = """
const rows = [];
try {
    dash_ag_grid.getApi(arguments[0]).forEachLeafNode((node) => rows.push(Object.values(node.data)));
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

FIGURE = """
const figure = dash_component_api.getLayout('graph').props.figure;
const drawn = document.querySelector('#graph .js-plotly-plot').data;
return JSON.stringify(drawn.map((each) => [each.name, Array.from(each.x), Array.from(each.y)]));
"""


def post(worker, path):
    with urlopen(Request(f"{worker.url}{path}", method="POST"), timeout=60) as answer:
        return answer.read()


def rows_of(worker):
    with urlopen(f"{worker.url}/rows", timeout=60) as answer:
        return json.loads(answer.read())["rows"]


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(tmp_path_factory.mktemp("redis")))
        yield [
            stack.enter_context(AppProcess(APP, env={"FLASH_BROKER_URL": server.url}))
            for _ in range(2)
        ]


def shows(tab, worker, grid="grid"):
    """Wait until a grid shows exactly the rows of the table, in their order."""

    def equal():
        return json.loads(tab.run_js(GRID, grid)) == rows_of(worker)

    tab.wait_for(equal, "the grid to have the rows of the table")


def test_9_a_grid_under_5000_changes_a_second_ends_equal_on_every_page(
    flash_browser, workers, record_property
):
    post(workers[0], "/fill")
    flash_browser.visit(workers[0])
    other = flash_browser.new_user(workers[1].url)
    tabs = [flash_browser, other]
    for tab in tabs:
        tab.wait_for_text("#status", "subscribed")
        shows(tab, workers[0])
    flash_browser.run_js(COUNT)
    thread = Thread(target=post, args=(workers[0], "/churn/5000/4.0"))
    thread.start()
    late = flash_browser.new_user(workers[1].url)
    thread.join()
    flash_browser.run_js("window.counting = false")
    gaps = flash_browser.run_js("return window.gaps")
    record_property("frames_per_second", 1000 * len(gaps) / sum(gaps))
    print("frames per second:", 1000 * len(gaps) / sum(gaps), "longest:", max(gaps))
    for tab in (*tabs, late):
        shows(tab, workers[0])
    assert rows_of(workers[0]) == rows_of(workers[1])
