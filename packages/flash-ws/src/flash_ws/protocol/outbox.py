"""The bounded buffer of frames that wait for one page, with conflation of property updates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from flash_ws.protocol.frames import Frame


@dataclass(frozen=True, slots=True)
class OutboxStatistics:
    """Counters and current size of an `Outbox`."""

    frames_waiting: int
    bytes_waiting: int
    sent: int
    # Frames not sent because later frames set the same properties.
    conflated: int


def counted_size(frame: Frame, max_bytes: int) -> int:
    """Return the bytes that a frame counts against a bound.

    A frame that is larger than the bound counts as half of it: it is sent and kept all the same.
    """
    size = frame.size
    return size if size <= max_bytes else max_bytes // 2


class _Queue:
    """Two or more frames that wait, with what conflation needs of them."""

    __slots__ = ("_arrived", "_latest", "_replaced", "frames")

    def __init__(self, first: Frame) -> None:
        # By a number that gives the order of arrival.
        self.frames: dict[int, Frame] = {}
        self._arrived = 0
        # For each property, the number of the last waiting frame that sets it and may be replaced.
        self._latest: dict[Hashable, int] = {}
        # For each waiting frame, how many of its properties later frames have set.
        self._replaced: dict[int, int] = {}
        self.append(first)

    def append(self, frame: Frame) -> None:
        """Append a frame."""
        for key in frame.touches:
            self._latest.pop(key, None)
        number = self._arrived
        self._arrived = number + 1
        self.frames[number] = frame
        for key in frame.sets:
            self._latest[key] = number

    def conflate(self, frame: Frame) -> list[Frame]:
        """Remove the frames of which ``frame`` sets the last property, and return them."""
        removed: list[Frame] = []
        latest = self._latest
        if latest:
            for key in frame.sets:
                number = latest.pop(key, None)
                if number is not None and self._count_replaced(number):
                    removed.append(self.frames.pop(number))
        return removed

    def _count_replaced(self, number: int) -> bool:
        """Count one replaced property of frame ``number``; return whether it was the last."""
        replaced = self._replaced.pop(number, 0) + 1
        if replaced == len(self.frames[number].sets):
            return True
        self._replaced[number] = replaced
        return False

    def take_part(self, max_bytes: int) -> list[Frame]:
        """Remove and return the first frames, of about ``max_bytes`` and at least one."""
        batch: list[int] = []
        size = 0
        for number, frame in self.frames.items():
            if batch and size + frame.size > max_bytes:
                break
            batch.append(number)
            size += frame.size
        frames = [self.frames.pop(number) for number in batch]
        for number, frame in zip(batch, frames, strict=True):
            self._replaced.pop(number, None)
            for key in frame.sets:
                if self._latest.get(key) == number:
                    del self._latest[key]
        return frames


class Outbox:
    """Frames that wait to be sent to one page.

    - ``max_bytes``: of all frames waiting. `add` returns False for a frame that would exceed it,
      and the caller closes the link as too slow. No frame is dropped silently. A frame that is
      larger than all of it counts as half of it, so that it is sent.
    - ``max_batch_bytes``: the approximate size of one message. `is_batch` is true when this much
      waits.

    Conflation: a frame that sets properties is removed once later frames have set all of its
    properties. An earlier frame stays if a frame between them builds on its value (``touches``).
    """

    # There is one for each page; slots save a dictionary each.
    __slots__ = (
        "_bytes",
        "_conflated",
        "_max_batch_bytes",
        "_max_bytes",
        "_queue",
        "_sent",
        "_single",
    )

    def __init__(self, *, max_bytes: int = 1 << 20, max_batch_bytes: int = 1 << 16) -> None:
        self._max_bytes = max_bytes
        self._max_batch_bytes = max_batch_bytes
        # The only frame waiting. Mostly there is at most one, which needs no bookkeeping. Each page
        # of each push comes here, and the memory that is touched then is most of what it costs.
        self._single: Frame | None = None
        # Two or more frames; None before the second one comes and after all were taken.
        self._queue: _Queue | None = None
        # As counted against ``max_bytes``.
        self._bytes = 0
        self._sent = 0
        self._conflated = 0

    def __len__(self) -> int:
        if self._queue is not None:
            return len(self._queue.frames)
        return 0 if self._single is None else 1

    def add(self, frame: Frame) -> bool:
        """Add a frame; returns False if there is no room for it, even after conflation."""
        # Not by a call of `counted_size`, which each page of each push would pay for.
        size = frame.size
        if size > self._max_bytes:
            size = self._max_bytes // 2
        queue = self._queue
        if queue is None:
            if self._single is None:
                self._single = frame
                self._bytes = size
                return True
            queue = self._queue = _Queue(self._single)
            self._single = None
        for replaced in queue.conflate(frame):
            self._bytes -= counted_size(replaced, self._max_bytes)
            self._conflated += 1
        if self._bytes + size > self._max_bytes:
            return False
        queue.append(frame)
        self._bytes += size
        return True

    def take(self) -> str | None:
        """Return the next message, a JSON list of frames of about ``max_batch_bytes``, or None."""
        if self._single is not None:
            text = self._single.text
            self._single = None
            self._bytes = 0
            self._sent += 1
            return f"[{text}]"
        queue = self._queue
        if queue is None:
            return None
        if len(queue.frames) == 1 or self._bytes <= self._max_batch_bytes:
            # These frames are sent now, so a later frame can no longer replace them.
            frames = list(queue.frames.values())
            self._queue = None
            self._bytes = 0
        else:
            frames = queue.take_part(self._max_batch_bytes)
            self._bytes -= sum(counted_size(frame, self._max_bytes) for frame in frames)
            if not queue.frames:
                self._queue = None
        self._sent += len(frames)
        return f"[{','.join([frame.text for frame in frames])}]"

    @property
    def is_batch(self) -> bool:
        """Whether a full message waits, which is to be sent without delay."""
        return self._bytes >= self._max_batch_bytes

    @property
    def is_half_full(self) -> bool:
        """Whether more than half of ``max_bytes`` waits; producers that can wait do so."""
        return self._bytes * 2 > self._max_bytes

    def has_room_for(self, frame: Frame) -> bool:
        """Return whether a producer that can wait may add this frame now."""
        added = counted_size(frame, self._max_bytes)
        return not self.is_half_full and self._bytes + added <= self._max_bytes

    def statistics(self) -> OutboxStatistics:
        """Return the current size and the counters."""
        return OutboxStatistics(len(self), self._bytes, self._sent, self._conflated)
