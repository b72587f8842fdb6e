"""What the live link promises, one test or more for each: B2, B4, B5, B8, B10, as pages see it.

B7, B16 and B17 are in `test_live_code.py`, what only a browser shows in
`test_promises_live_browser.py`; the endpoints have theirs in `test_endpoints.py`.
"""

import asyncio
import json
import random
import re
import tracemalloc
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from page import Closed, Page, connected, serving
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from flash import Flash, Patch, html
from flash.testing import AppProcess
from flash_ws import LinkLimits, Live
from flash_ws.callbacks.deferred import hub_of
from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.frames import event_message
from flash_ws.protocol.outbox import Outbox

ROOT = Path(__file__).parents[2]
APP = ROOT / "integration-tests" / "apps" / "live_promises" / "app.py"
PROTOCOL = (ROOT / "docs" / "link-protocol.md").read_text()


SECONDS = 60


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div(id="banner")
    return app


@pytest.fixture(scope="module")
def server():
    with AppProcess(APP, server="uvicorn", env={"RESUME_WINDOW": "0.5"}) as process:
        yield process


def over(server):
    """An ASGI app that is a real server behind a real socket."""

    async def app(scope, receive, send):
        await receive()
        address = server.url.replace("http", "ws", 1) + scope["path"]
        async with connect(address, proxy=None, max_queue=None) as socket:
            await send({"type": "websocket.accept"})

            async def hear():
                try:
                    async for text in socket:
                        await send({"type": "websocket.send", "text": text})
                except ConnectionClosed:
                    pass
                code, reason = socket.close_code or 1006, socket.close_reason or ""
                await send({"type": "websocket.close", "code": code, "reason": reason})

            hearing = asyncio.create_task(hear())
            try:
                while (event := await receive())["type"] == "websocket.receive":
                    await socket.send(event.get("text") or event["bytes"])
            finally:
                hearing.cancel()
                # As a cable does that is pulled.
                socket.transport.abort()

    return app


def fetch(server, path, method="GET", body=None, **headers):
    request = Request(server.url + path, data=body, method=method, headers=headers)
    with urlopen(request, timeout=SECONDS) as answer:
        return answer.status, answer.read().decode()


async def post(server, path):
    await asyncio.to_thread(fetch, server, path, "POST")


async def figures(server):
    return json.loads((await asyncio.to_thread(fetch, server, "/figures"))[1])


async def until(condition):
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  the state of the server has no event
            await asyncio.sleep(0)


async def until_server(server, condition):
    async with asyncio.timeout(SECONDS):
        while not condition(await figures(server)):  # noqa: ASYNC110  another process
            await asyncio.sleep(0.05)


# -- B2: exact recovery, or it says so


class Kicked:
    """A page whose connection breaks at random, and which keeps what it is told."""

    def __init__(self, app, seed):
        self.app = app
        self.chance = random.Random(seed)
        self.numbers = []
        self.recovered = []
        self.breaks = 0
        self.is_ready = asyncio.Event()

    async def listen(self, last):
        """Return when all numbers up to ``last`` must have come."""
        page = await connected(self.app)
        while True:
            try:
                while not {last, last - 1} <= set(self.numbers):
                    if "group:desk" in page.positions:
                        self.is_ready.set()
                    for frame in await page.message():
                        if page.applied(frame)["t"] == "event":
                            self.numbers.append(frame["data"])
                    if self.is_ready.is_set() and self.chance.random() < 0.2:
                        raise Closed(1006)
                await page.leave()
                return
            except Closed:
                self.breaks += 1
                await page.leave()
                page = await connected(self.app, page.token, page.positions)
                self.recovered.append(page.welcome["recovered"])
                self.numbers += [frame["data"] for frame in page.waiting if frame["t"] == "event"]


async def kicked_pages(app, seed, last, publish):
    """Have pages listen to numbers up to ``last`` that two channels carry; return the pages."""
    pages = [Kicked(app, f"{seed} {number}") for number in range(12)]
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
        for page in pages:
            tasks.create_task(page.listen(last))
        for page in pages:
            await page.is_ready.wait()
        await publish()
    return pages


