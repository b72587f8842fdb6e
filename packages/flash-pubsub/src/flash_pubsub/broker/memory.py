"""The broker of one process, which needs no server."""

from __future__ import annotations

import logging
import secrets
import time
from collections import OrderedDict, deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from flash_pubsub.broker.seam import (
    DEFAULT_RETENTION,
    NO_CHANGES,
    Counters,
    Deliver,
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
)
from flash_pubsub.errors import BrokerClosed, BrokerRunning, Fenced, Overtaken, PayloadTooLarge
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_logger = logging.getLogger(__name__)

# Keys of publications that one channel remembers at most; the oldest are forgotten.
_MAX_KEYS = 10_000
# Every so many publications, channels that have been idle for too long are forgotten.
_REMOVE_IDLE_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class _HistoryEntry:
    publication: Publication
    at: float


class _Channel:
    """One channel: its numbers, history, state and leases. Knows no loop and no clock."""

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
        # By key: the position it was published at, and when.
        self._keys: OrderedDict[str, tuple[Position, float]] = OrderedDict()
        # By lease name: the highest number that has published here.
        self._fences: dict[str, int] = {}

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.number)

    @property
    def values(self) -> dict[str, bytes]:
        return dict(self._values)

    def position_of_key(self, key: str, now: float) -> Position | None:
        """Return where this key was published, if that is remembered."""
        while self._keys:
            oldest, (_, at) = next(iter(self._keys.items()))
            if now - at <= self.retention.max_key_age and len(self._keys) <= _MAX_KEYS:
                break
            del self._keys[oldest]
        found = self._keys.get(key)
        return found[0] if found else None

    def check_fence(self, fence: Lease) -> None:
        """Note that a holder of this lease publishes here; raises if a newer one has."""
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
            self._set(name, value)
        while self._values and (
            len(self._values) > retention.max_values
            or self._values_bytes > retention.max_snapshot_bytes
        ):
            self._set(next(iter(self._values)), None)
        if key is not None:
            self._keys[key] = publication.position, now
        return publication

    def trim_history(self, now: float) -> None:
        """Drop from history what is over its limits."""
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

    def _set(self, name: str, value: bytes | None) -> None:
        old = self._values.pop(name, None)
        if old is not None:
            self._values_bytes -= len(name.encode()) + len(old)
        if value is not None:
            self._values[name] = value
            self._values_bytes += len(name.encode()) + len(value)


@dataclass(slots=True)
class _LeaseRecord:
    """A lease as the store knows it; ``ends_at`` is in the past once it has ended."""

    number: int
    ends_at: float


