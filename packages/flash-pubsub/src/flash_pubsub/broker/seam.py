"""The `Broker` Protocol, which carries messages from publishers to every worker that subscribes.

`flash_pubsub.broker.memory.MemoryBroker` serves one process.
`flash_pubsub.broker.redis.RedisBroker` serves any number of processes on any number of machines.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, Literal, Protocol, cast, runtime_checkable

import msgpack

from flash.settings import AMOUNT, DURATION, FLAG, check
from flash_pubsub.errors import InvalidChannel, UnsupportedEnvelope
from flash_ws.protocol.position import Position

# The longest name that a channel can have, in bytes of UTF-8.
MAX_CHANNEL_BYTES = 400

NO_CHANGES: Mapping[str, bytes | None] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Retention:
    """How much a channel keeps; beyond it the oldest is dropped first.

    Every publication states it, and the newest publication decides.
    """

    # History: the number of publications kept. 0 keeps none.
    max_messages: int = 1000
    # History: their bytes. A broker may count some 60 bytes more for each publication. The default
    # leaves room for those of one message of 1 MiB, the largest that brokers take by default.
    max_bytes: int = (1 << 20) + 1024
    # History: seconds. Older publications may be dropped. All of them are dropped once nothing was
    # published for that long.
    max_age: float = 120.0
    # Snapshot: values, and the bytes of their names and contents. The values that were set longest
    # ago are dropped first.
    max_values: int = 10_000
    max_snapshot_bytes: int = 8 << 20
    # Snapshot: whether a value that is set again keeps its place among the values. The values that
    # were set first are dropped first then, down to `values_kept`.
    keeps_places: bool = False
    # Seconds for which numbering and snapshot outlive the last publication or subscriber.
    # Afterwards the channel begins a new epoch with an empty snapshot.
    max_idle: float = 7 * 86_400.0
    # Seconds for which the ``key`` of a publication is remembered.
    max_key_age: float = 300.0

    def __post_init__(self) -> None:
        check(
            max_messages=(self.max_messages, AMOUNT),
            max_bytes=(self.max_bytes, AMOUNT),
            max_age=(self.max_age, DURATION),
            max_values=(self.max_values, AMOUNT),
            max_snapshot_bytes=(self.max_snapshot_bytes, AMOUNT),
            max_idle=(self.max_idle, DURATION),
            max_key_age=(self.max_key_age, DURATION),
            keeps_places=(self.keeps_places, FLAG),
        )


def values_kept(max_values: int) -> int:
    """Return how many values stay when a snapshot with `Retention.keeps_places` has too many.

    A tenth fewer than allowed, so that values are rarely dropped. A reader of all publications that
    drops its first values by the same rule has the values of the snapshot.
    """
    return max(1, max_values * 9 // 10)


DEFAULT_RETENTION = Retention()


@dataclass(frozen=True, slots=True)
class Publication:
    """One numbered message of a channel."""

    channel: str
    # The position after this message.
    position: Position
    payload: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """What the history has of the publications after a position."""

    # ``publications`` are all publications after this position, in order.
    position: Position
    publications: list[Publication]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The values of a channel, exactly as of a position."""

    # ``values`` contains all changes up to this position and none after it.
    position: Position
    # By name, in the order in which they were last set; with `Retention.keeps_places` first set.
    values: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one worker to do something alone, for a limited time."""

    name: str
    # The channel that the lease fences from the moment another worker holds it; see
    # `Broker.publish`. None for no channel.
    channel: str | None
    # The fencing number; every later lease of this name has a higher one.
    number: int


@dataclass(frozen=True, slots=True)
class Member:
    """A member that is present on a channel."""

    id: str
    # Information about the member for others.
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class MemberChange:
    """A member joined or left: the payload of a publication on the channel of `presence_of`."""

    # ``expired``: the member was not renewed, because its worker died or lost the connection.
    # ``changed``: the member had entered before, with other data.
    kind: Literal["joined", "changed", "left", "expired"]
    member: Member

    def pack(self) -> bytes:
        """Encode the change as a payload."""
        return pack_change(self.kind, self.member.id, self.member.data)

    @classmethod
    def unpack(cls, payload: bytes) -> MemberChange:
        """Decode a payload; raises `UnsupportedEnvelope`."""
        try:
            # The msgpack library of Redis's scripts writes bytes as text.
            members = msgpack.unpackb(payload, raw=True)
        except (ValueError, msgpack.UnpackException) as error:
            raise UnsupportedEnvelope("it is not msgpack") from error
        match members:
            case [
                1,
                b"joined" | b"changed" | b"left" | b"expired" as kind,
                bytes(id_),
                bytes(data),
            ]:
                return cls(cast("Any", kind.decode()), Member(id_.decode(), data))
            case [int(version), *_] if version != 1:
                raise UnsupportedEnvelope(f"it has version {version}, and this worker reads 1")
            case _:
                raise UnsupportedEnvelope("it is no change of a member")


def pack_change(kind: str, member_id: str, data: bytes) -> bytes:
    """Encode the payload of a `MemberChange`."""
    return cast("bytes", msgpack.packb([1, kind.encode(), member_id.encode(), data]))


def presence_of(channel: str) -> str:
    """Return the channel on which the broker publishes who joins and leaves ``channel``.

    It is a channel like any other: numbered, refilled after a gap, reset. Its payloads are
    `MemberChange`. Its snapshot has the data of every member by id. Only the broker publishes on
    it.
    """
    return f"who:{channel}"


class State(Enum):
    """Whether a broker is running and connected."""

    NEW = "not started"
    # Publishing may work, but publications of others do not arrive; readiness fails.
    BROKEN = "without a working connection"
    READY = "ready"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a broker, and its counters since it was started."""

    state: State
    # Why the broker is not ready, in one line; empty if it is.
    reason: str = ""
    # Channels that this worker is subscribed to.
    subscribed: int = 0
    # Publications acknowledged, and publications passed to ``deliver``.
    published: int = 0
    delivered: int = 0
    # Attempts at publishing beyond the first.
    retries: int = 0
    # Times that the connection for subscriptions was replaced.
    reconnects: int = 0
    # Times that numbers were missing, and the publications that filled those gaps from history.
    gaps: int = 0
    refilled: int = 0
    # Calls of ``reset``.
    resets: int = 0
    # Messages of another version or of another program.
    unreadable: int = 0
    # Seconds from publishing the last probe to receiving it; None before the first.
    lag: float | None = None

    @property
    def ready(self) -> bool:
        """Whether publications of others arrive."""
        return self.state is State.READY


