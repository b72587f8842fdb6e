"""Apps and frameworks that make their own `dash.Dash`, served by Flash with ``--install``."""

import importlib.util
import re

import pytest
from commands import APPS
from documents import fetch

pytest_plugins = ["flash.testing.plugin"]

FOLDER = APPS / "frameworks"


@pytest.mark.parametrize("arguments", [(), ("--workers", "2")], ids=["one", "workers"])
def test_an_app_that_is_not_touched_is_served_by_flash(flash_browser, arguments):
    flash_browser.serve(FOLDER / "untouched.py", arguments=("--install", *arguments))
    # Dash on Flask names its threads in another way.
    flash_browser.wait_for_text("#greeting", re.compile(r"Hello Alma from flash"))
    flash_browser.type("#name", "Ben", clear=True)
    flash_browser.wait_for_text("#greeting", re.compile(r"Hello Ben from flash"))


def test_its_server_can_be_named_as_well(flash_browser):
    flash_browser.serve(FOLDER / "untouched.py:server", arguments=("--install",))
    flash_browser.wait_for_text("#greeting", re.compile("Hello Alma"))


def test_a_dashboard_of_vizro_draws_and_its_controls_work(flash_browser):
    flash_browser.serve(FOLDER / "boards.py", arguments=("--install",))
    bars = "#sold .trace.bars"
    flash_browser.wait_for(lambda: len(flash_browser.find_all(bars)) == 4, "four regions")
    # The controls are in a panel that is closed in a window of this size.
    flash_browser.run_js("document.querySelectorAll('#picked input[type=checkbox]')[0].click()")
    flash_browser.wait_for(lambda: len(flash_browser.find_all(bars)) == 3, "three regions")
    flash_browser.open("/about")
    flash_browser.wait_for_text("#about", re.compile("Sales by region"))
    status, _ = fetch(f"{flash_browser.address}/_dash-layout")
    assert status == 200


@pytest.mark.skipif(
    importlib.util.find_spec("explainerdashboard") is None,
    reason="explainerdashboard, with its models and compilers, is not part of this environment",
)
def test_an_explainerdashboard_draws(flash_browser):
    flash_browser.timeout = 120
    flash_browser.serve(FOLDER / "explained.py", arguments=("--install",))
    flash_browser.wait_for(lambda: flash_browser.find_all(".js-plotly-plot .trace"), "a figure")
