"""`flash_browser` and `AppProcess` in use, and what they say when something is wrong."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from urllib.request import urlopen

import pytest
from selenium.common.exceptions import WebDriverException

from flash.testing import AppProcess, FlashClient, ServerDied, WaitTimeout
from flash.testing.browser import ConsoleEntry
from flash.testing.errors import UnexpectedConsoleErrors

pytest_plugins = ["flash.testing.plugin"]

APP = """
import os
import sys

from flash import Flash, Input, Output, State, dcc, html

app = Flash(__name__)
app.layout = html.Div(
    [
        html.H1(os.environ.get("TITLE", "Plain"), id="title"),
        dcc.Input(id="name", value="nobody"),
        html.Button("Greet", id="greet"),
        html.Button("Fail", id="fail"),
        html.P(id="out"),
        html.P(id="failed"),
    ]
)


@app.callback(
    Output("out", "children"),
    Input("greet", "n_clicks"),
    State("name", "value"),
    prevent_initial_call=True,
)
async def greet(clicks, name):
    print("greeting", name, flush=True)
    return f"Hello {name} ({clicks})"


@app.callback(Output("failed", "children"), Input("fail", "n_clicks"), prevent_initial_call=True)
def fail(_):
    raise RuntimeError("told to")


@app.server.get("/crash")
async def crash():
    os._exit(7)
"""

# What a project's conftest.py says where waits may be long.
PATIENT = """
import pytest

@pytest.fixture(scope="session")
def flash_browser_timeout():
    return 60.0
