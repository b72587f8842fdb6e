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
        "_arrived",
        "_bytes",
        "_conflated",
        "_latest",
        "_max_batch_bytes",
        "_max_bytes",
        "_replaced",
        "_sent",
        "_single",
        "_waiting",
    )

    def __init__(self, *, max_bytes: int = 1 << 20, max_batch_bytes: int = 1 << 16) -> None:
        self._max_bytes = max_bytes
        self._max_batch_bytes = max_batch_bytes
        # The only frame waiting. Mostly there is at most one, which needs no bookkeeping.
        self._single: Frame | None = None
        # Two or more frames, by a number that gives the order of arrival.
        self._waiting: dict[int, Frame] = {}
        self._arrived = 0
        # For each property, the number of the last waiting frame that sets it and may be replaced.
        self._latest: dict[Hashable, int] = {}
        # For each waiting frame, how many of its properties later frames have set.
        self._replaced: dict[int, int] = {}
        # As counted against ``max_bytes``.
        self._bytes = 0
        self._sent = 0
        self._conflated = 0

    def __len__(self) -> int:
        return len(self._waiting) if self._single is None else 1

    def add(self, frame: Frame) -> bool:
        """Add a frame; returns False if there is no room for it, even after conflation."""
        if self._single is None and not self._waiting:
            self._single = frame
            # Not by a call of `counted_size`: each page of each push comes here.
            size = frame.size
            self._bytes = size if size <= self._max_bytes else self._max_bytes // 2
            return True
        if self._single is not None:
            single, self._single = self._single, None
            self._append(single)
        latest = self._latest
        if latest:
            for key in frame.sets:
                number = latest.pop(key, None)
                if number is not None:
                    self._count_replaced(number)
        size = frame.size
        if size > self._max_bytes:
            size = self._max_bytes // 2
        if self._bytes + size > self._max_bytes:
            return False
        self._append(frame)
        self._bytes += size
        return True

    def _append(self, frame: Frame) -> None:
        """Append a frame to the two or more that wait."""
        for key in frame.touches:
            self._latest.pop(key, None)
        number = self._arrived
        self._arrived = number + 1
        self._waiting[number] = frame
        for key in frame.sets:
            self._latest[key] = number

    def _count_replaced(self, number: int) -> None:
        """Count one replaced property of frame ``number``; remove the frame after its last one."""
        frame = self._waiting[number]
        replaced = self._replaced.pop(number, 0) + 1
        if replaced < len(frame.sets):
            self._replaced[number] = replaced
            return
        del self._waiting[number]
        size = frame.size
        self._bytes -= size if size <= self._max_bytes else self._max_bytes // 2
        self._conflated += 1

    def take(self) -> str | None:
        """Return the next message, a JSON list of frames of about ``max_batch_bytes``, or None."""
        if self._single is not None:
            text = self._single.text
            self._single = None
            self._bytes = 0
            self._sent += 1
            return f"[{text}]"
        waiting = self._waiting
        if not waiting:
            return None
        if len(waiting) == 1 or self._bytes <= self._max_batch_bytes:
            # These frames are sent now, so a later frame can no longer replace them.
            text = ",".join([frame.text for frame in waiting.values()])
            self._sent += len(waiting)
            self._bytes = 0
            waiting.clear()
            self._latest.clear()
            self._replaced.clear()
            return f"[{text}]"
        return self._take_part()

    def _take_part(self) -> str:
        """Return a message of the first frames that fit into one, at least one frame."""
        batch: list[int] = []
        size = counted = 0
        for number, frame in self._waiting.items():
            if batch and size + frame.size > self._max_batch_bytes:
                break
            batch.append(number)
            size += frame.size
            counted += counted_size(frame, self._max_bytes)
        frames = [self._waiting.pop(number) for number in batch]
        for number, frame in zip(batch, frames, strict=True):
            self._replaced.pop(number, None)
            for key in frame.sets:
                if self._latest.get(key) == number:
                    del self._latest[key]
        self._bytes -= counted
        self._sent += len(frames)
        return f"[{','.join(frame.text for frame in frames)}]"

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
