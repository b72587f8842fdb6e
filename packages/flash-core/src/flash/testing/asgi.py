"""Requests to an ASGI app in this process and on this event loop, without sockets."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from flash.http.gateway import IN_PROCESS
from flash.testing.errors import IncompleteResponse, StartupFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from contextvars import Context

    from flash.serving.target import ASGIApp, Message, Scope

# The number of unread body bytes from which on the app's `send` waits for the reader, as with the
# buffer of a socket.
MAX_UNREAD_BYTES = 256 * 1024


class Headers(Mapping[str, str]):
    """The headers of a response; names are case-insensitive, repeated ones joined by commas."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._pairs = [(name.lower(), value) for name, value in pairs]

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._pairs))

    def __len__(self) -> int:
        return len(dict(self._pairs))

    def __repr__(self) -> str:
        return f"Headers({self._pairs!r})"

    def get_all(self, name: str) -> list[str]:
        """Return all values of a header that may be repeated, such as ``Set-Cookie``."""
        name = name.lower()
        return [value for known, value in self._pairs if known == name]


@dataclass(frozen=True, slots=True)
class Response:
    """A complete response; ``url`` is its URL, after redirects if any were followed."""

    url: str
    status: int
    headers: Headers
    body: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The body decoded as UTF-8; invalid bytes are replaced."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """Parse the body as JSON; raises ``ValueError`` if it is not JSON."""
        return json.loads(self.body)


class Exchange:
    """One request and its response, readable while it arrives.

    The app runs in its own task. ``close()`` disconnects as a browser does: the app receives
    ``http.disconnect``, and its later calls of ``send`` do nothing.
    """

    def __init__(self, app: ASGIApp, scope: Scope, body: bytes, url: str) -> None:
        # The URL of the request.
        self.url = url
        # The response's status; 0 until `start` has returned.
        self.status = 0
        # The response's headers; empty until `start` has returned.
        self.headers = Headers([])
        self._app = app
        self._scope = scope
        self._body: bytes | None = body
        self._changed = asyncio.Condition()
        self._chunks: deque[bytes] = deque()
        self._unread = 0
        self._complete = False
        self._returned = False
        self._gone = False
        self._task: asyncio.Task[None] | None = None

    async def start(self, context: Context) -> None:
        """Send the request, and return when the response's status and headers have arrived."""
        self._task = asyncio.create_task(self._run(), context=context)
        async with self._changed:
            await self._changed.wait_for(lambda: self.status or self._returned)
        if not self.status:
            await self._task
            raise IncompleteResponse(self.url)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body piece by piece, as the app sends it."""
        while True:
            async with self._changed:
                await self._changed.wait_for(
                    lambda: self._chunks or self._complete or self._returned
                )
                if not self._chunks:
                    break
                chunk = self._chunks.popleft()
                self._unread -= len(chunk)
                self._changed.notify_all()
            yield chunk
        if not self._complete and self._task is not None:
            await self._task
            raise IncompleteResponse(self.url)

    async def lines(self) -> AsyncIterator[str]:
        """Yield the body line by line, without line ends; for NDJSON and server-sent events."""
        rest = b""
        async for chunk in self.chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r").decode()
        if rest:
            yield rest.decode()

    async def read(self) -> Response:
        """Return the response when it is complete."""
        body = b"".join([chunk async for chunk in self.chunks()])
        return Response(self.url, self.status, self.headers, body)

    async def close(self, grace: float) -> None:
        """Disconnect and wait for the app; cancel it if it does not return in ``grace`` seconds.

        Raises the error that the app raised after its response was complete.
        """
        task = self._task
        if task is None:
            return
        async with self._changed:
            self._gone = True
            self._changed.notify_all()
        try:
            await asyncio.wait({task}, timeout=grace)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        finally:
            async with self._changed:
                self._returned = True
                self._changed.notify_all()

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        async with self._changed:
            await self._changed.wait_for(lambda: self._gone or self._complete)
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        # Yield once, so that the reader runs and a disconnect is noticed even if the app never
        # waits.
        await asyncio.sleep(0)
        async with self._changed:
            if message["type"] == "http.response.start":
                self.headers = Headers(
                    (name.decode("latin-1"), value.decode("latin-1"))
                    for name, value in message.get("headers", ())
                )
                self.status = message["status"]
            elif message["type"] == "http.response.body":
                await self._changed.wait_for(lambda: self._gone or self._unread < MAX_UNREAD_BYTES)
                chunk = message.get("body", b"")
                if chunk and not self._gone:
                    self._chunks.append(chunk)
                    self._unread += len(chunk)
                self._complete = not message.get("more_body", False)
            self._changed.notify_all()


class Lifespan:
    """The ASGI lifespan of an app: its start and stop, as a server runs them.

    An app without lifespan support, which raises an error before it receives a message, is served
    without one.
    """

    def __init__(self, app: ASGIApp) -> None:
        # The lifespan's state; each request gets a copy in its scope.
        self.state: dict[str, Any] = {}
        # The context of the app's start; requests run in copies of it, not of the test's context.
        self.context = copy_context()
        self._app = app
        self._listening = False
        self._inbox: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)
        self._answers: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Start the app; raises `StartupFailed` with the app's reason."""
        self._task = asyncio.create_task(self._run(), context=self.context)
        try:
            await self._ask("startup")
        except BaseException:
            self._task.cancel()
            await asyncio.wait({self._task})
            raise

    async def shutdown(self) -> None:
        """Stop the app and wait until it has returned."""
        if self._task is None:
            return
        if not self._task.done():
            await self._ask("shutdown")
        await self._task
        self._task = None

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
            IN_PROCESS: True,
        }
        try:
            await self._app(scope, self._receive, self._answers.put)
        except Exception:  # ASGI: an app that raises before it receives has no lifespan
            if self._listening:
                raise

    async def _receive(self) -> Message:
        self._listening = True
        return await self._inbox.get()

    async def _ask(self, phase: str) -> None:
        assert self._task is not None
        self._inbox.put_nowait({"type": f"lifespan.{phase}"})
        answer = asyncio.create_task(self._answers.get())
        try:
            await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                message = answer.result()
                if message["type"] == f"lifespan.{phase}.failed":
                    raise StartupFailed(phase, message.get("message", ""))
            else:
                # The app has ended without a message: raise its error, if it raised one.
                self._task.result()
        finally:
            answer.cancel()


def http_scope(
    method: str, url: str, headers: Iterable[tuple[str, str]], state: Mapping[str, Any]
) -> Scope:
    """Return the ASGI scope that a server would create for this request over HTTP/1.1."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method.upper(),
        "scheme": parts.scheme,
        "path": unquote(parts.path) or "/",
        "raw_path": (parts.path or "/").encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 50_000),
        "server": (host, port),
        "state": dict(state),
        "extensions": {},
    }
