"""Objects that servers call by ASGI or by WSGI, and the serving of an ASGI app by WSGI.

``gunicorn app:server`` and ``waitress-serve app:server``, which serve a Dash app on Flask, call
``app(environ, start_response)``; servers of ASGI call ``app(scope, receive, send)``.
"""

from __future__ import annotations

import asyncio
import functools
import io
import logging
import os
import threading
from types import MethodType
from typing import TYPE_CHECKING, Any, Protocol, overload
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from types import CodeType

    import quart

logger = logging.getLogger("flash.serving")

# Key of a scope: the request came by WSGI, so that neither a WebSocket nor an endless response can
# be served: it would occupy a thread, or the only worker, for as long as it lasts.
WSGI = "flash.wsgi"

# Key of an environment: receives the future that is done when the client has gone.
_GONE = "flash.gone"

# How the user agent of Flask's test client begins.
_TEST_CLIENT = "Werkzeug/"

# Where a server keeps its `WSGIBridge`.
_EXTENSION = "flash_wsgi"

# Bytes that are read of a body at a time.
_BLOCK = 64 * 1024


class BoundCall(Protocol):
    """What `ServerCall` is on an instance."""

    @overload
    def __call__(self, scope: Any, receive: Any, send: Any, /) -> Awaitable[None]: ...
    @overload
    def __call__(self, environ: Any, start_response: Any, /) -> Iterable[bytes]: ...
    def __call__(self, *arguments: Any) -> Any:
        """Serve one ASGI connection, or one WSGI request."""


class ServerCall:
    """The ``__call__`` of a class whose instances are called by ASGI and by WSGI.

    Servers tell by `inspect.iscoroutinefunction` and by the signature of ``__call__`` whether an
    object is an ASGI app. This looks like its ``async def`` function to `inspect`, which takes any
    object with the attributes of a function for one. ``direct`` is what serves by ASGI: a plain
    function that returns the awaitable, since a coroutine more costs each request.
    """

    __name__: str
    __code__: CodeType
    __defaults__: None
    __kwdefaults__: None

    def __init__(
        self,
        asgi: Callable[..., Awaitable[None]],
        wsgi: Callable[..., Any],
        direct: Callable[..., Awaitable[None]],
    ) -> None:
        functools.update_wrapper(self, asgi)
        del self.__dict__["__wrapped__"]
        self.__name__ = self.__qualname__ = "__call__"
        self.__code__ = asgi.__code__  # type: ignore[attr-defined]
        self.__defaults__ = self.__kwdefaults__ = None
        self._wsgi = wsgi
        self._direct = direct

    @overload
    def __get__(self, instance: None, owner: type) -> ServerCall: ...
    @overload
    def __get__(self, instance: object, owner: type) -> BoundCall: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __call__(self, instance: Any, scope: Any, receive: Any, send: Any = None) -> Any:
        """Serve by ASGI; with two arguments, which are an environment and a function, by WSGI."""
        if send is None:
            return self._wsgi(instance, scope, receive)
        return self._direct(instance, scope, receive, send)


class WSGIBridge:
    """Serves an ASGI app by WSGI, on an event loop in a thread of its own."""

    def __init__(self, app: quart.Quart) -> None:
        self._app = app
        self._lock = threading.Lock()
        # The process in which the loop runs; a forked worker makes another.
        self._process = 0
        self._middleware: Any = None
        self._announced = False

    @classmethod
    def of(cls, app: quart.Quart) -> WSGIBridge:
        """Return the bridge of ``app``, which is made on first use."""
        return app.extensions.setdefault(_EXTENSION, cls(app))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        """Serve one WSGI request."""
        if not self._announced:
            self._announced = not environ.get("HTTP_USER_AGENT", "").startswith(_TEST_CLIENT)
            if self._announced:
                self._announce()
        if self._process != os.getpid():
            # Only where it is needed: an app that is served over ASGI need not import it.
            import a2wsgi

            with self._lock:
                if self._process != os.getpid():
                    self._middleware = a2wsgi.ASGIMiddleware(self._serve)
                    self._process = os.getpid()
        return self._respond(self._prepared(environ), start_response)

    def _respond(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        middleware = self._middleware
        complete = False
        try:
            yield from middleware(environ, start_response)
            complete = True
        finally:
            if not complete:
                # The client has gone, and the server reads no further.
                for gone in environ[_GONE]:
                    middleware.loop.call_soon_threadsafe(gone.cancel)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        gone = asyncio.get_running_loop().create_future()
        scope["wsgi_environ"][_GONE].append(gone)
        scope[WSGI] = True

        async def received() -> Any:
            """Return the next message; the middleware has none that the client has gone."""
            message = asyncio.ensure_future(receive())
            try:
                await asyncio.wait({message, gone}, return_when=asyncio.FIRST_COMPLETED)
                return message.result() if message.done() else {"type": "http.disconnect"}
            finally:
                message.cancel()

        await self._app.asgi_app(scope, received, send)

    def _prepared(self, environ: dict[str, Any]) -> dict[str, Any]:
        """Return the environment with what the middleware needs and not every server gives."""
        prepared: dict[str, Any] = {**environ, _GONE: []}
        # Without it the address would be lost.
        prepared.setdefault("REMOTE_PORT", "0")
        for name in ("SCRIPT_NAME", "PATH_INFO"):
            # Bytes that are not UTF-8 have no character in ASGI.
            text = prepared.get(name, "").encode("latin-1").decode("utf-8", "replace")
            prepared[name] = text.encode().decode("latin-1")
        query: str = prepared.get("QUERY_STRING", "")
        if not query.isascii():
            prepared["QUERY_STRING"] = quote(query.encode("latin-1"), safe="%&=+;,/?:@!$'()*[]|~")
        if not prepared.get("CONTENT_LENGTH") and "HTTP_TRANSFER_ENCODING" in prepared:
            # A body of unknown length.
            body = self._read(prepared["wsgi.input"])
            prepared["wsgi.input"] = io.BytesIO(body)
            prepared["CONTENT_LENGTH"] = str(len(body))
        return prepared

    def _read(self, stream: Any) -> bytes:
        """Read a body, up to the first byte that is too much."""
        limit: int | None = self._app.config["MAX_CONTENT_LENGTH"]
        parts: list[bytes] = []
        size = 0
        while (limit is None or size <= limit) and (part := stream.read(_BLOCK)):
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    def _announce(self) -> None:
        module = self._app.import_name
        logger.warning(
            "%s is served by WSGI: pages and callbacks work, the live link does not, and each "
            "request occupies a thread of the server until it is complete. Serve it by ASGI: "
            "flash run %s:app, or gunicorn -k uvicorn.workers.UvicornWorker %s:server "
            "(newer: -k uvicorn_worker.UvicornWorker, of the package uvicorn-worker)",
            *(module, module, module),
        )
