"""What `Live.push` and others return: work under way, which may be awaited and need not be."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Generator
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar, cast

from flash.props import Sent
from flash_ws.errors import TooManyUnawaited

if TYPE_CHECKING:
    from types import TracebackType

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Calls that nobody has awaited and that are not done yet, at most.
MAX_UNAWAITED = 10_000


class Sending(Sent, Coroutine[Any, Any, T]):
    """Work that is done even if nobody awaits this, such as publishing a message.

    ``await`` returns its result when it is done, and raises what it raises. If nobody awaits it, it
    begins in the next iteration of the event loop, and an error is logged. What is begun begins in
    the order of the calls.
    """

    __slots__ = ("_context", "_queue", "_result", "_steps", "_task", "_work", "is_awaited")

    def __init__(
        self,
        work: Coroutine[Any, Any, T] | None,
        queue: SendQueue | None = None,
        result: T | None = None,
    ) -> None:
        # None once it has begun.
        self._work = work
        self._queue = queue
        # The result of what is done, unless a task has it.
        self._result = result
        # That of the call: what is begun later has the same span and the same page.
        self._context = copy_context()
        self._task: asyncio.Task[T] | None = None
        # Drives this object where it is used as a coroutine.
        self._steps: Coroutine[Any, Any, T] | None = None
        # Whether somebody hears of an error.
        self.is_awaited = False

    async def _follow(self) -> T:
        self.is_awaited = True
        if self._work is not None:
            if self._queue is None or self._queue.take_if_next(self):
                self._result = await self.take()
                return self._result
            # In the order of the calls: those before it begin first.
            self._queue.begin_all()
        if self._task is not None:
            return await self._task
        return cast("T", self._result)

    def take(self) -> Coroutine[Any, Any, T]:
        """Return the work; the caller does it."""
        work, self._work = self._work, None
        assert work is not None
        return work

    def begin(self) -> asyncio.Task[T]:
        """Do the work in a task."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self.take(), context=self._context)
        return self._task

    def __await__(self) -> Generator[Any, Any, T]:
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
    """The work of one event loop that was begun without ``await``, in the order of the calls."""

    def __init__(self) -> None:
        self._waiting: deque[Sending[Any]] = deque()
        self._running: set[asyncio.Task[Any]] = set()
        self._is_scheduled = False

    def add(self, work: Coroutine[Any, Any, T]) -> Sending[T]:
        """Do ``work``, now if it is awaited and else soon; raises `TooManyUnawaited`."""
        if len(self._waiting) + len(self._running) >= MAX_UNAWAITED:
            work.close()
            raise TooManyUnawaited(MAX_UNAWAITED)
        sending = Sending(work, self)
        self._waiting.append(sending)
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self.begin_all)
        return sending

    def take_if_next(self, sending: Sending[Any]) -> bool:
        """Remove work if no other is before it."""
        if self._running or not self._waiting or self._waiting[0] is not sending:
            return False
        self._waiting.popleft()
        return True

    def begin_all(self) -> None:
        """Do all work in tasks, which begin in the order of the calls."""
        self._is_scheduled = False
        while self._waiting:
            sending = self._waiting.popleft()
            task = sending.begin()
            self._running.add(task)
            task.add_done_callback(lambda done, sending=sending: self._on_done(done, sending))

    def _on_done(self, task: asyncio.Task[Any], sending: Sending[Any]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not sending.is_awaited:
            logger.error("what nobody awaits has failed: %s", error, exc_info=error)

    def close(self) -> None:
        """Give up what has not begun."""
        while self._waiting:
            self._waiting.popleft().take().close()
