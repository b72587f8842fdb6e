"""One channel as a worker follows it: what to deliver, what to drop, when to ask the store.

Pure: knows no loop and no connection.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

import msgpack

from flash_pubsub.broker.seam import Publication
from flash_pubsub.errors import UnsupportedEnvelope
from flash_ws.protocol.position import Position

# The version of entries; that of the payloads within is theirs.
_VERSION = 1

# What waits while the store is asked is bounded: beyond it, it is dropped and asked for again.
_MAX_WAITING = 2_000
_MAX_WAITING_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a channel stands in the store."""

    position: Position
    # Of the last publication; empty before the first.
    id: bytes

    @classmethod
    def read(cls, reply: Any) -> Stand:
        """Read what the script says of a channel."""
        epoch, number, id_ = reply
        return cls(Position(epoch.decode(), int(number)), id_)


class Entry:
    """One message as Redis carries it. Not a dataclass, for there are many."""

    __slots__ = ("epoch", "id", "number", "payload")

    def __init__(self, epoch: str, number: int, id_: bytes, payload: bytes | None) -> None:
        self.epoch = epoch
        self.number = number
        self.id = id_
        # None for a notice that the numbering has begun anew.
        self.payload = payload

    @classmethod
    def read(cls, data: bytes) -> Entry:
        """Read one; raises `UnsupportedEnvelope`."""
        try:
            members = msgpack.unpackb(data, raw=True)
        except (ValueError, msgpack.UnpackException) as error:
            raise UnsupportedEnvelope("it is not msgpack") from error
        match members:
            case [1, bytes(epoch), int(number), bytes(id_), int(), *rest] if len(rest) < 2:
                return cls(epoch.decode(), number, id_, rest[0] if rest else None)
            case [int(version), *_] if version != _VERSION:
                raise UnsupportedEnvelope(
                    f"it has version {version}, and this worker reads version {_VERSION}; "
                    f"run one version of flash-pubsub everywhere"
                )
            case _:
                raise UnsupportedEnvelope("it is no entry of flash-pubsub")


class Verdict(Enum):
    """What is to be done about a message that came in."""

    DELIVER = "deliver"
    DROP = "drop"
    # Numbers are missing or new: ask the store.
    ASK = "ask"


class Sequence:
    """How far a worker has followed one channel.

    While the store is being asked (`asking`), what comes in waits. The answer goes to `begin` or
    `fill`, then `settle` ends the asking, unless the store has to be asked once more.
    """

    def __init__(self, channel: str) -> None:
        self.channel = channel
        # None until the store has said where the channel stands.
        self.epoch: str | None = None
        self.number = 0
        # Of the last publication delivered.
        self.id = b""
        self.asking = True
        self._waiting: deque[Entry] = deque()
        self._waiting_bytes = 0
        # Whether something came in that could not wait: too much, or of another epoch.
        self._ask_again = False

    @property
    def position(self) -> Position:
        """How far delivery has come."""
        return Position(self.epoch or "", self.number)

    def take(self, entry: Entry) -> Verdict:
        """Judge a message that came in; one to deliver counts as delivered."""
        if self.asking:
            self._wait(entry)
            return Verdict.DROP
        if entry.epoch == self.epoch:
            if entry.payload is None or entry.number <= self.number:
                return Verdict.DROP
            if entry.number == self.number + 1:
                self.number = entry.number
                self.id = entry.id
                return Verdict.DELIVER
            self._wait(entry)
        self.asking = True
        return Verdict.ASK

    def suspect(self) -> None:
        """Something may be missing: from now on what comes in waits for the store's answer."""
        self.asking = True

    def begin(self, stand: Stand) -> None:
        """Follow from where the channel stands."""
        self.epoch, self.number, self.id = stand.position.epoch, stand.position.number, stand.id

    def fill(self, missed: list[Entry]) -> list[Publication]:
        """Return what of this is to be delivered now; it counts as delivered."""
        publications: list[Publication] = []
        for entry in missed:
            if entry.number == self.number + 1 and entry.payload is not None:
                self.number, self.id = entry.number, entry.id
                publications.append(self.publication(entry))
        return publications

    def settle(self) -> list[Publication]:
        """Return what has waited and is to be delivered now, and end the asking if that is all."""
        waiting = list(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        if self._ask_again:
            self._ask_again = False
            return []
        self.asking = False
        return [self.publication(entry) for entry in waiting if self.take(entry) is Verdict.DELIVER]

    def publication(self, entry: Entry) -> Publication:
        """Return an entry as it is delivered."""
        return Publication(
            self.channel, Position(entry.epoch, entry.number), cast("bytes", entry.payload)
        )

    def _wait(self, entry: Entry) -> None:
        if entry.payload is None or (self.epoch is not None and entry.epoch != self.epoch):
            self._ask_again = True
            return
        self._waiting.append(entry)
        self._waiting_bytes += len(entry.payload)
        if len(self._waiting) > _MAX_WAITING or self._waiting_bytes > _MAX_WAITING_BYTES:
            self._waiting.clear()
            self._waiting_bytes = 0
            self._ask_again = True
