"""An app mounted in another, or served without a lifespan: everything starts, once, and ends."""

import signal

import pytest
from commands import Command
from documents import connected, fetch

pytest_plugins = ["flash.testing.plugin"]

# The server's command line, and the address of the app.
WAYS = {
    "fastapi": ("uvicorn in_fastapi:api --port {port}", "/dash/"),
    "fastapi with its lifespan": ("uvicorn in_fastapi_lifespan:api --port {port}", "/dash/"),
    "fastapi on hypercorn": ("hypercorn in_fastapi:api --bind 127.0.0.1:{port}", "/dash/"),
    "starlette": ("uvicorn in_starlette:site --port {port}", "/dash/"),
    "django on uvicorn": ("uvicorn in_django:application --port {port}", "/dash/"),
    "django on daphne": ("daphne in_django:application --port {port}", "/dash/"),
    "daphne": ("daphne alone:app --port {port}", "/"),
    "daphne below a path": ("daphne --root-path /sales alone:app --port {port}", "/"),
    "no lifespan": ("uvicorn alone:app --port {port} --lifespan off", "/"),
}

# uvicorn ends its process by SIGTERM itself as soon as the lifespan of the host is over, so that
# nothing else can be done. Ctrl-C lets the loop end.
ENDS_AT_ONCE = {"fastapi", "starlette", "django on uvicorn", "no lifespan"}


@pytest.fixture
def served(tmp_path):
    def start(way):
        command, prefix = WAYS[way]
        return Command("hosted", command, log=tmp_path / "log", ready=prefix)

    return start


@pytest.mark.parametrize("way", WAYS)
def test_page_callback_link_push_and_shared_callback_work(served, flash_browser, way):
    with served(way) as server:
        if way.endswith(("fastapi", "starlette")) or "django" in way:
            assert fetch(f"{server.url}/numbers")[0] == 200
        flash_browser.address = server.url
        flash_browser.open(WAYS[way][1])
        connected(flash_browser)
        flash_browser.wait_for_text("#greeting", "Hello Alma")
        flash_browser.wait_for_text("#lamp", "lamp 0")
        flash_browser.wait_for_text("#panel", "panel 7")
        other = flash_browser.new_user(WAYS[way][1])
        connected(other)
        other.type("#name", "Ben", clear=True)
        other.wait_for_text("#greeting", "Hello Ben")
        flash_browser.click("#push")
        flash_browser.wait_for_text("#pushed", "pushed 1")
        other.wait_for_text("#pushed", "pushed 1")
        other.click("#switch")
        for page in (flash_browser, other):
            page.wait_for_text("#lamp", "lamp 1")
        width = "return document.querySelector('#picture').naturalWidth"
        flash_browser.wait_for(lambda: flash_browser.run_js(width) == 9, "the picture")
        for page in (flash_browser, other):
            page.open("about:blank")
        server.stop(signal.SIGINT if way in ENDS_AT_ONCE else signal.SIGTERM)
        # In the order of their registration, once; and everything has ended.
        output = server.output
        assert [output.count(word) for word in ("first\n", "last\n", "ended\n")] == [1, 1, 1], (
            output
        )
        assert output.index("first\n") < output.index("last\n") < output.index("ended\n")
        assert "Traceback" not in output, output
        assert "was destroyed" not in output, output