"""


@pytest.fixture
def app_file(tmp_path):
    path = tmp_path / "greeter.py"
    path.write_text(APP)
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "greeter.py"
    path.write_text(APP)
    with AppProcess(path) as process:
        yield process


class TestAppProcess:
    @pytest.mark.parametrize("server", ["hypercorn", "uvicorn", "granian"])
    def test_an_app_is_served_by_any_server_and_stops_cleanly(self, app_file, server):
        with AppProcess(app_file, server=server) as process:
            pid = process.pid
            assert b"_dash-config" in _get(process.url)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    def test_an_app_is_named_as_module_and_attribute_too(self, app_file):
        with AppProcess("greeter:app.server", cwd=app_file.parent) as process:
            assert b"_dash-config" in _get(process.url)

    def test_a_restart_keeps_the_port_and_the_output(self, app_file):
        with AppProcess(f"{app_file}:app", env={"TITLE": "Set"}) as process:
            first = process.pid, process.url
            process.restart()
            assert process.url == first[1]
            assert process.pid != first[0]
            process.kill()
            with pytest.raises(RuntimeError, match="start"):
                process.terminate()
            process.start()
            assert b"Set" in _get(process.url + "/_dash-layout")

    def test_the_port_is_nobody_else_s_while_the_server_is_down(self, app_file):
        process = AppProcess(app_file)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", process.port))

    def test_an_app_that_does_not_come_up_is_told_with_its_traceback(self, tmp_path):
        broken = tmp_path / "broken.py"
        broken.write_text("raise RuntimeError('no database')")
        with pytest.raises(ServerDied, match="no database"), AppProcess(broken):
            pass

    def test_a_crash_in_the_middle_of_a_test_fails_it(self, app_file):
        with (
            pytest.raises(ServerDied, match="ended with exit code 7"),
            AppProcess(app_file) as process,
            pytest.raises(OSError, match=r"closed|reset"),
        ):
            _get(process.url + "/crash")


class TestFlashBrowser:
    def test_a_user_s_steps_read_like_a_user_s_steps(self, flash_browser, app_file):
        process = flash_browser.serve(app_file, env={"TITLE": "Greeter"})
        flash_browser.wait_for_text("#title", "Greeter")
        flash_browser.type("#name", "Ada", clear=True)
        flash_browser.click("#greet")
        flash_browser.wait_for_text("#out", "Hello Ada (1)")
        flash_browser.type("#name", " L", enter=True)
        flash_browser.click("#greet")
        flash_browser.wait_for_text("#out", re.compile("Ada L.*2"))
        assert flash_browser.text("#title") == "Greeter"
        assert flash_browser.find("#out").tag_name == "p"
        assert len(flash_browser.find_all("button")) == 2
        assert flash_browser.title == "Dash"
        assert "greeting Ada" in process.output
        assert flash_browser.run_js("return Promise.resolve(arguments[0] + 1)", 1) == 2

    def test_the_browserless_client_sees_the_same_app(self, app_file):
        source = dedent("""
            import asyncio
            from flash.testing import FlashClient
            from greeter import app

            async def main():
                async with FlashClient(app) as client:
                    result = await client.call(
                        "out.children", {"greet.n_clicks": 1, "name.value": "Ada"}
                    )
                    print(result.value)

            asyncio.run(main())
        """)
        done = subprocess.run(
            [sys.executable, "-c", source], cwd=app_file.parent, capture_output=True, text=True
        )
        assert done.stdout.endswith("Hello Ada (1)\n"), done.stderr
        assert FlashClient.__module__ == "flash.testing.client"

    def test_errors_in_the_console_may_be_expected(self, flash_browser, served):
        flash_browser.visit(served)
        flash_browser.expect_console_errors("500")
        # What Dash itself prints.
        flash_browser.expect_console_errors("dash_renderer.*Object")
        flash_browser.click("#fail")
        flash_browser.wait_for(lambda: flash_browser.console("SEVERE"), "an error in the console")
        assert "500" in flash_browser.console("SEVERE")[0].message

    def test_a_server_that_the_test_ends_may_be_missed_and_another_may_not(
        self, flash_browser, app_file, served
    ):
        ask = "return fetch(arguments[0]).catch(() => 0)"
        flash_browser.visit(served)
        with AppProcess(app_file) as process:
            flash_browser.visit(process)
        flash_browser.run_js(ask, process.url)
        flash_browser.wait_for(lambda: flash_browser.console("SEVERE"), "an error in the console")
        flash_browser.check_console()
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            other = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        flash_browser.run_js(ask, other)
        flash_browser.wait_for(lambda: flash_browser.console("SEVERE")[1:], "a second error")
        with pytest.raises(UnexpectedConsoleErrors, match=other) as told:
            flash_browser.check_console()
        assert process.url not in str(told.value)
        flash_browser.expect_console_errors(other)

    @pytest.mark.parametrize(
        "text",
        [
            "{page} - Failed to load resource: net::ERR_CONNECTION_REFUSED",
            "{page} - Failed to load resource: net::ERR_CONNECTION_RESET",
            "{page} - Failed to load resource: net::ERR_EMPTY_RESPONSE",
            "{page} - Failed to load resource: net::ERR_INCOMPLETE_CHUNKED_ENCODING",
            "{page}x.js 7 WebSocket connection to '{page}link' failed: Error in connection "
            "establishment: net::ERR_SOCKET_NOT_CONNECTED",
            "{page}x.js 7 WebSocket connection to '{page}link' failed: ",
            "{page}x.js 7 Uncaught (in promise) TypeError: Failed to fetch",
        ],
    )
    def test_connections_that_are_cut_may_be_expected(self, flash_browser, app_file, text):
        with AppProcess(app_file) as process:
            flash_browser.visit(process)
            page = f"{process.url}/"
            flash_browser._console.append(ConsoleEntry("SEVERE", text.format(page=page)))
            with pytest.raises(UnexpectedConsoleErrors):
                flash_browser.check_console()
        flash_browser.check_console()
        flash_browser._console.append(ConsoleEntry("SEVERE", text.format(page="http://other/")))
        with pytest.raises(UnexpectedConsoleErrors, match="other"):
            flash_browser.check_console()
        flash_browser.expect_lost_connections()
        flash_browser.check_console()
        flash_browser._console.append(ConsoleEntry("SEVERE", f"{page}x.js 7 Uncaught TypeError"))
        with pytest.raises(UnexpectedConsoleErrors, match="Uncaught TypeError"):
            flash_browser.check_console()
        flash_browser._console.clear()

    def test_a_wait_goes_on_when_the_page_gives_way_to_another(self, flash_browser, served):
        flash_browser.visit(served)
        answers = [
            WebDriverException("aborted by navigation: Inspected target navigated or closed"),
            "here",
        ]

        def condition():
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        assert flash_browser.wait_for(condition) == "here"
        answers.append(WebDriverException("disconnected: unable to connect to renderer"))
        with pytest.raises(WebDriverException, match="disconnected"):
            flash_browser.wait_for(condition)

    def test_tabs_share_a_user_and_users_share_nothing(self, flash_browser, served):
        flash_browser.visit(served)
        flash_browser.run_js("document.cookie = 'who=me; path=/'; localStorage.who = 'me'")
        mine = flash_browser.new_tab("/")
        other = flash_browser.new_user("/")
        seen = "return [document.cookie, localStorage.who]"
        assert mine.run_js(seen) == ["who=me", "me"]
        assert other.run_js(seen) == ["", None]
        mine.close()
        other.click("#greet")
        other.wait_for_text("#out", "Hello nobody (1)")
        assert flash_browser.text("#out") == ""
        mine = flash_browser.new_tab("/")
        mine.run_js("console.error('from another tab')")
        flash_browser.expect_console_errors("from another tab")
        assert "from another tab" in flash_browser.console("SEVERE")[0].message

    @pytest.mark.parametrize("time", ["first", "second"])
    def test_a_test_starts_without_a_past(self, flash_browser, served, time):
        flash_browser.visit(served)
        assert flash_browser.run_js("return document.cookie") == ""
        assert len(flash_browser.chromium.driver.window_handles) == 2
        flash_browser.run_js("document.cookie = 'left=behind; path=/'; window.open('/')")

    def test_the_viewport_may_be_a_phone_s(self, flash_browser, served):
        flash_browser.visit(served)
        flash_browser.set_viewport(390, 844)
        size = "return [innerWidth, innerHeight]"
        flash_browser.wait_for(lambda: flash_browser.run_js(size) == [390, 844], "the size")

    def test_a_screenshot_goes_where_git_does_not_look(self, flash_browser, tmp_path):
        flash_browser.screenshots = tmp_path / "shots"
        path = flash_browser.screenshot("blank")
        assert path == tmp_path / "shots" / "blank.png"
        assert path.read_bytes().startswith(b"\x89PNG")

    def test_a_wait_in_vain_says_what_the_page_shows(self, flash_browser, served):
        flash_browser.visit(served)
        flash_browser.wait_for_text("#title", "Plain")
        flash_browser.timeout = 0.1
        with pytest.raises(WaitTimeout, match="'#title' to show 'Other'; its text is 'Plain'"):
            flash_browser.wait_for_text("#title", "Other")
        with pytest.raises(WaitTimeout, match=r"'#missing'; the page at .* shows: 'Plain"):
            flash_browser.find("#missing")
        flash_browser.wait_for_no("#missing")
        with pytest.raises(WaitTimeout, match=r"an element '#title' to go"):
            flash_browser.wait_for(
                lambda: not flash_browser.find_all("#title"), "an element '#title' to go"
            )
        flash_browser.run_js(
            "document.body.insertAdjacentHTML('beforeend',"
            " '<div id=veil style=\"position:fixed;inset:0\"></div>')"
        )
        with pytest.raises(WaitTimeout, match="veil"):
            flash_browser.click("#greet")

    def test_a_wait_in_vain_at_a_closed_tab_says_what_it_waited_for(self, flash_browser, served):
        flash_browser.visit(served)
        tab = flash_browser.new_tab("/")
        tab.close()
        tab.timeout = 0.1
        with pytest.raises(WaitTimeout, match="for a wonder; the page cannot be read"):
            tab.wait_for(lambda: False, "a wonder")

    def test_a_page_reloads_and_goes_back(self, flash_browser, app_file):
        process = flash_browser.serve(app_file, path=None)
        flash_browser.open("/first")
        flash_browser.open("/second")
        flash_browser.back()
        assert flash_browser.url == f"{process.url}/first"
        flash_browser.type("#name", "!")
        process.restart()
        flash_browser.reload()
        flash_browser.wait_for_text("#title", "Plain")
        assert flash_browser.find("#name").get_attribute("value") == "nobody"


class TestPlugin:
    """What the plugin does to tests that fail, shown by running pytest on such tests."""

    def run(self, directory, tests, **env):
        (directory / "test_it.py").write_text(dedent(tests))
        (directory / "greeter.py").write_text(APP)
        (directory / "conftest.py").write_text(PATIENT)
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "flash.testing.plugin", "-q", "--rootdir", "."],
            cwd=directory,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
        ).stdout

    def test_a_failure_and_an_unexpected_console_error_are_kept_and_told(self, tmp_path, served):
        output = self.run(
            tmp_path,
            """
            import os

            from greeter import __file__ as APP

            def test_wrong(flash_browser):
                flash_browser.serve(APP)
                assert flash_browser.text("#title") == "Wrong"

            def test_noisy(flash_browser):
                flash_browser.open(os.environ["URL"])
                flash_browser.run_js("console.error('ouch')")

            def test_quiet(flash_browser):
                flash_browser.open(os.environ["URL"])
                assert flash_browser.timeout == 60
            """,
            URL=served.url,
        )
        assert "2 failed, 1 passed" in output
        assert "UnexpectedConsoleErrors" in output
        assert "ouch" in output
        for name in ("test_wrong.png", "test_wrong.html", "test_wrong.log", "test_noisy.png"):
            kept = tmp_path / "screenshots" / name
            assert str(kept) in output
            assert kept.stat().st_size
        assert "Plain" in (tmp_path / "screenshots" / "test_wrong.html").read_text()

    def test_a_failure_is_told_even_when_nothing_of_its_browser_can_be_kept(self, tmp_path):
        (tmp_path / "screenshots").touch()
        output = self.run(
            tmp_path,
            """
            def test_wrong(flash_browser):
                assert "this" == "that"
            """,
        )
        assert "assert 'this' == 'that'" in output
        assert "flash_browser saved nothing" in output
        assert "FileExistsError" in output

    def test_a_server_that_dies_fails_its_test(self, tmp_path):
        output = self.run(
            tmp_path,
            """
            from greeter import __file__ as APP

            def test_crash(flash_browser):
                flash_browser.serve(APP)
                flash_browser.expect_console_errors()
                flash_browser.run_js("return fetch('/crash').catch(() => 0)")
            """,
        )
        assert "ended with exit code 7" in output

    def test_without_a_browser_it_says_what_to_install(self, tmp_path):
        output = self.run(tmp_path, "def test_it(flash_browser): pass", PATH="")
        assert "1 error" in output
        assert "apt install chromium chromium-driver" in output


class TestGuide:
    def test_what_the_guide_shows_runs(self, tmp_path):
        guide = Path(__file__).parents[2] / "docs" / "testing.md"
        files = re.findall(r"```\w+\n# (\S+\.\w+)\n(.*?)```", guide.read_text(), re.DOTALL)
        assert len(files) == 5
        for name, text in files:
            (tmp_path / name).write_text(text + PATIENT if name == "conftest.py" else text)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert "8 passed" in done.stdout, done.stdout


def _get(url):
    with urlopen(url) as answer:
        return answer.read()
