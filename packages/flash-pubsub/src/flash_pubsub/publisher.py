"""Publishing from outside of an app, such as from a script, a job or another machine."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from flash.redis.address import Address, Kind
from flash.tracing import choose as choose_tracing
from flash_pubsub.broker.address import parse_url
from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.broker.spans import publish_in_span
from flash_pubsub.channels.declaration import ChannelPattern, check_name
from flash_pubsub.channels.history import DEFAULT_LIMIT, History, read_history
from flash_pubsub.channels.retention import RETENTION_CHANNEL, RETENTION_FIELD, RetentionRules
from flash_pubsub.channels.schema import Schema
from flash_pubsub.errors import (
    BrokerRefused,
    BrokerUnavailable,
    InvalidBrokerURL,
    PublisherClosed,
    UnsupportedEnvelope,
)
from flash_pubsub.table.published import BlockingTableWriter, TablesOfApp
from flash_pubsub.table.writer import TableWriter

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from flash.tracing import Tracing
    from flash_pubsub.broker.redis.store import Store
    from flash_pubsub.broker.seam import Retention
    from flash_ws.protocol.position import Position

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Seconds after which the retention rules of the app are read again.
_RETENTION_RULES_MAX_AGE = 60.0


class AsyncPublisher:
    """Publishes messages on the channels of an app, over the app's broker.

    - ``url``: the address of the app's broker, by default ``FLASH_BROKER_URL``.
    - ``retention``: how much the channels keep; by default what the app declares with
      `PubSub.channel`.
    - ``schemas``: by channel or pattern, the pydantic model, dataclass or TypedDict that messages
      must fit. Pass the classes that the app uses: the broker does not carry them.
    - ``tracing``: True for spans of OpenTelemetry (``flash-core[otel]``), which go on in the app's
      channel callbacks, or a `flash.tracing.Tracing`; without it there are spans if the process has
      set a tracer provider before.

    A publisher is used on one event loop. It connects when the first message is published.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        retention: Retention | None = None,
        schemas: Mapping[str, Any] | None = None,
        tracing: Tracing | bool | None = None,
    ) -> None:
        # Not above: it brings redis-py, and an app that imports this package need not publish so.
        from flash_pubsub.broker.redis.store import Store

        self._retention = retention
        self._tracing = choose_tracing(tracing)
        self._schemas = [
            (ChannelPattern(channel), Schema(kind)) for channel, kind in (schemas or {}).items()
        ]
        address = _redis_address(url)
        self._store: Store | None = Store(address)
        self._tables = TablesOfApp(self._open_store, address)
        self._retention_rules = RetentionRules()
        # The time of the loop's clock at which the rules are read again; 0 before the first time.
        self._next_read_at = 0.0
        self._read_lock = asyncio.Lock()

    async def publish(self, channel: str, data: Any, *, key: str | None = None) -> Position:
        """Publish a message: bytes as they are, anything else as JSON; returns its position.

        After `BrokerUnavailable` the message may or may not be published; after any other error it
        is not. With ``key`` it is safe to publish again: a message of the same key is published
        once.

        Also raises `BrokerRefused`, `InvalidChannel`, `PayloadTooLarge`, `InvalidMessage` for a
        message that does not fit its schema, and ``TypeError`` for one without a JSON form.
        """
        check_name(channel)
        for pattern, schema in self._schemas:
            if pattern.match(channel) is not None:
                data = schema.validate(channel, data)
                break
        self._open_store()
        envelope = Envelope.of(data)
        retention = self._retention or (await self._read_retention_rules(channel)).retention(
            channel
        )
        publish = partial(self._open_store().publish, channel, key=key, retention=retention)
        if self._tracing is None:
            return await publish(envelope.pack())
        return await publish_in_span(self._tracing, channel, envelope, publish)

    async def history(self, channel: str, *, limit: int = DEFAULT_LIMIT) -> History:
        """Return the last messages of a channel, as `PubSub.history` does.

        Raises `BrokerUnavailable`, `BrokerRefused` and `InvalidChannel`.
        """
        check_name(channel)
        return await read_history(self._open_store(), channel, limit)

    def table(self, name: str) -> TableWriter:
        """Return a table of the app, to write its rows; the app's workers must have started once.

        Its columns and bounds are those that the app declares with `PubSub.table`.
        """
        check_name(name)
        return TableWriter(
            name,
            lambda: self._tables.settings(name),
            self._open_store,
            lambda: self._tracing,
        )

    def _open_store(self) -> Store:
        if self._store is None:
            raise PublisherClosed
        return self._store

    async def _read_retention_rules(self, channel: str) -> RetentionRules:
        """Return the app's retention rules; reads them again after `_RETENTION_RULES_MAX_AGE` s."""
        loop = asyncio.get_running_loop()
        async with self._read_lock:
            if loop.time() >= self._next_read_at:
                try:
                    packed = await self._open_store().value(RETENTION_CHANNEL, RETENTION_FIELD)
                    self._retention_rules = (
                        RetentionRules() if packed is None else RetentionRules.unpack(packed)
                    )
                except UnsupportedEnvelope as error:
                    logger.warning("channels keep the default number of messages: %s", error)
                except (BrokerUnavailable, BrokerRefused) as error:
                    # Rules that were read before remain in use.
                    if not self._next_read_at:
                        error.doing = f"publish {channel!r}"
                        raise
                self._next_read_at = loop.time() + _RETENTION_RULES_MAX_AGE
        return self._retention_rules

    async def close(self) -> None:
        """Close the connection; idempotent."""
        store, self._store = self._store, None
        if store is not None:
            await store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Publisher:
    """Publishes messages on the channels of an app from code that is not async; thread-safe.

    It works like `AsyncPublisher`, on an event loop in a thread of its own. The thread ends with
    `close`, at the end of a ``with`` block, or with the process.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        retention: Retention | None = None,
        schemas: Mapping[str, Any] | None = None,
        tracing: Tracing | bool | None = None,
    ) -> None:
        self._publisher = AsyncPublisher(url, retention=retention, schemas=schemas, tracing=tracing)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def publish(self, channel: str, data: Any, *, key: str | None = None) -> Position:
        """Publish a message and wait until it is published; raises as `AsyncPublisher.publish`."""
        return self._wait_for(self._publisher.publish(channel, data, key=key))

    def history(self, channel: str, *, limit: int = DEFAULT_LIMIT) -> History:
        """Return the last messages of a channel, as `AsyncPublisher.history` does."""
        return self._wait_for(self._publisher.history(channel, limit=limit))

    def table(self, name: str) -> BlockingTableWriter:
        """Return a table of the app, to write its rows; see `AsyncPublisher.table`."""
        return BlockingTableWriter(self._publisher.table(name), self._wait_for)

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            loop = self._running_loop()
        except PublisherClosed:
            work.close()
            raise
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    def close(self) -> None:
        """Close the connection and end the thread; idempotent."""
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        atexit.unregister(self.close)
        if loop is not None and thread is not None:
            asyncio.run_coroutine_threadsafe(self._publisher.close(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise PublisherClosed
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run_loop, args=(loop,), name="flash-pubsub publisher", daemon=True
                )
                self._thread.start()
                # Otherwise the thread ends in the middle of its work when the process does.
                atexit.register(self.close)
            return self._loop


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def _redis_address(url: str | None) -> Address:
    address = parse_url(url)
    if address.kind is Kind.MEMORY:
        raise InvalidBrokerURL(
            str(address),
            "it is the memory of one process, and no other process can publish to it; "
            "give the app and the publisher a redis:// address",
        )
    return address
