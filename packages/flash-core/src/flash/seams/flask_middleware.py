"""WSGI middleware around an ASGI app: ``app.server.wsgi_app = ProxyFix(app.server.wsgi_app)``.

Middleware is called in a thread with the request's environment and `wsgi_end` at its inner end. If
it reaches that end, what it has changed in the environment is put into the ASGI scope and what it
has added to the headers into the response, which the app makes by ASGI. If it does not, such as a
dispatcher that has another app for the path, its own response is sent.
"""

from __future__ import annotations

import asyncio
import io
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol

from werkzeug.exceptions import (
    ClientDisconnected,
    HTTPException,
    RequestEntityTooLarge,
    RequestTimeout,
)
from werkzeug.middleware.proxy_fix import ProxyFix

from flash.log_limit import limited_logger
from flash.seams.flask_parts import Parts
from flash.seams.flask_request import environ_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

logger = limited_logger(__name__)

# Key of an environment that has come through all middleware.
_REACHED = "flash.reached"

# Key of an environment with which middleware is only to be asked, see `WSGIMiddleware`.
PROBE = "flash.probe"


def wsgi_end(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Stand at the inner end of WSGI middleware: the app itself answers by ASGI."""
    environ[_REACHED] = True
    start_response("200 OK", [])
    return []


class Server(Protocol):
    """What the middleware needs of the server around which it is."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration, with the limits of a body."""
        ...

    async def call_in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a plain function in a thread."""
        ...


class WSGIMiddleware:
    """An ASGI app with WSGI middleware around it."""

    def __init__(self, middleware: Callable[..., Any], app: Any, server: Server) -> None:
        self._middleware = middleware
        self._app = app
        self._server = server
        # What only looks at headers needs no thread.
        self._runs_on_loop = isinstance(middleware, ProxyFix) and middleware.app is wsgi_end
        self._has_warned = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        environ = environ_of(scope)
        original = dict(environ)
        body = _Body(receive, self._server.config) if scope["type"] == "http" else None
        if body is not None:
            environ["wsgi.input"] = io.BufferedReader(body)
        environ[PROBE] = True
        try:
            answer = await self._ask(environ)
        except HTTPException as error:
            if body is None:
                raise
            await _send_error(send, error)
            return
        if environ.get(_REACHED) and answer.status == 200:
            if answer.first is not None:
                self._warn()
            answer.parts.end()
            received = receive if body is None else body.again
            changed = _changed(scope, original, environ)
            await self._app(changed, received, _adding(send, answer.headers))
        elif body is None:
            answer.parts.end()
            await send({"type": "websocket.close", "code": 4403})
        else:
            await _send_answer(send, answer, body)

    async def _ask(self, environ: dict[str, Any]) -> _Answer:
        if self._runs_on_loop:
            return _Answer(self._middleware, environ, self._server.call_in_thread)
        return await self._server.call_in_thread(
            _Answer, self._middleware, environ, self._server.call_in_thread
        )

    def _warn(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "the WSGI middleware %r changes the body of responses, which it does not get to "
                "see: use `@app.server.after_request` for that",
                self._middleware,
            )


class _Body(io.RawIOBase):
    """The body of a request as a file, which middleware may read in its thread.

    It is received while it is read, within the limits of the server, and what was read is given to
    the app again.
    """

    def __init__(self, receive: Any, config: Mapping[str, Any]) -> None:
        self._receive = receive
        self._limit: int | None = config["MAX_CONTENT_LENGTH"]
        self._timeout: float | None = config["BODY_TIMEOUT"]
        self._loop = asyncio.get_running_loop()
        self._deadline: float | None = None
        # Messages that were received, and how many of them the app has got.
        self._messages: list[Any] = []
        self._given = 0
        self._size = 0
        self._unread = memoryview(b"")
        self._receiving = asyncio.Lock()
        # A message that was received to see whether the client has left.
        self._ahead: Any = None
        self.is_complete = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into ``buffer``; waits for the client. Raises `HTTPException`."""
        while not self._unread and not self.is_complete:
            part = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
            self._unread = memoryview(part)
        count = min(len(buffer), len(self._unread))
        buffer[:count] = self._unread[:count]
        self._unread = self._unread[count:]
        return count

    async def _next(self) -> bytes:
        if self._timeout is not None and self._deadline is None:
            self._deadline = self._loop.time() + self._timeout
        try:
            async with asyncio.timeout_at(self._deadline), self._receiving:
                message, self._ahead = self._ahead or await self._receive(), None
        except TimeoutError:
            raise RequestTimeout from None
        self._messages.append(message)
        if message["type"] == "http.disconnect":
            self.is_complete = True
            raise ClientDisconnected
        part: bytes = message.get("body", b"")
        self._size += len(part)
        self.is_complete = not message.get("more_body", False)
        if self._limit is not None and self._size > self._limit:
            raise RequestEntityTooLarge
        return part

    async def again(self) -> Any:
        """Receive what was read before, and then what comes; for the app."""
        if self._given < len(self._messages):
            message, self._messages[self._given] = self._messages[self._given], None
            self._given += 1
            return message
        return await self._receive()

    async def until_left(self) -> None:
        """Wait until the client leaves. Does not return if much of the body is still to come."""
        async with self._receiving:
            while not self.is_complete and self._ahead is None:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    return
                if message.get("body"):
                    # For who reads the body.
                    self._ahead = message
                else:
                    self.is_complete = not message.get("more_body", False)
            while self.is_complete:
                if (await self._receive())["type"] == "http.disconnect":
                    return
        await self._loop.create_future()


class _Answer:
    """What middleware answers to an environment: status, headers and the first part of the body."""

    def __init__(
        self,
        middleware: Callable[..., Any],
        environ: dict[str, Any],
        run: Callable[..., Awaitable[Any]],
    ) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self._written: list[bytes] = []
        result = middleware(environ, self._start)
        close: Callable[[], object] | None = getattr(result, "close", None)
        self.parts = Parts(result, close, copy_context(), run)
        # Only then has the response of a generator started.
        self.first = self.parts.following()
        if self._written:
            self.first = b"".join([*self._written, self.first or b""])

    def _start(self, status: str, headers: Any, exc_info: object = None) -> Any:
        self.status = int(status.split(" ", 1)[0])
        self.headers = list(headers)
        return self._written.append


async def _send_answer(send: Any, answer: _Answer, body: _Body) -> None:
    """Send the response of middleware, until the client leaves."""

    async def write() -> None:
        start = {"status": answer.status, "headers": _encoded(answer.headers)}
        await send({"type": "http.response.start", **start})
        if answer.first is not None:
            await _send_part(send, answer.first)
            async for part in answer.parts.read():
                await _send_part(send, part)
        await send({"type": "http.response.body", "body": b""})

    if not body.is_complete and answer.first is None:
        await write()
        return
    writing = asyncio.ensure_future(write())
    leaving = asyncio.ensure_future(body.until_left())
    try:
        await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        answer.parts.end()
        for task in (writing, leaving):
            task.cancel()
        await asyncio.wait({writing, leaving})
    if not writing.cancelled():
        writing.result()


async def _send_part(send: Any, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})


