"""What waits to be sent to one page: bounded in bytes, newest value of a property first to stay.

No event loop in here. A shell asks `take` for the next message and says how long it may wait for
more with `due`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from flash_ws.frames import Frame


@dataclass(slots=True)
class _Waiting:
    """A frame that has not been sent."""

    frame: Frame
    # Seconds of the caller's clock.
    since: float
    # The properties it sets that no later frame has set. Empty from the start for a frame that
    # must be sent.
    keys: set[Hashable]


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
    - ``max_batch_bytes``: a message is sent as soon as this much waits.
    - ``max_batch_delay``: seconds that the first frame waiting may wait for company.

    Conflation: a frame that sets properties is left out once later frames have set every property
    it sets. A frame that builds on a property's value (``touches``) keeps whatever set that
    property before it.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 1 << 20,
        max_batch_bytes: int = 1 << 16,
        max_batch_delay: float = 0.005,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_batch_bytes = max_batch_bytes
        self._max_batch_delay = max_batch_delay
        # By order of arrival.
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._arrived = 0
        # Since when something waits; a frame that replaces the first one does not start anew.
        self._since = 0.0
        # For each property, the number of the frame waiting that set it last and may be replaced.
        self._latest: dict[Hashable, int] = {}
        self._bytes = 0
        self._sent = 0
        self._conflated = 0

    def add(self, frame: Frame, now: float) -> bool:
        """Add a frame; False if there is no room for it, even after conflation."""
        keys = set(frame.sets)
        replaced = False
        for key in keys:
            replaced = self._replace(key) or replaced
        if self._bytes + frame.size > self._max_bytes:
            return False
        for key in frame.touches:
            self._latest.pop(key, None)
        if not self._waiting and not replaced:
            self._since = now
        number = self._arrived
        self._arrived += 1
        self._waiting[number] = _Waiting(frame, now, keys)
        self._bytes += frame.size
        for key in keys:
            self._latest[key] = number
        return True

    def _replace(self, key: Hashable) -> bool:
        """Note that a property is set anew; True if that leaves a frame out."""
        number = self._latest.pop(key, None)
        if number is None:
            return False
        earlier = self._waiting[number]
        earlier.keys.discard(key)
        if earlier.keys:
            return False
        del self._waiting[number]
        self._bytes -= earlier.frame.size
        self._conflated += 1
        return True

    def due(self, now: float) -> float | None:
        """Return in how many seconds to send a message: 0 is now, None for nothing waiting."""
        if not self._waiting:
            return None
        if self._bytes >= self._max_batch_bytes:
            return 0.0
        return max(0.0, self._since + self._max_batch_delay - now)

    def take(self) -> str | None:
        """Return the next message, a JSON list of frames of about ``max_batch_bytes``, or None."""
        frames: list[str] = []
        size = 0
        while self._waiting:
            number, waiting = next(iter(self._waiting.items()))
            if frames and size + waiting.frame.size > self._max_batch_bytes:
                break
            del self._waiting[number]
            for key in waiting.keys:
                # On its way: a later frame can no longer replace it.
                if self._latest.get(key) == number:
                    del self._latest[key]
            size += waiting.frame.size
            frames.append(waiting.frame.text)
        if not frames:
            return None
        if self._waiting:
            self._since = next(iter(self._waiting.values())).since
        self._bytes -= size
        self._sent += len(frames)
        return f"[{','.join(frames)}]"

    @property
    def is_half_full(self) -> bool:
        """Whether whoever can wait should, before adding more."""
        return self._bytes * 2 > self._max_bytes

    def statistics(self) -> OutboxStatistics:
        """Return what waits and what has passed."""
        return OutboxStatistics(len(self._waiting), self._bytes, self._sent, self._conflated)
