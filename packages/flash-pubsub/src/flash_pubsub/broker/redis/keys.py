"""What things are called in Redis."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from redis.crc import key_slot

# A key of idempotency that is longer than this is replaced by its digest.
_MAX_KEY = 128


@dataclass(frozen=True, slots=True)
class ChannelKeys:
    """The names of one channel; all of them in one hash slot."""

    slot: int
    meta: bytes
    history: bytes
    state: bytes
    # The pub/sub channel.
    wire: bytes
    # Until when members live, where the channel tells of presence.
    deadlines: bytes

    @property
    def all(self) -> tuple[bytes, bytes, bytes, bytes]:
        """What the script wants to know of every channel."""
        return self.meta, self.history, self.state, self.wire

    def idempotency(self, key: str) -> bytes:
        """Return where the position published under ``key`` is remembered."""
        encoded = key.encode()
        if len(encoded) > _MAX_KEY:
            encoded = hashlib.sha256(encoded).hexdigest().encode()
        return b"%b:k:%b" % (self.wire, encoded)

    def lease(self, name: str) -> bytes:
        """Return where a lease on this channel is kept."""
        return b"%b:l:%b" % (self.wire, name.encode())


class Keys:
    """Makes names that begin with a prefix of the deployment's own."""

    def __init__(self, prefix: str) -> None:
        self._prefix = _escape(prefix)

    def channel(self, name: str) -> ChannelKeys:
        """Return the names of a channel."""
        tag = b"{%b:c:%b}" % (self._prefix, _escape(name))
        return ChannelKeys(key_slot(tag), tag + b":m", tag + b":h", tag + b":s", tag, tag + b":d")

    def lease(self, name: str) -> bytes:
        """Return where a lease on no channel is kept."""
        return b"{%b:l:%b}" % (self._prefix, _escape(name))

    def probe(self, worker: str, number: int) -> bytes:
        """Return a pub/sub channel of a worker's own."""
        return b"{%b:p:%b:%d}" % (self._prefix, worker.encode(), number)

    @property
    def pattern(self) -> bytes:
        """What ``SCAN`` finds channels by."""
        return b"{%b:c:*}:m" % re.sub(rb"([*?\[\]^\\])", rb"\\\1", self._prefix)

    def channel_name(self, meta: bytes) -> str:
        """Return the channel that a key found by `pattern` belongs to."""
        return _unescape(meta[len(self._prefix) + 4 : -3])


def slot_of(key: bytes) -> int:
    """Return a key's hash slot."""
    return key_slot(key)


def _escape(name: str) -> bytes:
    """Keep braces out, for they say which part of a key decides on its slot."""
    return name.encode().replace(b"%", b"%25").replace(b"{", b"%7B").replace(b"}", b"%7D")


def _unescape(name: bytes) -> str:
    return name.replace(b"%7B", b"{").replace(b"%7D", b"}").replace(b"%25", b"%").decode()
