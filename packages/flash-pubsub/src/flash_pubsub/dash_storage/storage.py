"""`FlashSharedStorage`: the shared storage of Dash 4.5 and later, over a broker."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from flash import ConfigurationError
from flash_pubsub.broker.open import check_workers, open_broker
from flash_pubsub.broker.seam import Retention
from flash_pubsub.dash_storage.background_loop import BrokerLoop
from flash_pubsub.dash_storage.encoding import (
    MAX_BYTES,
    key_channel,
    pack_message,
    pack_value,
    topic_channel,
    unpack_value,
)
from flash_pubsub.dash_storage.interface import BaseStorage
from flash_pubsub.dash_storage.subscription import StorageSubscription

if TYPE_CHECKING:
    from flash_pubsub.broker.seam import Broker

# The one value in the snapshot of a key's channel.
_VALUE = "value"

# Bytes that a topic keeps for readers who were away.
_MAX_TOPIC_BYTES = 4 * MAX_BYTES

# Seconds for which something without a ``ttl`` is kept: ten years.
_WITHOUT_TTL = 10 * 365 * 86_400.0


class FlashSharedStorage(BaseStorage):
    """Dash's ``shared_storage`` over the broker of an app: ``Flash(shared_storage=…)``.

    - ``broker``: an address as `PubSub` takes it, by default ``FLASH_BROKER_URL``. ``memory://``
      serves a single process.
    - ``buffer_size``: messages of a topic that are kept for readers who were away. A reader who has
      missed more gets Dash's ``SharedStorageGap``.

    Values and messages are bytes or anything with a JSON form, 8 MiB at most. A failed call raises
    Dash's ``SharedStorageError``. All methods may be called from any thread. On an event loop await
    `aget`, `aset`, `adelete` and `apublish`. There `set`, `delete` and `publish` return at once;
    they take effect in the order of the calls, and a failure is logged.

    In Redis a topic with a ``ttl`` is forgotten up to a minute later than that. Dash's own storages
    compare numbers alone and so do not notice a topic that has begun anew. Here every reader that
    was there notices it, and so does a reader that comes back to the same process.
    """

    def __init__(self, broker: str | None = None, *, buffer_size: int = 1000) -> None:
        if buffer_size < 1:
            raise ConfigurationError(f"buffer_size={buffer_size} is not above 0")
        self._address = broker
        self.buffer_size = buffer_size
        self._lock = threading.Lock()
        # None before the first call and after `close`.
        self._broker_loop: BrokerLoop | None = None

    def start(self) -> None:
        """Connect to the broker; idempotent. Every other method does so when needed."""
        self._started()

    def close(self) -> None:
        """Close the storage and all subscriptions; idempotent. A later call starts it again."""
        with self._lock:
            broker_loop, self._broker_loop = self._broker_loop, None
        if broker_loop is not None:
            broker_loop.close()

    # -- values ----------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key; blocks the calling thread, on an event loop as well."""
        loop = self._started()
        return loop.wait(_get(loop.broker, key, default))

    def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Store a value for ``ttl`` seconds; does not wait on an event loop."""
        loop = self._started()
        loop.run(_set(loop.broker, key, pack_value(key, value, ttl), ttl))

    def delete(self, key: str) -> None:
        """Delete a key; does not wait on an event loop."""
        loop = self._started()
        loop.run(_delete(loop.broker, key))

    async def aget(self, key: str, default: Any = None) -> Any:
        """Return the value of a key."""
        loop = self._started()
        return await loop.result(_get(loop.broker, key, default))

    async def aset(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Store a value for ``ttl`` seconds."""
        loop = self._started()
        await loop.result(_set(loop.broker, key, pack_value(key, value, ttl), ttl))

    async def adelete(self, key: str) -> None:
        """Delete a key."""
        loop = self._started()
        await loop.result(_delete(loop.broker, key))

    # -- topics ----------------------------------------------------------------------------------

    def publish(self, topic: str, message: Any, ttl: float | None = None) -> None:
        """Append a message to a topic; does not wait on an event loop."""
        loop = self._started()
        loop.run(self._publish(loop.broker, topic, pack_message(topic, message, ttl), ttl))

    async def apublish(self, topic: str, message: Any, ttl: float | None = None) -> None:
        """Append a message to a topic."""
        loop = self._started()
        payload = pack_message(topic, message, ttl)
        await loop.result(self._publish(loop.broker, topic, payload, ttl))

    async def _publish(self, broker: Broker, topic: str, payload: bytes, ttl: float | None) -> None:
        seconds = _WITHOUT_TTL if ttl is None else ttl
        retention = Retention(
            max_messages=self.buffer_size,
            max_bytes=_MAX_TOPIC_BYTES,
            max_age=seconds,
            max_idle=seconds,
        )
        await broker.publish(topic_channel(topic), payload, retention=retention)

    def subscribe(self, topic: str, replay_from: int | None = None) -> StorageSubscription:
        """Read a topic from its newest message on, or from the one after ``replay_from``.

        Does not wait on an event loop; if the topic cannot be read, reading raises the error.
        """
        loop = self._started()
        subscription = StorageSubscription(loop, topic, replay_from, self.buffer_size)
        loop.run(subscription.open())
        return subscription

    def _started(self) -> BrokerLoop:
        loop = self._broker_loop
        if loop is not None:
            return loop
        with self._lock:
            if self._broker_loop is None:
                broker = open_broker(self._address, max_payload_bytes=2 * MAX_BYTES)
                check_workers(broker, 'FlashSharedStorage("redis://…")')
                self._broker_loop = BrokerLoop(broker)
            return self._broker_loop


async def _get(broker: Broker, key: str, default: Any) -> Any:
    packed = await broker.value(key_channel(key), _VALUE)
    return default if packed is None else unpack_value(packed, default)


async def _set(broker: Broker, key: str, packed: bytes, ttl: float | None) -> None:
    await _write(broker, key, packed, _WITHOUT_TTL if ttl is None else max(ttl, 0.001))


async def _delete(broker: Broker, key: str) -> None:
    if await broker.value(key_channel(key), _VALUE) is not None:
        await _write(broker, key, None, 1.0)


async def _write(broker: Broker, key: str, packed: bytes | None, seconds: float) -> None:
    # The snapshot holds the value, so the history keeps no message.
    retention = Retention(
        max_messages=0, max_age=0.001, max_idle=seconds, max_snapshot_bytes=2 * MAX_BYTES
    )
    await broker.publish(key_channel(key), b"", changes={_VALUE: packed}, retention=retention)
