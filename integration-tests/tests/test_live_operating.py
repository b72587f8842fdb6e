"""Operating the live link on real servers: scraping, readiness, and a stop that nobody notices."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from flash.testing import AppProcess

APP = Path(__file__).parents[1] / "apps" / "operating" / "app.py"
SERVERS = ("hypercorn", "uvicorn", "granian")
TOKEN = "a-token-that-is-long"
PATIENCE = 30


@pytest.fixture(scope="module", params=SERVERS)
def served(request):
    environment = {"METRICS_TOKEN": TOKEN}
    with AppProcess(APP, server=request.param, env=environment) as process:
        process.server = request.param
        yield process


def fetch(served, path, *, method="GET", **headers):
    """Status and body."""
    request = Request(served.url + path, method=method, headers=headers)
    try:
        with urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def figures(served):
    status, text = fetch(served, "/_flash/metrics", Authorization=f"Bearer {TOKEN}")
    assert status == 200
    return {
        (sample.name, *sorted(v for k, v in sample.labels.items() if k != "worker")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110  another process
            await asyncio.sleep(0.02)


class Page:
    """A page's WebSocket, from its hello on."""

    def __init__(self, socket):
        self.socket = socket
        self.frames = []

    @classmethod
    async def open(cls, served, stack):
        url = f"{served.url.replace('http', 'ws')}/_flash/link"
        socket = await stack.enter_async_context(connect(url, proxy=None, origin=served.url))
        page = cls(socket)
        await page.send({"t": "hello", "v": 1, "page": None, "at": {}, "path": "/"})
        await page.frame("welcome")
        return page

    async def send(self, frame):
        await self.socket.send(json.dumps([frame]))

    async def frame(self, kind):
        """The next frame of a kind."""
        async with asyncio.timeout(PATIENCE):
            while True:
                while self.frames:
                    frame = self.frames.pop(0)
                    if frame["t"] == kind:
                        return frame
                self.frames = json.loads(await self.socket.recv())

    async def call(self, name):
        value = {"id": "go", "property": "n_clicks", "value": 1}
        body = {
            "callback": name,
            "inputs": [value],
            "state": [],
            "changedPropIds": ["go.n_clicks"],
        }
        await self.send({"t": "call", "id": 1, "body": body})
        await self.frame("props")

    async def closed(self):
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await self.socket.recv()
                except ConnectionClosed as closed:
                    return closed.rcvd and closed.rcvd.code


async def callback_name(served):
    """What the page calls the only event callback by."""
    _, text = await asyncio.to_thread(fetch, served, "/_dash-dependencies")
    return next(
        each["clientside_function"]["function_name"]
        for each in json.loads(text)
        if each["clientside_function"]
    )


async def test_b14_a_scraper_reads_what_the_links_do(served):
    async with AsyncExitStack() as stack:
        pages = [await Page.open(served, stack) for _ in range(3)]
        await pages[0].call(await callback_name(served))
        before = await asyncio.to_thread(figures, served)
        assert before["flash_live_pages", "connected"] == 3
        assert before["flash_live_event_callbacks",] == 1
        assert before["flash_live_frames_delivered_total",] > 0
        assert before["flash_live_lag_seconds",] >= 0
        await pages[1].socket.close()
        await until(lambda: figures(served)["flash_live_pages", "connected"] == 2)
    after = await asyncio.to_thread(figures, served)
    assert after["flash_live_links_closed_total", "LEFT"] >= 1
    assert after["app_faults_total",] == 0
    status, _ = await asyncio.to_thread(fetch, served, "/_flash/metrics")
    assert status == 401


def test_b14_a_balancer_learns_what_is_not_well(served):
    assert fetch(served, "/_flash/health")[0] == 200
    status, text = fetch(served, "/_flash/ready")
    assert (status, json.loads(text)["ready"]) == (200, True)
    fetch(served, "/fault", method="POST")
    while (answer := fetch(served, "/_flash/ready"))[0] == 200:
        # What was found a second ago is still good.
        pass
    assert answer[0] == 503
    assert json.loads(answer[1])["checks"] == {"serving": "ok", "broker": "the broker is away"}
    fetch(served, "/repair", method="POST")


async def test_b8_a_message_that_inflates_to_too_much_closes_the_link(served):
    async with AsyncExitStack() as stack:
        page = await Page.open(served, stack)
        await page.socket.send(json.dumps([{"t": "event", "name": "x", "data": "0" * 500_000}]))
        assert await page.closed() == 4413


async def test_b10_a_server_told_to_stop_sends_pages_away_and_ends_their_streams(served):
    name = await callback_name(served)
    async with AsyncExitStack() as stack:
        pages = [await Page.open(served, stack) for _ in range(5)]
        for page in pages:
            await page.call(name)
        echo = await stack.enter_async_context(
            connect(f"{served.url.replace('http', 'ws')}/echo", proxy=None)
        )
        written = len(await asyncio.to_thread(lambda: served.output))
        # Returns when the process has ended with code 0; raises otherwise.
        stopping = asyncio.create_task(asyncio.to_thread(served.terminate))
        waits = [(await page.frame("bye"))["after"] for page in pages]
        assert min(waits) >= 0
        assert len(set(waits)) > 1
        codes = {await page.closed() for page in pages}
        with pytest.raises(ConnectionClosed) as closed:
            await echo.recv()
        await stopping
        assert codes == {4531}
        assert closed.value.rcvd.code == 1012
    output = await asyncio.to_thread(lambda: served.output)
    # Those of the tests before included.
    assert output.count("stream begun") == output.count("stream closed") >= 5
    output = output[written:]
    assert output.count("page let go") >= 5
    assert "Traceback" not in output
    # What is said when something had to be cut after its time.
    assert "request(s) that do not finish" not in output
    await asyncio.to_thread(served.start)
