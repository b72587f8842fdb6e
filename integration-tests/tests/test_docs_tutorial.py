"""The tutorial: each of its steps runs, and its page shows what is in the files."""

import importlib.util
import re
import sys
from pathlib import Path

import dash
import pytest
from documents import DOCS, PATIENCE, connected, fetch
from redis_servers import RedisServer

from flash import Flash
from flash.testing import AppProcess, FlashClient

pytest_plugins = ["flash.testing.plugin"]

STEPS = Path(__file__).parents[2] / "examples" / "tutorial"
PAGE = (DOCS / "tutorial.md").read_text(encoding="utf-8")

TARGET = "return dash_component_api.getLayout('target').props.value"
DRAG = "dash_clientside.set_props('target', {value: arguments[0]})"


@pytest.fixture
def step(monkeypatch):
    """Import the app of a step, as `python stepN.py` finds its modules."""
    monkeypatch.syspath_prepend(STEPS)
    monkeypatch.delitem(sys.modules, "orders", raising=False)

    def load(number):
        spec = importlib.util.spec_from_file_location(f"step{number}", STEPS / f"step{number}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module.app

    return load


def test_the_page_shows_what_is_in_the_files():
    parts = re.split(r"^## (\d)\. .*$", PAGE, flags=re.MULTILINE)[1:]
    chapters = dict(zip(map(int, parts[::2]), parts[1::2], strict=True))
    assert list(chapters) == [1, 2, 3, 4, 5, 6, 7]
    for number, text in chapters.items():
        file = (STEPS / f"step{number}.py").read_text(encoding="utf-8")
        shown = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        assert shown, number
        assert all(code in file for code in shown), number
        assert f"../examples/tutorial/step{number}.py" in text


async def test_the_first_step_is_stock_dash(step):
    app = step(1)
    assert type(app) is dash.Dash
    answer = app.server.test_client().get("/_dash-layout")
    assert answer.status_code == 200
    assert "Orders" in answer.text


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6])
async def test_a_step_shows_the_totals_of_a_region(step, number):
    app = step(number)
    assert isinstance(app, Flash)
    async with FlashClient(app) as client:
        page = await client.layout("/")
        assert page.find("region")["value"] == "north"
        result = await client.call("totals.figure", {"region.value": "south"})
        assert len(result.value["data"][0]["y"]) == 6
        if number >= 4:
            result = await client.call("customers.children", {"region.value": "south"})
            assert len(result.value) == 50


def test_the_fifth_step_tells_every_page(flash_browser):
    flash_browser.timeout = PATIENCE
    flash_browser.serve(STEPS / "step5.py")
    connected(flash_browser)
    flash_browser.wait_for_text("#status", "open")
    flash_browser.wait_for_text("#last", re.compile(r"no\. \d+ from the \w+"))


def test_the_last_step_is_one_app_on_three_workers(flash_browser, tmp_path):
    flash_browser.timeout = PATIENCE
    # The server ends before the pages do.
    flash_browser.expect_lost_connections()
    with RedisServer(tmp_path) as redis:
        token = "sixteen letters and more"
        env = {"FLASH_REDIS_URL": redis.url, "SECRET_KEY": "tutorial", "METRICS_TOKEN": token}
        # Three imports at once take long on a busy machine.
        workers = ["--workers", "3"]
        with AppProcess(STEPS / "step7.py", env=env, arguments=workers, timeout=240) as served:
            flash_browser.visit(served)
            shows_one_app(flash_browser, served, token)


def shows_one_app(flash_browser, served, token):
    connected(flash_browser)
    other = connected(flash_browser.new_user("/"))
    flash_browser.run_js(DRAG, 420)
    other.wait_for(lambda: other.run_js(TARGET) == 420, "the slider of the other page")
    other.wait_for_text("#goal", "The goal of all of us: 420")
    for tab in (flash_browser, other):
        tab.wait_for_text("#last", re.compile(r"no\. \d+ from the \w+"))
    assert fetch(f"{served.url}/_flash/ready")[0] == 200
    status, text = fetch(f"{served.url}/_flash/metrics", authorization=f"Bearer {token}")
    assert status == 200
    assert "flash_live_pages" in text
