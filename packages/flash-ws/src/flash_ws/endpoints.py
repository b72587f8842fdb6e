"""WebSocket and SSE endpoints: what an app registers, and the way from a request to its handler."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from werkzeug.exceptions import HTTPException

from flash.errors import BadRequest, ConfigurationError
from flash.execution import is_async
from flash.gateway import Disconnected, read_body
from flash_ws.admission import Admission, Authorize, refuse
from flash_ws.codes import CloseCode
from flash_ws.connection import RESTART, Connection, ConnectionLimits, Heartbeat
from flash_ws.errors import Refused
from flash_ws.eventstream import EventStream, StreamRequest, StreamSettings
from flash_ws.figures import Figure
from flash_ws.groups import ConnectionGroup, Groups
from flash_ws.origin import OriginPolicy
from flash_ws.sse import DONE
from flash_ws.visit import draining_event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from flash import Flash
    from flash.gateway import ASGIApp, Receive, Scope, Send
    from flash_ws.limits import RateLimit

logger = logging.getLogger(__name__)

F = TypeVar("F", bound="Callable[..., Any]")

# Seconds that a request's body may take to come in.
BODY_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class EndpointStatistics:
    """What the endpoints of one app do, and have done since the start."""

    # Open now.
    connections: int
    streams: int
    # Opened and refused so far, streams included.
    opened: int
    refused: int
    # Closed WebSockets, by close code.
    closed: dict[int, int]
    # Groups that have members.
    groups: int

    def as_figures(self) -> Iterable[Figure]:
        """Return them as figures."""
        for name, value, meaning in (
            ("connections", self.connections, "WebSockets open"),
            ("streams", self.streams, "Event streams open"),
            ("groups", self.groups, "Groups of WebSockets that have members"),
        ):
            yield Figure(f"flash_endpoint_{name}", value, meaning)
        yield Figure("flash_endpoint_opened", self.opened, "Opened so far", "counter")
        yield Figure("flash_endpoint_refused", self.refused, "Refused so far", "counter")
        for code, count in sorted(self.closed.items()):
            yield Figure(
                "flash_endpoint_closed", count, "Ended so far", "counter", {"code": str(code)}
            )


class _Open(Protocol):
    """A connection or a stream while it lasts."""

    @property
    def user(self) -> str | None: ...

    def drain(self) -> None: ...

    def dismiss(self, code: CloseCode) -> None: ...


class Endpoints:
    """The endpoints of one app.

    The options are defaults for every endpoint, which may have others. Paths are below the app's
    ``routes_pathname_prefix``.

    - ``allowed_origins``: see `OriginPolicy`.
    - ``authorize``: asked with the `Visit` before a connection is accepted, and again every
      ``recheck_interval`` seconds; see `Admission`. The app's ``before_request`` functions are
      asked before it, in any case.
    - ``max_message_bytes``, ``rate``, ``idle_timeout``, ``heartbeat``: see `ConnectionLimits`.
    - ``max_connections``: connections and streams open at the same time; one more is answered 503.
    """

    def __init__(
        self,
        app: Flash | None = None,
        *,
        allowed_origins: Iterable[str] = (),
        authorize: Authorize | None = None,
        recheck_interval: float | None = None,
        max_message_bytes: int = 64 * 1024,
        rate: RateLimit | None = None,
        idle_timeout: float | None = None,
        heartbeat: Heartbeat | None = None,
        max_connections: int = 10_000,
    ) -> None:
        self._origins = OriginPolicy(allowed_origins)
        self._authorize = authorize
        self._recheck_interval = recheck_interval
        self._limits = _replaced(
            ConnectionLimits(),
            max_message_bytes=max_message_bytes,
            rate=rate,
            idle_timeout=idle_timeout,
            heartbeat=heartbeat,
        )
        self._groups = Groups()
        self._house = _House(max_connections)
        self._app: Flash | None = None
        self._routes: dict[str, Callable[[Flash], ASGIApp]] = {}
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flash) -> None:
        """Serve the endpoints from ``app``, those registered later, too; idempotent."""
        if self._app is app:
            return
        if self._app is not None:
            raise ConfigurationError("these endpoints belong to an app; make others for another")
        self._app = app
        # Tells flash_ws.js to give dash-extensions' WebSocket its messages one by one.
        app.page_extras["flash_endpoints"] = True
        for path, make in self._routes.items():
            app.add_asgi_route(path, make(app))

    def connections(self, group: str) -> ConnectionGroup:
        """Return the open WebSockets of this worker that joined ``group``."""
        return self._groups[group]

    def disconnect(self, user: str) -> None:
        """Close all that a user has open here: WebSockets with `CloseCode.KICKED`, and streams."""
        self._house.dismiss(user)

    def statistics(self) -> EndpointStatistics:
        """Return what the endpoints do and have done."""
        return self._house.statistics(len(self._groups.names()))

    def websocket(
        self,
        path: str,
        *,
        subprotocols: Iterable[str] = (),
        authorize: Authorize | None = None,
        max_message_bytes: int | None = None,
        rate: RateLimit | None = None,
        idle_timeout: float | None = None,
        heartbeat: Heartbeat | None = None,
        max_waiting: int | None = None,
        max_outbox_bytes: int | None = None,
        stall_timeout: float | None = None,
        linger: float | None = None,
    ) -> Callable[[F], F]:
        """Register the handler of a WebSocket: ``async def handler(connection)``.

        ``path`` may have variables, ``/room/<name>``, found in ``connection.path_params``. A
        handler that is an async generator has what it yields sent. ``subprotocols`` are those it
        speaks, the best first; a browser that offers only others is refused. ``authorize`` is asked
        in place of the one for all endpoints; ``lambda visit: True`` lets everybody in. The rest is
        explained at `ConnectionLimits`; None takes the default.
        """
        names = (subprotocols,) if isinstance(subprotocols, str) else tuple(subprotocols)
        limits = _replaced(
            self._limits,
            max_message_bytes=max_message_bytes,
            rate=rate,
            idle_timeout=idle_timeout,
            heartbeat=heartbeat,
            max_waiting=max_waiting,
            max_outbox_bytes=max_outbox_bytes,
            stall_timeout=stall_timeout,
            linger=linger,
        )

        def register(handler: F) -> F:
            serve = _connection_handler(handler)

            def make(app: Flash) -> ASGIApp:
                admission = self._admission(app, authorize)
                return WebSocketEndpoint(serve, admission, self._house, self._groups, limits, names)

            self._register(path, make)
            return handler

        return register

    def sse(
        self,
        path: str,
        *,
        methods: Iterable[str] = ("GET", "POST"),
        authorize: Authorize | None = None,
        keep_alive: float = 15.0,
        retry: int | None = None,
        end: str | None = DONE,
        max_body_bytes: int = 64 * 1024,
        stall_timeout: float = 60.0,
        linger: float = 5.0,
    ) -> Callable[[F], F]:
        """Register a stream of server-sent events: ``async def generator(request)``.

        It yields str, `ServerSentEvent` or anything that has a JSON form; an ``async def`` that
        returns an async iterator will do, too. It is closed as soon as the browser goes. What it
        raises before its first event is answered with an HTTP status, 500 or that of the
        exception. The rest is explained at `StreamSettings`.
        """
        names = (methods,) if isinstance(methods, str) else tuple(methods)
        settings = StreamSettings(
            keep_alive=keep_alive,
            retry=retry,
            end=end,
            max_body_bytes=max_body_bytes,
            stall_timeout=stall_timeout,
            linger=linger,
        )

        def register(generate: F) -> F:
            if not (_is_async_generator(generate) or is_async(generate)):
                raise _plain(generate, "yield from an async def")

            def make(app: Flash) -> ASGIApp:
                admission = self._admission(app, authorize)
                return StreamEndpoint(
                    generate, admission, self._house, self._origins, settings, names
                )

            self._register(path, make)
            return generate

        return register

    def _admission(self, app: Flash, authorize: Authorize | None) -> Admission:
        return Admission(
            app,
            self._origins,
            authorize or self._authorize,
            recheck_interval=self._recheck_interval,
        )

    def _register(self, path: str, make: Callable[[Flash], ASGIApp]) -> None:
        if path in self._routes:
            raise ConfigurationError(f"{path!r} is taken: an endpoint is already served there")
        self._routes[path] = make
        if self._app is not None:
            self._app.add_asgi_route(path, make(self._app))


class _House:
    """What is open at this moment, of all endpoints of an app."""

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        self._open: set[_Open] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._opened = 0
        self._connections = 0
        self.refused = 0
        self.closed: Counter[int] = Counter()

    def check_room(self, scope: Scope) -> None:
        """Refuse with 503 when the house is full, or about to close."""
        draining = draining_event(scope)
        if len(self._open) >= self._max_connections:
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"all {self._max_connections} connections are in use",
                (b"retry-after", b"5"),
                close_code=CloseCode.FULL.number,
            )
        if draining is not None and draining.is_set():
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the server is about to restart",
                (b"retry-after", b"1"),
                close_code=RESTART,
            )

    def enter(self, guest: _Open, scope: Scope) -> None:
        """Count ``guest`` in, and tell it when the server is to stop."""
        self._open.add(guest)
        self._opened += 1
        self._connections += isinstance(guest, Connection)
        draining = draining_event(scope)
        if self._watcher is None and draining is not None:
            self._watcher = asyncio.create_task(self._watch(draining))

    def leave(self, guest: _Open) -> None:
        """Count ``guest`` out."""
        self._open.discard(guest)
        self._connections -= isinstance(guest, Connection)
        if not self._open and self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    async def _watch(self, draining: asyncio.Event) -> None:
        await draining.wait()
        for guest in tuple(self._open):
            guest.drain()

    def dismiss(self, user: str) -> None:
        """Send a user's guests away."""
        for guest in tuple(self._open):
            if guest.user == user:
                guest.dismiss(CloseCode.KICKED)

    def statistics(self, groups: int) -> EndpointStatistics:
        """Return the figures."""
        return EndpointStatistics(
            connections=self._connections,
            streams=len(self._open) - self._connections,
            opened=self._opened,
            refused=self.refused,
            closed=dict(self.closed),
            groups=groups,
        )