def assert_nothing_was_missed_or_repeated(pages, last):
    for page in pages:
        # A page that came too late has been told so; then it may have missed something.
        assert set(page.recovered) <= {True}
        # The order is that of each channel; odd numbers went to a group.
        for odd in (0, 1):
            numbers = [number for number in page.numbers if number % 2 == odd]
            assert numbers == [number for number in range(last + 1) if number % 2 == odd]
    assert sum(page.breaks for page in pages) > len(pages)


@pytest.mark.parametrize("seed", range(5))
async def test_b2_pages_kicked_at_random_under_load_miss_nothing_and_repeat_nothing(app, seed):
    live = Live(app)
    chance = random.Random(seed)
    last = 600

    @live.on_connect
    async def joined(client):
        client.join("desk")

    async def publish():
        for number in range(last + 1):
            audience = live.group("desk") if number % 2 else live.everybody
            await live.send_event("n", number, to=audience)
            if chance.random() < 0.05:
                # By the server, too.
                chance.choice(list(hub_of(live.app).clients.values())).close(CloseCode.TOO_SLOW)
            if chance.random() < 0.2:
                await asyncio.sleep(0.005)

    async with serving(app):
        pages = await kicked_pages(app, seed, last, publish)
    assert_nothing_was_missed_or_repeated(pages, last)


@pytest.fixture
def patient():
    # Long enough for pages of a loaded machine to come back in time.
    with AppProcess(APP, server="uvicorn", env={"RESUME_WINDOW": "10"}) as process:
        yield process


async def test_b2_so_it_is_with_a_real_server_and_sockets_that_break(patient):
    last = 999

    async def publish():
        for first in range(0, last + 1, 20):
            await post(patient, f"/say/{first}/20")

    pages = await kicked_pages(over(patient), "real", last, publish)
    assert_nothing_was_missed_or_repeated(pages, last)
    await until_server(patient, lambda figures: figures["clients"] == 0)


@pytest.fixture
def mortal():
    with AppProcess(APP, server="uvicorn") as process:
        yield process


async def test_b2_every_page_is_told_by_a_server_that_lost_its_history(mortal):
    pages = [await connected(over(mortal)) for _ in range(10)]
    for page in pages:
        await until_joined(page)
    await post(mortal, "/say/0/10")
    for page in pages:
        assert sorted(frame["data"] for frame in await page.frames(10)) == [*range(10)]
    await asyncio.to_thread(mortal.kill)
    for page in pages:
        assert await page.closed() == 1006
        await page.leave()
    await asyncio.to_thread(mortal.start)
    backs = [await connected(over(mortal), page.token, page.positions) for page in pages]
    assert [page.welcome["recovered"] for page in backs] == [False] * 10
    for page in backs:
        await until_joined(page)
    await post(mortal, "/say/10/10")
    for page in backs:
        assert sorted(frame["data"] for frame in await page.frames(10)) == [*range(10, 20)]
        await page.leave()


async def until_joined(page):
    while "group:desk" not in page.positions:
        page.waiting += [page.applied(frame) for frame in await page.message()]


# -- B4: one bad client hurts nobody


class Tally(Page):
    """A page that takes what comes and keeps counts of it."""

    def __init__(self, app):
        super().__init__(app)
        self.events = []
        self.added = 0
        self.value = None

    async def _receive(self, event):
        await self.taking.wait()
        if self.welcome is None or event["type"] != "websocket.send":
            await super()._receive(event)
            return
        for frame in json.loads(event["text"]):
            self.count(self.applied(frame))

    def count(self, frame):
        if frame["t"] == "event":
            self.events.append(frame["data"])
        elif frame["t"] == "props":
            for component, props in frame["u"]:
                if component == "banner":
                    # Without what follows the number, which 300 pages would keep.
                    self.value = props["children"].split()[0]
                else:
                    self.added += 1


async def open_tally(app):
    page = await Tally(app).open()
    await page.hello()
    return page


