"""What is out of view costs nothing, with `suspend=True` and no hook of its own (issue 14, 10)."""

import json
from pathlib import Path
from urllib.request import urlopen

from documents import connected

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).parents[1] / "apps" / "words" / "out_of_view.py"


def running(page):
    with urlopen(f"{page.address}/running") as answer:
        return json.load(answer)


def scroll(page, css):
    page.run_js("document.querySelector(arguments[0]).scrollIntoView()", css)


def test_14_10_event_callbacks_and_endpoints_stop_out_of_view_and_go_on(flash_browser):
    page = flash_browser
    page.serve(APP)
    connected(page)
    assert running(page)["all calls"] == running(page)["all sockets"] == 0
    for times in (1, 2):
        scroll(page, ".flash-lazy")
        page.wait_for(lambda: page.text("#clock").startswith("tick"), "the clock")
        page.wait_for(lambda: running(page)["calls"] == running(page)["sockets"] == 1, "both")
        scroll(page, "#top")
        page.wait_for(lambda: running(page)["calls"] == running(page)["sockets"] == 0, "the end")
        assert running(page)["all calls"] == running(page)["all sockets"] == times
