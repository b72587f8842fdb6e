"""The broker of one process, which keeps everything in memory."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections import OrderedDict, deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from flash.exits import ends_task
from flash.settings import COUNT, Instance, check
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
    check_channel,
    pack_change,
    presence_of,
    values_kept,
)
from flash_pubsub.errors import BrokerClosed, BrokerRunning, Fenced, Overtaken, PayloadTooLarge
from flash_ws import ForkedProcess
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_logger = logging.getLogger(__name__)

# Keys of publications that one channel remembers at most; the oldest are dropped.
_MAX_KEYS = 10_000
# Idle channels and ended leases are removed once in so many publications.
_REMOVE_IDLE_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class _HistoryEntry:
    publication: Publication
    at: float


class _Channel:
    """One channel: its numbering, history, snapshot and fences; uses no event loop and no clock."""

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        self.epoch = secrets.token_urlsafe(9)
        self.number = 0
        self.retention = DEFAULT_RETENTION
        self.used_at = now
        self._history: deque[_HistoryEntry] = deque()
        self._history_bytes = 0
        self._values: OrderedDict[str, bytes] = OrderedDict()
        self._values_bytes = 0
        # By key: the position of its publication, and when it was published.
        self._keys: OrderedDict[str, tuple[Position, float]] = OrderedDict()
        # By lease name: the highest fencing number that has published here.
        self._fences: dict[str, int] = {}

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.number)

    @property
    def values(self) -> dict[str, bytes]:
        return dict(self._values)

    def position_of_key(self, key: str, now: float) -> Position | None:
        """Return the position of the publication with this key, if it is remembered."""
        while self._keys:
            oldest, (_, at) = next(iter(self._keys.items()))
            if now - at <= self.retention.max_key_age and len(self._keys) <= _MAX_KEYS:
                break
            del self._keys[oldest]
        found = self._keys.get(key)
        return found[0] if found else None

    def check_fence(self, fence: Lease) -> None:
        """Record that a holder of this lease publishes here; raises `Fenced` if a newer one has."""
        if self._fences.get(fence.name, 0) > fence.number:
            raise Fenced(fence.name, fence.number)
        self._fences[fence.name] = fence.number

    def append(
        self,
        payload: bytes,
        changes: Mapping[str, bytes | None],
        key: str | None,
        retention: Retention,
        now: float,
    ) -> Publication:
        self.retention, self.used_at = retention, now
        self.number += 1
        publication = Publication(self.name, self.position, payload)
        if retention.max_messages:
            self._history.append(_HistoryEntry(publication, now))
            self._history_bytes += len(payload)
        self.trim_history(now)
        for name, value in changes.items():
            self._set(name, value, keeps_place=retention.keeps_places)
        self._drop_values(retention)
        if key is not None:
            self._keys[key] = publication.position, now
        return publication

    def trim_history(self, now: float) -> None:
        """Drop publications from the history that are over its limits."""
        limits, history = self.retention, self._history
        while history and (
            len(history) > limits.max_messages
            or self._history_bytes > limits.max_bytes
            or now - history[0].at > limits.max_age
        ):
            self._history_bytes -= len(history.popleft().publication.payload)

    def since(self, position: Position, now: float) -> list[Publication] | None:
        self.trim_history(now)
        if position.epoch != self.epoch or not 0 <= position.number <= self.number:
            return None
        missed = self.number - position.number
        if missed > len(self._history):
            return None
        entries = list(self._history)[len(self._history) - missed :]
        return [entry.publication for entry in entries]

    def kept(self, position: Position, now: float) -> Kept:
        self.trim_history(now)
        missed = self.number - position.number
        if position.epoch != self.epoch or not 0 <= position.number <= self.number:
            missed = self.number
        entries = list(self._history)[-missed:] if missed else []
        begin = Position(self.epoch, self.number - len(entries))
        return Kept(begin, [entry.publication for entry in entries])

    def _drop_values(self, retention: Retention) -> None:
        """Drop the first values if there are more than the retention allows."""
        most = retention.max_values
        if retention.keeps_places and len(self._values) > most:
            most = values_kept(most)
        while self._values and (
            len(self._values) > most or self._values_bytes > retention.max_snapshot_bytes
        ):
            self._set(next(iter(self._values)), None)

    def _set(self, name: str, value: bytes | None, *, keeps_place: bool = False) -> None:
        if keeps_place and value is not None:
            old = self._values.get(name)
        else:
            old = self._values.pop(name, None)
        if old is not None:
            self._values_bytes -= len(name.encode()) + len(old)
        if value is not None:
            self._values[name] = value
            self._values_bytes += len(name.encode()) + len(value)


@dataclass(slots=True)
class _LeaseRecord:
    """A lease in the store; ``ends_at`` is in the past once it has ended."""

    number: int
    ends_at: float


class MemoryStore:
    """The data that several `MemoryBroker` share, as several processes share one Redis.

    All of these brokers are used on one event loop. ``clock`` returns seconds that never decrease.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._channels: dict[str, _Channel] = {}
        self._brokers: list[MemoryBroker] = []
        self._leases: dict[tuple[str, str | None], _LeaseRecord] = {}
        self._last_number = 0
        # By channel and member id: the broker that entered the member, and its data.
        self._members: dict[str, dict[str, tuple[MemoryBroker, bytes]]] = {}
        self._until_removal = _REMOVE_IDLE_EVERY

    def attach(self, broker: MemoryBroker) -> None:
        """Pass every publication to a broker from now on."""
        self._brokers.append(broker)

    def detach(self, broker: MemoryBroker) -> None:
        """Stop passing publications to a broker, and remove its members."""
        if broker in self._brokers:
            self._brokers.remove(broker)
        for channel, members in list(self._members.items()):
            for member_id, (owner, _) in list(members.items()):
                if owner is broker:
                    self.leave(channel, member_id)

    def channel(self, name: str) -> _Channel:
        """Return the channel of this name, creating it if it does not exist."""
        now = self.clock()
        found = self._channels.get(name)
        if found is None or (self._is_idle(found, now) and not self._has_subscriber(name)):
            found = self._channels[name] = _Channel(name, now)
        found.used_at = now
        return found

    def value(self, name: str, field: str) -> bytes | None:
        """Return one value of a channel's snapshot; None without such a value or channel."""
        found = self._channels.get(name)
        if found is None or (self._is_idle(found, self.clock()) and not self._has_subscriber(name)):
            return None
        return found.values.get(field)

    def names(self) -> list[str]:
        """Return the names of all channels, sorted."""
        self._remove_idle()
        return sorted(name for name in self._channels if not name.startswith(presence_of("")))

    def publish(
        self,
        name: str,
        payload: bytes,
        changes: Mapping[str, bytes | None] = NO_CHANGES,
        key: str | None = None,
        fence: Lease | None = None,
        after: Position | None = None,
        retention: Retention = DEFAULT_RETENTION,
    ) -> Position:
        """Publish a message and pass it to every broker; see `Broker.publish`."""
        now = self.clock()
        channel = self.channel(name)
        if key is not None and (position := channel.position_of_key(key, now)):
            return position
        if after is not None and channel.position != after:
            raise Overtaken(name, after.number)
        if fence is not None:
            if fence.channel == name and not self.holds(fence):
                raise Fenced(fence.name, fence.number)
            channel.check_fence(fence)
        publication = channel.append(payload, changes, key, retention, now)
        for broker in list(self._brokers):
            broker.receive(publication)
        self._until_removal -= 1
        if not self._until_removal:
            self._remove_idle()
        return publication.position

    def flush(self) -> None:
        """Delete everything, as in a store that was emptied, and reset every broker."""
        self._channels.clear()
        self._leases.clear()
        lost = [(channel, dict(members)) for channel, members in self._members.items()]
        self._members.clear()
        for broker in list(self._brokers):
            broker.reset()
        for channel, members in lost:
            for member_id, (owner, data) in members.items():
                self.enter(owner, channel, Member(member_id, data))

    def enter(self, broker: MemoryBroker, channel: str, member: Member) -> None:
        """Make a member present."""
        members = self._members.setdefault(channel, {})
        before = members.get(member.id)
        members[member.id] = broker, member.data
        if before is None or before[1] != member.data:
            kind = "joined" if before is None else "changed"
            self._publish_member_change(channel, kind, member.id, member.data)

    def leave(self, channel: str, member_id: str) -> None:
        """Make a member absent."""
        members = self._members.get(channel, {})
        if member_id not in members:
            return
        _, data = members.pop(member_id)
        if not members:
            del self._members[channel]
        self._publish_member_change(channel, "left", member_id, data)

    def members(self, channel: str) -> list[Member]:
        """Return the members of a channel, sorted by id."""
        return sorted(
            (Member(id_, data) for id_, (_, data) in self._members.get(channel, {}).items()),
            key=lambda member: member.id,
        )

    def lease(self, name: str, ttl: float, channel: str | None) -> Lease | None:
        """Take a lease; None if it is held."""
        now = self.clock()
        record = self._leases.get((name, channel))
        if record and record.ends_at > now:
            return None
        # The time in milliseconds, as in Redis, so that numbers grow even if the store is emptied.
        self._last_number = max(self._last_number + 1, time.time_ns() // 1_000_000)
        self._leases[name, channel] = _LeaseRecord(self._last_number, now + ttl)
        return Lease(name, channel, self._last_number)

    def holds(self, lease: Lease) -> bool:
        """Tell whether the lease was not taken by anyone since, even if it has ended."""
        record = self._leases.get((lease.name, lease.channel))
        return record is not None and record.number == lease.number

    def renew(self, lease: Lease, ttl: float) -> bool:
        """Extend a lease, unless it has ended."""
        record = self._leases.get((lease.name, lease.channel))
        now = self.clock()
        if record is None or record.number != lease.number or record.ends_at <= now:
            return False
        record.ends_at = now + ttl
        return True

    def release(self, lease: Lease) -> None:
        """End a lease."""
        if self.holds(lease):
            self._leases[lease.name, lease.channel].ends_at = self.clock()

    def _publish_member_change(self, channel: str, kind: str, member_id: str, data: bytes) -> None:
        changes = {member_id: None if kind == "left" else data}
        self.publish(presence_of(channel), pack_change(kind, member_id, data), changes)

    def _remove_idle(self) -> None:
        self._until_removal = _REMOVE_IDLE_EVERY
        now = self.clock()
        for name, channel in list(self._channels.items()):
            if self._is_idle(channel, now) and not self._has_subscriber(name):
                del self._channels[name]
        for key, record in list(self._leases.items()):
            if now - record.ends_at > DEFAULT_RETENTION.max_idle:
                del self._leases[key]

    def _is_idle(self, channel: _Channel, now: float) -> bool:
        return now - channel.used_at > channel.retention.max_idle

    def _has_subscriber(self, name: str) -> bool:
        return any(broker.is_subscribed(name) for broker in self._brokers)


class MemoryBroker:
    """The `Broker` of one process, over its own `MemoryStore` unless one is given.

    Publications are delivered before `publish` returns. All data end with the process.
    """

    def __init__(
        self, store: MemoryStore | None = None, *, max_payload_bytes: int = 1 << 20
    ) -> None:
        check(
            store=(store, Instance(MemoryStore, optional=True)),
            max_payload_bytes=(max_payload_bytes, COUNT),
        )
        self.store = store or MemoryStore()
        self._max_payload_bytes = max_payload_bytes
        # The process in which the store is; set again by `start`.
        self._process = os.getpid()
        self._state = State.NEW
        self._counters = Counters()
        self._subscribed: set[str] = set()
        self._leases: set[Lease] = set()
        self._deliver: Deliver | None = None
        self._reset: Reset | None = None

    @property
    def status(self) -> Status:
        """The present state."""
        return Status(
            self._state,
            "" if self._state is State.READY else self._state.value,
            subscribed=len(self._subscribed),
            **asdict(self._counters),
        )

    @property
    def lazy_cache(self) -> None:
        """None: there is no store that other processes can reach."""

    async def start(self, deliver: Deliver, reset: Reset) -> None:
        """Start delivery."""
        if self._state is State.READY:
            raise BrokerRunning
        self._deliver, self._reset = deliver, reset
        self._process = os.getpid()
        self._state = State.READY
        self._counters.lag = 0.0
        self.store.attach(self)

    async def close(self) -> None:
        """Stop delivery, remove members and release leases."""
        self._state = State.CLOSED
        self._subscribed.clear()
        self.store.detach(self)
        for lease in self._leases:
            self.store.release(lease)
        self._leases.clear()

    async def ready(self) -> None:
        """Return at once; raises `BrokerClosed` unless the broker is started."""
        self._check_ready()

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
        """Number a message, store it and deliver it."""
        self._check_ready(channel)
        if len(payload) > self._max_payload_bytes:
            raise PayloadTooLarge(channel, len(payload), self._max_payload_bytes)
        position = self.store.publish(channel, payload, changes, key, fence, after, retention)
        self._counters.published += 1
        return position

    async def subscribe(self, channel: str) -> Position:
        """Deliver the channel's publications from now on."""
        self._check_ready(channel)
        self._subscribed.add(channel)
        return self.store.channel(channel).position

    async def unsubscribe(self, channel: str) -> None:
        """Stop delivering the channel's publications."""
        self._subscribed.discard(channel)

    async def since(self, channel: str, position: Position) -> list[Publication] | None:
        """Return all publications after ``position``; None if they are not all known."""
        self._check_ready(channel)
        return self.store.channel(channel).since(position, self.store.clock())

    async def kept(self, channel: str, position: Position) -> Kept:
        """Return the publications after ``position`` that the history still has."""
        self._check_ready(channel)
        return self.store.channel(channel).kept(position, self.store.clock())

    async def snapshot(self, channel: str) -> Snapshot:
        """Return the values as of one position."""
        self._check_ready(channel)
        stored = self.store.channel(channel)
        return Snapshot(stored.position, stored.values)

    async def value(self, channel: str, name: str) -> bytes | None:
        """Return one value of the snapshot."""
        self._check_ready(channel)
        return self.store.value(channel, name)

    async def position(self, channel: str) -> Position:
        """Return the position of the newest publication."""
        self._check_ready(channel)
        return self.store.channel(channel).position

    async def channels(self) -> list[str]:
        """Return the names of all channels, sorted."""
        self._check_ready()
        return self.store.names()

    async def enter(self, channel: str, member: Member, ttl: float = 30.0) -> None:
        """Make a member present; ``ttl`` is ignored, since members end with the process."""
        self._check_ready(channel)
        self.store.enter(self, channel, member)

    async def leave(self, channel: str, member_id: str) -> None:
        """Make a member absent."""
        self._check_ready(channel)
        self.store.leave(channel, member_id)

    async def members(self, channel: str) -> list[Member]:
        """Return the members of the channel."""
        self._check_ready(channel)
        return self.store.members(channel)

    async def lease(self, name: str, ttl: float, *, channel: str | None = None) -> Lease | None:
        """Take the lease of this name; None if it is held."""
        self._check_ready(channel)
        lease = self.store.lease(name, ttl, channel)
        if lease is not None:
            self._leases.add(lease)
        return lease

    async def renew(self, lease: Lease, ttl: float) -> bool:
        """Extend a lease."""
        self._check_ready()
        renewed = self.store.renew(lease, ttl)
        if not renewed:
            self._leases.discard(lease)
        return renewed

    async def release(self, lease: Lease) -> None:
        """End a lease."""
        self._check_ready()
        self._leases.discard(lease)
        self.store.release(lease)

    def is_subscribed(self, channel: str) -> bool:
        """Tell whether this broker is subscribed to a channel."""
        return channel in self._subscribed

    def receive(self, publication: Publication) -> None:
        """Deliver a publication of the store, if its channel is subscribed."""
        if publication.channel in self._subscribed and self._deliver:
            self._counters.delivered += 1
            try:
                self._deliver(publication)
            except BaseException as error:
                # A fault in the receiver must not fail the publisher.
                if ends_task(error):
                    raise
                _logger.exception("delivering a message of %r failed", publication.channel)

    def reset(self) -> None:
        """Reset every subscribed channel, because the store was emptied."""
        for channel in sorted(self._subscribed):
            self._counters.resets += 1
            try:
                if self._reset:
                    self._reset(channel, self.store.channel(channel).position)
            except BaseException as error:
                # A fault in the receiver must not keep others from being reset.
                if ends_task(error):
                    raise
                _logger.exception("resetting %r failed", channel)

    def _check_ready(self, channel: str | None = None) -> None:
        if self._state is not State.READY:
            raise BrokerClosed
        if os.getpid() != self._process:
            raise ForkedProcess
        if channel is not None:
            check_channel(channel)
