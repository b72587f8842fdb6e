"""The rows of a table as of one position, and which of them have changed; uses no event loop."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from flash_pubsub.broker.seam import values_kept
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from flash_pubsub.table.changes import Changes


@dataclass(slots=True, eq=False)
class Row:
    """One row."""

    key: str
    # Its values in the order of the columns, as JSON.
    text: str
    # The number of the publication that has written it last.
    number: int
    # The number of the publication that has inserted it.
    inserted: int
    # Of two rows the one with the higher place was inserted later.
    place: int


@dataclass(frozen=True, slots=True)
class Difference:
    """What leads from the rows of an earlier number to the present ones.

    Keys, since a row may change until it is sent.
    """

    # Rows that were there and have other values now.
    updated: tuple[str, ...]
    # Rows that were inserted, in their order; a row with the same key may have been there.
    added: tuple[str, ...]
    # Keys of rows that are no longer there, or were only there meanwhile.
    removed: tuple[str, ...]


class Rows:
    """Rows by key, in the order in which they were inserted.

    All workers that apply the same publications have the same rows in the same order. If there are
    more than ``max_rows``, those inserted first are dropped, as the broker drops them from the
    snapshot (`flash_pubsub.broker.seam.values_kept`).
    """

    def __init__(self, max_rows: int, *, counted: Rows | None = None) -> None:
        self._max_rows = max_rows
        self.position = Position("", 0)
        # Rows that were dropped because there were too many, and changes that were applied; from
        # those of ``counted`` on.
        self.dropped = 0 if counted is None else counted.dropped
        self.changes = 0 if counted is None else counted.changes
        self._rows: dict[str, Row] = {}
        # The same rows; the one that was written last is at the end.
        self._written: OrderedDict[str, Row] = OrderedDict()
        # Keys of rows that were removed, with the number of the publication; ``max_rows`` at most.
        self._removed: OrderedDict[str, int] = OrderedDict()
        # The least number from which `since` knows everything.
        self._floor = 0
        self._next_place = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def get(self, key: str) -> Row | None:
        """Return the row with a key; None if there is none."""
        return self._rows.get(key)

    def begin(self, position: Position, values: Mapping[str, bytes]) -> None:
        """Replace all rows; nothing is known of what was before ``position``."""
        self.position = position
        self._rows.clear()
        self._written.clear()
        self._removed.clear()
        self._floor = position.number
        self.load(values.items())

    def load(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Add rows that were there at the position with which `begin` was called."""
        for key, encoded in rows:
            self._write(key, encoded, self.position.number)

    def first(self, count: int) -> tuple[str, ...]:
        """Return the keys of the rows that were inserted first."""
        return tuple(islice(self._rows, count))

    def apply(self, number: int, changes: Changes) -> None:
        """Apply the publication of this number."""
        self.position = Position(self.position.epoch, number)
        for key, encoded in changes.rows:
            self._write(key, encoded, number)
        for key in changes.removed:
            self._remove(key, number)
        self.changes += len(changes.rows) + len(changes.removed)
        if len(self._rows) > self._max_rows:
            kept = values_kept(self._max_rows)
            self.dropped += len(self._rows) - kept
            while len(self._rows) > kept:
                self._remove(next(iter(self._rows)), number)
        while len(self._removed) > self._max_rows:
            _, self._floor = self._removed.popitem(last=False)

    def covers(self, position: Position) -> bool:
        """Tell whether `since` knows what has changed since a position."""
        here = self.position
        return position.epoch == here.epoch and self._floor <= position.number <= here.number

    def since(self, number: int) -> Difference:
        """Return what has changed after the publication of this number, which `covers` allows."""
        updated: list[str] = []
        added: list[Row] = []
        for row in reversed(self._written.values()):
            if row.number <= number:
                break
            if row.inserted <= number:
                updated.append(row.key)
            else:
                added.append(row)
        removed: list[str] = []
        for key in reversed(self._removed):
            if self._removed[key] <= number:
                break
            removed.append(key)
        updated.reverse()
        removed.reverse()
        added.sort(key=lambda row: row.place)
        return Difference(tuple(updated), tuple(row.key for row in added), tuple(removed))

    def _write(self, key: str, encoded: bytes, number: int) -> None:
        row = self._rows.get(key)
        text = encoded.decode()
        if row is None:
            self._next_place += 1
            row = self._rows[key] = Row(key, text, number, number, self._next_place)
            self._removed.pop(key, None)
            self._written[key] = row
        else:
            row.text = text
            row.number = number
            self._written.move_to_end(key)

    def _remove(self, key: str, number: int) -> None:
        if self._rows.pop(key, None) is not None:
            del self._written[key]
            self._removed[key] = number
