"""What `Live.push` returns: a message on its way, which may be awaited and need not be."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any

from flash_ws.errors import TooManyUnawaited

if TYPE_CHECKING:
    from types import TracebackType

logger = logging.getLogger(__name__)

# Messages that nobody has awaited and that are not published yet, at most.
MAX_UNAWAITED = 10_000


class Sending(Coroutine[Any, Any, None]):
    """A message that is published even if nobody awaits this.

    ``await`` returns when it is published, and raises what publishing raises. If nobody awaits it,
    it is published in the next iteration of the event loop, and an error is logged.
    """

    __slots__ = ("_queue", "_steps", "_task", "_work", "is_awaited")

    def __init__(
        self, work: Coroutine[Any, Any, Any] | None, queue: SendQueue | None = None
    ) -> None:
        # None once it has begun, or if there is nothing to do.
        self._work = work
        self._queue = queue
        self._task: asyncio.Task[Any] | None = None
        # Drives this object where it is used as a coroutine.
        self._steps: Coroutine[Any, Any, None] | None = None
        # Whether somebody hears of an error.
        self.is_awaited = False

    async def _follow(self) -> None:
        self.is_awaited = True
        if self._work is not None:
            if self._queue is None or self._queue.take_if_next(self):
                await self.take()
                return
            # In the order of the calls: those before it begin first.
            self._queue.begin_all()
        if self._task is not None:
            await self._task

    def take(self) -> Coroutine[Any, Any, Any]:
        """Return the work; the caller does it."""
        work, self._work = self._work, None
        assert work is not None
        return work

    def begin(self) -> asyncio.Task[Any]:
        """Do the work in a task."""
        self._task = asyncio.ensure_future(self.take())
        return self._task

    def __await__(self) -> Generator[Any, Any, None]:
        return self._follow().__await__()

    # `asyncio.create_task` and `asyncio.run_coroutine_threadsafe` take coroutines only.

    def send(self, value: Any) -> Any:
        """Do the next step; for the event loop."""
        if self._steps is None:
            self._steps = self._follow()
        return self._steps.send(value)

    def throw(
        self, typ: Any, val: BaseException | object = None, tb: TracebackType | None = None
    ) -> Any:
        """Raise an exception at the current step; for the event loop."""
        del tb
        if self._steps is None:
            self._steps = self._follow()
        raised: BaseException = val if isinstance(val, BaseException) else typ
        return self._steps.throw(raised)

    def close(self) -> None:
        """Stop following; what has begun goes on."""
        if self._steps is not None:
            self._steps.close()


class SendQueue:
    """The messages of one event loop that were sent without ``await``, in their order."""

    def __init__(self) -> None:
        self._waiting: deque[Sending] = deque()
        self._running: set[asyncio.Task[Any]] = set()
        self._is_scheduled = False

    def add(self, work: Coroutine[Any, Any, Any]) -> Sending:
        """Publish by ``work``, now if it is awaited and else soon; raises `TooManyUnawaited`."""
        if len(self._waiting) + len(self._running) >= MAX_UNAWAITED:
            work.close()
            raise TooManyUnawaited(MAX_UNAWAITED)
        sending = Sending(work, self)
        self._waiting.append(sending)
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self.begin_all)
        return sending

    def take_if_next(self, sending: Sending) -> bool:
        """Remove a message if no other one is before it."""
        if self._running or not self._waiting or self._waiting[0] is not sending:
            return False
        self._waiting.popleft()
        return True

    def begin_all(self) -> None:
        """Publish all messages in tasks, which begin in their order."""
        self._is_scheduled = False
        while self._waiting:
            sending = self._waiting.popleft()
            task = sending.begin()
            self._running.add(task)
            task.add_done_callback(lambda done, sending=sending: self._on_done(done, sending))

    def _on_done(self, task: asyncio.Task[Any], sending: Sending) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not sending.is_awaited:
            logger.error("a message was not published: %s", error, exc_info=error)

    def close(self) -> None:
        """Give up the messages that have not begun."""
        while self._waiting:
            self._waiting.popleft().take().close()
