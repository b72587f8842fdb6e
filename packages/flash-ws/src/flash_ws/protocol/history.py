"""The recent messages of a channel, for pages that reconnect."""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash_ws.protocol.outbox import counted_size
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from flash_ws.protocol.frames import Frame


@dataclass(frozen=True, slots=True)
class Entry:
    """One numbered frame of the history."""

    number: int
    frame: Frame
    # When it was appended, in seconds of the caller's clock.
    at: float


class History:
    """The last messages of one channel, bounded by count, bytes and age; the oldest are removed.

    Numbers begin at 1 and have no gaps. A message that is larger than ``max_bytes`` counts as half
    of it, so that it is kept and does not remove all others.
    """

    def __init__(
        self,
        *,
        max_messages: int = 1000,
        max_bytes: int = 1 << 20,
        max_age: float = 120.0,
        epoch: str | None = None,
    ) -> None:
        self.epoch = epoch or secrets.token_urlsafe(6)
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        # Seconds.
        self._max_age = max_age
        # Created with the first message. An empty deque takes more memory than the rest of a page's
        # channel, and most pages get no message of their own.
        self._entries: deque[Entry] | None = None
        self._bytes = 0
        # The number of the newest message ever appended; 0 before the first.
        self._number = 0

    @property
    def position(self) -> Position:
        """The position of a page that has received every message."""
        return Position(self.epoch, self._number)

    @property
    def next_number(self) -> int:
        """The number of the next message."""
        return self._number + 1

    def append(self, frame: Frame, now: float) -> int:
        """Store a frame whose number is `next_number`; returns that number."""
        self._number += 1
        if self._entries is None:
            self._entries = deque()
        self._entries.append(Entry(self._number, frame, now))
        self._bytes += counted_size(frame, self._max_bytes)
        self.trim(now)
        return self._number

    def trim(self, now: float) -> None:
        """Remove the oldest messages that exceed a bound."""
        entries = self._entries
        while entries and (
            len(entries) > self._max_messages
            or self._bytes > self._max_bytes
            or now - entries[0].at > self._max_age
        ):
            self._bytes -= counted_size(entries.popleft().frame, self._max_bytes)

    def since(self, position: Position, now: float) -> list[Entry] | None:
        """Return every message after ``position``, in order, or None if not all of them are known.

        That is so if the epoch differs, the number was never used, or a message has been removed.
        The page then needs a snapshot. An incomplete list is never returned.
        """
        self.trim(now)
        if position.epoch != self.epoch or not 0 <= position.number <= self._number:
            return None
        missed = self._number - position.number
        entries = list(self._entries or ())
        if missed > len(entries):
            return None
        return entries[len(entries) - missed :] if missed else []
