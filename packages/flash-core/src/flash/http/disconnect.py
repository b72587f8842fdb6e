"""The disconnect watcher: cancels the work for a request when its client disconnects."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

# Seconds after which the watcher begins to listen. Most callbacks have ended by then and need no
# second task.
WATCH_AFTER = 0.05


class Disconnected(Exception):
    """The client disconnected before its request was complete."""


class DisconnectWatcher:
    """Cancels the code within ``async with`` when the client disconnects.

    ``happened`` is then true, and the cancellation ends at the ``async with``. The watcher begins
    to read ``receive`` after `WATCH_AFTER` seconds.
    """

    def __init__(self, receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self.happened = False
        self._receive = receive
        self._task: asyncio.Task[Any] | None = None
        self._listener: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(WATCH_AFTER, self._begin)
        return self

    def _begin(self) -> None:
        self._listener = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self.happened = True
            self._task.cancel()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        task, self._task = self._task, None
        self._timer.cancel()
        if self._listener is not None and not self._listener.done():
            self._listener.cancel()
            await asyncio.wait({self._listener})
        if self.happened and task is not None:
            task.uncancel()
            return kind is not None and issubclass(kind, asyncio.CancelledError)
        return False
