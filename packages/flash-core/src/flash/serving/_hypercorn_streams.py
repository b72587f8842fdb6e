"""Hypercorn's streams of HTTP/2, of which one cannot end the others.

Hypercorn drops a whole connection if data arrive for a request that is answered already. It stops
reading from a connection if the application has ended without reading the body of a request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hypercorn import protocol
from hypercorn.protocol import h2, h11
from hypercorn.protocol.events import Body, EndBody, Event, Request
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def install_streams() -> None:
    """Make Hypercorn serve requests of this process with the classes below; idempotent."""
    for module in (h11, h2):
        cast("Any", module).HTTPStream = EndingHTTPStream
    cast("Any", protocol).H2Protocol = LastingH2Protocol


class EndingHTTPStream(HTTPStream):
    """Drops what comes of a body after the application has ended."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._has_ended = asyncio.Event()
        self.has_whole_body = False

    async def handle(self, event: Event) -> None:
        """Pass an event of the client to the application."""
        self.has_whole_body = self.has_whole_body or isinstance(event, EndBody)
        if self._has_ended.is_set() and isinstance(event, Body | EndBody):
            return
        await super().handle(event)
        if isinstance(event, Request) and hasattr(self, "app_put"):
            self.app_put = self._until_ended(self.app_put)

    async def app_send(self, message: Any) -> None:
        """Send a message of the application; None if it has ended."""
        if message is None:
            self._has_ended.set()
        await super().app_send(message)
        if self.state is ASGIHTTPState.CLOSED:
            self._has_ended.set()

    def _until_ended(self, put: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Any]:
        """Return ``put``, a queue's, which waits for room only while the application runs."""
        queue: asyncio.Queue[Any] = cast("Any", put).__self__

        async def put_until_ended(message: Any) -> None:
            if not queue.full():
                queue.put_nowait(message)
                return
            if self._has_ended.is_set():
                return
            waiting = asyncio.ensure_future(put(message))
            ended = asyncio.ensure_future(self._has_ended.wait())
            try:
                await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                ended.cancel()

        return put_until_ended


class _NoStream:
    """Takes what a client sends for a request that is answered already."""

    async def handle(self, event: Event) -> None:
        """Drop an event."""


class _Streams(dict[int, Any]):
    """The streams of a connection by their ids."""

    def __missing__(self, stream_id: int) -> _NoStream:
        return _NoStream()


class LastingH2Protocol(h2.H2Protocol):
    """A connection that outlives a response which ends before the body of its request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.streams = _Streams()
        # The streams whose client still sends its body although the application has ended.
        self._unread: set[int] = set()

    async def _close_stream(self, stream_id: int) -> None:
        stream = self.streams.get(stream_id)
        if isinstance(stream, EndingHTTPStream) and not stream.has_whole_body:
            self._unread.add(stream_id)
        await super()._close_stream(stream_id)
        await self._stop_reading(stream_id)

    async def _send_data(self, stream_id: int) -> None:
        await super()._send_data(stream_id)
        await self._stop_reading(stream_id)

    async def _stop_reading(self, stream_id: int) -> None:
        """Ask the client to send no more of a body (RFC 9113, 8.1), once its response is sent."""
        if stream_id not in self._unread or stream_id in self.stream_buffers:
            return
        self._unread.discard(stream_id)
        try:
            self.connection.reset_stream(stream_id, ErrorCodes.NO_ERROR)
        except ProtocolError:
            # The client has ended or reset it meanwhile.
            return
        await self._flush()
