"""The order of one channel in a worker: what to deliver, what to drop, when to ask the store.

It uses no event loop and no connection.
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

# The version of entries; payloads have one of their own.
_VERSION = 1

# The bounds of the entries that wait for the store: beyond them they are dropped, and asked for
# again.
_MAX_WAITING = 2_000
_MAX_WAITING_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class ChannelHead:
    """The position and the id of a channel's last publication in the store."""

    position: Position
    # Empty before the first publication.
    id: bytes

    @classmethod
    def read(cls, reply: Any) -> ChannelHead:
        """Read the script's answer."""
        epoch, number, id_ = reply
        return cls(Position(epoch.decode(), int(number)), id_)


class Entry:
    """One message as Redis carries it; not a dataclass, since there are many."""

    __slots__ = ("epoch", "id", "number", "payload")

    def __init__(self, epoch: str, number: int, id_: bytes, payload: bytes | None) -> None:
        self.epoch = epoch
        self.number = number
        self.id = id_
        # None in a notice that a new epoch has begun.
        self.payload = payload

    @classmethod
    def read(cls, data: bytes) -> Entry:
        """Read one; raises `UnsupportedEnvelope`."""
        try:
            members = msgpack.unpackb(data, raw=True)
        except (ValueError, msgpack.UnpackException) as error:
            raise UnsupportedEnvelope("it is not msgpack") from error
        match members:
            case [1, bytes(epoch), int(number), bytes(id_), int(), *rest] if _is_payload(rest):
                try:
                    return cls(epoch.decode(), number, id_, rest[0] if rest else None)
                except UnicodeDecodeError as error:
                    raise UnsupportedEnvelope("it is not an entry of flash-pubsub") from error
            case [int(version), *_] if version != _VERSION:
                raise UnsupportedEnvelope(
                    f"it has version {version}, and this worker reads version {_VERSION}; "
                    f"run one version of flash-pubsub everywhere"
                )
            case _:
                raise UnsupportedEnvelope("it is not an entry of flash-pubsub")


def _is_payload(rest: list[Any]) -> bool:
    """Tell whether the last members of an entry are nothing, or one payload."""
    return not rest or (len(rest) == 1 and isinstance(rest[0], bytes))


class Verdict(Enum):
    """What a worker does with a message that has arrived."""

    DELIVER = "deliver"
    DROP = "drop"
    # Numbers are missing, or the epoch is another: ask the store.
    ASK = "ask"


class Sequence:
    """The position of a worker in one channel.

    While the store is being asked (`asking`), entries that arrive wait. The answer goes to `begin`
    or `fill`; `settle` then ends the asking, unless the store has to be asked once more.
    """

    def __init__(self, channel: str) -> None:
        self.channel = channel
        # None until the store has answered.
        self.epoch: str | None = None
        self.number = 0
        # The id of the last publication that was delivered.
        self.id = b""
        self.asking = True
        self._waiting: deque[Entry] = deque()
        self._waiting_bytes = 0
        # Whether an entry arrived that could not wait: too many wait, or its epoch is another.
        self._ask_again = False

    @property
    def position(self) -> Position:
        """The position of the last publication that was delivered."""
        return Position(self.epoch or "", self.number)

    def take(self, entry: Entry) -> Verdict:
        """Decide about an entry that has arrived; one to deliver counts as delivered."""
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
        """Let entries wait for the store's answer from now on, since some may be missing."""
        self.asking = True

    def begin(self, head: ChannelHead) -> None:
        """Start after the head of the channel."""
        self.epoch, self.number, self.id = head.position.epoch, head.position.number, head.id

    def fill(self, missed: list[Entry]) -> list[Publication]:
        """Return the publications of ``missed`` to deliver now; they count as delivered."""
        publications: list[Publication] = []
        for entry in missed:
            if entry.number == self.number + 1 and entry.payload is not None:
                self.number, self.id = entry.number, entry.id
                publications.append(self.publication(entry))
        return publications

    def settle(self) -> list[Publication]:
        """Return what waited and is to be delivered now; ends the asking if nothing is missing."""
        waiting = list(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        if self._ask_again:
            self._ask_again = False
            return []
        self.asking = False
        return [self.publication(entry) for entry in waiting if self.take(entry) is Verdict.DELIVER]

    def publication(self, entry: Entry) -> Publication:
        """Return the publication of an entry."""
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
