"""`docs/live.md`: each of its apps is served and used as its text says."""

import asyncio
import json
import re
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, build_opener

import pytest
from documents import PATIENCE, connected, fetch
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

ROOT = Path(__file__).parents[2]
DOCUMENT = "live.md"

# The page's own hello, as docs/link-protocol.md has it.
HELLO = json.dumps([{"t": "hello", "v": 1, "page": None, "at": {}, "path": "/"}])


def test_every_app_of_the_document_is_run_by_a_test(document):
    used = re.findall(r"(?:shown|served)\(\s*\"(.+?)\"", Path(__file__).read_text(encoding="utf-8"))
    assert sorted(document.blocks("python")) == sorted(used)
    assert set(document.blocks("js")) <= set(used)


def test_a_push_reaches_every_page_or_one(shown):
    page = shown("The first push")
    other = connected(page.new_tab("/"))
    page.click("#tell")
    page.wait_for_text("#banner", "Told 1 times")
    page.wait_for_text("#mine", "by this page")
    other.wait_for_text("#banner", "Told 1 times")
    # In order: what was sent to one page would have been there by now.
    page.click("#tell")
    other.wait_for_text("#banner", "Told 2 times")
    assert other.text("#mine") == ""


def test_a_group_gets_what_is_said_to_it(shown):
    north = shown("Groups", "/north")
    south = connected(north.new_tab("/south"))
    north.wait_for_text("#here", "2 here")
    north.click("#news")
    north.wait_for_text("#said", "News 1")
    south.click("#news")
    south.wait_for_text("#said", "News 1")
    north.click("#news")
    north.wait_for_text("#said", "News 2")
    assert south.text("#said") == "News 1"


def test_events_go_both_ways(shown):
    page = shown("Events, both ways")
    page.wait_for_text("#price", "191.5")
    page.run_js("flash.send('order', {symbol: 'none such'}); flash.send('order', 'nonsense')")
    page.click("#order")
    page.wait_for_text("#receipt", "Ordered AAPL")


def test_event_callbacks_stream_stop_and_fail(shown):
    page = shown("Event callbacks")
    page.wait_for_text("#clock", re.compile(r"^\d\d:\d\d:\d\d$"))
    first = page.text("#clock")
    page.click("#go")
    page.wait_for_text("#state", re.compile("^part [2-9]"))
    assert not page.find("#go").is_enabled()
    page.click("#stop")
    page.wait_for_text("#state", "idle")
    page.click("#go")
    page.wait_for_text("#trouble", "no second report today")
    page.wait_for_text("#state", "idle")
    page.wait_for(lambda: page.find("#go").is_enabled(), "the button")
    page.wait_for(lambda: page.text("#clock") != first)


def test_a_text_grows_and_can_be_stopped(shown):
    page = shown("A text that grows")
    page.click("#ask")
    page.wait_for_text("#answer", "What is a live link? It is one connection for each page.")
    assert page.text("#answer strong") == "What is a live link?"
    page.type("#question", "and " * 300, clear=True)
    page.click("#ask")
    page.wait_for_text("#answer", re.compile("and and"))
    page.click("#stop")
    page.wait_for(lambda: page.find("#ask").is_enabled())
    assert not page.text("#answer").endswith("page.")


def test_notices_are_shown_on_the_page_or_on_all(shown):
    page = shown("Notices")
    other = connected(page.new_tab("/"))
    page.click("#save")
    page.wait_for_text(".flash-notice-success .flash-notice-text", "report is saved.")
    page.click("#tell")
    for each in (page, other):
        each.wait_for_text(".flash-notice-warning .flash-notice-text", re.compile("market closes"))
    assert not other.find_all(".flash-notice-success")


def test_the_components_of_dash_extensions_speak_to_endpoints(shown):
    page = shown("WebSocket and SSE endpoints")
    page.wait_for(
        lambda: (
            page.run_js("return dash_component_api.getLayout('socket').props.state?.readyState")
            == 1
        )
    )
    page.type("#say", "hello", enter=True)
    page.wait_for_text("#heard", "HELLO")
    page.type("#ask", "why", enter=True)
    page.wait_for_text("#answer", "You asked: why")


