"""What one browser has sent and its handler has not taken: limited before it is kept.

No event loop in here; the caller brings the time.
"""

from __future__ import annotations

from collections import deque

from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.limits import RateLimit, TokenBucket

Message = str | bytes

# The longest UTF-8 form of a character, in bytes.
_CHARACTER = 4


class Inbox:
    """Messages waiting for a handler, oldest first.

    ``max_waiting`` messages, or ``max_message_bytes`` four times over, and it is full: the caller
    stops reading from the socket until something is taken, so that the browser has to wait.
    """

    def __init__(
        self, *, max_message_bytes: int, rate: RateLimit, max_waiting: int, now: float
    ) -> None:
        self._max_message_bytes = max_message_bytes
        self._max_waiting = max_waiting
        self._bucket = TokenBucket(rate, now)
        self._waiting: deque[Message] = deque()
        # Counted in characters for text: what it costs to keep, about.
        self._size = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be read for now."""
        return len(self._waiting) >= self._max_waiting or self._size >= 4 * self._max_message_bytes

    def put(self, message: Message, now: float) -> CloseCode | None:
        """Keep a message, or say with which code to close for having sent it."""
        if not self._bucket.take(now):
            return CloseCode.TOO_FAST
        if self._is_too_large(message):
            return CloseCode.TOO_LARGE
        self._waiting.append(message)
        self._size += len(message)
        return None

    def take(self) -> Message:
        """Return the oldest message; raises ``IndexError`` if there is none."""
        message = self._waiting.popleft()
        self._size -= len(message)
        return message

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._size = 0

    def _is_too_large(self, message: Message) -> bool:
        size = len(message)
        if isinstance(message, str) and size * _CHARACTER > self._max_message_bytes >= size:
            size = len(message.encode())
        return size > self._max_message_bytes
