"""The shared state as one worker knows it, and what of it a store has lost. No event loop in here.

Names are those of the broker's snapshot: a component's id and a property with a tab between them,
or a note: that a callback has run, or when an input was changed.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flash_pubsub.broker.seam import Snapshot
    from flash_pubsub.shared.declaration import Key
    from flash_ws.protocol.position import Position

# Notes: what the name of a callback that has run, and of an input that was changed, begins with.
RAN = "@ran:"
MADE = "@made:"

# Before and after what one publication has put back, in a snapshot, whose order is that of setting.
_BEGIN = "@back:"
_END = "@back-end:"


def name_of(key: Key) -> str:
    """Return what a property is called in the snapshot."""
    component_id, prop = key
    return f"{component_id}\t{prop}"


def made_name(key: Key) -> str:
    """Return what the time of an input's newest change is called in the snapshot."""
    return MADE + "\n".join(key)


def framed(position: Position, after: Position, changes: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return ``changes`` between marks: a worker that had followed to ``position`` puts them back.

    They are published after the position ``after``.
    """
    mark = f"{position.number}:{after.number}:{position.epoch}"
    return {_BEGIN + mark: b"", **changes, _END + mark: b""}


@dataclass(frozen=True, slots=True)
class Known:
    """One value."""

    value: bytes
    # The publication that set it had this number, or a lower one.
    number: int


class Mirror:
    """Values by name, the one set last at the end; beyond the bounds those set longest ago go."""

    def __init__(self, *, max_values: int, max_bytes: int) -> None:
        self._max_values = max_values
        self._max_bytes = max_bytes
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._bytes = 0

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def get(self, name: str) -> bytes | None:
        """Return a value; None if it was never set."""
        known = self._known.get(name)
        return None if known is None else known.value

    def properties(self) -> Iterator[tuple[str, str, bytes]]:
        """Return component ids, properties and values, in the order in which they were set."""
        for name, known in self._known.items():
            component_id, tab, prop = name.partition("\t")
            if tab:
                yield component_id, prop, known.value

    def set(self, name: str, value: bytes, number: int) -> None:
        """Take note of what the publication of this number has set."""
        self._forget(name)
        self._known[name] = Known(value, number)
        self._bytes += len(name) + len(value)
        while len(self._known) > self._max_values or self._bytes > self._max_bytes:
            self._forget(next(iter(self._known)))

    def clear(self) -> None:
        """Know nothing."""
        self._known.clear()
        self._bytes = 0

    def begin(self, snapshot: Snapshot) -> None:
        """Know what a snapshot has, and nothing else."""
        self.clear()
        for name, value in snapshot.values.items():
            if "\t" in name or name.startswith((RAN, MADE)):
                self.set(name, value, snapshot.position.number)

    def lost(self, position: Position, snapshot: Snapshot) -> dict[str, Known]:
        """Return what this knows, having followed to ``position``, and the store does not any more.

        What somebody has put back who had not followed as far counts as lost, if it is another
        value by now; what was set since does not.
        """
        if snapshot.position.epoch == position.epoch:
            return {}
        put_back = _put_back(snapshot, position.epoch)
        return {
            name: known
            for name, known in self._known.items()
            if name not in snapshot.values
            or (
                put_back.get(name, known.number) < known.number
                and snapshot.values[name] != known.value
            )
        }

    def is_older(self, position: Position, snapshot: Snapshot) -> bool:
        """Tell whether the store has values of its own for what this knows: those of a copy."""
        put_back = _put_back(snapshot, position.epoch)
        return any(name in snapshot.values and name not in put_back for name in self._known)

    def _forget(self, name: str) -> None:
        known = self._known.pop(name, None)
        if known is not None:
            self._bytes -= len(name) + len(known.value)


def _put_back(snapshot: Snapshot, epoch: str) -> dict[str, int]:
    """Return what in a snapshot was put back after ``epoch``: how far who did it had followed."""
    found: dict[str, int] = {}
    followed: int | None = None
    for name in snapshot.values:
        if "\t" not in name and name.startswith(_BEGIN):
            number, _, of_epoch = name.removeprefix(_BEGIN).split(":", 2)
            followed = int(number) if of_epoch == epoch else None
        elif "\t" not in name and name.startswith(_END):
            followed = None
        elif followed is not None:
            found[name] = followed
    return found