def test_the_status_is_shown_while_the_server_is_away(flash_browser, served):
    flash_browser.timeout = PATIENCE
    flash_browser.expect_lost_connections()
    process = flash_browser.serve(served("The state of the link"))
    flash_browser.wait_for_text("#badge", "Live")
    flash_browser.wait_for(lambda: flash_browser.find("#save").is_enabled())
    process.kill()
    flash_browser.wait_for_text("#badge", "Connection lost, trying again …")
    flash_browser.wait_for(lambda: not flash_browser.find("#save").is_enabled(), "the button")
    process.start()
    # The page waits up to 20 s between two tries.
    flash_browser.wait_for(
        lambda: flash_browser.text("#badge").startswith("Live again"), "the link", timeout=60
    )


@pytest.fixture
def guarded(served):
    with AppProcess(served("Who may connect")) as process:
        yield process


async def test_only_who_is_logged_in_may_connect(guarded):
    link = guarded.url.replace("http", "ws") + "/_flash/link"
    with pytest.raises(InvalidStatus) as refused:
        await connect(link, proxy=None)
    assert refused.value.response.status_code == 401
    cookie = await asyncio.to_thread(logged_in, guarded, "ada")
    log_out = f"{guarded.url}/log-out"
    async with asyncio.timeout(PATIENCE):
        async with connect(link, proxy=None, additional_headers={"Cookie": cookie}) as socket:
            await socket.send(HELLO)
            while "Account of ada" not in await socket.recv():
                pass
            await asyncio.to_thread(fetch, log_out, method="POST", cookie=cookie)
            assert await closed_with(socket) == 4430


def logged_in(process, user):
    """Log in as a browser would, and return the cookie."""

    class Stay(HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    try:
        build_opener(Stay).open(f"{process.url}/log-in/{user}", timeout=PATIENCE)
    except HTTPError as redirect:
        return redirect.headers["Set-Cookie"].partition(";")[0]
    raise AssertionError("nobody was redirected")


@pytest.fixture
def limited(served):
    with AppProcess(served("Limits")) as process:
        yield process


@pytest.mark.parametrize(("beats", "size", "code"), [(1, 16 * 1024, 4413), (100, 1, 4529)])
async def test_who_sends_too_much_is_closed_with_the_code_named(
    document, limited, beats, size, code
):
    link = limited.url.replace("http", "ws") + "/_flash/link"
    seen = None
    async with asyncio.timeout(PATIENCE):
        # What still comes after the server has closed may reset the connection before its close
        # frame is read: TCP says nothing else then, and there is no code to look at.
        while seen is None:
            async with connect(link, proxy=None) as socket:
                await socket.send(HELLO)
                await asyncio.gather(*(beat(socket, size) for _ in range(beats)))
                seen = await closed_with(socket)
    assert seen == code
    assert f"closed, {code}" in document.text


async def beat(socket, size):
    with suppress(ConnectionClosed):
        await socket.send(json.dumps([{"t": "beat", "rtt": None, "padding": "x" * size}]))


async def closed_with(socket):
    """The code in the server's close frame, whatever comes before it."""
    try:
        while True:
            await socket.recv()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


@pytest.mark.parametrize("readme", ["README.md", "packages/flash-ws/README.md"])
def test_what_the_readmes_show_runs(flash_browser, tmp_path, readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    [app] = [
        each
        for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        if "event_callback" in each
    ]
    (tmp_path / "app.py").write_text(app, encoding="utf-8")
    flash_browser.timeout = PATIENCE
    flash_browser.serve(tmp_path / "app.py")
    connected(flash_browser)
    other = connected(flash_browser.new_tab("/"))
    flash_browser.click("#go")
    if readme == "README.md":
        flash_browser.wait_for_text("#number", "9")
        flash_browser.click("#tell")
        other.wait_for_text("#banner", "Told 1 times")
        assert other.text("#number") == ""
    else:
        flash_browser.wait_for_text("#share", "100 %")
        flash_browser.wait_for_text("#mine", "It is yours")
        other.wait_for_text("#banner", "Somebody has a report")
        assert other.text("#mine") == ""
    flash_browser.find("#go:not([disabled])")


def test_an_operator_sees_how_a_worker_is(served):
    with AppProcess(served("Operating"), env={"METRICS_TOKEN": "sixteen letters and more"}) as app:
        assert fetch(f"{app.url}/_flash/health")[0] == 200
        status, ready = fetch(f"{app.url}/_flash/ready")
        assert status == 200
        assert json.loads(ready)["checks"]["stock"] == "ok"
        assert fetch(f"{app.url}/_flash/metrics")[0] == 401
        status, text = fetch(
            f"{app.url}/_flash/metrics", authorization="Bearer sixteen letters and more"
        )
        assert status == 200
        assert "flash_live_pages" in text
        status, pages = fetch(f"{app.url}/pages")
        assert json.loads(pages)["connected"] == 0
