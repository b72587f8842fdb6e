"""A page as the link sees it: speaks ASGI to an app in the same loop."""

import asyncio
import json
from contextlib import asynccontextmanager


class Closed(Exception):
    def __init__(self, code, reason=""):
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Page:
    """One WebSocket of one page."""

    def __init__(self, app, *, headers=(), path="/_flash/link", state=None):
        self._app = app
        self._scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"testserver"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("testserver", 80),
            "subprotocols": [],
            "state": state or {},
        }
        self._to_app = asyncio.Queue()
        self._from_app = asyncio.Queue()
        # Set by a test to stop taking what the server sends.
        self.taking = asyncio.Event()
        self.taking.set()
        self.positions = {}
        self.token = None
        self.welcome = None

    async def open(self):
        self._to_app.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.ensure_future(self._app(self._scope, self._to_app.get, self._receive))
        event = await self._next()
        if event["type"] == "websocket.close":
            raise Closed(event["code"])
        assert event["type"] == "websocket.accept"
        return self

    async def _receive(self, event):
        await self.taking.wait()
        self._from_app.put_nowait(event)

    async def _next(self):
        async with asyncio.timeout(5):
            return await self._from_app.get()

    def send(self, *frames):
        self.send_text(json.dumps(frames))

    def send_text(self, text):
        self._to_app.put_nowait({"type": "websocket.receive", "text": text})

    def send_bytes(self, data):
        self._to_app.put_nowait({"type": "websocket.receive", "bytes": data})

    async def hello(self, token=None, at=None, **more):
        self.send({"t": "hello", "v": 1, "page": token, "at": at or {}, "path": "/", **more})
        frames = await self.message()
        self.welcome = frames[0]
        assert self.welcome["t"] == "welcome"
        self.token = self.welcome["page"]
        self.positions = {c: tuple(p) for c, p in self.welcome["at"].items()}
        self.waiting = [self.applied(frame) for frame in frames[1:]]
        return self.welcome

    def applied(self, frame):
        """Apply a frame's number as a page does, refusing what a page would have to refuse."""
        if frame["t"] == "at":
            self.positions.update({c: tuple(p) for c, p in frame["at"].items()})
        channel = frame.get("c")
        if channel is not None:
            epoch, number = self.positions[channel]
            if frame["t"] != "snapshot":
                assert frame["n"] > number, f"{frame} after {number}"
            self.positions[channel] = (epoch, frame["n"])
        return frame

    async def message(self):
        event = await self._next()
        if event["type"] == "websocket.close":
            raise Closed(event["code"], event.get("reason", ""))
        return json.loads(event["text"])

    async def frame(self):
        while not self.waiting:
            self.waiting = [self.applied(frame) for frame in await self.message()]
        frame = self.waiting.pop(0)
        return frame if frame["t"] != "at" else await self.frame()

    async def frames(self, count):
        return [await self.frame() for _ in range(count)]

    async def closed(self):
        """Return the code with which the server closes, whatever comes before."""
        try:
            while True:
                await self.message()
        except Closed as closed:
            return closed.code

    async def leave(self):
        """Break off, as a closed laptop does."""
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self.taking.set()
        async with asyncio.timeout(5):
            await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def serving(app):
    """Run an app's start-up and shutdown functions."""
    await app.server.startup()
    try:
        yield app
    finally:
        await app.server.shutdown()


async def connected(app, token=None, at=None, **more):
    page = await Page(app, **more).open()
    await page.hello(token, at)
    return page
