"""`Endpoints`: registers the WebSocket and SSE endpoints of an app."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

from flash.access.admission import Admission, Authorize
from flash.access.origin import OriginPolicy
from flash.callbacks.functions import is_async, is_async_generator, short_name_of
from flash.errors import ConfigurationError
from flash.settings import COUNT, SECONDS_OR_NONE, Function, check
from flash_ws.clients.groups import ConnectionGroup, Groups
from flash_ws.endpoints.applications import StreamEndpoint, WebSocketEndpoint
from flash_ws.endpoints.event_stream import StreamSettings
from flash_ws.endpoints.open_connections import OpenConnections
from flash_ws.endpoints.sse import DONE
from flash_ws.endpoints.websocket import Connection, ConnectionLimits, Heartbeat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from flash import Flash
    from flash.access.revocation import Revocations
    from flash.http.gateway import ASGIApp
    from flash_ws.clients.backplane import Backplane, GroupMessage
    from flash_ws.operating.statistics import EndpointStatistics
    from flash_ws.protocol.limits import RateLimit

F = TypeVar("F", bound="Callable[..., Any]")


class Endpoints:
    """The endpoints of one app.

    The options are defaults that each endpoint can override. Paths are relative to the app's
    ``routes_pathname_prefix``.

    - ``allowed_origins``: see `OriginPolicy`.
    - ``authorize``: called with the `Visitor` before a connection is accepted, and again
      every ``recheck_interval`` seconds; see `Admission`. The app's ``before_request`` functions
      always run before it. By default both are those of `Flash`.
    - ``max_message_bytes``, ``rate``, ``idle_timeout``, ``heartbeat``: see `ConnectionLimits`.
    - ``max_connections``: connections and streams open at the same time; one more is refused with
      503.
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
        check(
            authorize=(authorize, Function()),
            recheck_interval=(recheck_interval, SECONDS_OR_NONE),
            max_connections=(max_connections, COUNT),
        )
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
        # Users whose older cookies are refused; those of `Live`, if it made this object.
        self.revocations: Revocations | None = None
        self._groups = Groups()
        self._open_connections = OpenConnections(max_connections)
        self._app: Flash | None = None
        self._routes: dict[str, Callable[[Flash], ASGIApp]] = {}
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flash) -> None:
        """Serve the endpoints from ``app``, including those registered later; idempotent."""
        if self._app is app:
            return
        if self._app is not None:
            raise ConfigurationError(
                "these endpoints belong to another app; make an Endpoints for each app"
            )
        self._app = app
        # Makes flash_ws.js pass messages to dash-extensions' WebSocket one at a time.
        app.page_extras["flash_endpoints"] = True
        for path, make in self._routes.items():
            app.add_asgi_route(path, make(app))

    def connections(self, group: str) -> ConnectionGroup:
        """Return the open WebSockets of this worker that joined ``group``."""
        return self._groups[group]

    def spread_over(self, backplane: Backplane) -> None:
        """Let messages to groups reach the connections of other workers, if it can carry them."""
        self._groups.elsewhere = getattr(backplane, "send_to_groups", None)

    def deliver(self, message: GroupMessage) -> None:
        """Send what another worker has sent to a group to the group's connections here."""
        self._groups[message.group].deliver_here(message.message)

    def disconnect(self, user: str) -> None:
        """Close all WebSockets (with `CloseCode.KICKED`) and streams of a user on this worker."""
        self._open_connections.disconnect(user)

    def statistics(self) -> EndpointStatistics:
        """Return the state and counters of the endpoints of this worker."""
        return self._open_connections.statistics(len(self._groups.names()))

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

        ``path`` may have variables, ``/room/<name>``, which are in ``connection.path_params``. If
        the handler is an async generator, what it yields is sent. ``subprotocols`` are those that
        it supports, in order of preference; a browser that offers only others is refused.
        ``authorize`` decides in place of the one of all endpoints, whose user is in
        ``visitor.user``; ``lambda visitor: True`` allows everybody.
        For the other arguments see `ConnectionLimits`; None takes the default.
        """
        check(authorize=(authorize, Function()))
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
                return WebSocketEndpoint(
                    serve, admission, self._open_connections, self._groups, limits, names
                )

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

        It yields str, `ServerSentEvent` or anything that has a JSON form. An ``async def`` that
        returns an async iterator also works. The generator is closed as soon as the browser
        disconnects. An exception before the first event becomes an HTTP error: its own status, or
        500. For the other arguments see `StreamSettings`.
        """
        check(authorize=(authorize, Function()))
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
            if not (is_async_generator(generate) or is_async(generate)):
                raise _not_async(generate, "yield from an async def")

            def make(app: Flash) -> ASGIApp:
                admission = self._admission(app, authorize)
                return StreamEndpoint(
                    generate, admission, self._open_connections, self._origins, settings, names
                )

            self._register(path, make)
            return generate

        return register

    def _admission(self, app: Flash, authorize: Authorize | None) -> Admission:
        own = self._recheck_interval
        interval = app.recheck_interval if own is None else own
        return Admission(
            app,
            self._origins,
            authorize,
            wider=(app.authorize, self._authorize),
            recheck_interval=interval,
            revocations=self.revocations,
        )

    def _register(self, path: str, make: Callable[[Flash], ASGIApp]) -> None:
        if path in self._routes:
            raise ConfigurationError(f"an endpoint at {path!r} exists already; choose another path")
        if self._app is not None:
            self._app.add_asgi_route(path, make(self._app))
        self._routes[path] = make


def _connection_handler(handler: Callable[..., Any]) -> Callable[[Connection], Awaitable[None]]:
    if is_async_generator(handler):

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
    raise _not_async(handler, "write it as async def")


def _not_async(function: Callable[..., Any], remedy: str) -> ConfigurationError:
    return ConfigurationError(
        f"{short_name_of(function)} is a plain function, which would hold a thread as long as a "
        f"browser is connected; {remedy}, and call blocking code with await asyncio.to_thread(…)"
    )


def _replaced(limits: ConnectionLimits, **given: Any) -> ConnectionLimits:
    return dataclasses.replace(limits, **{k: v for k, v in given.items() if v is not None})
