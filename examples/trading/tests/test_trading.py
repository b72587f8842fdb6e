"""The trading desk as two of its visitors see it: on three workers behind nginx, and on one."""

import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis_servers import RedisServer, free_port, wait_for

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "app.py"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"

# The whole configuration, with the two ports.
CONFIGURATION = """
pid {folder}/nginx.pid;
error_log {folder}/error.log;
daemon off;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    server {{
        listen 127.0.0.1:{port};
        location /dash/ {{
            proxy_pass http://127.0.0.1:{app_port}/;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering off;
        }}
    }}
}}
"""


def test_s2_the_example_has_at_most_80_lines():
    assert len(APP.read_text().splitlines()) <= 80


@pytest.fixture
def one_worker():
    with AppProcess(APP) as process:
        yield process.url


@pytest.fixture
def three_workers(tmp_path):
    if not Path(NGINX).exists():
        pytest.skip("nginx is not installed")
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(tmp_path))
        process = stack.enter_context(
            AppProcess(
                APP,
                env={"FLASH_REDIS_URL": server.url},
                arguments=["--workers", "3", "--root-path", "/dash"],
                timeout=180,
            )
        )
        port = free_port()
        file = tmp_path / "nginx.conf"
        file.write_text(CONFIGURATION.format(folder=tmp_path, port=port, app_port=process.port))
        nginx = stack.enter_context(subprocess.Popen([NGINX, "-c", file, "-p", tmp_path]))
        stack.callback(nginx.terminate)
        wait_for(lambda: (tmp_path / "nginx.pid").exists())
        yield f"http://127.0.0.1:{port}/dash"


@pytest.mark.parametrize("deployment", ["one_worker", "three_workers"])
def test_s2_two_visitors_share_prices_a_slider_presence_and_notices(
    deployment, request, flash_browser
):
    url = request.getfixturevalue(deployment)
    flash_browser.timeout = 60
    # The servers end before the browser does.
    flash_browser.expect_console_errors("ERR_CONNECTION_REFUSED|502|WebSocket")
    flash_browser.open(f"{url}/")
    tabs = [flash_browser, flash_browser.new_user(f"{url}/")]
    for tab, name in zip(tabs, ("Ann", "Bob"), strict=True):
        tab.type("input[name=name]", name)
        tab.click("button")
        tab.wait_for_text("#present", re.compile(name))
    ann, bob = tabs
    for tab in tabs:
        tab.wait_for_text("#present", "Here: Ann, Bob")
        tab.wait_for(lambda tab=tab: len(points(tab)) > 3)
    # A page shows the same as the other from where it came.
    both = {tab: dict(points(tab)) for tab in tabs}
    common = both[ann].keys() & both[bob].keys()
    assert common
    assert {x: both[ann][x] for x in common} == {x: both[bob][x] for x in common}
    ann.run_js("dash_clientside.set_props('unrest', {value: 9})")
    for tab in tabs:
        tab.wait_for_text("#unrest-note", "Unrest 9 of 10, set by Ann")
    assert bob.run_js("return dash_component_api.getLayout('unrest').props.value") == 9
    bob.type("#notice", "lunch", enter=True)
    bob.click("#tell")
    for tab in tabs:
        tab.wait_for_text("#notices", "Bob: lunch")


def points(tab):
    graph = "document.querySelector('#prices .js-plotly-plot')"
    return tab.run_js(
        f"const trace = {graph}?.data?.[0]; "
        "return trace ? trace.x.map((x, at) => [x, trace.y[at]]) : []"
    )
