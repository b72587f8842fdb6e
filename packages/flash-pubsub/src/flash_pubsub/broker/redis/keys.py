"""The names of keys and pub/sub channels in Redis."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from redis.crc import key_slot

from flash.redis.names import escaped, unescaped

# A longer idempotency key is replaced by its digest.
_MAX_KEY = 128


@dataclass(frozen=True, slots=True)
class ChannelKeys:
    """The keys of one channel, all in one hash slot."""

    slot: int
    meta: bytes
    history: bytes
    state: bytes
    # The pub/sub channel.
    topic: bytes
    # When members expire, if the channel is one of presence.
    deadlines: bytes

    @property
    def all(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The keys that every operation on a channel is given."""
        return self.meta, self.history, self.state, self.topic

    def idempotency(self, key: str) -> bytes:
        """Return the key that holds the position published under ``key``."""
        encoded = key.encode()
        if len(encoded) > _MAX_KEY:
            encoded = hashlib.sha256(encoded).hexdigest().encode()
        return b"%b:k:%b" % (self.topic, encoded)

    def lease(self, name: str) -> bytes:
        """Return the key of a lease on this channel."""
        return b"%b:l:%b" % (self.topic, name.encode())


class Keys:
    """Makes the names of a deployment, which begin with its prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = escaped(prefix)

    def channel(self, name: str) -> ChannelKeys:
        """Return the keys of a channel."""
        tag = b"{%b:c:%b}" % (self._prefix, escaped(name))
        return ChannelKeys(key_slot(tag), tag + b":m", tag + b":h", tag + b":s", tag, tag + b":d")

    def lease(self, name: str) -> bytes:
        """Return the key of a lease that belongs to no channel."""
        return b"{%b:l:%b}" % (self._prefix, escaped(name))

    def probe(self, worker: str, number: int) -> bytes:
        """Return a pub/sub channel that one worker alone uses."""
        return b"{%b:p:%b:%d}" % (self._prefix, worker.encode(), number)

    @property
    def pattern(self) -> bytes:
        """The pattern by which ``SCAN`` finds channels."""
        return b"{%b:c:*}:m" % re.sub(rb"([*?\[\]^\\])", rb"\\\1", self._prefix)

    def channel_name(self, meta: bytes) -> str:
        """Return the name of the channel whose key `pattern` found."""
        return unescaped(meta[len(self._prefix) + 4 : -3])


def slot_of(key: bytes) -> int:
    """Return a key's hash slot."""
    return key_slot(key)
