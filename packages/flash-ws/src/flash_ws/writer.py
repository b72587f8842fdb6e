"""The one that writes to a WebSocket: in order, one message at a time, bounded in bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flash.serialize import dumps

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash.gateway import Send

# An ASGI message: ``websocket.send``.
Event = dict[str, Any]


def as_event(message: Any) -> Event:
    """Return what sends ``message``: str and bytes as they are, anything else as JSON text.

    Raises what `flash.serialize.dumps` raises.
    """
    if isinstance(message, str):
        return {"type": "websocket.send", "text": message}
    if isinstance(message, bytes | bytearray | memoryview):
        return {"type": "websocket.send", "bytes": bytes(message)}
    return {"type": "websocket.send", "text": dumps(message).decode()}


def size_of(event: Event) -> int:
    """Return how many bytes an event sends; raises ``UnicodeEncodeError`` for half characters."""
    text: str | None = event.get("text")
    if text is None:
        return len(event["bytes"])
    return len(text) if text.isascii() else len(text.encode())


@dataclass(slots=True)
class _Waiting:
    event: Event
    # Bytes that count against the limit: none for a message whose sender waits for it.
    size: int
    # Of a sender that waits; cancelled when that gave up, and then the message is not sent.
    sender: asyncio.Future[None] | None


class Writer:
    """Writes messages in the order in which they came.

    `send` waits until the server has taken the message, and the server waits for the browser.
    `offer` never waits: what cannot be written at once is kept, up to ``max_bytes``. A task exists
    only while something is kept. ``failed`` is called when the socket cannot be written to.
    """

    def __init__(
        self,
        send: Send,
        *,
        max_bytes: int,
        failed: Callable[[Exception], None],
    ) -> None:
        self._send = send
        self._max_bytes = max_bytes
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._drainer: asyncio.Task[None] | None = None
        # Whether a sender is writing by itself, nothing having been in its way.
        self._direct = False
        self._rested: asyncio.Future[None] | None = None
        # Messages written so far.
        self.sent = 0
        # The loop's time when the write under way began; None between writes.
        self.writing_since: float | None = None
        # The loop's time when the last write ended.
        self.wrote_at = self._loop.time()

    @property
    def waiting(self) -> int:
        """Messages not yet written."""
        return len(self._waiting)

    @property
    def bytes_waiting(self) -> int:
        """Bytes of the messages that were offered and are not yet written."""
        return self._bytes

    async def send(self, event: Event) -> None:
        """Write a message after those before it; raises what the server raises."""
        if self._direct or self._waiting or self._drainer is not None:
            sender: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(_Waiting(event, 0, sender))
            await sender
            return
        self._direct = True
        try:
            await self._write(event)
        finally:
            self._direct = False
            if self._waiting:
                self._drainer = self._loop.create_task(self._drain())
            else:
                self._rest()

    def offer(self, event: Event, size: int) -> bool:
        """Write a message when those before it are written; False if there is no room for it."""
        if self._bytes + size > self._max_bytes:
            return False
        self._bytes += size
        self._waiting.append(_Waiting(event, size, None))
        if self._drainer is None and not self._direct:
            self._drainer = self._loop.create_task(self._drain())
        return True

    async def flush(self) -> None:
        """Wait until nothing waits to be written."""
        while self._direct or self._drainer is not None:
            if self._rested is None:
                self._rested = self._loop.create_future()
            await asyncio.shield(self._rested)

    async def stop(self, error: Exception) -> None:
        """Forget what waits and end the writing; senders that wait get ``error``."""
        waiting, self._waiting, self._bytes = self._waiting, deque(), 0
        for each in waiting:
            if each.sender is not None and not each.sender.done():
                each.sender.set_exception(error)
        drainer = self._drainer
        if drainer is not None:
            drainer.cancel()
            await asyncio.wait({drainer})

    async def _write(self, event: Event) -> None:
        self.writing_since = self._loop.time()
        try:
            await self._send(event)
        finally:
            self.writing_since = None
        self.wrote_at = self._loop.time()
        self.sent += 1

    async def _drain(self) -> None:
        try:
            while self._waiting:
                each = self._waiting.popleft()
                self._bytes -= each.size
                await self._pass_on(each)
        except Exception as error:  # noqa: BLE001  each server has its own for a socket that is gone
            self._failed(error)
        finally:
            self._drainer = None
            self._rest()

    async def _pass_on(self, each: _Waiting) -> None:
        sender = each.sender
        if sender is None:
            await self._write(each.event)
        elif not sender.done():
            try:
                await self._write(each.event)
            except BaseException as error:
                if not sender.done():
                    sender.set_exception(
                        error if isinstance(error, Exception) else ConnectionResetError()
                    )
                if not isinstance(error, UnicodeError):
                    raise
            else:
                if not sender.done():
                    sender.set_result(None)

    def _rest(self) -> None:
        if self._rested is not None:
            self._rested.set_result(None)
            self._rested = None