async def _send_error(send: Any, error: HTTPException) -> None:
    response = error.get_response()
    headers = _encoded(list(response.headers))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.get_data()})


def _changed(scope: Any, before: dict[str, Any], after: dict[str, Any]) -> Any:
    """Return the scope with what was changed in the environment."""

    def moved(*names: str) -> bool:
        return any(before.get(name) != after.get(name) for name in names)

    changes: dict[str, Any] = {}
    if moved("REMOTE_ADDR", "REMOTE_PORT"):
        port = str(after.get("REMOTE_PORT"))
        changes["client"] = (after["REMOTE_ADDR"], int(port) if port.isdecimal() else 0)
    if moved("wsgi.url_scheme"):
        secure = after["wsgi.url_scheme"] == "https"
        is_socket = scope["type"] == "websocket"
        changes["scheme"] = ("ws" if is_socket else "http") + ("s" if secure else "")
    if moved("SERVER_NAME", "SERVER_PORT"):
        port = str(after["SERVER_PORT"])
        changes["server"] = (after["SERVER_NAME"], int(port) if port.isdecimal() else None)
    if moved("SCRIPT_NAME", "PATH_INFO"):
        root = _text(after["SCRIPT_NAME"])
        changes["root_path"] = root
        changes["path"] = root + _text(after["PATH_INFO"])
        changes["raw_path"] = changes["path"].encode()
    if moved("QUERY_STRING"):
        changes["query_string"] = after["QUERY_STRING"].encode("latin-1")
    names = [name for name in {*before, *after} if name.startswith("HTTP_") and moved(name)]
    if names:
        replaced = {name[5:].lower().replace("_", "-").encode("latin-1") for name in names}
        kept = [(name, value) for name, value in scope["headers"] if name.lower() not in replaced]
        new = [
            (name[5:].lower().replace("_", "-").encode("latin-1"), after[name].encode("latin-1"))
            for name in names
            if name in after
        ]
        changes["headers"] = kept + new
    return {**scope, **changes}


def _text(value: str) -> str:
    """Return what WSGI has as the characters of bytes as text."""
    return value.encode("latin-1").decode(errors="replace")


def _encoded(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _adding(send: Any, headers: list[tuple[str, str]]) -> Any:
    if not headers:
        return send
    more = _encoded(headers)

    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return sent
