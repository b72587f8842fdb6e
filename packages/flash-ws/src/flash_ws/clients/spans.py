"""Spans of pages' connections and of pushes; made only while the app is traced."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from flash.tracing import OpenSpan, user_of
from flash_ws.link.transports import EventStreamTransport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from flash.tracing import Tracing
    from flash_ws.link.link import Link, Transport
    from flash_ws.protocol.codes import CloseCode
    from flash_ws.protocol.frames import Message


class LinkSpan:
    """The span ``link`` of one connection, from its acceptance to its end.

    It is not current: what the page does is no child of it, since a connection may last for days.
    """

    __slots__ = ("_began", "_span", "_transport")

    def __init__(self, tracing: Tracing, transport: Transport, user: str | None) -> None:
        kind = "sse" if isinstance(transport, EventStreamTransport) else "websocket"
        attributes = user_of(tracing, user)
        self._span = OpenSpan(tracing, "link", {"flash.link.transport": kind, **attributes})
        self._transport = transport
        self._began = time.perf_counter()

    def opened(self, path: str, recovered: bool | None) -> None:
        """Note that the page has its ``welcome``; ``recovered`` is that of this frame."""
        self._span.set(
            {
                "flash.page.path": path,
                "flash.link.opening_seconds": time.perf_counter() - self._began,
            }
        )
        if recovered is not None:
            self._span.set({"flash.link.recovered": recovered})

    def ended(self, link: Link) -> None:
        """Note what an attached page was sent."""
        self._span.set(
            {
                "flash.link.frames_sent": link.outbox.statistics().sent,
                "flash.link.frames_undelivered": link.undelivered,
            }
        )

    async def around(self, serving: Coroutine[Any, Any, None]) -> None:
        """Serve the connection, and end the span."""
        try:
            await serving
        except Exception as error:
            self._span.fail(error)
            raise
        finally:
            code: CloseCode | None = getattr(self._transport, "closed_with", None)
            self._span.set({"flash.link.close_code": "LEFT" if code is None else code.name})
            self._span.end()


async def traced_push(span: OpenSpan, publishing: Awaitable[object]) -> None:
    """Publish a push, and end its span."""
    try:
        await publishing
    except Exception as error:
        span.fail(error)
        raise
    finally:
        span.end()


def push_span(tracing: Tracing, channel: str, message: Message, pages: int) -> OpenSpan:
    """Begin the span ``push`` of a message, a child of the current span.

    ``pages`` follow the channel on this worker. It has the kind of channel only, since the name may
    be a user's or a page's.
    """
    return OpenSpan(
        tracing,
        "push",
        {
            "flash.push.channel": channel.partition(":")[0],
            "flash.push.bytes": len(message.members),
            "flash.push.pages": pages,
        },
    )
