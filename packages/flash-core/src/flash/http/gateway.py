"""The ASGI entry point of a Quart app: serves callbacks and files before Quart builds a request.

It bypasses Quart only while no code of the Quart app must run for each request. A login guard, a
signal receiver, a session in Redis or middleware sends every request through Quart.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from flash.callbacks.execution import visitor, visitor_of
from flash.callbacks.first_step import FirstStep
from flash.callbacks.response import (
    JSON,
    NOT_COMPILED,
    EncodedResponse,
    text_response,
    to_quart_response,
)
from flash.errors import BadRequest, ConfigurationError, quoted
from flash.http.compression import compress
from flash.http.disconnect import Disconnected, DisconnectWatcher, WatchTimer
from flash.http.early_response import EarlyResponse, has_long_body
from flash.http.garbage_collection import freeze_startup_objects
from flash.http.plain_functions import PlainFunctions
from flash.http.response_headers import use_safe_cookies, with_headers
from flash.http.socket_calls import LARGE_JSON as LARGE_JSON
from flash.http.startup import Startup
from flash.seams import dash as dash_seam
from flash.seams import quart as quart_seam
from flash.seams.flask_request import LOOP
from flash.seams.flask_server import FlashServer
from flash.seams.server_call import WSGI as WSGI

if TYPE_CHECKING:
    import quart

    from flash.callbacks.dispatch import Dispatcher
    from flash.callbacks.execution import WorkerPool
    from flash.http.response_headers import PageHeaders
    from flash.pages.views import Views
    from flash.static import StaticResponse

logger = logging.getLogger("flash.serving")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
SocketDoor = Callable[[Scope, Receive, Send, ASGIApp], Awaitable[None]]

# Key of a lifespan scope: the app runs in a process that is not a server's, such as a test's.
IN_PROCESS = "flash.in_process"

_EXTENSION = "flash"

_JSON = b"application/json"

# Seconds between two messages in the log of what any client can cause.
_LOG_INTERVAL = 60.0


class MountedApp(Protocol):
    """What the gateway needs of an app that it serves."""

    config: Any
    dispatcher: Dispatcher
    views: Views
    internal_pool: WorkerPool
    # Whether `warm_up` has been done.
    is_warm: bool
    # Whether responses that are made per request are compressed.
    compresses: bool
    # The headers of the HTML pages below the app's prefix.
    page_headers: PageHeaders

    def take_root_path(self, root_path: str) -> None:
        """Use the path at which a host or a proxy serves the app as its prefix, if it has none."""
        ...

    async def warm_up(self) -> None:
        """Do the set-up before the first call of a user's function; idempotent."""
        ...


