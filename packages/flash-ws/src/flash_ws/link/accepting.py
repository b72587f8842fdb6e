"""`LinkAcceptor`: the ASGI applications at ``_flash/link``, which accept or refuse links."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from flash import BadRequest
from flash.access.admission import Admission, expect_http, refuse, send_response
from flash.access.message_limit import with_message_limit
from flash.access.opening_request import OpeningRequest, draining_event
from flash.access.places import Places
from flash.access.refusal import Refused
from flash.callbacks.execution import visitor, visitor_of
from flash.http.disconnect import Disconnected
from flash.http.gateway import WSGI, read_body
from flash.http.handshake import Handshake
from flash_ws.link.link import CLOSE_TIMEOUT
from flash_ws.link.transports import PADDING, EventStreamTransport, WebSocketTransport
from flash_ws.protocol.codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from flash import Flash
    from flash.http.gateway import Receive, Scope, Send
    from flash_ws.link.link import Transport

# Seconds within which a posted message has to arrive.
BODY_TIMEOUT = 60.0

# The header of a posted message that names its connection. It is no part of the URL, since URLs
# stand in the logs of servers and proxies.
CONNECTION_HEADER = b"flash-connection"

# Headers that say nothing about who sends a request, and differ between those of one page.
_NOT_CREDENTIALS = frozenset(
    (
        *(b"accept", b"accept-encoding", b"cache-control", b"connection", b"content-length"),
        *(b"content-type", b"origin", b"pragma", b"priority", b"referer", b"transfer-encoding"),
        *(b"sec-fetch-dest", b"sec-fetch-mode", b"sec-fetch-site", b"traceparent", b"tracestate"),
        *(b"x-request-id", CONNECTION_HEADER),
    )
)


class LinkHost(Protocol):
    """The part of the hub that serves an accepted link."""

    def watch_draining(self, draining: asyncio.Event | None) -> None:
        """Close the links in batches once ``draining`` is set."""
        ...

    def serve(
        self, transport: Transport, handshake: Handshake, user: str | None
    ) -> Coroutine[Any, Any, None]:
        """Serve one connection until it ends."""
        ...


@dataclass(slots=True)
class _Stream:
    """An open event stream and who has opened it."""

    transport: EventStreamTransport
    user: str | None
    # The digest of the headers with which its user was last found out.
    credentials: bytes


class LinkAcceptor:
    """Admits pages and passes their transports to the hub.

    - ``hub``: returns the hub; raises `NotServing`.
    - ``max_message_bytes``: the size of one message from a page, after decompression.
    - ``max_links``: links open at the same time, including those that have not sent ``hello`` yet.
    - ``max_links_each``: those of one user, or of one address; by default half of them.
    """

    def __init__(
        self,
        app: Flash,
        admission: Admission,
        hub: Callable[[], LinkHost],
        *,
        max_message_bytes: int,
        max_links: int,
        max_links_each: int | None = None,
    ) -> None:
        self._app = app
        self._admission = admission
        self._hub = hub
        self._max_message_bytes = max_message_bytes
        # Links open at the same time, and Dash's own sockets, which Live counts here as well.
        self.places = Places(max_links, max_each=max_links_each)
        # Event streams by connection id, which posts name.
        self._streams: dict[str, _Stream] = {}
        # The number of links refused.
        self.refused = 0

    async def websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a link over a WebSocket."""
        try:
            if scope["type"] != "websocket":
                upgrade = (b"upgrade", b"websocket")
                raise Refused(HTTPStatus.UPGRADE_REQUIRED, "this path speaks WebSocket", upgrade)
            if (await receive())["type"] != "websocket.connect":
                return
            request = await self._admit(scope)
        except Refused as refused:
            self.refused += 1
            await refuse(scope, receive, send, refused)
            return
        await send(
            with_message_limit(
                {"type": "websocket.accept"},
                self._max_message_bytes,
                CloseCode.TOO_LARGE.number,
            )
        )
        transport = WebSocketTransport(receive, send, max_message_bytes=self._max_message_bytes)
        await self._serve(transport, scope, request)

    async def events(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the event stream of a link; the posted body is the page's first message."""
        try:
            if WSGI in scope:
                # The stream would occupy a thread of the server, or its only worker.
                raise Refused(HTTPStatus.NOT_FOUND, "there is no live link over WSGI")
            if scope["type"] == "http" and scope["query_string"].startswith(b"hello="):
                reason = "this server takes 'hello' in a POST; reload the page"
                raise Refused(HTTPStatus.UPGRADE_REQUIRED, reason)
            await expect_http(scope, receive, "POST")
            scope = _as_opening(scope)
            request = await self._admit(scope)
            hello = await self._read_message(scope, receive)
        except Refused as refused:
            self.refused += 1
            await refuse(scope, receive, send, refused)
            return
        except Disconnected:
            return
        padding = PADDING if b"pad=1" in scope["query_string"].split(b"&") else 0
        transport = EventStreamTransport(receive, send, hello, padding=padding)
        self._streams[transport.id] = _Stream(transport, request.user, _credentials(scope))
        try:
            await transport.open()
            await self._serve(transport, scope, request)
        finally:
            del self._streams[transport.id]
            await transport.end()

    async def frames(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accept a posted message for the link of an event stream."""
        try:
            await expect_http(scope, receive, "POST")
            await self._take_frames(scope, receive)
        except Refused as refused:
            await refuse(scope, receive, send, refused)
        except Disconnected:
            pass
        else:
            await send_response(send, HTTPStatus.NO_CONTENT, [])

    async def _take_frames(self, scope: Scope, receive: Receive) -> None:
        scope = _as_opening(scope)
        self._admission.check_origin(scope)
        connection = dict(scope["headers"]).get(CONNECTION_HEADER, b"").decode("latin-1")
        stream = self._streams.get(connection)
        if stream is None or not await self._is_of(stream, scope):
            # Not distinguished, so that nobody learns which connections there are. A page whose
            # user has changed opens another.
            raise Refused(HTTPStatus.GONE, "this connection has ended; open another")
        if not stream.transport.post(await self._read_message(scope, receive)):
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, CloseCode.TOO_FAST.meaning)

    async def _is_of(self, stream: _Stream, scope: Scope) -> bool:
        """Tell whether a post comes from the user who opened the stream; raises `Refused`.

        Guards and ``authorize`` are asked only where the headers are not those of before.
        """
        credentials = _credentials(scope)
        if credentials != stream.credentials:
            request = OpeningRequest(scope)
            await self._admission.check_guards(scope)
            await self._admission.authorize(scope, request)
            if request.user != stream.user:
                return False
            stream.credentials = credentials
        return True

    async def _read_message(self, scope: Scope, receive: Receive) -> str:
        """Return the message in the body of a post; raises `Refused` and `Disconnected`."""
        headers = dict(scope["headers"])
        try:
            body = await read_body(receive, headers, self._max_message_bytes, BODY_TIMEOUT)
            return body.decode()
        except BadRequest as error:
            raise Refused(error.status, error.reason) from error
        except UnicodeDecodeError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "the message is not UTF-8") from error

    async def _admit(self, scope: Scope) -> OpeningRequest:
        """Check the request and return it; raises `Refused`."""
        self._admission.check_origin(scope)
        draining = draining_event(scope)
        for code, applies in (
            (CloseCode.DRAINING, draining is not None and draining.is_set()),
            (CloseCode.FULL, self.places.is_full),
        ):
            if applies:
                raise Refused(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    code.meaning,
                    (b"retry-after", b"1"),
                    close_code=code.number,
                )
        request = OpeningRequest(scope)
        await self._admission.check_guards(scope)
        await self._admission.authorize(scope, request)
        if self.places.is_full_for(visitor_of(scope, request.user)):
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "this visitor has as many connections as one may have",
                (b"retry-after", b"1"),
                close_code=CloseCode.FULL.number,
            )
        return request

    async def _serve(
        self,
        transport: WebSocketTransport | EventStreamTransport,
        scope: Scope,
        request: OpeningRequest,
    ) -> None:
        hub = self._hub()
        hub.watch_draining(draining_event(scope))
        serving = asyncio.current_task()
        assert serving is not None
        has_expired = False

        def expire() -> None:
            nonlocal has_expired
            has_expired = True
            # For the link's span, which ends before the close is sent.
            transport.closed_with = transport.closed_with or CloseCode.EXPIRED
            serving.cancel()

        recheck = self._admission.recheck(scope, request, expire)
        holder = visitor_of(scope, request.user)
        visitor.set(holder)
        self.places.take(holder)
        try:
            await hub.serve(transport, Handshake(self._app, scope), request.user)
        except asyncio.CancelledError:
            if not has_expired or serving.uncancel():
                raise
            # Now that nothing reads any more: under granian a close waits for the reading to end,
            # which a silent page would keep up for two heartbeats. The page may not answer it.
            with contextlib.suppress(OSError, RuntimeError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await transport.close(CloseCode.EXPIRED, CloseCode.EXPIRED.meaning)
        finally:
            self.places.release(holder)
            if recheck is not None:
                recheck.stop()


def _as_opening(scope: Scope) -> Scope:
    """Return the scope of a post as guards get that of a WebSocket: as a GET."""
    return {**scope, "method": "GET"}


def _credentials(scope: Scope) -> bytes:
    """Return a digest of what a request may say about who sends it: its other headers."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(scope["headers"]):
        if name not in _NOT_CREDENTIALS:
            digest.update(b"%d:%s%d:%s" % (len(name), name, len(value), value))
    return digest.digest()
