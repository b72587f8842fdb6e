"""What a page shows while its server is away, and what it asks for when the server is back."""

from pathlib import Path

import pytest

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "server_away.py"
STALE = ".flash-stale[data-flash-stale=true]"


@pytest.fixture
def server(tmp_path):
    with AppProcess(APP, env={"FOLDER": str(tmp_path)}) as process:
        yield process


@pytest.fixture
def tab(flash_browser, server):
    flash_browser.expect_lost_connections()
    flash_browser.expect_console_errors("50[234]|did not respond|Failed to")
    flash_browser.expect_console_errors("dash_renderer")
    flash_browser.visit(server)
    flash_browser.wait_for_text("#tile", "figures of world")
    return flash_browser


def runs(tmp_path):
    return (tmp_path / "runs").read_text().splitlines()


def write(tab, text):
    tab.run_js(
        """
        const box = document.getElementById("filter");
        const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;
        set.call(box, arguments[0]);
        box.dispatchEvent(new Event("input", { bubbles: true }));
        box.dispatchEvent(new Event("change", { bubbles: true }));
        """,
        text,
    )


def stale_ids(tab):
    return sorted(element.get_attribute("id") for element in tab.find_all(STALE))


def statistics(tab):
    return tab.run_js("return flash.requests.statistics()")


def test_11_5_a_page_marks_what_it_could_not_update_and_asks_again(tab, server, tmp_path):
    server.terminate()
    write(tab, "africa")
    tab.wait_for(lambda: stale_ids(tab) == ["tile"], "the mark")
    assert tab.text("#tile") == "figures of world"
    style = "getComputedStyle(document.getElementById(arguments[0]))"
    assert float(tab.run_js(f"return {style}.opacity", "tile")) < 1
    assert float(tab.run_js(f"return {style}.opacity", "other")) == 1
    tab.wait_for_text(
        "[role=status].flash-stale-notice",
        "The server does not answer. Parts of this page are not up to date.",
    )
    write(tab, "asia")
    tab.wait_for(lambda: statistics(tab)["superseded"] == 1, "the newer one alone")
    server.start()
    tab.wait_for_text("#tile", "figures of asia")
    tab.wait_for(lambda: not stale_ids(tab), "the mark to go")
    tab.wait_for_text(".flash-stale-notice", "The page is up to date again.")
    assert runs(tmp_path) == ["show world", "show asia"]
    assert statistics(tab)["held"] == statistics(tab)["running"] == 0


def test_11_5_a_rule_of_the_app_replaces_the_look_of_the_mark(tab, server):
    tab.run_js(
        """
        const style = document.createElement("style");
        style.textContent = ".flash-stale { opacity: 0.9; outline: none }";
        document.head.append(style);
        """
    )
    server.terminate()
    write(tab, "africa")
    tab.wait_for(lambda: stale_ids(tab) == ["tile"], "the mark")
    seen = "const style = getComputedStyle(document.getElementById('tile'));"
    assert tab.run_js(seen + "return [style.opacity, style.outlineStyle]") == ["0.9", "none"]
    notice = "const style = getComputedStyle(document.querySelector('.flash-stale-notice'));"
    assert tab.run_js(notice + "return style.width") == "1px"


def test_11_5_a_click_is_asked_again_only_with_repeat(tab, server, tmp_path):
    server.terminate()
    tab.click("#save")
    tab.click("#refresh")
    tab.wait_for(lambda: stale_ids(tab) == ["refreshed", "saved"], "both marks")
    assert statistics(tab)["held"] == 1
    server.start()
    tab.wait_for_text("#refreshed", "refreshed 1")
    tab.wait_for(lambda: stale_ids(tab) == ["saved"], "one mark to go")
    assert tab.text("#saved") == "not saved"
    assert runs(tmp_path) == ["show world", "refresh"]
    tab.click("#save")
    tab.wait_for_text("#saved", "saved 2")
    tab.wait_for(lambda: not stale_ids(tab), "the other mark to go")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_11_5_a_proxy_that_answers_in_place_of_the_server_is_no_answer(tab, tmp_path, status):
    (tmp_path / "status").write_text(str(status))
    write(tab, "africa")
    tab.wait_for(lambda: stale_ids(tab) == ["tile"], "the mark")
    tab.wait_for(lambda: statistics(tab)["repeated"] > 0, "another attempt")
    (tmp_path / "status").unlink()
    tab.wait_for_text("#tile", "figures of africa")
    tab.wait_for(lambda: not stale_ids(tab), "the mark to go")
    assert runs(tmp_path) == ["show world", "show africa"]


def test_11_5_the_result_of_a_job_is_asked_for_again_though_a_click_started_it(tab, tmp_path):
    tab.click("#start")
    tab.wait_for(lambda: "job" in runs(tmp_path), "the job")
    (tmp_path / "status").write_text("503")
    tab.wait_for(lambda: statistics(tab)["repeated"] > 0, "another attempt")
    (tmp_path / "go").touch()
    (tmp_path / "status").unlink()
    tab.wait_for_text("#done", "job 1")
    assert runs(tmp_path) == ["show world", "job"]


def test_11_5_a_callback_that_took_too_long_is_not_repeated(tab, tmp_path):
    tab.click("#wait")
    tab.wait_for(lambda: "wait" in runs(tmp_path), "the run")
    tab.wait_for(lambda: statistics(tab)["running"] == 0, "its end")
    write(tab, "africa")
    tab.wait_for_text("#tile", "figures of africa")
    assert statistics(tab)["repeated"] == 0
    assert runs(tmp_path) == ["show world", "wait", "show africa"]


def test_11_5_what_concerns_no_component_any_more_is_not_asked_again(tab, server, tmp_path):
    server.terminate()
    write(tab, "africa")
    tab.wait_for(lambda: stale_ids(tab) == ["tile"], "the mark")
    tab.click("#leave")
    tab.wait_for(lambda: statistics(tab)["held"] == 2, "the page to be asked for")
    server.start()
    tab.find("#elsewhere")
    tab.wait_for(lambda: statistics(tab)["running"] == 0, "the end of all")
    tab.wait_for(lambda: statistics(tab)["stale"] == 0, "no mark")