class Gateway:
    """Wraps the ``asgi_app`` of a Quart app and serves the Flash apps that are mounted on it."""

    def __init__(self, server: quart.Quart) -> None:
        self._server = server
        self._quart_app: Any = server.asgi_app
        # Middleware inside the gateway would be bypassed, too.
        self._may_bypass_quart = quart_seam.has_standard_dispatch(
            server
        ) and not quart_seam.has_middleware(server)
        self._apps: list[MountedApp] = []
        # The number of connections so far, without lifespans.
        self._connections = 0
        # Whether the apps know the path at which a host or a proxy serves them.
        self._has_root_path = False
        # The start and the end of the apps where the server sends no lifespan.
        self.startup = Startup(server)
        # ASGI applications of add-ons, by path or, with variables, by rule.
        self._applications: dict[str, ASGIApp] = {}
        self._rules = Map(strict_slashes=False)
        # Whether there is a rule with variables: only then must the rules be tried.
        self._has_rules = False
        self._host_checks: list[Callable[[Scope], str | None]] = []
        # What is in front of WebSockets of Quart's, by path.
        self._socket_doors: dict[str, SocketDoor] = {}
        # The timer of the disconnect watchers; another one on another event loop.
        self._watch_timer: WatchTimer | None = None
        # When it was last logged that a request is too long, by the monotonic clock.
        self._logged_too_long_at = -_LOG_INTERVAL
        # Views that bypass Quart, by method and path; made when all apps have started.
        self._routes: dict[tuple[str, str], Callable[[Exchange], Awaitable[None]]] | None = None

    @classmethod
    def of(cls, server: quart.Quart) -> Gateway:
        """Return the gateway of ``server``, which is installed on first use."""
        gateway = server.extensions.get(_EXTENSION)
        if gateway is None:
            if isinstance(server, FlashServer):
                server.run_in_thread = PlainFunctions().run
            gateway = server.extensions[_EXTENSION] = cls(server)
            server.asgi_app = gateway  # type: ignore[method-assign]
        return gateway

    @property
    def apps(self) -> list[MountedApp]:
        """The Flash apps of the server."""
        return list(self._apps)

    @property
    def has_middleware(self) -> bool:
        """Whether middleware has been put around the server, before or after the gateway."""
        return (
            self._server.asgi_app is not self
            or getattr(self._quart_app, "__self__", None) is not self._server
        )

    def mount(self, app: MountedApp) -> None:
        """Serve ``app`` below its ``routes_pathname_prefix``."""
        use_safe_cookies(self._server)
        self._apps.append(app)
        self._routes = None
        self._has_root_path = False

    def check_hosts(self, refusal_reason: Callable[[Scope], str | None]) -> None:
        """Refuse each request and WebSocket for which ``refusal_reason`` returns a text."""
        self._host_checks.append(refusal_reason)

    def guard_sockets(self, path: str, serve: SocketDoor) -> None:
        """Pass each WebSocket at ``path`` to ``serve``, with the app to pass it on to."""
        self._socket_doors[path] = serve

    def add_application(self, rule: str, application: ASGIApp) -> None:
        """Serve an ASGI application at ``rule``, a path or a rule with variables.

        It gets HTTP requests and WebSockets before Quart does, and the variables in
        ``scope["path_params"]``. It must run the app's guards itself (`Handshake.refusal`). Raises
        `ConfigurationError` if the rule already has an application.
        """
        if rule in self._applications:
            raise ConfigurationError(f"{rule!r} is taken: another endpoint is served at this path")
        if "<" in rule:
            # Raises an exception for a rule that is malformed.
            self._rules.add(Rule(rule, endpoint=rule))
            self._has_rules = True
        self._applications[rule] = application

    def _application_at(self, path: str, scope: Scope) -> ASGIApp | None:
        application = self._applications.get(path)
        if application is None and self._has_rules:
            adapter = self._rules.bind("")
            try:
                rule, variables = adapter.match(path)
            except HTTPException:
                return None
            scope["path_params"] = variables
            application = self._applications[rule]
        return application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._quart_app(scope, receive, self._tuning_at_startup(scope, send))
            return
        self._connections += 1
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if kind == "http" and has_long_body(scope, headers):
            early = EarlyResponse(receive, send)
            receive, send = early.receive, early.send
        visitor.set(visitor_of(scope))
        for refusal_reason in self._host_checks:
            reason = refusal_reason(scope)
            if reason is not None:
                await _refuse_host(kind, receive, send, reason)
                return
        root: str = scope.get("root_path", "")
        if root and not self._has_root_path:
            self._has_root_path = True
            for app in self._apps:
                app.take_root_path(root)
        if not self.startup.is_complete:
            await self.startup.wait(by_wsgi=WSGI in scope)
        scope[LOOP] = asyncio.get_running_loop()
        path = _path_of(scope)
        application = self._application_at(path, scope) if self._applications else None
        bypasses_quart = (
            application is None
            and kind == "http"
            and self._may_bypass_quart
            and not quart_seam.has_request_observers(self._server)
        )
        if bypasses_quart:
            if self._routes is None:
                self._routes = self._direct_routes()
            serve = self._routes.get((scope["method"], path))
            if serve is not None:
                await serve(Exchange(scope, headers, receive, send))
                return
        if kind == "http":
            send = self._with_headers(scope, send)
        if application is not None:
            await self._warm_up()
            await application(scope, receive, send)
            return
        if bypasses_quart:
            method = scope["method"]
            if method in ("GET", "HEAD"):
                for app in self._apps:
                    response = await app.views.file_at(path, method, scope["headers"])
                    if response is not None:
                        await _send_file(send, response, method)
                        return
        await self._warm_up()
        if kind == "websocket":
            door = self._socket_doors.get(_path_of(scope))
            if door is not None:
                await door(scope, receive, send, self._quart_app)
                return
        await self._quart_app(scope, receive, send)

    def log_too_long(self) -> None:
        """Log that a callback request was refused for its size, at most once a minute.

        Any client can cause it.
        """
        now = time.monotonic()
        if now - self._logged_too_long_at < _LOG_INTERVAL:
            return
        self._logged_too_long_at = now
        logger.warning(
            "a callback request was refused with 413, because it is longer than "
            'app.server.config["MAX_CONTENT_LENGTH"] = %s bytes; set it higher to accept larger '
            "files (dcc.Upload sends four bytes for three of a file)",
            self._server.config["MAX_CONTENT_LENGTH"],
        )

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        return with_headers(send, scope, self._page_headers, self._server.config)

    def _page_headers(self, scope: Scope) -> PageHeaders | None:
        """Return those of the app with the longest prefix of the path; None outside of all apps."""
        path = _path_of(scope)
        below = [app for app in self._apps if path.startswith(app.config.routes_pathname_prefix)]
        if not below:
            return None
        return max(below, key=lambda app: len(app.config.routes_pathname_prefix)).page_headers

    async def _warm_up(self) -> None:
        for app in self._apps:
            await app.warm_up()

    def _tuning_at_startup(self, scope: Scope, send: Send) -> Send:
        """Return a ``send`` for a lifespan that tunes garbage collection when start-up is complete.

        It does not do so in a process that is not a server's, such as a test's: `IN_PROCESS`.
        """

        async def send_and_tune(message: dict[str, Any]) -> None:
            if message["type"] == "lifespan.startup.complete" and IN_PROCESS not in scope:
                freeze_startup_objects(lambda: self._connections)
            await send(message)

        return send_and_tune

    def _direct_routes(self) -> dict[tuple[str, str], Callable[[Exchange], Awaitable[None]]]:
        """Return the views that bypass Quart: those at paths for which only Flash has a rule."""
        rules = Counter(rule.rule for rule in self._server.url_map.iter_rules())
        routes: dict[tuple[str, str], Callable[[Exchange], Awaitable[None]]] = {}
        for app in self._apps:
            path = f"{app.config.routes_pathname_prefix}_dash-update-component"
            routes["POST", path] = partial(self._serve_callback, app)
            for path, view in app.views.by_path().items():
                if rules[path] == 1:
                    routes["GET", path] = partial(self._serve_view, app, view)
        return routes

    async def _serve_view(
        self, app: MountedApp, view: Callable[[], Awaitable[EncodedResponse]], exchange: Exchange
    ) -> None:
        """Serve a GET request."""
        await self._respond(app, view, exchange, b"")

    async def _serve_callback(self, app: MountedApp, exchange: Exchange) -> None:
        """Serve a callback request."""
        config = self._server.config
        headers = exchange.headers
        try:
            limit = config["MAX_CONTENT_LENGTH"]
            body = _whole_body(exchange, limit)
            if body is None:
                body = await read_body(exchange.receive, headers, limit, config["BODY_TIMEOUT"])
            if b"content-encoding" in headers:
                await self._pass_on(exchange, body)
                return
            content_type = headers.get(b"content-type", b"")
            if len(body) < LARGE_JSON:
                value = parse_json(content_type, body)
            else:
                value = await app.internal_pool.run(parse_json, content_type, body)
        except Disconnected:
            return
        except BadRequest as error:
            if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                self.log_too_long()
            await _send_encoded(exchange.send, text_response(error.status, str(error)))
            return
        if not app.is_warm:
            await app.warm_up()
        await self._respond(app, partial(app.dispatcher.respond, value), exchange, body)

    async def _respond(
        self,
        app: MountedApp,
        work: Callable[[], Awaitable[EncodedResponse]],
        exchange: Exchange,
        body: bytes,
    ) -> None:
        """Run ``work`` in a request context that is built on first access; send its response."""
        response = NOT_COMPILED
        scope, send = exchange.scope, exchange.send
        with quart_seam.DeferredRequestContext(self._server, scope, body) as context:
            dash_seam.enter_app(app)
            watcher = DisconnectWatcher(exchange.receive, self._watch_timer_of(scope[LOOP]))
            try:
                async with watcher:
                    response = await work()
                    if app.compresses:
                        accepted = exchange.headers.get(b"accept-encoding", b"").decode("latin-1")
                        response = await compress(response, accepted, app.internal_pool)
                if watcher.happened:
                    return
                if response is not NOT_COMPILED and context.needs_finish:
                    finished = await context.finish(to_quart_response(response))
                    await _send_quart_response(self._with_headers(scope, send), finished)
                    return
            except Exception as error:  # noqa: BLE001  a request's boundary: Quart's handlers respond
                failed = await context.handle_error(error)
                await _send_quart_response(self._with_headers(scope, send), failed)
                return
        if response is NOT_COMPILED:
            await self._pass_on(exchange, body)
        else:
            if response.is_page:
                send = self._with_headers(scope, send)
            await _send_encoded(send, response)

    def _watch_timer_of(self, loop: asyncio.AbstractEventLoop) -> WatchTimer:
        timer = self._watch_timer
        if timer is None or timer.loop is not loop:
            timer = self._watch_timer = WatchTimer(loop)
        return timer

    async def _pass_on(self, exchange: Exchange, body: bytes) -> None:
        """Let Quart serve a request whose body has been read."""
        send = self._with_headers(exchange.scope, exchange.send)
        await self._quart_app(exchange.scope, _replay(body, exchange.receive), send)


