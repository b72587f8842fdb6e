"""The trading desk as two of its visitors see it: on three workers behind nginx, and on one."""

import re
from pathlib import Path

import pytest
from nginx_servers import UPGRADE, nginx
from redis_servers import RedisServer

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

__all__ = ["nginx"]

APP = Path(__file__).parents[1] / "app.py"
# The inside of nginx's `server {}`, with the app's port.
SERVER = f"""
location /dash/ {{{{
    proxy_pass http://127.0.0.1:{{port}}/;
    {UPGRADE}
    proxy_set_header Host $http_host;
    proxy_buffering off;
}}}}
"""


def test_s2_the_example_has_at_most_80_lines():
    assert len(APP.read_text().splitlines()) <= 80


@pytest.fixture
def one_worker():
    with AppProcess(APP) as process:
        yield process.url
        # Shown with a failure.
        print(process.output)


@pytest.fixture
def three_workers(tmp_path, nginx):
    with (
        RedisServer(tmp_path) as server,
        AppProcess(
            APP,
            env={"FLASH_REDIS_URL": server.url},
            arguments=["--workers", "3", "--root-path", "/dash"],
            timeout=180,
        ) as process,
    ):
        yield f"{nginx(SERVER.format(port=process.port)).url}/dash"
        print(process.output)


@pytest.mark.parametrize("deployment", ["one_worker", "three_workers"])
def test_s2_two_visitors_share_prices_a_slider_presence_and_notices(
    deployment, request, flash_browser
):
    url = request.getfixturevalue(deployment)
    flash_browser.timeout = 60
    # The servers end before the browser does.
    flash_browser.expect_lost_connections()
    flash_browser.expect_console_errors("502|favicon.ico")
    flash_browser.open(f"{url}/")
    tabs = [flash_browser, flash_browser.new_user(f"{url}/")]
    for tab, name in zip(tabs, ("Ann", "Bob"), strict=True):
        tab.type("input[name=name]", name)
        tab.click("button")
        try:
            tab.wait_for_text("#present", re.compile(name))
        except AssertionError:
            print(tab.run_js("return JSON.stringify(flash.statistics())"), tab.browser.console())
            raise
    ann, bob = tabs
    for tab in tabs:
        tab.wait_for_text("#present", re.compile("2 here: (Ann, Bob|Bob, Ann)"))
        tab.wait_for(lambda tab=tab: len(points(tab)) > 3)
    # A page shows the same as the other from where it came.
    both = {tab: dict(points(tab)) for tab in tabs}
    common = both[ann].keys() & both[bob].keys()
    assert common
    assert {x: both[ann][x] for x in common} == {x: both[bob][x] for x in common}
    # Both begin with the first price of all, though one of them came later.
    assert {min(points) for points in both.values()} == {0}
    ann.run_js("dash_clientside.set_props('unrest', {value: 9})")
    for tab in tabs:
        tab.wait_for_text("#unrest-note", "Unrest 9 of 10 at desk 7, set by Ann")
    unrest = "return dash_component_api.getLayout('unrest').props.value"
    bob.wait_for(lambda: bob.run_js(unrest) == 9, "the slider")
    bob.type("#notice", "lunch", enter=True)
    bob.click("#tell")
    for tab in tabs:
        tab.wait_for_text(".flash-notice", re.compile("Bob: lunch"))


def points(tab):
    graph = "document.querySelector('#prices .js-plotly-plot')"
    return tab.run_js(
        f"const trace = {graph}?.data?.[0]; "
        "return trace ? trace.x.map((x, at) => [x, trace.y[at]]) : []"
    )