class WebSocketEndpoint:
    """The ASGI application behind one path."""

    def __init__(
        self,
        handler: Callable[[Connection], Awaitable[None]],
        admission: Admission,
        house: _House,
        groups: Groups,
        limits: ConnectionLimits,
        subprotocols: tuple[str, ...],
    ) -> None:
        self._handler = handler
        self._admission = admission
        self._house = house
        self._groups = groups
        self._limits = limits
        self._subprotocols = subprotocols

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        try:
            if scope["type"] != "websocket":
                raise Refused(
                    HTTPStatus.UPGRADE_REQUIRED,
                    "this path speaks WebSocket",
                    (b"upgrade", b"websocket"),
                )
            if (await receive())["type"] != "websocket.connect":
                return
            connection = await self._admitted(scope, receive, send)
        except Refused as refused:
            self._house.refused += 1
            await refuse(scope, receive, send, refused)
            return
        self._house.enter(connection, scope)
        recheck = self._admission.recheck(
            scope, connection, lambda: connection.dismiss(CloseCode.EXPIRED)
        )
        try:
            await send({"type": "websocket.accept", "subprotocol": connection.subprotocol})
            ending = await connection.serve(self._handler)
            self._house.closed[ending.code] += 1
        finally:
            if recheck is not None:
                recheck.stop()
            self._house.leave(connection)

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> Connection:
        self._admission.check_origin(scope)
        self._house.check_room(scope)
        await self._admission.check_guards(scope)
        connection = Connection(
            scope,
            receive,
            send,
            limits=self._limits,
            groups=self._groups,
            subprotocol=self._agreed(scope["subprotocols"]),
        )
        await self._admission.enter(scope, connection)
        return connection

    def _agreed(self, offered: Iterable[str]) -> str | None:
        """Return the subprotocol to speak: of the browser's, the one this endpoint likes best."""
        theirs = set(offered)
        if not theirs or not self._subprotocols:
            return None
        for name in self._subprotocols:
            if name in theirs:
                return name
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            f"none of the subprotocols offered is spoken here: {', '.join(self._subprotocols)}",
        )


