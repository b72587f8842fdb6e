"""Writing to WebSockets: to each in order and bounded in bytes, to many in one task."""

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
class _QueuedMessage:
    event: Event
    # Bytes that count against the limit: none for a message whose sender waits for it.
    size: int
    # Of a sender that waits; cancelled when that gave up, and then the message is not sent.
    sender: asyncio.Future[None] | None


class Flushable(Protocol):
    """Where a `Flusher` calls."""

    async def write_waiting(self, task: asyncio.Task[None]) -> None:
        """Write what waits, in the flusher's ``task``; raises only when that is cancelled."""
        ...


class Flusher:
    """Writes what waits in many writers, in one task for as long as none of them makes it wait.

    A task for each message of each connection would cost as much again as the writing. When a write
    does wait, a new task goes on with the others, and the old one stays until that is done.
    """

    # Writers visited before other work of the loop gets its turn.
    MAX_WRITERS = 256

    def __init__(self) -> None:
        self._queue: deque[Flushable] = deque()
        # The task on its way; not one that waits for a single writer.
        self._task: asyncio.Task[None] | None = None

    def flush(self, writer: Flushable) -> None:
        """Write what waits in ``writer``, soon."""
        self._queue.append(writer)
        if self._task is None:
            self._start_task()

    def flush_all(self, writers: Iterable[Flushable]) -> None:
        """Write what waits in each of ``writers``, soon."""
        self._queue.extend(writers)
        if self._task is None and self._queue:
            self._start_task()

    def detach(self, task: asyncio.Task[None]) -> None:
        """Let the others go on without ``task``, which waits for a writer."""
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
        # It runs after this task's first step: if that has not come to its end by then, it waits.
        asyncio.get_running_loop().call_soon(self.detach, task)
        try:
            for _ in range(self.MAX_WRITERS):
                if self._task is not task or not self._queue:
                    break
                await self._queue.popleft().write_waiting(task)
        finally:
            self.detach(task)


class Writer:
    """Writes messages in the order in which they came.

    `send` waits until the server has taken the message, and the server waits for the browser.
    `offer` never waits: what cannot be written at once is kept, up to ``max_bytes``, and written by
    ``flusher``. ``on_failure`` is called when the socket cannot be written to.
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
        # Whether somebody is writing, or about to: the flusher, or a sender by itself.
        self._is_busy = False
        # The flusher's task while it is here.
        self._flush_task: asyncio.Task[None] | None = None
        self._idle: asyncio.Future[None] | None = None
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
        """Write a message when those before it are written; False if there is no room for it."""
        if self._bytes + size > self._max_bytes:
            return False
        self._bytes += size
        self._waiting.append(_QueuedMessage(event, size, None))
        if not self._is_busy:
            self._is_busy = True
            self._flusher.flush(self)
        return True

    async def write_waiting(self, task: asyncio.Task[None]) -> None:
        """Write what waits; for the flusher, whose ``task`` this is."""
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
        """Wait until nothing waits to be written."""
        while self._is_busy:
            if self._idle is None:
                self._idle = self._loop.create_future()
            await asyncio.shield(self._idle)

    async def stop(self, error: Exception) -> None:
        """Forget what waits and end the writing; senders that wait get ``error``."""
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
                gone = ConnectionResetError("cut while it was sent")
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