async def _refuse_host(kind: str, receive: Receive, send: Send, reason: str) -> None:
    """Refuse a request or a WebSocket that is for another host; nothing of it is read."""
    if kind == "websocket":
        await receive()  # websocket.connect
        await send({"type": "websocket.close", "code": 1008, "reason": "another host"})
        return
    body = f"{reason}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    await _send_all(send, HTTPStatus.BAD_REQUEST, headers, body)


class Exchange(NamedTuple):
    """The ASGI arguments of one HTTP request; ``send`` adds no headers."""

    scope: Scope
    headers: dict[bytes, bytes]
    receive: Receive
    send: Send


def _whole_body(exchange: Exchange, limit: int | None) -> bytes | None:
    """Return the body if a server that says so has received it whole; None if it must be read."""
    # Only the `send` of `flash run` on uvicorn has it, as in `_send_encoded`.
    take: Callable[[Receive, int | None], bytes | None] | None
    take = getattr(exchange.send, "take_body", None)
    return None if take is None else take(exchange.receive, limit)


async def read_body(
    receive: Receive, headers: dict[bytes, bytes], limit: int | None, seconds: float | None
) -> bytes:
    """Receive the complete body of a request.

    Raises `BadRequest`: 413 as soon as the body is known to be longer than ``limit`` bytes, 408 if
    it is not complete after ``seconds``. Raises `Disconnected` if the client disconnects.
    """
    reading = FirstStep(_read_body(receive, headers, limit))
    if reading.is_done:
        # A timer would cost 3 µs, and most bodies come with the head of the request.
        return reading.result()
    try:
        async with asyncio.timeout(seconds):
            return await reading
    except TimeoutError as error:
        raise BadRequest(
            f"the body was not complete after {seconds:g} s", status=HTTPStatus.REQUEST_TIMEOUT
        ) from error


