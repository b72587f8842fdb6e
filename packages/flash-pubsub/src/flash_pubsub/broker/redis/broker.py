"""The broker of several workers: a `flash_pubsub.broker.seam.Broker` over Redis."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, TypeVar

from flash.settings import COUNT, SECONDS_OR_NONE, Number, check
from flash.supervision import SupervisedTask
from flash.top.exchange import topic_of
from flash_pubsub.broker.address import parse_url
from flash_pubsub.broker.redis.listener import Listener
from flash_pubsub.broker.redis.maintenance import Maintenance
from flash_pubsub.broker.redis.store import Store
from flash_pubsub.broker.redis.watchers import WatcherAnswers
from flash_pubsub.broker.seam import (
    DEFAULT_RETENTION,
    NO_CHANGES,
    Counters,
    Deliver,
    Kept,
    Lease,
    Member,
    Publication,
    Reset,
    Retention,
    Snapshot,
    State,
    Status,
)
from flash_pubsub.errors import BrokerClosed, BrokerError, BrokerRunning, InvalidChannel
from flash_ws import ForkedProcess

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from flash.redis.address import Address
    from flash_ws.protocol.position import Position

T = TypeVar("T")


class RedisBroker:
    """A `Broker` over one Redis, a master that sentinels name, or a cluster with sharded pub/sub.

    ``timeout`` is in seconds for one call with all its attempts, 5 unless the address says
    otherwise; ``connect_timeout`` for opening a connection and for a single attempt, 1.5. Every
    ``probe_interval`` seconds, 1, it publishes a probe to itself; if that does not arrive within as
    long again, the connection is replaced.

    Redis replicates after it has answered, so a failover may lose what was acknowledged just
    before; every worker that had received it is then told by a reset. With ``min_replicas``, 0, a
    publication is complete only when so many replicas have it, which costs a round trip to them.

    It needs Redis 6.2, or 7 for a cluster. All keys begin with ``prefix``, ``flash``, and expire.
    A worker has one connection for subscriptions, on a cluster one per node; its commands share
    the connections of `flash.redis.client.ConnectionPool`.
    """

    def __init__(
        self,
        url: str | Address,
        *,
        prefix: str | None = None,
        timeout: float | None = None,
        connect_timeout: float | None = None,
        probe_interval: float | None = None,
        min_replicas: int | None = None,
        max_payload_bytes: int = 1 << 20,
    ) -> None:
        check(
            timeout=(timeout, SECONDS_OR_NONE),
            connect_timeout=(connect_timeout, SECONDS_OR_NONE),
            probe_interval=(probe_interval, SECONDS_OR_NONE),
            min_replicas=(min_replicas, Number(whole=True, optional=True)),
            max_payload_bytes=(max_payload_bytes, COUNT),
        )
        address = parse_url(url) if isinstance(url, str) else url
        self.address = replace(
            address,
            prefix=prefix or address.prefix,
            timeout=timeout or address.timeout,
            connect_timeout=connect_timeout or address.connect_timeout,
            probe_interval=probe_interval or address.probe_interval,
            min_replicas=address.min_replicas if min_replicas is None else min_replicas,
        )
        self._max_payload_bytes = max_payload_bytes
        self._store = Store(self.address, max_payload_bytes=max_payload_bytes)
        # The process in which the broker was started. A forked one must not use its connections.
        self._process = os.getpid()
        self._counters = Counters()
        self._listener: Listener | None = None
        self._maintenance: Maintenance | None = None
        self._maintaining: SupervisedTask | None = None
        # Returns how this worker is, for `flash top --redis`; set before `start`. None: no answer.
        self.sample: Callable[[], Awaitable[bytes]] | None = None
        self._answers: WatcherAnswers | None = None
        self._closed = False
        # Set when `ready` need not wait: all messages arrive, or the broker is closed.
        self._ready = asyncio.Event()
        self._leases: set[Lease] = set()

    @property
    def status(self) -> Status:
        """The state and the counters of this moment."""
        counters = asdict(self._counters)
        counters["published"] += self._store.published
        counters["retries"] += self._store.retries
        if self._closed or self._listener is None:
            state = State.CLOSED if self._closed else State.NEW
            return Status(state, state.value, **counters)
        reason = self._listener.reason
        counters["lag"] = self._listener.lag
        state = State.BROKEN if reason else State.READY
        return Status(state, reason, subscribed=len(self._listener.channels), **counters)

    @property
    def lazy_cache(self) -> str:
        """The address of the Redis, for a cache of flash-lazy."""
        return self.address.url

    async def start(self, deliver: Deliver, reset: Reset) -> None:
        """Start; Redis may start later."""
        if self._closed:
            self._reopen()
        elif self._listener is not None:
            raise BrokerRunning
        self._process = os.getpid()
        self._listener = Listener(
            self._store,
            self._counters,
            probe_interval=self.address.probe_interval,
            deliver=deliver,
            reset=reset,
            on_change=self._update_ready,
        )
        self._maintenance = Maintenance(
            self._store, self._listener, interval=self.address.probe_interval
        )
        self._listener.start()
        if self.sample is not None:
            self._answers = WatcherAnswers(self._store, self.sample)
            self._listener.listen_for(topic_of(self.address.prefix), self._answers.receive)
        self._maintaining = SupervisedTask(
            "flash-pubsub's maintenance of Redis", self._maintenance.run
        )
        self._maintaining.start()

    def _reopen(self) -> None:
        """Return to the state of a new broker, except for the counters."""
        self._counters.published += self._store.published
        self._counters.retries += self._store.retries
        self._store = Store(self.address, max_payload_bytes=self._max_payload_bytes)
        self._ready = asyncio.Event()
        self._leases.clear()
        self._closed = False

    async def close(self) -> None:
        """Stop; members leave and leases are released if Redis answers."""
        if self._closed:
            return
        self._closed = True
        self._ready.set()
        if (
            self._listener is not None
            and self._maintenance is not None
            and self._maintaining is not None
        ):
            await self._maintaining.stop()
            if self._answers is not None:
                await self._answers.close()
            heard = not self._listener.reason
            await self._listener.close()
            if heard:
                with suppress(BrokerError):
                    await self._maintenance.empty()
                    for lease in self._leases:
                        await self._store.release(lease)
        await self._store.close()

    async def ready(self) -> None:
        """Wait until the publications of other workers arrive."""
        self._check()
        await self._ready.wait()
        self._check()

    async def publish(
        self,
        channel: str,
        payload: bytes,
        *,
        changes: Mapping[str, bytes | None] = NO_CHANGES,
        key: str | None = None,
        fence: Lease | None = None,
        after: Position | None = None,
        retention: Retention = DEFAULT_RETENTION,
    ) -> Position:
        """Number a message, keep it and send it to all workers, in one step."""
        return await self._with_store(
            lambda store: store.publish(
                channel,
                payload,
                changes=changes,
                key=key,
                fence=fence,
                after=after,
                retention=retention,
            )
        )

    async def _with_store(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """Await ``work`` with the store; in a forked process with one of its own connections."""
        if os.getpid() == self._process:
            self._check()
            return await work(self._store)
        store = Store(self.address, max_payload_bytes=self._max_payload_bytes)
        try:
            return await work(store)
        finally:
            await store.close()

    async def subscribe(self, channel: str) -> Position:
        """Deliver the publications of a channel from now on."""
        return await self._check().follow(channel)

    async def unsubscribe(self, channel: str) -> None:
        """Stop delivering a channel."""
        if self._listener is not None:
            with suppress(InvalidChannel):
                self._listener.unfollow(channel)

    async def since(self, channel: str, position: Position) -> list[Publication] | None:
        """Return all publications after ``position``; None if some may be missing."""
        return await self._with_store(lambda store: store.since(channel, position))

    async def kept(self, channel: str, position: Position) -> Kept:
        """Return the publications after ``position`` that the history still has."""
        return await self._with_store(lambda store: store.kept(channel, position))

    async def snapshot(self, channel: str) -> Snapshot:
        """Return the state at one position."""
        return await self._with_store(lambda store: store.snapshot(channel))

    async def value(self, channel: str, name: str) -> bytes | None:
        """Return one value of the state."""
        return await self._with_store(lambda store: store.value(channel, name))

    async def position(self, channel: str) -> Position:
        """Return the position of the last publication."""
        return await self._with_store(lambda store: store.position(channel))

    async def channels(self) -> list[str]:
        """Return the names of all channels, sorted."""
        return await self._with_store(lambda store: store.channels())

    async def enter(self, channel: str, member: Member, ttl: float = 30.0) -> None:
        """Make a member present until it leaves."""
        self._check()
        await self._store.enter(channel, member, ttl)
        if self._maintenance is not None:
            self._maintenance.note(channel, member, ttl)

    async def leave(self, channel: str, member_id: str) -> None:
        """Remove a member."""
        self._check()
        if self._maintenance is not None:
            self._maintenance.forget(channel, member_id)
        await self._store.leave(channel, [member_id])

    async def members(self, channel: str) -> list[Member]:
        """Return the members."""
        return await self._with_store(lambda store: store.members(channel))

    async def lease(self, name: str, ttl: float, *, channel: str | None = None) -> Lease | None:
        """Take the lease of this name; None if another holder has it."""
        self._check()
        lease = await self._store.lease(name, ttl, channel)
        if lease is not None:
            self._leases.add(lease)
        return lease

    async def renew(self, lease: Lease, ttl: float) -> bool:
        """Renew a lease; false if it has ended."""
        self._check()
        renewed = await self._store.renew(lease, ttl)
        if not renewed:
            self._leases.discard(lease)
        return renewed

    async def release(self, lease: Lease) -> None:
        """Release a lease."""
        self._check()
        self._leases.discard(lease)
        await self._store.release(lease)

    def _update_ready(self) -> None:
        """Set or clear `ready`."""
        if self._listener is not None and not self._listener.reason:
            self._ready.set()
        elif not self._closed:
            self._ready.clear()

    def _check(self) -> Listener:
        if self._listener is None or self._closed:
            raise BrokerClosed
        if os.getpid() != self._process:
            raise ForkedProcess
        return self._listener
