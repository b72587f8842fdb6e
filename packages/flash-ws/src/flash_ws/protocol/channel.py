"""One channel in one process: its numbering, recent messages and current state."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash_ws.protocol.frames import Frame, snapshot_frame
from flash_ws.protocol.history import History

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flash_ws.protocol.frames import Message
    from flash_ws.protocol.position import Position


@dataclass(frozen=True, slots=True)
class CatchUp:
    """The frames that bring a page up to date with a channel."""

    # The page's position once it has applied ``frames``.
    position: Position
    # In order: every frame missed; if these are no longer known, one snapshot or nothing.
    frames: tuple[Frame, ...]
    # Whether ``frames`` are all frames that the page missed.
    recovered: bool


class State:
    """The latest value of each property; over the bounds, the values set longest ago are removed.

    A change that builds on a value (`Patch`, `extendData`) removes that value.
    """

    def __init__(self, *, max_values: int = 1000, max_bytes: int = 1 << 20) -> None:
        self._max_values = max_values
        self._max_bytes = max_bytes
        # By component id and property; all three are JSON. The latest is at the end.
        self._values: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._bytes = 0

    def apply(self, message: Message) -> None:
        """Store the values that a message sets, and remove those that it builds on."""
        for component_id, prop, value in message.values:
            self._forget((component_id, prop))
            if value is not None:
                self._values[component_id, prop] = value
                self._bytes += len(value)
        # The latest value is kept, however large.
        while len(self._values) > 1 and (
            len(self._values) > self._max_values or self._bytes > self._max_bytes
        ):
            self._forget(next(iter(self._values)))

    def _forget(self, key: tuple[str, str]) -> None:
        value = self._values.pop(key, None)
        if value is not None:
            self._bytes -= len(value)

    @property
    def values(self) -> Mapping[tuple[str, str], str]:
        """The values by component id and property, all as JSON, in the order of setting."""
        return self._values

    def updates(self) -> str:
        """Return the state as JSON for the ``u`` of a frame, in the order of setting."""
        entries = (
            f"[{component_id},{{{prop}:{value}}}]"
            for (component_id, prop), value in self._values.items()
        )
        return f"[{','.join(entries)}]"

    def __bool__(self) -> bool:
        return bool(self._values)


class Channel:
    """A channel whose history and state are kept in this process."""

    def __init__(self, name: str, history: History | None = None) -> None:
        self.name = name
        self._history = history or History()
        self._state = State()

    @property
    def position(self) -> Position:
        """The position of a page that has received every frame."""
        return self._history.position

    def append(self, message: Message, now: float) -> Frame:
        """Number a message, store it, and return the frame to send."""
        frame = message.numbered(self.name, self._history.next_number)
        self._history.append(frame, now)
        self._state.apply(message)
        return frame

    def catch_up(self, position: Position, now: float) -> CatchUp:
        """Return the frames after ``position``, or a snapshot if they are no longer known."""
        missed = self._history.since(position, now)
        if missed is not None:
            frames = tuple(entry.frame for entry in missed)
            return CatchUp(self.position, frames, recovered=True)
        here = self.position
        snapshot = (
            (snapshot_frame(self.name, here.number, self._state.updates()),) if self._state else ()
        )
        return CatchUp(here, snapshot, recovered=False)