class MemoryStore:
    """What several `MemoryBroker` share, as several processes share one Redis.

    All of them are used on one event loop. ``clock`` gives seconds that never go backwards.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._channels: dict[str, _Channel] = {}
        self._brokers: list[MemoryBroker] = []
        self._leases: dict[tuple[str, str | None], _LeaseRecord] = {}
        self._last_number = 0
        # By channel and member's id: whose they are, and their data.
        self._members: dict[str, dict[str, tuple[MemoryBroker, bytes]]] = {}
        self._until_removal = _REMOVE_IDLE_EVERY

    def attach(self, broker: MemoryBroker) -> None:
        """Tell a broker of every publication from now on."""
        self._brokers.append(broker)

    def detach(self, broker: MemoryBroker) -> None:
        """Tell it nothing more, and make its members leave."""
        if broker in self._brokers:
            self._brokers.remove(broker)
        for channel, members in list(self._members.items()):
            for member_id, (owner, _) in list(members.items()):
                if owner is broker:
                    self.leave(channel, member_id)

    def channel(self, name: str) -> _Channel:
        """Return the channel of this name, beginning it if there is none."""
        now = self.clock()
        found = self._channels.get(name)
        if found is None or (self._is_idle(found, now) and not self._has_subscriber(name)):
            found = self._channels[name] = _Channel(name, now)
        found.used_at = now
        return found

    def value(self, name: str, field: str) -> bytes | None:
        """Return one value of a channel's state, if there is such a channel."""
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
        """Publish, and tell every broker; see `Broker.publish`."""
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
        """Forget everything, as a store does that was emptied; everybody is told."""
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
        """Make somebody present."""
        members = self._members.setdefault(channel, {})
        before = members.get(member.id)
        members[member.id] = broker, member.data
        if before is None or before[1] != member.data:
            kind = "joined" if before is None else "changed"
            self._publish_member_change(channel, kind, member.id, member.data)

    def leave(self, channel: str, member_id: str) -> None:
        """Make somebody absent."""
        members = self._members.get(channel, {})
        if member_id not in members:
            return
        _, data = members.pop(member_id)
        if not members:
            del self._members[channel]
        self._publish_member_change(channel, "left", member_id, data)

    def members(self, channel: str) -> list[Member]:
        """Return who is present, sorted."""
        return sorted(
            (Member(id_, data) for id_, (_, data) in self._members.get(channel, {}).items()),
            key=lambda member: member.id,
        )

    def lease(self, name: str, ttl: float, channel: str | None) -> Lease | None:
        """Take a lease, unless somebody has it."""
        now = self.clock()
        record = self._leases.get((name, channel))
        if record and record.ends_at > now:
            return None
        # As in Redis: the time, so that numbers grow even if the store forgets the last one.
        self._last_number = max(self._last_number + 1, time.time_ns() // 1_000_000)
        self._leases[name, channel] = _LeaseRecord(self._last_number, now + ttl)
        return Lease(name, channel, self._last_number)

    def holds(self, lease: Lease) -> bool:
        """Tell whether nobody has taken the lease since, ended as it may be."""
        record = self._leases.get((lease.name, lease.channel))
        return record is not None and record.number == lease.number

    def renew(self, lease: Lease, ttl: float) -> bool:
        """Prolong a lease, unless it has ended."""
        record = self._leases.get((lease.name, lease.channel))
        now = self.clock()
        if record is None or record.number != lease.number or record.ends_at <= now:
            return False
        record.ends_at = now + ttl
        return True

    def release(self, lease: Lease) -> None:
        """End a lease now."""
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
    """The broker of one process: a `Broker` over a `MemoryStore`, its own unless one is given.

    Publications are delivered before `publish` returns. Nothing outlives the process.
    """

    def __init__(
        self, store: MemoryStore | None = None, *, max_payload_bytes: int = 1 << 20
    ) -> None:
        self.store = store or MemoryStore()
        self._max_payload_bytes = max_payload_bytes
        self._state = State.NEW
        self._counters = Counters()
        self._subscribed: set[str] = set()
        self._leases: set[Lease] = set()
        self._deliver: Deliver | None = None
        self._reset: Reset | None = None

    @property
    def status(self) -> Status:
        """How it stands."""
        return Status(
            self._state,
            "" if self._state is State.READY else self._state.value,
            subscribed=len(self._subscribed),
            **asdict(self._counters),
        )

    @property
    def lazy_cache(self) -> None:
        """Nothing is shared: what others keep, they keep in this process."""

    async def start(self, deliver: Deliver, reset: Reset) -> None:
        """Begin."""
        if self._state is State.READY:
            raise BrokerRunning
        self._deliver, self._reset = deliver, reset
        self._state = State.READY
        self._counters.lag = 0.0
        self.store.attach(self)

    async def close(self) -> None:
        """End."""
        self._state = State.CLOSED
        self._subscribed.clear()
        self.store.detach(self)
        for lease in self._leases:
            self.store.release(lease)
        self._leases.clear()

    async def ready(self) -> None:
        """Return at once."""
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
        """Number a message, remember it and deliver it."""
        self._check_ready(channel)
        if len(payload) > self._max_payload_bytes:
            raise PayloadTooLarge(channel, len(payload), self._max_payload_bytes)
        position = self.store.publish(channel, payload, changes, key, fence, after, retention)
        self._counters.published += 1
        return position

    async def subscribe(self, channel: str) -> Position:
        """Deliver this channel's publications from now on."""
        self._check_ready(channel)
        self._subscribed.add(channel)
        return self.store.channel(channel).position

    async def unsubscribe(self, channel: str) -> None:
        """Deliver no more of it."""
        self._subscribed.discard(channel)

    async def since(self, channel: str, position: Position) -> list[Publication] | None:
        """Return everything after ``position``, or None if that cannot be known."""
        self._check_ready(channel)
        return self.store.channel(channel).since(position, self.store.clock())

    async def snapshot(self, channel: str) -> Snapshot:
        """Return the state as of one position."""
        self._check_ready(channel)
        stored = self.store.channel(channel)
        return Snapshot(stored.position, stored.values)

    async def value(self, channel: str, name: str) -> bytes | None:
        """Return one value of the state."""
        self._check_ready(channel)
        return self.store.value(channel, name)

    async def position(self, channel: str) -> Position:
        """Return the position of somebody who has seen everything."""
        self._check_ready(channel)
        return self.store.channel(channel).position

    async def channels(self) -> list[str]:
        """Return the names of all channels, sorted."""
        self._check_ready()
        return self.store.names()

    async def enter(self, channel: str, member: Member, ttl: float = 30.0) -> None:
        """Make somebody present; ``ttl`` means nothing here, where all members die together."""
        self._check_ready(channel)
        self.store.enter(self, channel, member)

    async def leave(self, channel: str, member_id: str) -> None:
        """Make somebody absent."""
        self._check_ready(channel)
        self.store.leave(channel, member_id)

    async def members(self, channel: str) -> list[Member]:
        """Return who is present."""
        self._check_ready(channel)
        return self.store.members(channel)

    async def lease(self, name: str, ttl: float, *, channel: str | None = None) -> Lease | None:
        """Take the lease of this name, unless somebody has it."""
        self._check_ready(channel)
        lease = self.store.lease(name, ttl, channel)
        if lease is not None:
            self._leases.add(lease)
        return lease

    async def renew(self, lease: Lease, ttl: float) -> bool:
        """Prolong a lease."""
        self._check_ready()
        renewed = self.store.renew(lease, ttl)
        if not renewed:
            self._leases.discard(lease)
        return renewed

    async def release(self, lease: Lease) -> None:
        """Give a lease back."""
        self._check_ready()
        self._leases.discard(lease)
        self.store.release(lease)

    def is_subscribed(self, channel: str) -> bool:
        """Tell whether this worker is subscribed to a channel."""
        return channel in self._subscribed

    def receive(self, publication: Publication) -> None:
        """Deliver what the store says, if somebody here wants it."""
        if publication.channel in self._subscribed and self._deliver:
            self._counters.delivered += 1
            try:
                self._deliver(publication)
            except Exception:  # the worker's own fault, and its log's
                _logger.exception("delivering a message of %r failed", publication.channel)

    def reset(self) -> None:
        """Say of every subscribed channel that it begins anew."""
        for channel in sorted(self._subscribed):
            self._counters.resets += 1
            try:
                if self._reset:
                    self._reset(channel, self.store.channel(channel).position)
            except Exception:  # the worker's own fault, and its log's
                _logger.exception("resetting %r failed", channel)

    def _check_ready(self, channel: str | None = None) -> None:
        if self._state is not State.READY:
            raise BrokerClosed
        if channel is not None:
            check_channel(channel)
