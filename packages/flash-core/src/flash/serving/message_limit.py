"""How large messages of a WebSocket may be, as the server's adapters apply it.

The app tells the limit of each socket with the event that accepts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .target import Message

# Keys of a ``websocket.accept`` event; `flash.access.message_limit` writes them.
MAX_BYTES = "flash.max_message_bytes"
TOO_LARGE_CODE = "flash.too_large_code"

# Bytes of a message that arrives before the app has accepted the socket.
MAX_EARLY_BYTES = 4096

# Bytes of messages that wait for the app, for each socket. Beyond them nothing more is inflated.
MAX_WAITING_BYTES = 256 * 1024

# Bytes of such messages of all sockets of this process that accept larger ones than that; beyond
# them, reading from such sockets waits.
MAX_WAITING_IN_ALL = 4 << 20

# Bytes of incomplete messages of all sockets; beyond them, a socket with such a message is closed.
MAX_INCOMPLETE_IN_ALL = 32 << 20

# Seconds in which the page can read the close frame of a message that was too large. What it still
# sends is discarded: closing a socket with unread bytes resets it, and the close code is lost.
DISCARD_TIME = 1.0

# The frames of one message, at least; large messages may have more. Empty ones cost time only.
_MIN_MAX_FRAMES = 1024
_BYTES_OF_A_FRAME = 256

_MESSAGE_TOO_BIG = 1009
_TRY_AGAIN_LATER = 1013


class Held:
    """What the sockets of this process hold in memory."""

    def __init__(self) -> None:
        # Bytes of messages that apps have not handled, of sockets that accept large ones.
        self.waiting = 0
        # Bytes of incomplete messages.
        self.incomplete = 0
        # Called when messages were handled.
        self._on_room: set[Callable[[], None]] = set()

    @property
    def is_full(self) -> bool:
        """Whether no further message may be read."""
        return self.waiting >= MAX_WAITING_IN_ALL

    def call_with_room(self, resume: Callable[[], None]) -> None:
        """Call ``resume`` once there is room."""
        self._on_room.add(resume)

    def handled(self, size: int) -> None:
        """Count messages as handled."""
        self.waiting -= size
        if self._on_room and not self.is_full:
            resume_all, self._on_room = self._on_room, set()
            for resume in resume_all:
                resume()


HELD = Held()


@dataclass(frozen=True, slots=True)
class MessageLimit:
    """The limit of one socket's messages: bytes after inflating, and the close code beyond."""

    max_bytes: int
    code: int = _MESSAGE_TOO_BIG
    reason: str = "the message is too large"

    @property
    def max_frames(self) -> int:
        """The most frames of one message."""
        return max(_MIN_MAX_FRAMES, self.max_bytes // _BYTES_OF_A_FRAME)

    @property
    def is_large(self) -> bool:
        """Whether messages count in `Held.waiting`."""
        return self.max_bytes > MAX_WAITING_BYTES

    @classmethod
    def incomplete(cls) -> MessageLimit:
        """Return the limit that is reached by the incomplete messages of all sockets together."""
        return cls(0, _TRY_AGAIN_LATER, "too many incomplete messages")

    @classmethod
    def accepted(cls, event: Message, default: int) -> MessageLimit:
        """Return the limit that a ``websocket.accept`` event names; ``default`` without one."""
        return cls(event.get(MAX_BYTES, default), event.get(TOO_LARGE_CODE, _MESSAGE_TOO_BIG))
