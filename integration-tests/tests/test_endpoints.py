"""WebSocket and SSE endpoints: on three servers, and under dash-extensions' own components."""

import asyncio
import json
import re
import socket
import struct
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from selenium.webdriver.common.by import By
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from flash.testing import AppProcess
from flash.testing.browser import Browser

pytest_plugins = ["flash.testing.plugin"]

FOLDER = Path(__file__).parents[1] / "apps" / "endpoints"
SERVERS = ("hypercorn", "uvicorn", "granian")
PATIENCE = 60


# -- on three servers


@pytest.fixture(scope="module", params=SERVERS)
def served(request):
    with AppProcess(FOLDER / "app.py", server=request.param) as process:
        yield process


def fetch(served, path, *, method="GET", body=None, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with urlopen(
        Request(served.url + path, data=body, method=method, headers=named), timeout=PATIENCE
    ) as answer:
        return answer.read().decode()


def figures(served):
    return json.loads(fetch(served, "/figures"))


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110  another process
            await asyncio.sleep(0.02)


def open_socket(served, path, **options):
    return connect(served.url.replace("http", "ws") + path, proxy=None, **options)


async def closed_with(socket):
    """The code in the server's close frame, whatever comes before it; None if there was none."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await socket.recv()
            except ConnectionClosed as closed:
                return closed.rcvd and closed.rcvd.code


async def code_after(served, path, *messages, **options):
    """The code with which the server closes a connection on which this is sent."""
    code = None
    async with asyncio.timeout(PATIENCE):
        # What still comes after the server has closed may reset the connection before its close
        # frame is read: TCP says nothing else then, and there is no code to look at.
        while code is None:
            async with open_socket(served, path, **options) as socket:
                with suppress(ConnectionClosed):
                    for message in messages:
                        await socket.send(message)
                code = await closed_with(socket)
    return code


async def test_a_hundred_messages_each_way_arrive_in_order_and_nothing_is_left(served):
    async with open_socket(served, "/ticker") as socket:
        for number in range(100):
            await socket.send(f"message {number}")
        assert [await socket.recv() for _ in range(100)] == [f"MESSAGE {n}" for n in range(100)]
    await until(lambda: figures(served)["connections"] == 0)
    await until(lambda: not figures(served)["tasks"])


async def test_text_binary_and_the_subprotocol_are_what_they_were(served):
    async with open_socket(served, "/talk", subprotocols=["v1"]) as socket:
        assert socket.subprotocol == "v1"
        assert await socket.recv() == "v1"
        for message in ("äöü ✓", b"\x00\xff", "x" * 60_000, ""):
            await socket.send(message)
            assert await socket.recv() == message


async def test_a_group_reaches_its_members_and_nobody_else(served):
    async with (
        open_socket(served, "/room/red") as first,
        open_socket(served, "/room/red") as second,
        open_socket(served, "/room/green") as other,
    ):
        await second.send("here")
        assert await second.recv() == "here"
        await first.send("hello")
        await other.send("hello to green")
        assert await second.recv() == "hello"
        assert await other.recv() == "hello to green"


@pytest.mark.parametrize(
    ("message", "code"),
    [("x" * 1001, 4413), (b"x" * 1001, 4413), ("raise", 1011), ("return", 1000)],
)
async def test_the_browser_learns_the_code_whatever_else_it_was_sending(served, message, code):
    async with open_socket(served, "/strict") as socket:
        await socket.send(message)
        assert await closed_with(socket) == code


async def test_more_than_the_rate_allows_is_told_so(served):
    assert await code_after(served, "/strict", *["x" * 900] * 40) == 4529


async def test_a_message_that_inflates_to_too_much_is_refused(served):
    async with open_socket(served, "/strict", compression="deflate") as socket:
        await socket.send("0" * 500_000)
        assert await closed_with(socket) == 4413


async def test_a_page_of_another_origin_and_a_stranger_are_told_so_and_not_heard(served):
    for path, origin, code in (
        ("/ticker", "http://evil.test", 4403),
        ("/_flash/link", "http://evil.test", 4403),
        ("/members-only", served.url, 4401),
    ):
        assert await code_after(served, path, "x" * 10_000, origin=origin) == code
    # No browser.
    with pytest.raises(InvalidStatus) as refused:
        await open_socket(served, "/members-only")
    assert refused.value.response.status_code in (401, 403)
    async with open_socket(served, "/ticker", origin=served.url) as socket:
        await socket.send("in")
        assert await socket.recv() == "IN"


async def test_a_browser_that_vanishes_ends_its_handler(served):
    begun = figures(served)["notes"].count("strict ended")
    socket = await open_socket(served, "/strict")
    await socket.send("x")
    socket.transport.abort()
    await until(lambda: figures(served)["notes"].count("strict ended") == begun + 1)
    await until(lambda: not figures(served)["tasks"])


@asynccontextmanager
async def raw_socket(served, path):
    """A handshake without a client that could notice bad frames before they are sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    try:
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head
        yield reader, writer
    finally:
        writer.close()


def frame(opcode, payload, *, fin=True, reserved=0, masked=True):
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    length = len(payload)
    mark = 0x80 if masked else 0
    if length < 126:
        head += bytes([mark | length])
    else:
        head += bytes([mark | 126]) + struct.pack("!H", length)
    # A mask of zeros changes nothing.
    return head + (b"\0\0\0\0" if masked else b"") + payload


BAD_FRAMES = {
    "text that is no UTF-8": frame(1, b"\xff\xfe"),
    "half a character": frame(1, b"\xf0\x9f", fin=True),
    "no mask": frame(1, b"x", masked=False),
    "a reserved bit": frame(1, b"x", reserved=2),
    "an unknown kind": frame(5, b"x"),
    "a control frame in pieces": frame(9, b"x", fin=False),
    "a control frame too long": frame(9, b"x" * 126),
    "the rest of nothing": frame(0, b"x"),
    "a close with half a code": frame(8, b"\x03"),
    "bytes that are no frame": b"\xff" * 50,
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_b8_a_frame_against_the_protocol_ends_the_connection_and_leaves_nothing(served, name):
    async with raw_socket(served, "/ticker") as (reader, writer):
        writer.write(BAD_FRAMES[name])
        async with asyncio.timeout(PATIENCE):
            await reader.read()
    await until(lambda: figures(served)["connections"] == 0)
    await until(lambda: not figures(served)["tasks"])


async def test_b4_a_stalled_reader_is_closed_and_the_others_get_everything(served):
    async with (
        raw_socket(served, "/feed") as (_, writer),
        open_socket(served, "/feed", max_queue=None) as well,
    ):
        stalled = writer.get_extra_info("socket")
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        writer.transport.pause_reading()
        await until(lambda: figures(served)["connections"] == 2)
        before = figures(served)["closed"].get("4530", 0)
        sent = 0
        async with asyncio.timeout(PATIENCE):
            while figures(served)["closed"].get("4530", 0) == before:
                await asyncio.to_thread(fetch, served, "/broadcast/100000/2", method="POST")
                for _ in range(2):
                    assert len(await well.recv()) == 100_000
                sent += 2
        await until(lambda: figures(served)["connections"] == 1)
        assert sent > 2
    await until(lambda: not figures(served)["tasks"])


async def test_a_stream_arrives_piece_by_piece_and_ends_when_the_browser_goes(served):
    begun = figures(served)["notes"].count("endless closed")
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(f"GET /endless HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"data: 3\n\n")
    assert b"text/event-stream" in head
    assert figures(served)["streams"] == 1
    writer.close()
    await until(lambda: figures(served)["notes"].count("endless closed") == begun + 1)
    await until(lambda: not figures(served)["tasks"])


async def test_a_finite_stream_ends_with_the_mark(served):
    body = json.dumps({"prompt": "a b"}).encode()
    answer = await asyncio.to_thread(fetch, served, "/answer", method="POST", body=body)
    assert answer == "data: a \n\ndata: b \n\nid: [DONE]\ndata: [DONE]\n\n"


@pytest.fixture(params=SERVERS)
def stopping(request):
    with AppProcess(FOLDER / "app.py", server=request.param) as process:
        yield process


async def test_a_server_that_stops_tells_sockets_and_ends_streams_at_once(stopping):
    async with open_socket(stopping, "/ticker") as socket:
        await socket.send("x")
        await socket.recv()
        reader, writer = await asyncio.open_connection("127.0.0.1", stopping.port)
        writer.write(f"GET /endless HTTP/1.1\r\nHost: 127.0.0.1:{stopping.port}\r\n\r\n".encode())
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"data: 1\n\n")
        stopped = asyncio.create_task(asyncio.to_thread(stopping.terminate))
        assert await closed_with(socket) == 1012
        async with asyncio.timeout(PATIENCE):
            rest = await reader.read()
        assert b"[DONE]" not in rest
        writer.close()
        await stopped
    output = await asyncio.to_thread(lambda: stopping.output)
    assert "Traceback" not in output
    # What Drain says when something had to be cut after its ten seconds.
    assert "request(s) that do not finish" not in output


# -- under the components


APPS = {"flash": "app.py", "dash_proxy": "enriched.py"}
# What the browser says of a socket that a guard refuses.
REFUSED = "members-only"


@pytest.fixture(scope="module", params=APPS)
def components(request):
    with AppProcess(FOLDER / APPS[request.param]) as process:
        yield process


@pytest.fixture
def page(components, flash_browser: Browser):
    flash_browser.expect_console_errors(REFUSED)
    flash_browser.visit(components)
    return flash_browser


@pytest.fixture(params=APPS)
def counted_page(request, flash_browser: Browser):
    """The only page of its server, which counts what pages open."""
    flash_browser.expect_console_errors(REFUSED)
    flash_browser.serve(FOLDER / APPS[request.param])
    return flash_browser


def test_b17_the_websocket_component_hears_what_it_says(page):
    page.wait_for_text("#state", '{"readyState": 1, "code": null}')
    page.type("#say", "hello", enter=True)
    page.wait_for_text("#heard", "HELLO")
    page.type("#say", "again", clear=True, enter=True)
    page.wait_for_text("#heard", "AGAIN")
    page.wait_for_text("#spoken", "v1")


def test_b17_two_pages_meet_in_a_group(page):
    other = page.new_user("/")
    for tab in (page, other):
        tab.wait_for_text("#at", "in")
    for tab, line in ((page, "from one"), (other, "from two")):
        tab.type("#chat", line, enter=True)
        for each in (page, other):
            each.wait_for_text("#chatted", re.compile(f"{line}$"))
    for tab in (page, other):
        lines = [li.text for li in tab.find("#chatted").find_elements(By.TAG_NAME, "li")]
        assert lines == ["from one", "from two"]


def test_b17_a_burst_of_100_messages_reaches_the_page_whole_and_the_component_in_order(page):
    received = page.run_js(
        """return new Promise(resolve => {
            const socket = new WebSocket("/burst"), got = [];
            socket.onopen = () => socket.send("100");
            socket.onmessage = ({data}) => got.push(Number(data)) === 100 && resolve(got);
        })"""
    )
    assert received == list(range(1, 101))
    # The component's messages are passed on one by one: Dash alone leaves out the calls that a
    # newer value overtakes.
    page.wait_for_text("#state", re.compile('"readyState": 1'))
    page.click("#go")
    page.wait_for(lambda: page.run_js("return (window.calls || []).at(-1)") == 100, "the last call")
    assert page.run_js("return window.calls") == list(range(1, 101))


def test_b17_the_sse_component_collects_an_answer_until_its_end(page):
    page.type("#prompt", "to be or not", enter=True)
    page.wait_for_text("#answered", "to be or not .")
    page.type("#prompt", "again", clear=True, enter=True)
    page.wait_for_text("#answered", "again .")


def test_b17_lines_the_latest_value_and_an_error_reach_the_component(page):
    page.wait_for_text("#line", "one\ntwothree.")
    # Kept alive five times before its end: that neither clears nor changes the value.
    page.wait_for_text("#last", '{"last":true}.')
    page.wait_for_text("#broken", "so far…")


def test_b17_a_stream_ends_on_the_server_when_the_component_lets_go_of_it(counted_page):
    page, [server] = counted_page, counted_page.servers
    page.click("#start")
    page.wait_for_text("#counted", re.compile("^0123"))
    page.wait_for(lambda: figures(server)["streams"] == 1, "the end of the page's other streams")
    page.click("#stop")
    page.wait_for(lambda: "endless closed" in figures(server)["notes"], "the generator's end")


def test_a_browsers_event_source_resumes_where_it_broke_off_and_stops_at_the_end(page):
    received = page.run_js(
        """return new Promise(resolve => {
            const source = new EventSource("/resumed"), got = [];
            source.onmessage = ({data}) => got.push(data);
            source.onerror = () => source.readyState === EventSource.CLOSED && resolve(got);
        })"""
    )
    assert received == [*"1234567", "[DONE]"]


def test_b17_a_member_is_greeted_by_the_session(page):
    page.open("/login/ada")
    page.open("/")
    page.wait_for_text("#member", "ada")


def test_a_page_that_goes_leaves_no_connection_and_no_task_behind(counted_page):
    page, [server] = counted_page, counted_page.servers
    page.wait_for(lambda: figures(server)["connections"] == 4, "its sockets")
    other = page.new_tab("/")
    other.click("#start")
    page.wait_for(lambda: figures(server)["connections"] == 8, "the sockets of two pages")
    page.wait_for(lambda: figures(server)["streams"] == 1, "its stream")
    # Not by going elsewhere: the browser would keep the page, sockets and all, to go back to.
    other.close()
    page.wait_for(lambda: figures(server)["connections"] == 4, "those of the first alone")
    page.wait_for(lambda: figures(server)["streams"] == 0, "no stream")
    page.reload()
    page.wait_for(lambda: sum(figures(server)["closed"].values()) == 8, "a page that went")
    page.close()
    page.wait_for(lambda: figures(server)["connections"] == 0, "no sockets")
    page.wait_for(lambda: not figures(server)["tasks"], "no tasks")