@dataclass(slots=True)
class Counters:
    """The counters of a running broker, from which a `Status` is made."""

    published: int = 0
    delivered: int = 0
    retries: int = 0
    reconnects: int = 0
    gaps: int = 0
    refilled: int = 0
    resets: int = 0
    unreadable: int = 0
    lag: float | None = field(default=None)


Deliver = Callable[[Publication], None]
Reset = Callable[[str, Position], None]


class Broker(Protocol):
    """Numbers publications, keeps a history and a snapshot, and delivers to every worker.

    One broker belongs to one worker. All methods are called on the event loop on which it was
    started. The store is the memory of the process, or Redis. Methods that need the store raise
    `BrokerUnavailable` if it does not answer in time, `BrokerRefused` if it answers with an error,
    `InvalidChannel` for a name that no channel can have, and `BrokerClosed` before `start` and
    after `close`.

    **Numbers.** The publications of a channel are numbered 1, 2, 3 … without gaps, in the one order
    in which they happened. The numbering has an epoch, which changes whenever it begins anew.

    **Delivery.** ``deliver`` gets every publication of a subscribed channel after the position that
    `subscribe` returned: in the order of numbers, without gaps and without repeats. This includes
    the worker's own publications, which may arrive before `publish` has returned. After a loss of
    the connection the broker delivers the missing publications from history. The history may not
    reach back far enough, or the numbering may have begun anew, because the store was emptied,
    evicted the channel or was restored from an older copy. Then the broker calls
    ``reset(channel, position)`` and delivers what comes after that position. A `snapshot` taken
    then has the present values; the publications in between are lost. A loss is never silent.

    ``deliver`` and ``reset`` are called on the event loop. They return at once and do not raise; if
    one does, the error is logged and delivery continues.
    """

    @property
    def status(self) -> Status:
        """The present state; cheap, does not need the store, never raises."""
        ...

    async def start(self, deliver: Deliver, reset: Reset) -> None:
        """Start; called before anything else, and again only after `close`, on any event loop.

        Returns without waiting for the store. The broker keeps trying to reach a store that does
        not answer, and `status` shows that.
        """
        ...

    async def close(self) -> None:
        """Stop delivery, remove the members entered here and release leases; idempotent."""
        ...

    async def ready(self) -> None:
        """Wait until publications of others arrive; raises `BrokerClosed` once it is closed.

        It waits without a limit: bound it with ``asyncio.timeout``.
        """
        ...

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
        """Number a message, store it and deliver it to every worker; returns its position.

        ``changes`` are set in the channel's snapshot in the same atomic step; None removes a value.

        ``key`` makes it safe to publish again: as long as the key is remembered, a second call
        returns the first position and does nothing else.

        With ``fence`` the message is refused (`Fenced`) when the lease is no longer the newest: on
        the lease's own channel as soon as another worker has taken the lease, on other channels as
        soon as a newer holder has published there.

        With ``after`` the message is refused (`Overtaken`) unless it comes directly after that
        position.

        Raises unless the message is published. Failed attempts are repeated within the broker's
        time limit and never publish twice. After `BrokerUnavailable` the message may or may not be
        published; after any other error it is not. Also raises `PayloadTooLarge`.
        """
        ...

    async def subscribe(self, channel: str) -> Position:
        """Deliver the publications of a channel that come after the returned position.

        Idempotent: a second call returns the position that delivery has reached. After an error the
        channel is not subscribed.
        """
        ...

    async def unsubscribe(self, channel: str) -> None:
        """Stop delivering a channel before this returns; idempotent, never raises."""
        ...

    async def since(self, channel: str, position: Position) -> list[Publication] | None:
        """Return all publications after ``position``, in order; None if they are not all known.

        None means another epoch, a number that was never assigned, or publications that the history
        no longer has. The result is never incomplete.
        """
        ...

    async def kept(self, channel: str, position: Position) -> Kept:
        """Return the publications after ``position`` that the history still has.

        With a position of another epoch, or one that was never assigned, these are all that the
        history has.
        """
        ...

    async def snapshot(self, channel: str) -> Snapshot:
        """Return the values of a channel as of one position.

        The snapshot together with the publications after its position misses nothing.
        """
        ...

    async def value(self, channel: str, name: str) -> bytes | None:
        """Return one value of a channel's snapshot, None if there is none.

        Other methods create a channel that does not exist; this one does not.
        """
        ...

    async def position(self, channel: str) -> Position:
        """Return the position of the newest publication."""
        ...

    async def channels(self) -> list[str]:
        """Return the names of all channels in the store, sorted.

        It scans the whole store: call it for inspection, do not poll it.
        """
        ...

    async def enter(self, channel: str, member: Member, ttl: float = 30.0) -> None:
        """Make a member present on a channel until `leave` or `close`; idempotent by its id.

        The broker renews the member, and enters it again in a store that has lost it. If this
        process dies, the member expires ``ttl`` seconds later. The change is published on the
        channel of `presence_of`.
        """
        ...

    async def leave(self, channel: str, member_id: str) -> None:
        """Make a member absent; idempotent.

        If the store cannot be reached, this raises, and the member expires.
        """
        ...

    async def members(self, channel: str) -> list[Member]:
        """Return the members of a channel on all workers, sorted by id."""
        ...

    async def lease(self, name: str, ttl: float, *, channel: str | None = None) -> Lease | None:
        """Take the lease of this name for ``ttl`` seconds; None if another worker holds it.

        Every lease of a name has a higher number than those before it, even if the store has lost
        its data meanwhile. Leases of one name on different channels are different leases. A lease
        is not renewed by itself: call `renew` well before it ends.
        """
        ...

    async def renew(self, lease: Lease, ttl: float) -> bool:
        """Extend a lease to ``ttl`` seconds from now; False if it has ended or was taken."""
        ...

    async def release(self, lease: Lease) -> None:
        """End a lease, so that the next holder need not wait; idempotent."""
        ...


@runtime_checkable
class Watchable(Protocol):
    """A `Broker` that answers `flash top --redis`."""

    # Returns how this worker is, as `flash_ws.Live.sample` does; set before `Broker.start`.
    sample: Callable[[], Awaitable[bytes]] | None


def check_channel(channel: str) -> None:
    """Raise `InvalidChannel` unless a channel can have this name."""
    if not channel:
        raise InvalidChannel(channel, "it is empty")
    try:
        size = len(channel.encode())
    except UnicodeEncodeError as error:
        raise InvalidChannel(
            channel, "it has a lone surrogate, which UTF-8 cannot write"
        ) from error
    if size > MAX_CHANNEL_BYTES:
        raise InvalidChannel(channel, f"{size} bytes are more than {MAX_CHANNEL_BYTES}")
    if any(ord(character) < 32 for character in channel):
        raise InvalidChannel(channel, "it has a control character")
