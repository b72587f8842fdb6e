"""The disconnect watcher: cancels the work for a request when its client disconnects."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from types import TracebackType

# Seconds after which the watcher begins to listen. Most callbacks have ended by then and need no
# second task.
WATCH_AFTER = 0.05


class Disconnected(Exception):
    """The client disconnected before its request was complete."""


class WatchTimer:
    """Lets the watchers of one event loop begin to listen, with one timer for all of them.

    A timer for each would be made and cancelled with each short request.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        # By watcher that does not listen yet, when it begins to, by the loop's clock. The first
        # one begins first. Bounded by the requests in flight.
        self._due: dict[DisconnectWatcher, float] = {}
        # None if no watcher has been added since it fired last.
        self._timer: asyncio.TimerHandle | None = None

    def add(self, watcher: DisconnectWatcher) -> None:
        """Let ``watcher`` begin in `WATCH_AFTER` seconds."""
        due = self._due[watcher] = self.loop.time() + WATCH_AFTER
        if self._timer is None:
            self._timer = self.loop.call_at(due, self._fire)

    def discard(self, watcher: DisconnectWatcher) -> None:
        """Do not let ``watcher`` begin; idempotent."""
        self._due.pop(watcher, None)

    def _fire(self) -> None:
        self._timer = None
        now = self.loop.time()
        for watcher, due in list(self._due.items()):
            if due > now:
                self._timer = self.loop.call_at(due, self._fire)
                return
            del self._due[watcher]
            watcher.begin()


class _Nothing:
    """An awaitable that is done; it costs less than a coroutine without an ``await``."""

    def __await__(self) -> Generator[Any, None, None]:
        return iter(())  # type: ignore[return-value]


_NOTHING = _Nothing()


class DisconnectWatcher:
    """Cancels the code within ``async with`` when the client disconnects.

    ``happened`` is then true, and the cancellation ends at the ``async with``. The watcher begins
    to read ``receive`` after `WATCH_AFTER` seconds, when ``timer`` says so.
    """

    __slots__ = ("_listener", "_receive", "_task", "_timer", "happened")

    def __init__(self, receive: Callable[[], Awaitable[dict[str, Any]]], timer: WatchTimer) -> None:
        self.happened = False
        self._receive = receive
        self._timer = timer
        self._task: asyncio.Task[Any] | None = None
        self._listener: asyncio.Task[None] | None = None

    def __aenter__(self) -> Awaitable[None]:
        self._task = asyncio.current_task()
        self._timer.add(self)
        return _NOTHING

    def begin(self) -> None:
        """Begin to listen; the timer calls this."""
        self._listener = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self.happened = True
            self._task.cancel()

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Awaitable[bool | None]:
        self._timer.discard(self)
        if self._listener is None:
            # Most requests end before anybody listens.
            self._task = None
            return _NOTHING
        return self._end(self._listener, kind)

    async def _end(self, listener: asyncio.Task[None], kind: type[BaseException] | None) -> bool:
        task, self._task = self._task, None
        if not listener.done():
            listener.cancel()
            await asyncio.wait({listener})
        if self.happened and task is not None:
            task.uncancel()
            return kind is not None and issubclass(kind, asyncio.CancelledError)
        return False