async def _read_body(receive: Receive, headers: dict[bytes, bytes], limit: int | None) -> bytes:
    declared = headers.get(b"content-length", b"0")
    # Truncated, because Python refuses to parse a number of thousands of digits.
    if limit is not None and declared.isdigit() and int(declared[:20]) > limit:
        raise BadRequest.too_long(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        size += len(chunk)
        if limit is not None and size > limit:
            raise BadRequest.too_long(limit)
        if not message.get("more_body"):
            return b"".join((*chunks, chunk)) if chunks else chunk
        chunks.append(chunk)


def parse_json(content_type: bytes, body: bytes) -> Any:
    """Parse a JSON body; raises `BadRequest`, with 415 for another content type."""
    kind = content_type
    if kind != _JSON:
        kind = kind.split(b";", 1)[0].strip().lower()
    if kind != _JSON and not kind.endswith(b"+json"):
        raise BadRequest(
            f"the body must be application/json, not {quoted(kind.decode('latin-1'))}",
            status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        )
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "surrogate" not in error.msg:
            raise BadRequest(f"the body is not JSON: {error}") from error
    try:
        # A browser escapes a lone surrogate, which orjson refuses and the slower parser accepts.
        return json.loads(body, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _path_of(scope: Scope) -> str:
    """Return the path without the server's root path, as Quart's routing uses it."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root):
        return path[len(root.rstrip("/")) :] or "/"
    return path


async def _send_encoded(send: Send, response: EncodedResponse) -> None:
    if not response.extra_headers and response.content_type == JSON:
        # Only the `send` of `flash run` on uvicorn has it, not one that middleware has put around.
        write: Callable[[int, bytes], bool] | None = getattr(send, "write_json_response", None)
        if write is not None and write(response.status, response.body):
            return
    headers: list[Header] = [
        (b"content-type", response.content_type.encode("latin-1")),
        (b"content-length", str(len(response.body)).encode()),
    ]
    for name, value in response.extra_headers:
        headers.append((name.lower().encode(), value.encode()))
    await _send_all(send, response.status, headers, response.body)


async def _send_quart_response(send: Send, response: Any) -> None:
    headers = quart_seam.encode_headers(response.headers)
    body = response.get_data(as_text=False)
    if isawaitable(body):
        # Not so for Werkzeug's response, which Quart makes of an `HTTPException`.
        body = await body
    await _send_all(send, response.status_code, headers, body)


async def _send_file(send: Send, response: StaticResponse, method: str) -> None:
    """Send a file; for HEAD, its headers only."""
    body = b"" if method == "HEAD" else response.body
    await _send_all(send, response.status, list(response.headers), body)


async def _send_all(send: Send, status: int, headers: list[Header], body: bytes) -> None:
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that first returns ``body``, which has already been read."""
    pending = True

    async def replayed() -> dict[str, Any]:
        nonlocal pending
        if pending:
            pending = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replayed
