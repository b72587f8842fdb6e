"""A browser's WebSocket without browser or server: speaks ASGI to an app on the same loop."""

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest


class Refused(ConnectionRefusedError):
    """The handshake was answered with an HTTP status."""

    def __init__(self, status, body=b"", headers=()):
        super().__init__(status, body)
        self.status = status
        self.reason = body.decode().strip()
        self.headers = dict(headers)


class ClosedByServer(ConnectionAbortedError):
    """The app sent a close frame."""

    def __init__(self, code, reason):
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Socket:
    """One WebSocket, as the server side of it would hand it to an app."""

    def __init__(
        self, app, url, *, headers=(), subprotocols=(), state=None, extensions=None, answers=True
    ):
        parts = urlsplit(url)
        self._app = app
        self._scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": parts.scheme or "ws",
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "root_path": "",
            "query_string": parts.query.encode(),
            "headers": [
                (name.lower().encode(), value.encode())
                for name, value in [("Host", parts.netloc or "testserver"), *headers]
            ],
            "client": ("127.0.0.1", 1),
            "server": ("testserver", 80),
            "subprotocols": list(subprotocols),
            "state": state or {},
            "extensions": {"websocket.http.response": {}} if extensions is None else extensions,
        }
        self._to_app = asyncio.Queue()
        self._from_app = asyncio.Queue()
        # Cleared by a test to stop taking what the app sends, as a stalled browser does.
        self.taking = asyncio.Event()
        self.taking.set()
        self.subprotocol = None
        self._answers = answers

    async def open(self):
        self._to_app.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.ensure_future(self._app(self._scope, self._to_app.get, self._take))
        event = await self._next()
        if event["type"] == "websocket.http.response.start":
            body = await self._next()
            raise Refused(event["status"], body["body"], event["headers"])
        if event["type"] == "websocket.close":
            raise Refused(403)
        assert event["type"] == "websocket.accept"
        self.subprotocol = event.get("subprotocol")

    async def _take(self, event):
        await self.taking.wait()
        self._from_app.put_nowait(event)
        if event["type"] == "websocket.close" and self._answers:
            # A browser answers, and the server hangs up.
            self._to_app.put_nowait({"type": "websocket.disconnect", "code": event["code"]})

    async def _next(self):
        async with asyncio.timeout(5):
            return await self._from_app.get()

    def send(self, message):
        kind = "text" if isinstance(message, str) else "bytes"
        self._to_app.put_nowait({"type": "websocket.receive", kind: message})

    @property
    def unread(self):
        """How many messages the app has not taken in."""
        return self._to_app.qsize()

    async def receive(self):
        event = await self._next()
        if event["type"] == "websocket.close":
            raise ClosedByServer(event["code"], event["reason"])
        return event["text"] if "text" in event else event["bytes"]

    async def closed(self):
        """Return the code that the server closes with, whatever comes before it."""
        try:
            while True:
                await self.receive()
        except ClosedByServer as closed:
            await self.over()
            return closed.code

    async def leave(self, code=1001):
        """Close as a browser does, and wait until the app has taken note of it."""
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": code})
        await self.over()

    def vanish(self):
        """Break off."""
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def over(self):
        async with asyncio.timeout(10):
            await self.task


@pytest.fixture
def until():
    """Let the loop turn until something is so."""

    async def until(condition):
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110  what is waited for sets no event
                await asyncio.sleep(0)

    return until


@pytest.fixture
async def no_task_is_left(until):
    """Fail where a task of flash-ws outlives the test."""

    def left():
        return [task for task in asyncio.all_tasks() if "flash_ws" in repr(task)]

    yield
    await until(lambda: not left())


@pytest.fixture
def connect(no_task_is_left):
    """Open a WebSocket: ``async with connect(app, "/ticker") as socket``.

    Refused, it raises ``ConnectionRefusedError`` with the status; ``socket.receive`` raises
    ``ConnectionAbortedError`` with code and reason when the app closes.
    """

    @asynccontextmanager
    async def connected(app, url, **options):
        socket = Socket(app, url, **options)
        try:
            await socket.open()
            yield socket
        finally:
            socket.taking.set()
            socket.vanish()
            async with asyncio.timeout(10):
                await asyncio.wait({socket.task})
        socket.task.result()

    return connected
