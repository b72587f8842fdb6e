"""The run of a panel ends when the last page that waits for it leaves, in whatever way."""

from pathlib import Path

import pytest

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "lazy_leaving.py"


@pytest.fixture
def server(tmp_path):
    with AppProcess(APP, env={"FOLDER": str(tmp_path)}) as process:
        yield process


@pytest.fixture
def runs(tmp_path):
    def read():
        path = tmp_path / "runs"
        return path.read_text().split() if path.exists() else []

    return read


def wait_for_runs(tab, runs, *expected):
    tab.wait_for(lambda: runs() == list(expected), f"runs {expected}")


def open_slow(tab, server, runs, *expected):
    tab.visit(server, "/slow")
    tab.find(".flash-lazy[data-status=loading]")
    wait_for_runs(tab, runs, *expected)


def test_11_12_a_link_inside_the_app_ends_the_run(flash_browser, server, runs, tmp_path):
    tab = flash_browser
    open_slow(tab, server, runs, "begun")
    tab.click("#to-home")
    tab.find("#home")
    wait_for_runs(tab, runs, "begun", "cancelled")
    # And the way back loads it.
    (tmp_path / "go").touch()
    tab.click("#to-slow")
    tab.wait_for_text("#loaded", "loaded tea")


def test_11_12_another_address_ends_the_run_and_the_way_back_loads(
    flash_browser, server, runs, tmp_path
):
    tab = flash_browser
    open_slow(tab, server, runs, "begun")
    tab.run_js("window.location = arguments[0]", server.url.replace("127.0.0.1", "localhost"))
    tab.find("#home")
    wait_for_runs(tab, runs, "begun", "cancelled")
    (tmp_path / "go").touch()
    # Not by a script: chromedriver runs one again whose page goes away meanwhile, two steps back.
    tab.back()
    tab.wait_for_text("#loaded", "loaded tea")


def test_11_12_a_run_goes_on_for_the_page_that_stays(flash_browser, server, runs, tmp_path):
    here = flash_browser
    open_slow(here, server, runs, "begun")
    there = here.new_user()
    there.run_js("window.location = arguments[0]", f"{server.url}/slow")
    there.find(".flash-lazy[data-status=loading]")
    here.wait_for(
        lambda: there.run_js("return flash.requests.statistics().running") == 1, "the request"
    )
    here.click("#to-home")
    here.find("#home")
    (tmp_path / "go").touch()
    there.wait_for_text("#loaded", "loaded tea")
    assert runs() == ["begun"]
