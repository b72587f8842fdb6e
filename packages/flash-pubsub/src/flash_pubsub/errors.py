"""What flash-pubsub raises.

PubSubError (flash.FlashError)
├── BrokerError                          the broker could not do what was asked
│   ├── BrokerUnavailable (ConnectionError)  Redis did not answer in time
│   ├── BrokerRefused                        Redis answered with an error: memory, permissions
│   ├── BrokerClosed (RuntimeError)          the broker was closed, or never started
│   └── BrokerRunning (RuntimeError)         the broker was started already
├── Fenced                               another worker holds the lease by now
├── Overtaken                            a newer message was published than the caller had seen
├── UnknownRoom (LookupError)            no shared callback has a room of this name
├── TooManyRooms (ConnectionError)       this worker has no place for another room
├── InvalidMessage (ValueError)          a message does not fit its channel's schema
├── InvalidRow (ValueError)              a row does not fit its table
├── InvalidChannel (ValueError)          no channel can have this name
├── PayloadTooLarge (flash_ws.PayloadTooLarge)  a message has more bytes than allowed
├── UnsupportedEnvelope (ValueError)     bytes of another version, or of another program
└── InvalidBrokerURL (ValueError)        an address that names no broker
"""

from __future__ import annotations

import flash_ws
from flash import FlashError
from flash.errors import quoted
from flash.redis.address import InvalidAddress


class PubSubError(FlashError):
    """The base of every error of flash-pubsub."""


class BrokerError(PubSubError):
    """The broker could not do what was asked of it."""

    says_all = True


class BrokerUnavailable(BrokerError, ConnectionError):
    """Redis did not answer in time.

    ``doing`` is what was asked for. ``reason`` is a sentence that names the address, the time limit
    and the cause. A publication that failed like this may have happened all the same. Publishing
    again with the same ``key=`` is safe.
    """

    def __init__(self, doing: str, reason: str) -> None:
        super().__init__(doing, reason)
        self.doing = doing
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.doing}: {self.reason}"


class BrokerRefused(BrokerError):
    """Redis answered with an error; nothing has happened.

    ``doing`` is what was asked for. ``reason`` is a sentence that names the address and the error.
    """

    def __init__(self, doing: str, reason: str) -> None:
        super().__init__(doing, reason)
        self.doing = doing
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.doing}: {self.reason}"


class BrokerClosed(BrokerError, RuntimeError):
    """The broker was closed, or never started."""

    def __str__(self) -> str:
        return "this broker is not running; start() it first"


class PublisherClosed(BrokerClosed):
    """A `Publisher` or an `AsyncPublisher` was used after it was closed."""

    def __str__(self) -> str:
        return "this publisher is closed; make a new one"


class BrokerRunning(BrokerError, RuntimeError):
    """The broker was started already."""

    def __str__(self) -> str:
        return "this broker is running already; close() it before start(), or make another broker"


class Fenced(PubSubError):
    """Another worker holds the lease by now; nothing was published."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(name, number)
        self.name = name
        self.number = number

    def __str__(self) -> str:
        return (
            f"lease {self.name!r} number {self.number} is no longer the newest; "
            f"stop this work, since the new holder of the lease continues it"
        )


class Overtaken(PubSubError):
    """A message was published after the position given as ``after``; nothing was published."""

    def __init__(self, channel: str, number: int) -> None:
        super().__init__(channel, number)
        self.channel = channel
        self.number = number

    def __str__(self) -> str:
        return (
            f"channel {self.channel!r} is not at number {self.number} any more; "
            f"read what was published since, then publish again"
        )


class InvalidChannel(PubSubError, ValueError):
    """No channel can have this name."""

    def __init__(self, channel: str, reason: str) -> None:
        super().__init__(channel, reason)
        self.channel = channel
        self.reason = reason

    def __str__(self) -> str:
        return f"{quoted(self.channel)} cannot be the name of a channel: {self.reason}"


class UnknownRoom(PubSubError, LookupError):
    """No shared callback has a room of this name, so it has no shared values."""

    def __init__(self, room: str, patterns: list[str]) -> None:
        super().__init__(room, patterns)
        self.room = room
        self.patterns = patterns

    def __str__(self) -> str:
        known = ", ".join(map(repr, self.patterns)) or "none"
        return (
            f"no shared callback has the room {quoted(self.room)}; the rooms declared with "
            f"@pubsub.shared_callback(…, room=…) are: {known}"
        )


class TooManyRooms(PubSubError, ConnectionError):
    """This worker has ``max_rooms`` rooms in use; nothing was opened."""

    def __init__(self, room: str, limit: int) -> None:
        super().__init__(room, limit)
        self.room = room
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"no place for the room {quoted(self.room)}: this worker has {self.limit} rooms in "
            "use; raise PubSub(max_rooms=…), or start more workers"
        )


class InvalidMessage(PubSubError, ValueError):
    """A message does not fit its channel's schema; nothing was published."""

    def __init__(self, channel: str, schema: str, reason: str) -> None:
        super().__init__(channel, schema, reason)
        self.channel = channel
        self.schema = schema
        self.reason = reason

    def __str__(self) -> str:
        return f"channel {self.channel!r} takes {self.schema}: {self.reason}"


class InvalidRow(PubSubError, ValueError):
    """A row does not fit its table; nothing was written."""

    def __init__(self, table: str, row: str, reason: str) -> None:
        super().__init__(table, row, reason)
        self.table = table
        # The row as the error shows it; empty if the reason says enough.
        self.row = row
        self.reason = reason

    def __str__(self) -> str:
        row = f" does not take the row {self.row}" if self.row else ""
        return f"table {self.table!r}{row}: {self.reason}"


class PayloadTooLarge(PubSubError, flash_ws.PayloadTooLarge):
    """A message has more bytes than ``max_payload_bytes``; nothing was published."""

    def __init__(self, channel: str, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.args = (channel, size, limit)
        self.channel = channel

    def __str__(self) -> str:
        return (
            f"a message of {self.size:,} bytes for channel {self.channel!r} is over "
            f"max_payload_bytes={self.limit:,}; publish a reference to it, or raise the limit"
        )


class UnsupportedEnvelope(PubSubError, ValueError):
    """Bytes that another version of flash-pubsub, or another program, has written."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"unreadable message: {self.reason}"


class InvalidBrokerURL(PubSubError, InvalidAddress):
    """An address that names no broker."""

    def __str__(self) -> str:
        return f"broker address {self.url!r}: {self.reason}"
