"""uvicorn's HTTP protocols with an end for connections that send no whole request.

uvicorn closes a connection that is quiet after a response, but not one that never sends a request
or stops in the middle of its head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from .timeouts import HEAD_TIMEOUT

if TYPE_CHECKING:
    import asyncio

    Base = Any
else:
    Base = AutoHTTPProtocol


class TimedHTTP(Base):
    """uvicorn's protocol; ends a connection whose next request does not begin in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to watch the connection."""
        super().connection_made(transport)
        # The request that was the latest when the connection was looked at.
        self._seen: Any = None
        self._head_timer: asyncio.TimerHandle = self.loop.call_later(HEAD_TIMEOUT, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to watch the connection."""
        self._head_timer.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        transport: asyncio.Transport = self.transport
        if transport.is_closing() or transport.get_protocol() is not self:
            # It is gone, or a WebSocket by now.
            return
        request = self.cycle
        if request is self._seen and (request is None or request.response_complete):
            transport.close()
            return
        self._seen = request
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self._look)
