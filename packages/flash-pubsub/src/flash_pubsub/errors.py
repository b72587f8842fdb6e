"""What flash-pubsub raises.

PubSubError (flash.FlashError)
├── BrokerError                          the broker could not do what was asked
│   ├── BrokerUnavailable (ConnectionError)  its store does not answer, or not in time
│   ├── BrokerRefused                        its store answered with an error: memory, password
│   ├── BrokerClosed (RuntimeError)          it was closed, or never started
│   └── BrokerRunning (RuntimeError)         it was started already
├── Fenced                               the lease that was to cover it has gone to somebody else
├── Overtaken                            somebody has published since the position it builds on
├── InvalidMessage (ValueError)          it does not fit its channel's schema
├── InvalidChannel (ValueError)          no channel can have this name
├── PayloadTooLarge (ValueError)         more bytes than a message may have
├── UnsupportedEnvelope (ValueError)     written by another version, or by something else
└── InvalidBrokerURL (ValueError)        an address that names no broker
"""

from __future__ import annotations

from flash import FlashError
from flash.errors import quoted
from flash.redis.address import InvalidAddress


class PubSubError(FlashError):
    """The base of every error of flash-pubsub."""


class BrokerError(PubSubError):
    """The broker could not do what was asked of it."""


class BrokerUnavailable(BrokerError, ConnectionError):
    """The broker's store does not answer, or not in time.

    ``doing`` is what was asked for, ``reason`` what went wrong. A publication that failed like this
    may have happened all the same; publishing again with the same ``key=`` is safe.
    """

    def __init__(self, doing: str, reason: str) -> None:
        super().__init__(doing, reason)
        self.doing = doing
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.doing}: the broker's store does not answer ({self.reason})"


class BrokerRefused(BrokerError):
    """The broker's store answered with an error; nothing has happened."""

    def __init__(self, doing: str, reason: str) -> None:
        super().__init__(doing, reason)
        self.doing = doing
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.doing}: the broker's store refused it ({self.reason})"


class BrokerClosed(BrokerError, RuntimeError):
    """The broker was closed, or never started."""

    def __str__(self) -> str:
        return "this broker is not running; start() it first"


class BrokerRunning(BrokerError, RuntimeError):
    """The broker was started already."""

    def __str__(self) -> str:
        return "this broker is running: close() it before it is started again, or make another"


class Fenced(PubSubError):
    """Somebody else holds the lease by now; nothing was published."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(name, number)
        self.name = name
        self.number = number

    def __str__(self) -> str:
        return (
            f"lease {self.name!r} number {self.number} is no longer the newest: "
            f"stop this work, its new holder goes on with it"
        )


class Overtaken(PubSubError):
    """Somebody has published since the position that this builds on; nothing was published."""

    def __init__(self, channel: str, number: int) -> None:
        super().__init__(channel, number)
        self.channel = channel
        self.number = number

    def __str__(self) -> str:
        return (
            f"channel {self.channel!r} does not stand at number {self.number} any more: "
            f"look at what came since, then publish again"
        )


class InvalidChannel(PubSubError, ValueError):
    """No channel can have this name."""

    def __init__(self, channel: str, reason: str) -> None:
        super().__init__(channel, reason)
        self.channel = channel
        self.reason = reason

    def __str__(self) -> str:
        return f"{quoted(self.channel)} cannot be the name of a channel: {self.reason}"


class InvalidMessage(PubSubError, ValueError):
    """A message does not fit its channel's schema; nothing was published."""

    def __init__(self, channel: str, schema: str, reason: str) -> None:
        super().__init__(channel, schema, reason)
        self.channel = channel
        self.schema = schema
        self.reason = reason

    def __str__(self) -> str:
        return f"channel {self.channel!r} takes {self.schema}: {self.reason}"


class PayloadTooLarge(PubSubError, ValueError):
    """A message has more bytes than it may have; nothing was published."""

    def __init__(self, channel: str, size: int, limit: int) -> None:
        super().__init__(channel, size, limit)
        self.channel = channel
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"a message of {self.size:,} bytes for channel {self.channel!r} is over "
            f"max_payload_bytes={self.limit:,}; publish a reference to it, or raise the limit"
        )


class UnsupportedEnvelope(PubSubError, ValueError):
    """Bytes that another version of flash-pubsub wrote, or something else altogether."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"unreadable message: {self.reason}"


class InvalidBrokerURL(PubSubError, InvalidAddress):
    """An address that names no broker."""

    def __str__(self) -> str:
        return f"broker address {self.url!r}: {self.reason}"
