"""`flash new`: what it writes runs, passes its tests, and has nothing open when it is deployed."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from documents import DOCS, PATIENCE
from redis_servers import RedisServer

import flash
from flash.starter.project import NewProject, files_of, write_project
from flash.testing import AppProcess

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["flash.testing.plugin"]

VARIANTS = [(login, redis) for login in (False, True) for redis in (False, True)]
NAMES = ["login" * login + "-redis" * redis or "plain" for login, redis in VARIANTS]
variants = pytest.mark.parametrize(("login", "redis"), VARIANTS, ids=NAMES)

LIMIT = "return dash_component_api.getLayout('limit').props.value"
DRAG = "dash_clientside.set_props('limit', {value: arguments[0]})"
POINTS = "return document.querySelector('#now .js-plotly-plot')?.data?.[0]?.x?.length ?? 0"


@pytest.fixture
def hall(tmp_path, login, redis):
    """A new app in a folder of its own."""
    folder = tmp_path / "hall"
    write_project(folder, NewProject("Machine hall", flash.__version__, login=login, redis=redis))
    return folder


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FLASH_", "PYTEST_", "COV_"))
    }
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        # A whole run of pytest, on a machine that may be busy.
        timeout=4 * PATIENCE,
    )


@variants
def test_its_tests_pass_and_its_code_is_in_order(hall):
    tested = run(hall, "pytest", "-q", "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout
    assert re.search(r"^[35] passed", tested.stdout, re.MULTILINE), tested.stdout
    for arguments in (["check", "."], ["format", "--check", "."]):
        in_order = run(hall, "ruff", *arguments)
        assert in_order.returncode == 0, in_order.stdout


@variants
def test_nothing_is_left_open_when_it_is_deployed(hall, redis, tmp_path):
    environment = {"SECRET_KEY": secrets.token_hex(), "ALLOWED_HOSTS": "hall.example.org"}
    workers = ["--workers", "2"] if redis else []
    with RedisServer(tmp_path) as server:
        if redis:
            environment["FLASH_REDIS_URL"] = server.url
        checked = run(hall, "flash.cli", "check", "--deploy", *workers, **environment)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(("login", "redis"), [(False, False)])
def test_two_browsers_see_readings_and_one_setting(hall, flash_browser):
    flash_browser.timeout = PATIENCE
    flash_browser.serve(hall / "app.py")
    flash_browser.open("/")
    flash_browser.wait_for_text("#status", "Live")
    other = flash_browser.new_user("/")
    other.wait_for_text("#status", "Live")
    for tab in (flash_browser, other):
        tab.wait_for_text(".number", re.compile(r"^\d\d\.\d °C$"))
        tab.wait_for(lambda tab=tab: tab.run_js(POINTS) >= 2, "points of the graph")
    flash_browser.run_js(DRAG, 58)
    other.wait_for(lambda: other.run_js(LIMIT) == 58, "the setting of the other browser")
    other.wait_for_text("#limit-text", "Warn above 58 °C.")


@pytest.mark.parametrize(("login", "redis"), [(True, True)])
def test_two_workers_let_in_who_has_a_password(hall, flash_browser, tmp_path):
    flash_browser.timeout = PATIENCE
    flash_browser.expect_console_errors("401")
    set_password = "import login; login.set_password('ada', 'a password')"
    subprocess.run([sys.executable, "-c", set_password], cwd=hall, check=True)
    with RedisServer(tmp_path) as server:
        # No SECRET_KEY: with one, cookies are sent over https alone.
        environment = {"FLASH_REDIS_URL": server.url}
        start = hall / "serve.py"
        start.write_text("from app import app\napp.server.secret_key = 'one key for two workers'\n")
        with AppProcess(start, env=environment, arguments=["--workers", "2"]) as served:
            flash_browser.visit(served)
            # Its style is there for who is not logged in.
            assert flash_browser.find("form").size["width"] < 450
            let_in(flash_browser)
            flash_browser.wait_for_text("#status", "Live")
            flash_browser.wait_for_text(".number", re.compile(r"^\d\d\.\d °C$"))
            flash_browser.click("header button")
            flash_browser.wait_for_text("h1", "Machine hall")
            flash_browser.find("input[name=name]")
            flash_browser.open("/")
            flash_browser.find("input[name=password]")


def let_in(tab):
    for password in ("guessed", "a password"):
        tab.find("input[name=name]").send_keys("ada")
        tab.find("input[name=password]").send_keys(password)
        tab.find("form button").click()
        if password == "guessed":
            tab.wait_for_text("[role=alert]", re.compile("do not belong together"))


def test_its_image_is_that_of_the_document():
    written = files_of(NewProject("Hall", flash.__version__, redis=True))["Dockerfile"]
    (shown,) = re.findall(
        r"^```dockerfile\n# Dockerfile\n(.*?)^```$",
        (DOCS / "deploying.md").read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    assert written == shown
