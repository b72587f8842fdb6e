"""Writing to WebSockets: `Writer` for one, in order and bounded; `Flusher` for many in one task."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from flash.serialize import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flash.http.gateway import Send

# An ASGI message: ``websocket.send``.
Event = dict[str, Any]


def as_event(message: Any) -> Event:
    """Return the ASGI event that sends ``message``: str as text, bytes as binary, else JSON text.

    Raises what `flash.serialize.dumps` raises.
    """
    if isinstance(message, str):
        return {"type": "websocket.send", "text": message}
    if isinstance(message, bytes | bytearray | memoryview):
        return {"type": "websocket.send", "bytes": bytes(message)}
    return {"type": "websocket.send", "text": dumps(message).decode()}


def size_of(event: Event) -> int:
    """Return the bytes that an event sends; raises ``UnicodeEncodeError`` for lone surrogates."""
    text: str | None = event.get("text")
    if text is None:
        return len(event["bytes"])
    return len(text) if text.isascii() else len(text.encode())


@dataclass(slots=True)
class _QueuedMessage:
    event: Event
    # Bytes that count against the limit; 0 for a message whose sender waits for it.
    size: int
    # The future of a waiting sender. If it is cancelled, the message is not sent.
    sender: asyncio.Future[None] | None


class Flushable(Protocol):
    """A writer that a `Flusher` writes."""

    async def write_waiting(self, task: asyncio.Task[None]) -> None:
        """Write all that waits, in the flusher's ``task``; raises only ``CancelledError``."""
        ...


class Flusher:
    """Writes what waits in many writers, in one task as long as no write blocks.

    A task for each message of each connection would double the cost of writing. When a write
    blocks, a new task continues with the other writers, and the old task ends with its writer.
    """

    # Writers that one task writes before the loop runs other work.
    MAX_WRITERS = 256

    def __init__(self) -> None:
        self._queue: deque[Flushable] = deque()
        # The task that writes; None while it is blocked on a single writer, or has ended.
        self._task: asyncio.Task[None] | None = None

    def flush(self, writer: Flushable) -> None:
        """Queue ``writer`` to be written soon."""
        self._queue.append(writer)
        if self._task is None:
            self._start_task()

    def flush_all(self, writers: Iterable[Flushable]) -> None:
        """Queue each of ``writers`` to be written soon."""
        self._queue.extend(writers)
        if self._task is None and self._queue:
            self._start_task()

    def detach(self, task: asyncio.Task[None]) -> None:
        """Continue with the other writers in a new task, since ``task`` is blocked or ended."""
        if self._task is task:
            self._task = None
            if self._queue:
                self._start_task()

    def _start_task(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        task = self._task
        if task is None:
            return
        # It runs after this task's first step. If the task has not ended by then, it is blocked.
        asyncio.get_running_loop().call_soon(self.detach, task)
        try:
            for _ in range(self.MAX_WRITERS):
                if self._task is not task or not self._queue:
                    break
                await self._queue.popleft().write_waiting(task)
        finally:
            self.detach(task)


class Writer:
    """Writes messages to one WebSocket in the order of the calls.

    `send` waits until the server has accepted the message; the server waits for the browser.
    `offer` never waits: it queues the message, up to ``max_bytes``, and ``flusher`` writes it.
    ``on_failure`` is called if a write fails.
    """

    def __init__(
        self,
        send: Send,
        *,
        max_bytes: int,
        flusher: Flusher,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._send = send
        self._max_bytes = max_bytes
        self._flusher = flusher
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_QueuedMessage] = deque()
        self._bytes = 0
        # Whether the flusher or a sender writes, or is about to.
        self._is_busy = False
        # The flusher's task while it writes.
        self._flush_task: asyncio.Task[None] | None = None
        self._idle: asyncio.Future[None] | None = None
        # Messages written so far.
        self.sent = 0
        # The loop's time when the current write began; None between writes.
        self.writing_since: float | None = None
        # The loop's time when the last write ended.
        self.wrote_at = self._loop.time()

    @property
    def waiting(self) -> int:
        """The number of messages not yet written."""
        return len(self._waiting)

    @property
    def bytes_waiting(self) -> int:
        """The bytes of offered messages that are not yet written."""
        return self._bytes

    async def send(self, event: Event) -> None:
        """Write a message after all earlier ones; raises what the server raises."""
        if self._is_busy:
            sender: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(_QueuedMessage(event, 0, sender))
            await sender
            return
        self._is_busy = True
        try:
            await self._write(event)
        finally:
            if self._waiting:
                self._flusher.flush(self)
            else:
                self._become_idle()

    def offer(self, event: Event, size: int) -> bool:
        """Queue a message after all earlier ones; returns False if there is no room for it."""
        if self._bytes + size > self._max_bytes:
            return False
        self._bytes += size
        self._waiting.append(_QueuedMessage(event, size, None))
        if not self._is_busy:
            self._is_busy = True
            self._flusher.flush(self)
        return True

    async def write_waiting(self, task: asyncio.Task[None]) -> None:
        """Write what waits; called by the flusher in its ``task``."""
        self._flush_task = task
        try:
            while self._waiting:
                each = self._waiting.popleft()
                self._bytes -= each.size
                if each.sender is None:
                    await self._write(each.event)
                else:
                    await self._write_for(each.sender, each.event)
        except Exception as error:  # noqa: BLE001  each server has its own for a socket that is gone
            self._on_failure(error)
        finally:
            self._flush_task = None
            self._become_idle()

    async def flush(self) -> None:
        """Wait until every message is written."""
        while self._is_busy:
            if self._idle is None:
                self._idle = self._loop.create_future()
            await asyncio.shield(self._idle)

    async def stop(self, error: Exception) -> None:
        """Drop what waits and cancel the current write; waiting senders get ``error``."""
        waiting, self._waiting, self._bytes = self._waiting, deque(), 0
        for each in waiting:
            if each.sender is not None and not each.sender.done():
                each.sender.set_exception(error)
        flush_task = self._flush_task
        if flush_task is not None:
            self._flusher.detach(flush_task)
            flush_task.cancel()
            await asyncio.wait({flush_task})

    async def _write(self, event: Event) -> None:
        self.writing_since = self._loop.time()
        try:
            await self._send(event)
        finally:
            self.writing_since = None
        self.wrote_at = self._loop.time()
        self.sent += 1

    async def _write_for(self, sender: asyncio.Future[None], event: Event) -> None:
        if sender.done():
            return
        try:
            await self._write(event)
        except BaseException as error:
            if not sender.done():
                gone = ConnectionResetError("the connection ended while the message was being sent")
                sender.set_exception(error if isinstance(error, Exception) else gone)
            if not isinstance(error, UnicodeError):
                raise
        else:
            if not sender.done():
                sender.set_result(None)

    def _become_idle(self) -> None:
        self._is_busy = False
        if self._idle is not None:
            self._idle.set_result(None)
            self._idle = None
