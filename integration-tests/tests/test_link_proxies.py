"""The live link in a browser behind a real nginx: hosts, buffering, cuts, paths."""

import socket
import threading
from contextlib import suppress

import pytest
from nginx_servers import UPGRADE, nginx

__all__ = ["nginx"]

pytest_plugins = ["flash.testing.plugin"]

APP = """
import os
from flash import Flash, Input, Output, dcc, html
from flash_ws import LinkStatus, Live

app = Flash(__name__)
live = Live(app, resume_window=30)
app.layout = html.Div(
    [
        LinkStatus(id="link"),
        html.P(id="status"),
        html.Button("go", id="go"),
        html.P("-", id="mine"),
        dcc.Graph(id="graph"),
    ]
)
app.clientside_callback("s => s", Output("status", "children"), Input("link", "status"))


@app.callback(Input("go", "n_clicks"), prevent_initial_call=True)
async def go(clicks):
    await live.push("mine", {"children": f"clicked {clicks}"}, to=live.client)


@app.server.post("/say/<int:number>")
async def say(number):
    await live.send_event("n", number)
    return "", 204
"""


@pytest.fixture
def app_file(tmp_path):
    path = tmp_path / "app.py"
    path.write_text(APP, encoding="utf-8")
    return path


def statistics(browser, name):
    return browser.run_js(f"return flash.statistics().{name}")


def assert_link_works(browser):
    browser.wait_for_text("#status", "open")
    browser.click("#go")
    browser.wait_for_text("#mine", "clicked 1")


def test_12_9_without_the_host_header_the_log_says_so_and_sse_works(flash_browser, app_file, nginx):
    flash_browser.expect_lost_connections()
    process = flash_browser.serve(app_file, path=None)
    proxy = nginx(f"location / {{ {UPGRADE} proxy_pass {process.url}; }}")
    flash_browser.address = proxy.url
    flash_browser.open("/")
    assert_link_works(flash_browser)
    if statistics(flash_browser, "transport") == "sse":
        assert "proxy_set_header Host" in process.output
        assert proxy.url in process.output


def test_12_9_with_the_documented_lines_it_is_a_websocket(flash_browser, app_file, nginx):
    process = flash_browser.serve(app_file, path=None)
    proxy = nginx(
        f"location / {{ {UPGRADE} proxy_set_header Host $http_host; proxy_pass {process.url}; }}"
    )
    flash_browser.address = proxy.url
    flash_browser.open("/")
    assert_link_works(flash_browser)
    assert statistics(flash_browser, "transport") == "websocket"


def test_12_9_a_proxy_without_upgrades_gives_a_link_over_sse(flash_browser, app_file, nginx):
    flash_browser.expect_lost_connections()
    process = flash_browser.serve(app_file, path=None)
    proxy = nginx(f"location / {{ proxy_pass {process.url}; }}")
    flash_browser.address = proxy.url
    flash_browser.open("/")
    assert_link_works(flash_browser)
    assert statistics(flash_browser, "transport") == "sse"


class CollectingProxy:
    """A proxy in front of one address that passes event streams on by 8 KiB, as scanners do."""

    def __init__(self, port):
        self._target = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._open = []

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error):
        for each in (self._socket, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                near, _ = self._socket.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open += [near, far]
                threading.Thread(target=self._pass, args=(near, far), daemon=True).start()
                threading.Thread(target=self._collect, args=(far, near), daemon=True).start()

    def _pass(self, source, sink):
        with suppress(OSError):
            while data := source.recv(65536):
                # It knows no upgrades.
                sink.sendall(data.replace(b"Upgrade: websocket", b"X-Upgrade: websocket"))
            sink.shutdown(socket.SHUT_WR)

    def _collect(self, source, sink):
        held, is_stream = b"", False
        with suppress(OSError):
            while data := source.recv(65536):
                is_stream = is_stream or b"text/event-stream" in data
                held += data
                if not is_stream or len(held) >= 8192:
                    sink.sendall(held)
                    held = b""
            sink.sendall(held)
            sink.shutdown(socket.SHUT_WR)


def test_12_9_a_proxy_that_collects_an_event_stream_gets_filled_messages(flash_browser, app_file):
    flash_browser.expect_lost_connections()
    process = flash_browser.serve(app_file, path=None)
    with CollectingProxy(process.port) as proxy:
        flash_browser.address = proxy.url
        # The first stream is given up after ten seconds, here after two.
        source = "const after = setTimeout; window.setTimeout = (run, wait, ...rest) =>"
        source += " after(run, wait === 10000 ? 2000 : wait, ...rest)"
        flash_browser.driver.execute_cdp_cmd(
            "Page.addScriptToEvaluateOnNewDocument", {"source": source}
        )
        flash_browser.open("/")
        flash_browser.timeout = 60
        assert_link_works(flash_browser)
        assert any("brings nothing" in entry.message for entry in flash_browser.console())
        flash_browser.click("#go")
        flash_browser.wait_for_text("#mine", "clicked 2")


def test_12_9_a_proxy_that_cuts_idle_connections_loses_nothing(flash_browser, app_file, nginx):
    process = flash_browser.serve(app_file, path=None)
    proxy = nginx(
        f"location / {{ {UPGRADE} proxy_set_header Host $http_host; proxy_read_timeout 1s;"
        f" proxy_pass {process.url}; }}"
    )
    flash_browser.address = proxy.url
    flash_browser.open("/")
    flash_browser.wait_for_text("#status", "open")
    flash_browser.run_js(
        "window.numbers = []; window.lost = 0; flash.on('n', (n) => window.numbers.push(n));"
        "flash.link.onStatus((s) => { window.lost += s.recovered === false; });"
        "const pause = (wait) => new Promise((done) => setTimeout(done, wait));"
        "const say = async (n) => {"
        "  fetch(`/say/${n}`, {method: 'POST'});"
        "  await pause(100);"
        # Some go through. Three times nothing is said until the connection is cut, and then some
        # come while there is none.
        "  while (n % 10 === 0 && n < 40 && flash.statistics().status === 'open') await pause(20);"
        "  if (n < 40) say(n + 1);"
        "};"
        "say(1);"
    )
    flash_browser.timeout = 60
    flash_browser.wait_for(lambda: flash_browser.run_js("return window.numbers.length") >= 40)
    assert sorted(flash_browser.run_js("return window.numbers")) == [*range(1, 41)]
    assert flash_browser.run_js("return window.lost") == 0
    assert statistics(flash_browser, "connections") > 3
    # And left alone it is cut, and comes back.
    before = statistics(flash_browser, "connections")
    flash_browser.wait_for(lambda: statistics(flash_browser, "connections") >= before + 3)
    assert_link_works(flash_browser)


@pytest.mark.parametrize("stripped", [True, False])
def test_12_9_a_path_of_the_proxy_is_known_whether_it_is_stripped_or_not(
    flash_browser, app_file, nginx, stripped
):
    process = flash_browser.serve(app_file, path=None, arguments=["--root-path", "/sales"])
    target = f"{process.url}/" if stripped else process.url
    proxy = nginx(
        f"location /sales/ {{ {UPGRADE} proxy_set_header Host $http_host; proxy_pass {target}; }}"
    )
    flash_browser.address = proxy.url
    flash_browser.open("/sales/")
    assert_link_works(flash_browser)
    assert statistics(flash_browser, "transport") == "websocket"
    flash_browser.find("#graph .js-plotly-plot .plotly")
    assert "404" not in proxy.accesses
