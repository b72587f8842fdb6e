"""A `flask.Request` over a request that arrived by ASGI, for code written for Flask.

Flask reads a WSGI environment; `environ_of` makes one from an ASGI scope. The body is read when
something reads ``wsgi.input``: at once if it is complete, otherwise by waiting in the caller's
thread. The event loop cannot wait, so there it raises and names the awaitable way.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import io
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    import flask

# Key of a scope: the loop that serves it.
LOOP = "flash.loop"

# Key of an environment: the `RequestBody`.
BODY = "flash.body"

# Headers that have names of their own in a WSGI environment.
_OWN_NAMES = {"CONTENT_TYPE", "CONTENT_LENGTH"}

_SCHEMES = {"ws": "http", "wss": "https"}


class RequestBody(io.RawIOBase):
    """The body of a Quart request as a file of bytes; read whole on the first read."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._file: io.BytesIO | None = None
        # What a thread waits for that reads before the body is complete.
        self._waiting: Future[bytes] | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into ``buffer``; raises `RuntimeError` where the event loop would have to wait."""
        if self._file is None:
            self._file = io.BytesIO(self._whole())
        return self._file.readinto(buffer)

    def _whole(self) -> bytes:
        body = getattr(self._request, "body", None)
        if body is None:
            # The request that opened a WebSocket.
            return b""
        if body._must_raise is not None:
            # It is too long.
            raise body._must_raise
        if body._complete.is_set():
            return bytes(body._data)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise RuntimeError(
                "flask.request cannot wait for the request's body on the event loop. In an "
                "`async def` function use `await quart.request.get_json()`, `.get_data()`, `.form` "
                "or `.files`, or make the function a plain `def`: it runs in a thread."
            )
        loop = self._request.scope[LOOP]
        self._waiting = asyncio.run_coroutine_threadsafe(_data(self._request), loop)
        return self._waiting.result()

    def abandon(self) -> None:
        """Let a thread that waits for the body go, since the request has ended."""
        if self._waiting is not None:
            self._waiting.cancel()


async def _data(request: Any) -> bytes:
    return await request.get_data(cache=True, as_text=False, parse_form_data=False)


def environ_of(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return the WSGI environment that says what an ASGI scope says, without a body."""
    root: str = scope.get("root_path", "")
    path: str = scope["path"]
    if root and path.startswith(root):
        path = path[len(root.rstrip("/")) :]
    client = scope.get("client")
    host, port = scope.get("server") or ("localhost", None)
    scheme = scope.get("scheme", "http")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.get("method", "GET"),
        "SCRIPT_NAME": _latin(root),
        "PATH_INFO": _latin(path),
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or (443 if scheme in ("https", "wss") else 80)),
        "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": _SCHEMES.get(scheme, scheme),
        "wsgi.input": io.BytesIO(),
        # The body ends by itself: of chunked ones the length is not known before.
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if client:
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = client[0], str(client[1])
    for name, value in scope["headers"]:
        if b"_" in name:
            # It would take the place of the header with "-", which a proxy may have removed.
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in _OWN_NAMES else f"HTTP_{key}"
        text = value.decode("latin-1")
        if key in environ:
            text = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + text
        environ[key] = text
    return environ


def _latin(text: str) -> str:
    """Return text as WSGI has it: the bytes of its UTF-8, each as one character."""
    return text.encode().decode("latin-1")


def flask_request(request: Any, kind: type[flask.Request]) -> flask.Request:
    """Return a Quart request or WebSocket as a Flask request of class ``kind``."""
    environ = environ_of(request.scope)
    environ["wsgi.input"] = environ[BODY] = RequestBody(request)
    made = kind(environ)
    made.url_rule = request.url_rule
    made.view_args = request.view_args
    made.routing_exception = getattr(request, "routing_exception", None)
    return made