async def test_b4_one_stalled_reader_among_300_costs_a_bounded_memory_and_nobody_else_anything(app):
    max_bytes = 100_000
    # A loaded machine must not take them for silent.
    live = Live(app, limits=LinkLimits(max_outbox_bytes=max_bytes, heartbeat=600))
    text = "x" * 2000
    # Few enough of them fill the outbox for the history to keep them all.
    name = "n" * 300

    async def show(first, count):
        for number in range(first, first + count):
            await live.push("banner", {"children": f"{number} {text}"})
            await asyncio.sleep(0)
        await until(lambda: all(page.value == str(first + count - 1) for page in others))

    async with serving(app):
        stalled, *others = [await open_tally(app) for _ in range(300)]
        outbox = (
            hub_of(live.app).clients[hub_of(live.app).identities.id_of(stalled.token)].link.outbox
        )
        stalled.taking.clear()
        await live.push("banner", {"children": "on its way"})
        await until(lambda: outbox.statistics().sent == 1)

        # Values of one property: one of them waits, whatever comes.
        tracemalloc.start()
        await show(0, 50)
        before = tracemalloc.get_traced_memory()[0]
        await show(50, 50)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 500_000, "of 30 MB said to 300 pages"
        counted = outbox.statistics()
        assert (counted.frames_waiting, counted.conflated) == (1, 99)
        assert counted.bytes_waiting < 2100

        # What builds on the value before, and events: each of them waits.
        patch = Patch()
        patch.append(1)
        for number in range(20):
            await live.push("list", {"children": patch})
            await live.push("graph", {"extendData": [{"y": [[number]]}, [0]]})
            await live.send_event(name, number)
        counted = outbox.statistics()
        assert (counted.frames_waiting, counted.conflated) == (61, 99)
        await until(lambda: all(len(page.events) == 20 for page in others))

        # More than fits: the page is disconnected, with a code that it comes back after.
        sent, waiting = 20, 0
        while waiting != (waiting := outbox.statistics().frames_waiting):
            assert outbox.statistics().bytes_waiting <= max_bytes
            await live.send_event(name, sent)
            sent += 1
            await asyncio.sleep(0)
        assert outbox.statistics().bytes_waiting > max_bytes - 400
        stalled.taking.set()
        assert await stalled.closed() == CloseCode.TOO_SLOW.number
        assert CloseCode.TOO_SLOW.reconnects

        # Nobody else has noticed; and what the page has missed it is told.
        numbers = list(range(sent))
        await until(lambda: all(page.events == numbers for page in others))
        assert {page.added for page in others} == {40}
        back = await connected(app, stalled.token, stalled.positions)
        assert back.welcome["recovered"] is True
        while len(stalled.events) < len(numbers):
            stalled.count(await back.frame())
        assert stalled.events == numbers
        assert stalled.added == 40
        for page in (back, *others):
            await page.leave()


# -- B5: batching with a bounded delay, one serialisation per broadcast


class Counted:
    """A value that counts how often it is made JSON of."""

    def __init__(self):
        self.times = 0

    def to_plotly_json(self):
        self.times += 1
        return "counted"


async def test_b5_a_broadcast_is_serialised_once_for_a_hundred_pages(app):
    live = Live(app)
    pushed, sent = Counted(), Counted()
    async with serving(app):
        pages = [await connected(app) for _ in range(100)]
        away = pages.pop()
        await away.leave()
        await live.push("banner", {"children": pushed})
        await live.send_event("n", sent)
        # One that was away is told the same, by its history.
        pages.append(await connected(app, away.token, away.positions))
        for page in pages:
            frames = await page.frames(2)
            assert frames[0]["u"] == [["banner", {"children": "counted"}]]
            assert frames[1]["data"] == "counted"
            await page.leave()
    assert (pushed.times, sent.times) == (1, 1)


async def test_b5_what_is_said_at_once_comes_in_one_message(app):
    live = Live(app)
    async with serving(app):
        page = await connected(app)
        for number in range(200):
            await live.send_event("n", number)
        assert [frame["data"] for frame in await page.message()] == list(range(200))
        await page.leave()


