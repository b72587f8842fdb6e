"""Pages that go on sending when the app is done with their socket."""

import asyncio
from contextlib import suppress

import pytest
import websockets

from flash.testing import AppProcess

APP = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
        return
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    await receive()
    # The page fills every queue meanwhile.
    await asyncio.sleep(0.3)
    if scope["path"] == "/closes":
        await send({"type": "websocket.close", "code": 4000, "reason": "enough"})
    if scope["path"] == "/fails":
        raise ValueError("of the app")
"""


@pytest.fixture(scope="module", params=["hypercorn", "uvicorn", "granian"])
def served(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("floods") / "web.py"
    path.write_text(APP)
    with AppProcess(path, server=request.param) as process:
        yield process


@pytest.mark.parametrize("path", ["/closes", "/returns", "/fails"])
async def test_a_page_that_floods_sees_the_end_of_its_socket(served, path):
    async with websockets.connect(
        # Without pings: they would end the connection after 20 s.
        f"ws://127.0.0.1:{served.port}{path}",
        ping_interval=None,
    ) as page:

        async def flood():
            while True:
                await page.send("x" * 1000)
                # So that what the server sends is read, too.
                await asyncio.sleep(0)

        flooding = asyncio.create_task(flood())
        async with asyncio.timeout(10):
            with suppress(websockets.ConnectionClosed):
                await page.recv()
            await page.wait_closed()
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
    if path == "/closes":
        assert page.protocol.close_code == 4000
