"""A worker's copy of the shared state, and finding what the store has lost of it.

Values have the names of the broker's snapshot. A property is named by the component's id, a tab and
the property. Other names are notes: that a callback has run, or when an input was changed. This
module uses no event loop.
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

# Prefixes of notes: a callback that has run, and the time of an input's newest change.
RAN_PREFIX = "@ran:"
MADE_PREFIX = "@made:"

# Prefixes of the marks before and after the values that one publication has restored. A snapshot
# has its values in the order in which they were set.
_RESTORE_BEGIN = "@back:"
_RESTORE_END = "@back-end:"


def name_of(key: Key) -> str:
    """Return the name of a property in the snapshot."""
    component_id, prop = key
    return f"{component_id}\t{prop}"


def change_time_name(key: Key) -> str:
    """Return the name of the note with the time of an input's newest change."""
    return MADE_PREFIX + "\n".join(key)


def with_restore_marks(
    position: Position, after: Position, changes: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Return ``changes`` between marks that say who restores them.

    The restoring worker had received everything up to ``position``. The changes are published
    directly after the position ``after``.
    """
    mark = f"{position.number}:{after.number}:{position.epoch}"
    return {_RESTORE_BEGIN + mark: b"", **changes, _RESTORE_END + mark: b""}


@dataclass(frozen=True, slots=True)
class MirroredValue:
    """One value of the shared state."""

    value: bytes
    # The number of the publication that set it, or a higher one.
    number: int


class StateMirror:
    """Values by name, in the order in which they were set; bounded, and the oldest are dropped."""

    def __init__(self, *, max_values: int, max_bytes: int) -> None:
        self._max_values = max_values
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, MirroredValue] = OrderedDict()
        self._bytes = 0

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def get(self, name: str) -> bytes | None:
        """Return a value; None if it was never set."""
        entry = self._entries.get(name)
        return None if entry is None else entry.value

    def properties(self) -> Iterator[tuple[str, str, bytes]]:
        """Return component ids, properties and values, in the order in which they were set."""
        for name, entry in self._entries.items():
            component_id, tab, prop = name.partition("\t")
            if tab:
                yield component_id, prop, entry.value

    def set(self, name: str, value: bytes, number: int) -> None:
        """Store a value that the publication of this number has set."""
        self._remove(name)
        self._entries[name] = MirroredValue(value, number)
        self._bytes += len(name) + len(value)
        while len(self._entries) > self._max_values or self._bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))

    def clear(self) -> None:
        """Remove all values."""
        self._entries.clear()
        self._bytes = 0

    def load(self, snapshot: Snapshot) -> None:
        """Replace all values by those of a snapshot."""
        self.clear()
        for name, value in snapshot.values.items():
            if "\t" in name or name.startswith((RAN_PREFIX, MADE_PREFIX)):
                self.set(name, value, snapshot.position.number)

    def lost(self, position: Position, snapshot: Snapshot) -> dict[str, MirroredValue]:
        """Return the values that the store has lost.

        ``position`` is the last one received before the loss, ``snapshot`` the store's present
        values. If a worker that had received less has restored an older value, that value counts as
        lost. A value that was set since the loss does not.
        """
        if snapshot.position.epoch == position.epoch:
            return {}
        put_back = _restored_values(snapshot, position.epoch)
        return {
            name: entry
            for name, entry in self._entries.items()
            if name not in snapshot.values
            or (
                put_back.get(name, entry.number) < entry.number
                and snapshot.values[name] != entry.value
            )
        }

    def is_older(self, position: Position, snapshot: Snapshot) -> bool:
        """Tell whether the store came back with values of an older copy for names stored here."""
        put_back = _restored_values(snapshot, position.epoch)
        return any(name in snapshot.values and name not in put_back for name in self._entries)

    def _remove(self, name: str) -> None:
        entry = self._entries.pop(name, None)
        if entry is not None:
            self._bytes -= len(name) + len(entry.value)


def _restored_values(snapshot: Snapshot, epoch: str) -> dict[str, int]:
    """Return the names in a snapshot whose values workers restored after ``epoch`` had ended.

    Each name has the number of the last publication of ``epoch`` that the worker had received.
    """
    found: dict[str, int] = {}
    followed: int | None = None
    for name in snapshot.values:
        if "\t" not in name and name.startswith(_RESTORE_BEGIN):
            number, _, of_epoch = name.removeprefix(_RESTORE_BEGIN).split(":", 2)
            followed = int(number) if of_epoch == epoch else None
        elif "\t" not in name and name.startswith(_RESTORE_END):
            followed = None
        elif followed is not None:
            found[name] = followed
    return found
