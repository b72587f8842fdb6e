"""Changes of a table's rows as they are published; uses no event loop.

The payload is an envelope of the kind ``rows`` without a body. Its extras are ``u``, a flat list of
keys and rows as JSON, and ``r``, a list of keys of removed rows. The snapshot of the table's
channel has each row under its key after ``=``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.broker.page_frames import PREFIX
from flash_pubsub.errors import UnsupportedEnvelope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

KIND = "rows"

# One publication has about as many bytes of rows at most, and as many keys.
MAX_BYTES = 256 << 10
MAX_KEYS = 1000

_ROW = "="


def channel_of(table: str) -> str:
    """Return the broker's name of the channel with the changes of a table."""
    return f"{PREFIX}table:{table}"


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows that are written, by key, and then keys of rows that are removed."""

    rows: tuple[tuple[str, bytes], ...] = ()
    removed: tuple[str, ...] = ()

    def pack(self) -> bytes:
        """Encode the changes as a payload."""
        flat = [part for row in self.rows for part in row]
        return Envelope(KIND, b"", extras={"u": flat, "r": list(self.removed)}).pack()

    def values(self) -> dict[str, bytes | None]:
        """Return the same changes for the snapshot of the channel."""
        values: dict[str, bytes | None] = {_ROW + key: encoded for key, encoded in self.rows}
        values.update((_ROW + key, None) for key in self.removed)
        return values

    @classmethod
    def unpack(cls, payload: bytes) -> Changes:
        """Decode a payload; raises `UnsupportedEnvelope`."""
        envelope = Envelope.unpack(payload)
        match envelope.kind, envelope.extras.get("u"), envelope.extras.get("r"):
            case ("rows", list() as flat, list() as removed):
                parts: list[Any] = flat  # pyright: ignore[reportUnknownVariableType]
                return cls(tuple(zip(parts[::2], parts[1::2], strict=True)), tuple(removed))  # pyright: ignore[reportUnknownArgumentType]
            case _:
                raise UnsupportedEnvelope("it is no change of a table")


def split(rows: Mapping[str, bytes], removed: Iterable[str] = ()) -> Iterator[Changes]:
    """Yield changes that are small enough for one publication each; removals come first."""
    keys = list(removed)
    for start in range(0, len(keys), MAX_KEYS):
        yield Changes(removed=tuple(keys[start : start + MAX_KEYS]))
    part: list[tuple[str, bytes]] = []
    size = 0
    for key, encoded in rows.items():
        # The row is in the payload and in the snapshot.
        added = len(key) + len(encoded)
        if part and (size + added > MAX_BYTES or len(part) >= MAX_KEYS):
            yield Changes(rows=tuple(part))
            part, size = [], 0
        part.append((key, encoded))
        size += added
    if part:
        yield Changes(rows=tuple(part))


def rows_of(values: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the rows in the snapshot of a table's channel, by key."""
    return {name[1:]: value for name, value in values.items() if name.startswith(_ROW)}
