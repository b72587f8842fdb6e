"""The frames that bring pages up to date with a table; uses no event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash.serialize import dumps
from flash_ws.protocol.frames import Frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flash_pubsub.table.columns import TableSettings
    from flash_pubsub.table.rows import Difference, Rows

# The approximate bytes of one frame; much less than an outbox takes.
MAX_PART_BYTES = 64 << 10


class Parts:
    """Frames that lead a page from one position of a table to another.

    Each frame is made when the first page needs it, with the values that its rows have then, and is
    shared by all pages. A row that has changed since is sent again with the next parts. The last
    frame has the position.
    """

    def __init__(
        self,
        table: str,
        rows: Rows,
        settings: TableSettings,
        difference: Difference | None,
        *,
        max_bytes: int = MAX_PART_BYTES,
    ) -> None:
        """Make frames for a difference, or for all rows without one."""
        self._max_bytes = max_bytes
        self.position = rows.position
        self._rows = rows
        # The members of the next frame before its rows.
        self._head = f'{{"t":"rows","table":{_json(table)}'
        self._begin = ""
        # By member of a frame, what is still to be sent, as JSON. Removals are first, since a row
        # may be added again.
        self._waiting: list[tuple[str, Iterator[str]]]
        if difference is None:
            self._begin = (
                f',"first":true,"columns":{_json(settings.columns)},"key":{settings.key_index}'
            )
            self._waiting = [("a", self._texts([row.key for row in rows]))]
        else:
            self._waiting = [
                ("r", map(_json, difference.removed)),
                ("u", self._texts(difference.updated)),
                ("a", self._texts(difference.added)),
            ]
        self._frames: list[Frame] = []
        self._is_complete = False

    def frame(self, index: int) -> Frame | None:
        """Return the frame of this index, from 0 on; None after the last."""
        while len(self._frames) <= index:
            if self._is_complete:
                return None
            self._frames.append(self._next())
        return self._frames[index]

    def _next(self) -> Frame:
        members = [self._head + self._begin]
        self._begin = ""
        room = self._max_bytes
        for name, waiting in self._waiting:
            texts: list[str] = []
            while room > 0 and (text := next(waiting, None)) is not None:
                texts.append(text)
                room -= len(text)
            if texts:
                members.append(f'"{name}":[{",".join(texts)}]')
        if room > 0:
            self._is_complete = True
            epoch, number = self.position.epoch, self.position.number
            members.append(f'"e":{_json(epoch)},"n":{number}')
        text = f"{','.join(members)}}}"
        return Frame(text, len(text) if text.isascii() else len(text.encode()))

    def _texts(self, keys: Iterable[str]) -> Iterator[str]:
        """Yield the rows with these keys, but for those that were removed or inserted since."""
        last = self.position.number
        for key in keys:
            row = self._rows.get(key)
            if row is not None and row.inserted <= last:
                yield row.text


def _json(value: object) -> str:
    return dumps(value).decode()
