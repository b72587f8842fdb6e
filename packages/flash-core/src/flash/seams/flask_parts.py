"""The parts of a WSGI response, each made in a thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
    from contextvars import Context


class Parts:
    """Reads an iterable part by part in threads, and closes it once, when nothing reads it.

    It is closed after its last part, after an error, and when the client leaves: then at once, or
    by the thread that makes a part at that moment, after that part. ``close`` is called then. All
    of that happens in ``context``.
    """

    def __init__(
        self,
        parts: Iterable[bytes],
        close: Callable[[], object] | None,
        context: Context,
        run: Callable[..., Awaitable[Any]],
    ) -> None:
        self._parts = iter(parts)
        self._close_parts = close
        self._context = context
        self._run = run
        self._lock = threading.Lock()
        self._is_reading = False
        self._is_ending = False
        self._is_closed = False

    def following(self) -> bytes | None:
        """Return the next part; None after the last. Call it from a thread."""
        with self._lock:
            if self._is_ending:
                return None
            self._is_reading = True
        part = None
        try:
            part = self._context.run(next, self._parts, None)  # pyright: ignore[reportArgumentType, reportCallIssue]
        finally:
            with self._lock:
                self._is_reading = False
                self._is_ending = self._is_ending or part is None
                ends = self._is_ending
            if ends:
                self._close()
        return part

    def end(self) -> None:
        """Close what is read; does not wait."""
        with self._lock:
            was_ending, self._is_ending = self._is_ending, True
            if was_ending or self._is_reading:
                return
        # A thread of its own: a pool may be full, and nobody waits for it.
        threading.Thread(target=self._close, name="flash-close", daemon=True).start()

    async def read(self) -> AsyncGenerator[bytes]:
        """Yield the parts."""
        try:
            while (part := await self._run(self.following)) is not None:
                yield part
        finally:
            self.end()

    def _close(self) -> None:
        if self._close_parts is not None and not self._is_closed:
            self._is_closed = True
            self._context.run(self._close_parts)
