"""The live link between a real server and real pages."""

from pathlib import Path

import pytest

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "live" / "app.py"

# While a server is away, the browser says so itself.


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn", "granian"])
def test_the_readme_example_runs(flash_browser, server):
    flash_browser.serve(APP, server)
    flash_browser.wait_for_text("#status", "open")
    flash_browser.wait_for_text("#echo", "HELLO")
    flash_browser.wait_for_text("#spoken", "You said hello")
    flash_browser.run_js("window.seen = []; flash.on('price', each => window.seen.push(each))")
    flash_browser.click("#go")
    flash_browser.wait_for_text("#share", "100 %")
    flash_browser.click("#all")
    flash_browser.wait_for_text("#mine", "just you 1")
    flash_browser.wait_for_text("#banner", "everybody 1")
    # A burst of a hundred is a hundred calls of the handler, in order.
    flash_browser.wait_for(lambda: flash_browser.run_js("return window.seen.length") == 100)
    assert flash_browser.run_js("return window.seen") == list(range(100))


def test_page_javascript_is_answered(flash_browser):
    flash_browser.serve(APP)
    flash_browser.wait_for_text("#status", "open")
    flash_browser.run_js("flash.on('told', x => { window.told = x }); flash.send('ask', 'abc')")
    flash_browser.wait_for(lambda: flash_browser.run_js("return window.told") == "cba")


def test_an_error_in_an_event_callback_is_shown_and_the_button_comes_back(flash_browser):
    flash_browser.serve(APP)
    flash_browser.wait_for_text("#status", "open")
    flash_browser.click("#go")
    flash_browser.wait_for_text("#share", "100 %")
    flash_browser.wait_for(lambda: flash_browser.find("#go").is_enabled())
    flash_browser.click("#go")
    flash_browser.wait_for_text("#toast", "no second report")
    flash_browser.wait_for(lambda: flash_browser.find("#go").is_enabled())


def test_b9_pages_recover_by_themselves_from_a_killed_server(flash_browser):
    flash_browser.expect_lost_connections()
    process = flash_browser.serve(APP)
    flash_browser.wait_for_text("#status", "open")
    # The page has all its parts; one under way would be an error of its own.
    flash_browser.wait_for_text("#echo", "HELLO")
    flash_browser.wait_for_text("#spoken", "You said hello")
    process.kill()
    flash_browser.wait_for_text("#status", "reconnecting")
    process.start()
    # The page waits up to 20 s between two tries.
    flash_browser.wait_for_text("#status", "open")
    assert flash_browser.run_js("return flash.statistics().recovered") is False
    flash_browser.click("#all")
    flash_browser.wait_for_text("#mine", "just you 1")


def test_what_a_page_sends_while_its_server_is_killed_again_and_again_is_handled(
    flash_browser, tmp_path
):
    flash_browser.expect_lost_connections()
    notes = tmp_path / "notes"
    process = flash_browser.serve(APP, env={"NOTES": str(notes)})
    flash_browser.wait_for_text("#status", "open")
    flash_browser.wait_for_text("#echo", "HELLO")
    flash_browser.wait_for_text("#spoken", "You said hello")
    flash_browser.run_js("""
        window.number = 0;
        window.timer = setInterval(() => flash.send('note', number++), 50);
    """)
    for _ in range(2):
        before = notes.read_text().count("\n") if notes.exists() else 0
        flash_browser.wait_for(
            lambda before=before: notes.exists() and notes.read_text().count("\n") > before + 20,
            "events to be handled",
        )
        process.kill()
        flash_browser.wait_for_text("#status", "reconnecting")
        process.start()
        flash_browser.wait_for_text("#status", "open")
    sent = flash_browser.run_js("clearInterval(timer); return number")
    flash_browser.wait_for(
        lambda: flash_browser.run_js("return flash.statistics().unhandledEvents") == 0,
        "all events to be handled",
    )
    assert flash_browser.run_js("return flash.statistics().droppedFrames") == 0
    # The events whose handling a killed server did not tell of came a second time.
    handled = [int(line) for line in notes.read_text().split()]
    assert list(dict.fromkeys(handled)) == list(range(sent))
