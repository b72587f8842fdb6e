"""How keys and topics are named and how values and messages are encoded in the broker."""

from __future__ import annotations

import hashlib
import math
import time
from typing import Any

from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.dash_storage.interface import StorageError

# Bytes of one value or message.
MAX_BYTES = 8 << 20

# Prefixes of channel names. Users cannot publish on a channel that begins with ``live:``.
_KEY_PREFIX = "live:storage:key:"
_TOPIC_PREFIX = "live:storage:topic:"
# Bytes. A longer name is replaced by its hash in the channel's name.
_MAX_PLAIN_NAME_BYTES = 300
# Seconds.
_MIN_TOPIC_TTL = 1.0


def key_channel(key: str) -> str:
    """Return the channel whose snapshot holds a key's value."""
    return _channel(_KEY_PREFIX, key)


def topic_channel(topic: str) -> str:
    """Return the channel that carries a topic's messages."""
    return _channel(_TOPIC_PREFIX, topic)


def pack_value(key: str, value: Any, ttl: float | None) -> bytes:
    """Encode a value together with the time at which it expires.

    Raises Dash's ``SharedStorageError`` if it has more than `MAX_BYTES`, and ``TypeError`` if it
    has no JSON form.
    """
    envelope = _envelope(f"key {key!r}", value)
    extras = {} if ttl is None else {"until": time.time() + ttl}
    return Envelope(envelope.kind, envelope.body, extras=extras).pack()


def unpack_value(packed: bytes, default: Any) -> Any:
    """Return the value that `pack_value` encoded; ``default`` if it has expired."""
    envelope = Envelope.unpack(packed)
    expires_at = envelope.extras.get("until")
    if expires_at is not None and expires_at <= time.time():
        return default
    return envelope.data


def pack_message(topic: str, message: Any, ttl: float | None) -> bytes:
    """Encode a message of a topic; raises as `pack_value`, and for a ``ttl`` below 1 s."""
    if ttl is not None and not (math.isfinite(ttl) and ttl >= _MIN_TOPIC_TTL):
        raise StorageError(f"ttl={ttl!r}: a topic is kept for {_MIN_TOPIC_TTL:g} s or longer")
    return _envelope(f"topic {topic!r}", message).pack()


def _envelope(subject: str, data: Any) -> Envelope:
    envelope = Envelope.of(data)
    size = len(envelope.body)
    if size > MAX_BYTES:
        raise StorageError(
            f"{subject}: {size} bytes are more than {MAX_BYTES}; store the data elsewhere"
        )
    return envelope


def _channel(prefix: str, name: str) -> str:
    encoded = name.encode()
    if len(encoded) <= _MAX_PLAIN_NAME_BYTES and not name.startswith("#"):
        return prefix + name
    return f"{prefix}#{hashlib.sha256(encoded).hexdigest()}"