def test_b5_a_message_is_no_larger_than_a_batch_however_much_waits():
    outbox = Outbox(max_batch_bytes=10_000)
    for number in range(1, 501):
        outbox.add(event_message("n", "x" * 400).numbered("all", number))
    sizes, numbers = [], []
    while (message := outbox.take()) is not None:
        sizes.append(len(message))
        numbers += [frame["n"] for frame in json.loads(message)]
    assert numbers == list(range(1, 501))
    assert max(sizes) < 11_000
    assert len(sizes) < 30


# -- B8: safe by default

MALFORMED = {
    "nothing": ("", "MALFORMED"),
    "half an object": ("{", "MALFORMED"),
    "null": ("null", "MALFORMED"),
    "no list": ("{}", "MALFORMED"),
    "a number for a frame": ("[1]", "MALFORMED"),
    "null for a frame": ("[null]", "MALFORMED"),
    "a frame without a kind": ('[{"n":1}]', "MALFORMED"),
    "a kind that is no string": ('[{"t":1}]', "MALFORMED"),
    "a kind that nobody knows": ('[{"t":"nonsense"}]', "MALFORMED"),
    "a second hello": ('[{"t":"hello","v":1}]', "MALFORMED"),
    "an event without a name": ('[{"t":"event"}]', "MALFORMED"),
    "an event with a number for a name": ('[{"t":"event","name":5}]', "MALFORMED"),
    "a call without an id": ('[{"t":"call"}]', "MALFORMED"),
    "a call with a string for an id": ('[{"t":"call","id":"x","body":{}}]', "MALFORMED"),
    "a call of a number": ('[{"t":"call","id":1,"body":{"callback":5}}]', "MALFORMED"),
    "a call without lists": (
        '[{"t":"call","id":1,"body":{"callback":"x","inputs":5}}]',
        "MALFORMED",
    ),
    "JSON of a thousand levels": ("[" * 30_000 + "]" * 30_000, "MALFORMED"),
    "bytes": (b"[]", "MALFORMED"),
    "more than is taken": (f'["{"x" * 70_000}"]', "TOO_LARGE"),
    "too much at once": ([json.dumps([{"t": "beat"}])] * 400, "TOO_FAST"),
}
WRONG_HELLOS = {
    "a beat": ({"t": "beat"}, "MALFORMED"),
    "another version": ({"t": "hello", "v": 99}, "UNSUPPORTED_VERSION"),
    "a page that is a number": ({"t": "hello", "v": 1, "page": 5}, "MALFORMED"),
    "positions that are a list": ({"t": "hello", "v": 1, "at": []}, "MALFORMED"),
    "a position that is a number": ({"t": "hello", "v": 1, "at": {"all": 5}}, "MALFORMED"),
}


def documented(name):
    """The number of a close code, as the protocol's document has it."""
    return int(re.search(rf"\| (\d+) \| {name} \|", PROTOCOL)[1])


async def close_code(socket):
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await socket.recv()
            except ConnectionClosed as closed:
                return closed.rcvd and closed.rcvd.code


def link_address(server):
    return f"{server.url.replace('http', 'ws', 1)}/_flash/link"


@pytest.mark.parametrize("name", [*MALFORMED, *WRONG_HELLOS])
async def test_b8_what_no_page_sends_closes_with_its_documented_code(server, name):
    async with connect(link_address(server), proxy=None) as socket:
        if name in WRONG_HELLOS:
            hello, code = WRONG_HELLOS[name]
            await socket.send(json.dumps([hello]))
        else:
            messages, code = MALFORMED[name]
            await socket.send(json.dumps([{"t": "hello", "v": 1}]))
            for message in messages if isinstance(messages, list) else [messages]:
                await socket.send(message)
        assert await close_code(socket) == documented(code)


async def test_b8_the_server_is_none_the_worse_for_it(server):
    await until_server(server, lambda figures: figures["clients"] == figures["connected"] == 0)
    page = await connected(over(server))
    await until_joined(page)
    await post(server, "/say/0/2")
    assert sorted(frame["data"] for frame in await page.frames(2)) == [0, 1]
    await page.leave()
    await until_server(server, lambda figures: figures["clients"] == 0)
    assert "Traceback" not in await asyncio.to_thread(lambda: server.output)