class StreamEndpoint:
    """The ASGI application behind one path."""

    def __init__(
        self,
        generate: Callable[[StreamRequest], Any],
        admission: Admission,
        house: _House,
        origins: OriginPolicy,
        settings: StreamSettings,
        methods: tuple[str, ...],
    ) -> None:
        self._generate = generate
        self._admission = admission
        self._house = house
        self._origins = origins
        self._settings = settings
        self._methods = tuple(method.upper() for method in methods)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            await self._serve(scope, receive, send)
        except Refused as refused:
            self._house.refused += 1
            await refuse(scope, receive, send, refused)
        except Disconnected:
            pass

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await receive()
            raise Refused(HTTPStatus.BAD_REQUEST, "this path speaks server-sent events over HTTP")
        self._admission.check_origin(scope)
        sharing = self._origins.sharing(scope)
        allowed = ", ".join(self._methods).encode()
        if scope["method"] == "OPTIONS" and sharing:
            # A browser asks so whether a page of another origin may send JSON.
            preflight = [
                (b"access-control-allow-methods", allowed),
                (b"access-control-allow-headers", b"content-type, last-event-id"),
            ]
            await _answer(send, HTTPStatus.NO_CONTENT, [*sharing, *preflight])
            return
        if scope["method"] not in self._methods:
            raise Refused(
                HTTPStatus.METHOD_NOT_ALLOWED, "another method is needed", (b"allow", allowed)
            )
        self._house.check_room(scope)
        await self._admission.check_guards(scope)
        request = await self._request(scope, receive)
        await self._admission.enter(scope, request, request.body)
        if self._settings.end is not None and request.last_event_id == self._settings.end:
            # An EventSource that has had everything and came back: this stops it.
            await _answer(send, HTTPStatus.NO_CONTENT, sharing)
            return
        stream = EventStream(request, self._settings, receive, send, headers=sharing)
        self._house.enter(stream, scope)
        recheck = self._admission.recheck(scope, request, lambda: stream.dismiss(CloseCode.EXPIRED))
        try:
            error = await stream.serve(self._generate)
        finally:
            if recheck is not None:
                recheck.stop()
            self._house.leave(stream)
        if error is not None:
            raise _as_refusal(error, scope) from error

    async def _request(self, scope: Scope, receive: Receive) -> StreamRequest:
        try:
            body = await read_body(
                receive, dict(scope["headers"]), self._settings.max_body_bytes, BODY_TIMEOUT
            )
        except BadRequest as error:
            raise Refused(error.status, error.reason) from error
        return StreamRequest(scope, body)


