"""One channel in one process: its numbers, its recent messages, its current state."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash_ws.protocol.frames import Frame, snapshot_frame
from flash_ws.protocol.history import History

if TYPE_CHECKING:
    from flash_ws.protocol.frames import Message
    from flash_ws.protocol.position import Position


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What a page needs to be up to date with a channel."""

    # Where the page stands once it has applied ``frames``.
    position: Position
    # In order: everything missed; or, if that is not known any more, one snapshot or nothing.
    frames: tuple[Frame, ...]
    # Whether ``frames`` is everything missed.
    recovered: bool


class State:
    """The values that properties were last set to, bounded: the one set longest ago goes first.

    A change that builds on a value (`Patch`, `extendData`) makes that value unknown.
    """

    def __init__(self, *, max_values: int = 1000, max_bytes: int = 1 << 20) -> None:
        self._max_values = max_values
        self._max_bytes = max_bytes
        # By component id and property; all three as JSON. What was set last is at the end.
        self._values: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._bytes = 0

    def apply(self, message: Message) -> None:
        """Take note of what a message changes."""
        for component_id, prop, value in message.values:
            self._forget((component_id, prop))
            if value is not None:
                self._values[component_id, prop] = value
                self._bytes += len(value)
        while len(self._values) > self._max_values or self._bytes > self._max_bytes:
            self._forget(next(iter(self._values)))

    def _forget(self, key: tuple[str, str]) -> None:
        value = self._values.pop(key, None)
        if value is not None:
            self._bytes -= len(value)

    def updates(self) -> str:
        """Return the state as the ``u`` of a frame, in the order in which it was set."""
        entries = (
            f"[{component_id},{{{prop}:{value}}}]"
            for (component_id, prop), value in self._values.items()
        )
        return f"[{','.join(entries)}]"

    def __bool__(self) -> bool:
        return bool(self._values)


class Channel:
    """A channel kept in this process."""

    def __init__(self, name: str, history: History | None = None) -> None:
        self.name = name
        self._history = history or History()
        self._state = State()

    @property
    def position(self) -> Position:
        """Where somebody stands who has seen everything."""
        return self._history.position

    def append(self, message: Message, now: float) -> Frame:
        """Number a message, keep it, and return the frame to send."""
        frame = message.numbered(self.name, self._history.next_number)
        self._history.append(frame, now)
        self._state.apply(message)
        return frame

    def catch_up(self, position: Position, now: float) -> CatchUp:
        """Return what somebody at ``position`` missed, or the state if that is unknown."""
        missed = self._history.since(position, now)
        if missed is not None:
            frames = tuple(entry.frame for entry in missed)
            return CatchUp(self.position, frames, recovered=True)
        here = self.position
        snapshot = (
            (snapshot_frame(self.name, here.number, self._state.updates()),) if self._state else ()
        )
        return CatchUp(here, snapshot, recovered=False)