async def test_b8_a_page_of_another_site_is_refused_on_both_transports(server):
    async with connect(link_address(server), proxy=None, origin="https://evil.test") as socket:
        # It was opened only to tell the page why it is closed.
        assert await close_code(socket) == documented("FORBIDDEN")
    hello = json.dumps([{"t": "hello", "v": 1}]).encode()
    for path in ("/_flash/link/events", "/_flash/link/frames"):
        for headers in ({"Origin": "https://evil.test"}, {"Sec-Fetch-Site": "cross-site"}):
            with pytest.raises(HTTPError) as answer:
                await asyncio.to_thread(fetch, server, path, "POST", hello, **headers)
            assert answer.value.code == 403
            answer.value.close()
    async with connect(link_address(server), proxy=None, origin=server.url) as socket:
        await socket.send(json.dumps([{"t": "hello", "v": 1}]))
        assert json.loads(await socket.recv())[0]["t"] == "welcome"


async def test_b8_nobody_resumes_a_page_without_its_secret(app):
    live = Live(app)
    async with serving(app):
        page = await connected(app)
        (client,) = hub_of(live.app).clients.values()
        await page.leave()
        await live.send_event("secret", "for this page", to=client)
        changed = page.token[:-1] + ("A" if page.token[-1] != "A" else "B")
        for token in (changed, client.id, client.id.ljust(40, "."), None):
            other = await connected(app, token, page.positions)
            assert other.welcome["recovered"] is False
            assert client.channel not in other.positions
            assert not other.waiting
            # Nor is the page's place taken.
            assert client.token == page.token
            await other.leave()
        back = await connected(app, page.token, page.positions)
        assert back.welcome["recovered"] is True
        assert (await back.frame())["data"] == "for this page"
        await back.leave()


async def test_b8_nobody_posts_frames_for_a_connection_without_its_secret(server):
    headers = {"Flash-Connection": "guessed"}
    with pytest.raises(HTTPError) as answer:
        await asyncio.to_thread(fetch, server, "/_flash/link/frames", "POST", b"[]", **headers)
    assert answer.value.code == 410
    answer.value.close()


# -- B10: deploys nobody notices


async def test_b10_a_drain_while_messages_flow_loses_none_of_them(app):
    """Pages are sent away in batches; each has by then all that was said, and misses nothing that
    is said until it is back.
    """
    live = Live(app)
    draining = asyncio.Event()
    async with serving(app):
        pages = [await connected(app, state={"flash.draining": draining}) for _ in range(250)]
        got = {page: [] for page in pages}
        byes = []

        async def listen(page):
            try:
                while True:
                    for frame in await page.message():
                        page.applied(frame)
                        if frame["t"] == "bye":
                            byes.append(frame["after"])
                        else:
                            got[page].append(frame["data"])
            except Closed as closed:
                return closed.code

        async with asyncio.TaskGroup() as tasks:
            listening = [tasks.create_task(listen(page)) for page in pages]
            number = 0
            while not all(task.done() for task in listening):
                await live.send_event("n", number)
                number += 1
                if number == 20:
                    draining.set()
                await asyncio.sleep(0.005)
        assert {task.result() for task in listening} == {CloseCode.DRAINING.number}
        assert len(byes) == 250
        assert len(set(byes)) > 50, "they do not come back at the same moment"
        # This worker still lives, as another does behind a proxy that sees all channels.
        for page in pages:
            await page.leave()
            back = await connected(app, page.token, page.positions)
            assert back.welcome["recovered"] is True
            missed = [frame["data"] for frame in back.waiting]
            assert got[page] + missed == list(range(number))
            await back.leave()


# -- nothing is left


async def test_b16_no_task_is_left_after_every_page_has_gone(server):
    await until_server(server, lambda figures: figures["clients"] == 0)
    idle = len((await figures(server))["tasks"])
    pages = [await connected(over(server)) for _ in range(20)]
    assert (await figures(server))["connected"] == 20
    for page in pages:
        await page.leave()
    await until_server(server, lambda figures: len(figures["tasks"]) == idle)