def _as_refusal(error: Exception, scope: Scope) -> Refused:
    """Turn what a generator raised before its first event into an answer."""
    if isinstance(error, BadRequest):
        return Refused(error.status, error.reason)
    if isinstance(error, HTTPException) and error.code is not None:
        return Refused(error.code, error.description or error.name)
    logger.error("the stream of %s failed", scope["path"], exc_info=error)
    return Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "the stream failed")


async def _answer(send: Send, status: HTTPStatus, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _connection_handler(handler: Callable[..., Any]) -> Callable[[Connection], Awaitable[None]]:
    if _is_async_generator(handler):

        async def send_all(connection: Connection) -> None:
            events = handler(connection)
            try:
                async for message in events:
                    await connection.send(message)
            finally:
                await events.aclose()

        return send_all
    if is_async(handler):
        return handler
    raise _plain(handler, "write it as async def")


def _is_async_generator(function: Callable[..., Any]) -> bool:
    return inspect.isasyncgenfunction(function) or inspect.isasyncgenfunction(
        type(function).__call__
    )


def _plain(function: Callable[..., Any], remedy: str) -> ConfigurationError:
    name = getattr(function, "__qualname__", repr(function))
    return ConfigurationError(
        f"{name} is a plain function, and one would hold a thread for as long as a browser stays: "
        f"{remedy}; for plain code inside it, await asyncio.to_thread(…)"
    )


def _replaced(limits: ConnectionLimits, **given: Any) -> ConnectionLimits:
    return dataclasses.replace(limits, **{k: v for k, v in given.items() if v is not None})
