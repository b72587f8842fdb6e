"""The frames of one channel that this worker sent last, for pages that reconnect."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from flash_ws.protocol.frames import Frame


class RecentFrames:
    """Frames by number, bounded by count and bytes; the oldest are dropped first.

    Numbers may be missing, because not every publication becomes a frame.
    """

    def __init__(
        self, position: Position, *, max_frames: int = 1000, max_bytes: int = 1 << 20
    ) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self.begin(position)

    def begin(self, position: Position) -> None:
        """Drop all frames; what is added from now on comes after ``position``."""
        # The position of the last publication that was processed.
        self.position = position
        # All frames with a higher number are stored here.
        self.floor = position.number
        self._frames: deque[Frame] = deque()
        self._bytes = 0

    def advance(self, number: int, frame: Frame | None) -> None:
        """Record that a publication was processed, with the frame that it became, if any."""
        self.position = Position(self.position.epoch, number)
        if frame is None:
            return
        self._frames.append(frame)
        self._bytes += frame.size
        while len(self._frames) > self._max_frames or self._bytes > self._max_bytes:
            oldest = self._frames.popleft()
            self._bytes -= oldest.size
            self.floor = oldest.number

    def covers(self, position: Position) -> bool:
        """Tell whether all frames after ``position`` are stored here."""
        here = self.position
        return position.epoch == here.epoch and self.floor <= position.number <= here.number

    def after(self, number: int) -> list[Frame]:
        """Return the frames with a higher number."""
        return [frame for frame in self._frames if frame.number > number]
