"""What waits to be sent to one page: bounded in bytes, newest value of a property first to stay.

No event loop in here. A shell asks `take` for the next message, when it thinks that enough waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from flash_ws.protocol.frames import Frame


@dataclass(frozen=True, slots=True)
class OutboxStatistics:
    """What has passed through an `Outbox`."""

    frames_waiting: int
    bytes_waiting: int
    sent: int
    # Frames left out because later ones set everything they set.
    conflated: int


class Outbox:
    """Frames on their way to one page.

    - ``max_bytes``: of frames waiting. When one more would exceed it `add` returns False, and the
      link is to be closed as too slow: nothing is dropped in silence.
    - ``max_batch_bytes``: of one message, about; as soon as this much waits `is_batch` is true.

    Conflation: a frame that sets properties is left out once later frames have set every property
    it sets. A frame that builds on a property's value (``touches``) keeps whatever set that
    property before it.
    """

    # One per page: without slots a dictionary each.
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
        # The frame waiting, while there is one alone: so it mostly is, and needs none of the rest.
        self._single: Frame | None = None
        # Several, by number, which is also the order of arrival.
        self._waiting: dict[int, Frame] = {}
        self._arrived = 0
        # For each property, the number of the frame waiting that set it last and may be replaced.
        self._latest: dict[Hashable, int] = {}
        # For each frame waiting of which a part has been replaced: how many properties.
        self._replaced: dict[int, int] = {}
        self._bytes = 0
        self._sent = 0
        self._conflated = 0

    def __len__(self) -> int:
        return len(self._waiting) if self._single is None else 1

    def add(self, frame: Frame) -> bool:
        """Add a frame; False if there is no room for it, even after conflation."""
        if self._single is None and not self._waiting:
            if frame.size > self._max_bytes:
                return False
            self._single = frame
            self._bytes = frame.size
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
        if self._bytes + frame.size > self._max_bytes:
            return False
        self._append(frame)
        self._bytes += frame.size
        return True

    def _append(self, frame: Frame) -> None:
        """Put a frame behind the others."""
        for key in frame.touches:
            self._latest.pop(key, None)
        number = self._arrived
        self._arrived = number + 1
        self._waiting[number] = frame
        for key in frame.sets:
            self._latest[key] = number

    def _count_replaced(self, number: int) -> None:
        """Note that one more property of a frame is set anew; the last leaves the frame out."""
        frame = self._waiting[number]
        replaced = self._replaced.pop(number, 0) + 1
        if replaced < len(frame.sets):
            self._replaced[number] = replaced
            return
        del self._waiting[number]
        self._bytes -= frame.size
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
            # On their way: a later frame can no longer replace them.
            text = ",".join([frame.text for frame in waiting.values()])
            self._sent += len(waiting)
            self._bytes = 0
            waiting.clear()
            self._latest.clear()
            self._replaced.clear()
            return f"[{text}]"
        return self._take_part()

    def _take_part(self) -> str:
        """Return as many of the first frames as make a message, one at least."""
        batch: list[int] = []
        size = 0
        for number, frame in self._waiting.items():
            if batch and size + frame.size > self._max_batch_bytes:
                break
            batch.append(number)
            size += frame.size
        frames = [self._waiting.pop(number) for number in batch]
        for number, frame in zip(batch, frames, strict=True):
            self._replaced.pop(number, None)
            for key in frame.sets:
                if self._latest.get(key) == number:
                    del self._latest[key]
        self._bytes -= size
        self._sent += len(frames)
        return f"[{','.join(frame.text for frame in frames)}]"

    @property
    def is_batch(self) -> bool:
        """Whether so much waits that it should wait for no more."""
        return self._bytes >= self._max_batch_bytes

    @property
    def is_half_full(self) -> bool:
        """Whether whoever can wait should, before adding more."""
        return self._bytes * 2 > self._max_bytes

    def statistics(self) -> OutboxStatistics:
        """Return what waits and what has passed."""
        return OutboxStatistics(len(self), self._bytes, self._sent, self._conflated)
