"""The bounded queue of messages that one browser has sent and its handler has not received."""

from __future__ import annotations

from collections import deque

from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.limits import RateLimit, TokenBucket

Message = str | bytes

# The most bytes that one character takes in UTF-8.
_MAX_CHARACTER_BYTES = 4


class Inbox:
    """Messages that wait for a handler, oldest first.

    It is full with ``max_waiting`` messages, or with four times ``max_message_bytes``. Then the
    caller stops reading from the socket until a message is taken, so that the browser has to wait.
    Times are seconds of a monotonic clock, which the caller passes.
    """

    def __init__(
        self, *, max_message_bytes: int, rate: RateLimit, max_waiting: int, now: float
    ) -> None:
        self._max_message_bytes = max_message_bytes
        self._max_waiting = max_waiting
        self._bucket = TokenBucket(rate, now)
        self._waiting: deque[Message] = deque()
        # The approximate memory in bytes; text counts one byte for each character.
        self._size = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether the caller has to stop reading."""
        return len(self._waiting) >= self._max_waiting or self._size >= 4 * self._max_message_bytes

    def put(self, message: Message, now: float) -> CloseCode | None:
        """Append a message, or return the code to close the connection with."""
        if not self._bucket.take(now):
            return CloseCode.TOO_FAST
        if self._is_too_large(message):
            return CloseCode.TOO_LARGE
        self._waiting.append(message)
        self._size += len(message)
        return None

    def take(self) -> Message:
        """Remove and return the oldest message; raises ``IndexError`` if there is none."""
        message = self._waiting.popleft()
        self._size -= len(message)
        return message

    def clear(self) -> None:
        """Remove all messages."""
        self._waiting.clear()
        self._size = 0

    def _is_too_large(self, message: Message) -> bool:
        size = len(message)
        if (
            isinstance(message, str)
            and size * _MAX_CHARACTER_BYTES > self._max_message_bytes >= size
        ):
            size = len(message.encode())
        return size > self._max_message_bytes
