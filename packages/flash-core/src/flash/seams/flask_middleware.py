"""WSGI middleware around an ASGI app: ``app.server.wsgi_app = ProxyFix(app.server.wsgi_app)``.

Middleware is called in a thread with the request's environment and `wsgi_end` at its inner end. If
it reaches that end, what it has changed in the environment is put into the ASGI scope and what it
has added to the headers into the response, which the app makes by ASGI. If it does not, such as a
dispatcher that has another app for the path, its own response is sent.
"""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

from flash.seams.flask_request import environ_of

if TYPE_CHECKING:
    from collections.abc import Callable

# Key of an environment that has come through all middleware.
_REACHED = "flash.reached"

# Key of an environment with which middleware is only to be asked, see `WSGIMiddleware`.
PROBE = "flash.probe"

# Bytes of a request's body, which middleware may read.
_MAX_BODY = 16 << 20


def wsgi_end(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Stand at the inner end of WSGI middleware: the app itself answers by ASGI."""
    environ[_REACHED] = True
    start_response("200 OK", [])
    return []


class WSGIMiddleware:
    """An ASGI app with WSGI middleware around it."""

    def __init__(self, middleware: Callable[..., Any], app: Any) -> None:
        self._middleware = middleware
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        environ = environ_of(scope)
        original = dict(environ)
        body, messages = b"", []
        if scope["type"] == "http":
            body, messages = await _received(receive)
        environ["wsgi.input"] = io.BytesIO(body)
        environ[PROBE] = True
        status, headers, parts = await asyncio.to_thread(_call, self._middleware, environ)
        if environ.get(_REACHED):
            changed = _changed(scope, original, environ)
            await self._app(changed, _again(messages, receive), _adding(send, headers))
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4403})
            return
        pairs = _encoded(headers)
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _received(receive: Any) -> tuple[bytes, list[Any]]:
    """Return a body, up to a limit, and the messages that brought it."""
    messages: list[Any] = []
    size = 0
    while size <= _MAX_BODY:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            break
    return b"".join(message.get("body", b"") for message in messages), messages


def _again(messages: list[Any], receive: Any) -> Any:
    """Return a ``receive`` that brings messages that were read before, and then what comes."""
    waiting = list(reversed(messages))

    async def received() -> Any:
        return waiting.pop() if waiting else await receive()

    return received


def _call(
    middleware: Callable[..., Any], environ: dict[str, Any]
) -> tuple[int, list[tuple[str, str]], list[bytes]]:
    started: list[Any] = []
    written: list[bytes] = []

    def start_response(status: str, headers: Any, exc_info: object = None) -> Any:
        started[:] = [int(status.split(" ", 1)[0]), list(headers)]
        return written.append

    result = middleware(environ, start_response)
    try:
        parts = [*written, *result]
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()
    return started[0], started[1], parts


def _changed(scope: Any, before: dict[str, Any], after: dict[str, Any]) -> Any:
    """Return the scope with what was changed in the environment."""

    def moved(*names: str) -> bool:
        return any(before.get(name) != after.get(name) for name in names)

    changes: dict[str, Any] = {}
    if moved("REMOTE_ADDR", "REMOTE_PORT"):
        changes["client"] = (after["REMOTE_ADDR"], int(after.get("REMOTE_PORT") or 0))
    if moved("wsgi.url_scheme"):
        secure = after["wsgi.url_scheme"] == "https"
        is_socket = scope["type"] == "websocket"
        changes["scheme"] = ("ws" if is_socket else "http") + ("s" if secure else "")
    if moved("SERVER_NAME", "SERVER_PORT"):
        changes["server"] = (after["SERVER_NAME"], int(after["SERVER_PORT"]))
    if moved("SCRIPT_NAME", "PATH_INFO"):
        root = after["SCRIPT_NAME"].encode("latin-1").decode()
        changes["root_path"] = root
        changes["path"] = root + after["PATH_INFO"].encode("latin-1").decode()
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
