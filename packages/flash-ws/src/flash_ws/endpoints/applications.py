"""The ASGI applications of endpoints, from admission to the call of the handler."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException

from flash.access.admission import Admission, refuse, send_response
from flash.access.message_limit import with_message_limit
from flash.access.refusal import Refused
from flash.callbacks.execution import visitor_of
from flash.errors import BadRequest
from flash.http.disconnect import Disconnected
from flash.http.gateway import read_body
from flash.log_limit import limited_logger
from flash_ws.endpoints.event_stream import EventStream, StreamRequest, StreamSettings
from flash_ws.endpoints.websocket import Connection, ConnectionLimits
from flash_ws.protocol.codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from flash.access.origin import OriginPolicy
    from flash.http.gateway import Receive, Scope, Send
    from flash_ws.clients.groups import Groups
    from flash_ws.endpoints.open_connections import OpenConnections

logger = limited_logger(__name__)

# Seconds within which a request's body has to arrive.
BODY_TIMEOUT = 60.0


class WebSocketEndpoint:
    """The ASGI application of one WebSocket endpoint."""

    def __init__(
        self,
        handler: Callable[[Connection], Awaitable[None]],
        admission: Admission,
        open_connections: OpenConnections,
        groups: Groups,
        limits: ConnectionLimits,
        subprotocols: tuple[str, ...],
    ) -> None:
        self._handler = handler
        self._admission = admission
        self._open_connections = open_connections
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
            connection = await self._admit(scope, receive, send)
        except Refused as refused:
            self._open_connections.refused += 1
            await refuse(scope, receive, send, refused)
            return
        self._open_connections.add(connection, scope)
        recheck = self._admission.recheck(
            scope, connection, lambda: connection.abort(CloseCode.EXPIRED)
        )
        try:
            accept = {"type": "websocket.accept", "subprotocol": connection.subprotocol}
            await send(
                with_message_limit(
                    accept, self._limits.max_message_bytes, CloseCode.TOO_LARGE.number
                )
            )
            closed = await connection.serve(self._handler)
            self._open_connections.closed[closed.code] += 1
        finally:
            if recheck is not None:
                recheck.stop()
            self._open_connections.remove(connection)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> Connection:
        self._admission.check_origin(scope)
        self._open_connections.check_room(scope)
        await self._admission.check_guards(scope)
        connection = Connection(
            scope,
            receive,
            send,
            limits=self._limits,
            groups=self._groups,
            subprotocol=self._choose_subprotocol(scope["subprotocols"]),
        )
        await self._admission.authorize(scope, connection)
        self._open_connections.check_share(visitor_of(scope, connection.user))
        return connection

    def _choose_subprotocol(self, offered: Iterable[str]) -> str | None:
        """Return the endpoint's preferred subprotocol of those offered; None if there is none."""
        theirs = set(offered)
        if not theirs or not self._subprotocols:
            return None
        for name in self._subprotocols:
            if name in theirs:
                return name
        raise Refused(
            HTTPStatus.BAD_REQUEST,
            f"none of the offered subprotocols is supported; offer {', '.join(self._subprotocols)}",
        )


class StreamEndpoint:
    """The ASGI application of one SSE endpoint."""

    def __init__(
        self,
        generate: Callable[[StreamRequest], Any],
        admission: Admission,
        open_connections: OpenConnections,
        origins: OriginPolicy,
        settings: StreamSettings,
        methods: tuple[str, ...],
    ) -> None:
        self._generate = generate
        self._admission = admission
        self._open_connections = open_connections
        self._origins = origins
        self._settings = settings
        self._methods = tuple(method.upper() for method in methods)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            await self._serve(scope, receive, send)
        except Refused as refused:
            self._open_connections.refused += 1
            await refuse(scope, receive, send, refused)
        except Disconnected:
            pass

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await receive()
            raise Refused(HTTPStatus.BAD_REQUEST, "this path speaks server-sent events over HTTP")
        self._admission.check_origin(scope)
        sharing = self._origins.cors_headers(scope)
        allowed = ", ".join(self._methods).encode()
        if scope["method"] == "OPTIONS" and sharing:
            # The CORS preflight of a page of another origin that sends JSON.
            preflight = [
                (b"access-control-allow-methods", allowed),
                (b"access-control-allow-headers", b"content-type, last-event-id"),
            ]
            await send_response(send, HTTPStatus.NO_CONTENT, [*sharing, *preflight])
            return
        if scope["method"] not in self._methods:
            raise Refused(
                HTTPStatus.METHOD_NOT_ALLOWED, "this method is not allowed", (b"allow", allowed)
            )
        self._open_connections.check_room(scope)
        await self._admission.check_guards(scope)
        request = await self._request(scope, receive)
        await self._admission.authorize(scope, request, request.body)
        self._open_connections.check_share(visitor_of(scope, request.user))
        if self._settings.end is not None and request.last_event_id == self._settings.end:
            # An EventSource that has received everything reconnects; 204 stops it.
            await send_response(send, HTTPStatus.NO_CONTENT, sharing)
            return
        stream = EventStream(request, self._settings, receive, send, headers=sharing)
        self._open_connections.add(stream, scope)
        recheck = self._admission.recheck(scope, request, lambda: stream.abort(CloseCode.EXPIRED))
        try:
            error = await stream.serve(self._generate)
        finally:
            if recheck is not None:
                recheck.stop()
            self._open_connections.remove(stream)
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
    """Return the refusal for an exception raised before the first event."""
    if isinstance(error, BadRequest):
        return Refused(error.status, error.reason)
    if isinstance(error, HTTPException) and error.code is not None:
        return Refused(error.code, error.description or error.name)
    logger.error("the stream of %s failed", scope["path"], exc_info=error)
    return Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "the stream failed")
