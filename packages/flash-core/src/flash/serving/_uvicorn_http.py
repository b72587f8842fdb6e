"""uvicorn's HTTP protocol with an end for connections that send no whole request.

uvicorn closes a connection that is quiet after a response, but not one that never sends a request
or stops in the middle of its head.

It also writes a JSON response of Flash in one piece, and needs no timer for each request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .timeouts import HEAD_TIMEOUT

# Bytes of the longest body that is written in one piece with its head. To join a longer one with it
# would hold the loop for longer than a second write.
_LONGEST_BODY = 64 * 1024

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from .target import ASGIApp, Message, Receive, Scope, Send


class FlashHTTP(HttpToolsProtocol):
    """uvicorn's protocol; ends a connection whose next request does not begin in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to watch the connection."""
        super().connection_made(transport)
        # The request that was the latest when the connection was looked at.
        self._seen: RequestResponseCycle | None = None
        self._head_timer: asyncio.TimerHandle = self.loop.call_later(HEAD_TIMEOUT, self._look)
        # When the latest response was complete, by the loop's clock; None during a request.
        self._quiet_since: float | None = None
        # uvicorn makes a timer after each response and cancels it with the next request. This one
        # goes on during requests.
        self._quiet_timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to watch the connection."""
        self._head_timer.cancel()
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse data of a request."""
        self._quiet_since = None
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Wait for the next request, for a limited time."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._quiet_since = self.loop.time()
        if self._quiet_timer is None:
            self._quiet_timer = self.loop.call_later(self.timeout_keep_alive, self._end_if_quiet)

    def _end_if_quiet(self) -> None:
        self._quiet_timer = None
        if self._quiet_since is None:
            # The next response starts the timer again.
            return
        end = self._quiet_since + self.timeout_keep_alive
        # A timer may fire a little early, by the resolution of the clock.
        if end - self.loop.time() < 0.01:
            self.timeout_keep_alive_handler()
        else:
            self._quiet_timer = self.loop.call_at(end, self._end_if_quiet)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        answering: Any = _Answering(app, cycle, self).run
        super()._start_asgi_task(cycle, answering)

    def _look(self) -> None:
        transport: asyncio.Transport = self.transport
        if transport.is_closing() or transport.get_protocol() is not self:
            # It is gone, or a WebSocket by now.
            return
        # None before the first one.
        request: Any = self.cycle
        if request is self._seen and (request is None or request.response_complete):
            transport.close()
            return
        self._seen = request
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self._look)


class _Answering:
    """The ASGI ``send`` of one request; also gives its body and writes its response as a whole."""

    __slots__ = ("_app", "_cycle", "_protocol", "_receive")

    def __init__(self, app: ASGIApp, cycle: RequestResponseCycle, protocol: FlashHTTP) -> None:
        self._app = app
        self._cycle = cycle
        self._protocol = protocol

    def run(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Call the app with this object as ``send``."""
        del send
        self._receive = receive
        return self._app(scope, receive, self)

    def __call__(self, message: Message) -> Awaitable[None]:
        """Send an event of the app."""
        return self._cycle.send(message)  # type: ignore[arg-type]

    def take_body(self, receive: Receive, limit: int | None) -> bytes | None:
        """Return the body if it is here and has at most ``limit`` bytes; None if not.

        What it returns is not received again. ``receive`` is the one that the caller was given: no
        middleware must have put its own around it.
        """
        cycle = self._cycle
        if (
            receive is not self._receive
            or cycle.more_body
            or cycle.disconnected
            or cycle.waiting_for_100_continue
            or (limit is not None and len(cycle.body) > limit)
        ):
            return None
        body, cycle.body = bytes(cycle.body), bytearray()
        cycle.message_event.clear()
        self._protocol.flow.resume_reading()
        return body

    def write_json_response(self, status: int, body: bytes) -> bool:
        """Write a response; return False for one that has to be sent by events.

        ``flash.http.gateway`` calls this where no middleware has put a ``send`` of its own around
        this one.
        """
        cycle, protocol = self._cycle, self._protocol
        if (
            len(body) > _LONGEST_BODY
            or cycle.response_started
            or cycle.disconnected
            or not cycle.keep_alive
            or cycle.access_log
            or protocol.flow.write_paused
            or cycle.scope["method"] == "HEAD"
        ):
            return False
        content = [STATUS_LINE[status]]
        for name, value in cycle.default_headers:
            content += (name, b": ", value, b"\r\n")
        content.append(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
        content.append(body)
        cycle.response_started = True
        cycle.waiting_for_100_continue = False
        protocol.transport.write(b"".join(content))
        cycle.response_complete = True
        cycle.message_event.set()
        cycle.on_response()
        return True
