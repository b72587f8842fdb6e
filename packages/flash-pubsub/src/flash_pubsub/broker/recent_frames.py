"""The frames of one channel that this worker sent lately, for pages that come back to it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from flash_ws.protocol.frames import Frame


class Recent:
    """Frames by number, bounded by count and bytes; the oldest go first.

    Numbers may be missing: not every publication becomes a frame.
    """

    def __init__(
        self, position: Position, *, max_frames: int = 1000, max_bytes: int = 1 << 20
    ) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self.begin(position)

    def begin(self, position: Position) -> None:
        """Forget everything, and know what comes after ``position``."""
        # How far this worker has come.
        self.position = position
        # Every frame with a higher number is here.
        self.floor = position.number
        self._frames: deque[Frame] = deque()
        self._bytes = 0

    def advance(self, number: int, frame: Frame | None) -> None:
        """Note that the publication of this number is done, and what became of it."""
        self.position = Position(self.position.epoch, number)
        if frame is None:
            return
        self._frames.append(frame)
        self._bytes += frame.size
        while len(self._frames) > self._max_frames or self._bytes > self._max_bytes:
            oldest = self._frames.popleft()
            self._bytes -= oldest.size
            self.floor = oldest.number

    def knows(self, position: Position) -> bool:
        """Tell whether everything after ``position`` is here."""
        here = self.position
        return position.epoch == here.epoch and self.floor <= position.number <= here.number

    def after(self, number: int) -> list[Frame]:
        """Return the frames with a higher number."""
        return [frame for frame in self._frames if frame.number > number]
