"""The broker: what carries messages from whoever publishes to every worker that listens.

`Broker` is the seam. `flash_pubsub.broker.memory.MemoryBroker` serves one process,
`flash_pubsub.broker.redis.RedisBroker` any number of them on any number of machines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, Literal, Protocol, cast

import msgpack

from flash_pubsub.errors import InvalidChannel, UnsupportedEnvelope
from flash_ws.protocol.position import Position

# The longest name that a channel can have, in bytes of UTF-8.
MAX_CHANNEL_BYTES = 400

NO_CHANGES: Mapping[str, bytes | None] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Retention:
    """What a channel remembers; the oldest is forgotten first.

    It comes with every publication, so the newest publication decides.
    """

    # History: publications kept for those who were away. 0 keeps none.
    max_messages: int = 1000
    # A broker may count some 60 bytes more for each.
    max_bytes: int = 1 << 20
    # Seconds. What is older may be forgotten; it is, once nothing was published for that long.
    max_age: float = 120.0
    # Snapshot: fields, and the bytes of their names and values. Beyond it those set longest ago go.
    max_values: int = 10_000
    max_snapshot_bytes: int = 8 << 20
    # Seconds for which the numbering and the snapshot outlive the last publication or subscriber.
    # Afterwards the channel begins a new epoch, empty.
    max_idle: float = 7 * 86_400.0
    # Seconds for which the ``key`` of a publication is remembered.
    max_key_age: float = 300.0


DEFAULT_RETENTION = Retention()


@dataclass(frozen=True, slots=True)
class Publication:
    """One message of a channel, numbered."""

    channel: str
    # Its own: somebody who has applied it stands here.
    position: Position
    payload: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A channel's state, exactly as of a position."""

    # What is published after it has not touched ``values`` yet; everything up to it has.
    position: Position
    # In the order in which they were last set.
    values: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to be the only one, for a while."""

    name: str
    # The channel that it guards most strictly; None for none.
    channel: str | None
    # The fencing number: every later holder has a higher one.
    number: int


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody present on a channel."""

    id: str
    # Whatever others are to know of them.
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class MemberChange:
    """Somebody came or went: the payload of a publication on the channel `presence_of` names."""

    # ``expired``: nobody kept the member alive any more, for its worker has died or lost the store.
    # ``changed``: the member had entered before, with other data.
    kind: Literal["joined", "changed", "left", "expired"]
    member: Member

    def pack(self) -> bytes:
        """Return the payload."""
        return pack_change(self.kind, self.member.id, self.member.data)

    @classmethod
    def unpack(cls, payload: bytes) -> MemberChange:
        """Read a payload; raises `UnsupportedEnvelope`."""
        try:
            # Redis's own msgpack, in scripts, writes bytes as text.
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
                raise UnsupportedEnvelope("it says of nobody that they came or went")


def pack_change(kind: str, member_id: str, data: bytes) -> bytes:
    """Return the payload that tells of a member's coming or going."""
    return cast("bytes", msgpack.packb([1, kind.encode(), member_id.encode(), data]))


def presence_of(channel: str) -> str:
    """Return the channel that tells who comes to ``channel`` and who goes.

    It is a channel like any other: numbered, refilled after a gap, reset. Its payloads are
    `MemberChange`, its snapshot has every member's data by id. Nobody else publishes on it.
    """
    return f"who:{channel}"


class State(Enum):
    """How a broker stands."""

    NEW = "not started"
    # Publishing may work, but what others publish does not arrive: readiness is red.
    BROKEN = "without a working connection"
    READY = "ready"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Status:
    """How a broker stands, and what it has done since it started."""

    state: State
    # Why it is not ready, in one line; empty if it is.
    reason: str = ""
    # Channels that this worker listens to.
    subscribed: int = 0
    # Publications acknowledged, and publications handed to ``deliver``.
    published: int = 0
    delivered: int = 0
    # Attempts beyond the first at publishing.
    retries: int = 0
    # Times that the connection others' messages come by was replaced.
    reconnects: int = 0
    # Times that numbers were missing, and the publications that filled those gaps from history.
    gaps: int = 0
    refilled: int = 0
    # Times that ``reset`` was called.
    resets: int = 0
    # Messages that nobody could read: another version, or something else's.
    unreadable: int = 0
    # Seconds that the last probe took through the store and back; None before the first.
    lag: float | None = None

    @property
    def ready(self) -> bool:
        """Whether what others publish arrives."""
        return self.state is State.READY


@dataclass(slots=True)
class Counters:
    """The counters of a `Status`, while they count."""

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
    """Numbers publications, remembers the last ones and the state, and tells every worker.

    One broker belongs to one worker: all of it is used on the event loop on which it was started.
    Whatever needs the store raises `BrokerUnavailable` if the store does not answer in time,
    `BrokerRefused` if it answers with an error, `InvalidChannel` for a name no channel can have,
    and `BrokerClosed` before `start` and after `close`.

    **Numbers.** Within a channel publications are numbered 1, 2, 3 … without gaps, in the one order
    in which they happened. The numbering has an epoch, which changes whenever it begins anew.

    **Delivery.** ``deliver`` gets every publication of a subscribed channel that comes after the
    position which `subscribe` returned: in the order of numbers, without gaps, without repeats,
    this worker's own included, which may arrive before `publish` has returned. After any trouble
    with the connection the broker fills what is missing from history. If history does not reach
    back, or the numbering has begun anew (the store was emptied, evicted or restored from an older
    copy), it calls ``reset(channel, position)`` instead, and delivery goes on after that position:
    a `snapshot` taken then holds the state, what lay between is gone. Never silence.

    ``deliver`` and ``reset`` are called on the loop, must return at once and not raise; if one
    does, that is logged and delivery goes on.
    """

    @property
    def status(self) -> Status:
        """How it stands; cheap, needs no store, never raises."""
        ...

    async def start(self, deliver: Deliver, reset: Reset) -> None:
        """Begin; called before anything else, and again only after `close`, on any event loop.

        Returns without waiting for the store: one that is away is waited for, and `status` says so.
        """
        ...

    async def close(self) -> None:
        """End: members entered here leave, leases go, nothing is delivered any more; idempotent."""
        ...

    async def ready(self) -> None:
        """Wait until what others publish arrives; raises `BrokerClosed` if that can never be.

        It waits for as long as that takes: bound it with ``asyncio.timeout``.
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
        """Number a message, remember it and tell everybody, in one step; returns its position.

        ``changes`` are set in the channel's snapshot in the same step, or removed where None.
        ``key`` makes repeats safe: as long as it is remembered, publishing with it again returns
        the first position and does nothing else. With ``fence`` the message is refused (`Fenced`)
        when the lease is no longer the newest: on the lease's own channel from the moment somebody
        else has it, on other channels from the moment that somebody has published there. With
        ``after`` it is refused (`Overtaken`) unless it comes right after that position.

        Raises unless it is done. Attempts that fail on the way are repeated within the broker's
        time limit, safely. After `BrokerUnavailable` it may or may not have happened; after any
        other error it has not. Also raises `PayloadTooLarge`.
        """
        ...

    async def subscribe(self, channel: str) -> Position:
        """Deliver this channel's publications from now on; what comes after the result is.

        Idempotent: a second call returns how far delivery has come. After an error the channel is
        not subscribed.
        """
        ...

    async def unsubscribe(self, channel: str) -> None:
        """Deliver no more of it once this returns; idempotent, and raises nothing."""
        ...

    async def since(self, channel: str, position: Position) -> list[Publication] | None:
        """Return everything after ``position``, in order; None if that cannot be known.

        None means another epoch, a number never given out, or publications already forgotten.
        Never a part of what was missed.
        """
        ...

    async def snapshot(self, channel: str) -> Snapshot:
        """Return the state as of one position: take it, follow from there, and there is no seam."""
        ...

    async def value(self, channel: str, name: str) -> bytes | None:
        """Return one value of the state, None if there is none.

        Unlike the rest it begins no channel: looking for what was never set leaves nothing behind.
        """
        ...

    async def position(self, channel: str) -> Position:
        """Return the position of somebody who has seen everything."""
        ...

    async def channels(self) -> list[str]:
        """Return the names of all channels that the store remembers, sorted.

        It goes through the whole store: for people to look at, not for programs to poll.
        """
        ...

    async def enter(self, channel: str, member: Member, ttl: float = 30.0) -> None:
        """Make somebody present on a channel until `leave` or `close`; idempotent by their id.

        The broker keeps them alive, and enters them again in a store that lost them. Should this
        process die, they expire ``ttl`` seconds later. `presence_of` tells everybody.
        """
        ...

    async def leave(self, channel: str, member_id: str) -> None:
        """Make somebody absent; idempotent.

        If the store cannot be told, this raises, and they expire.
        """
        ...

    async def members(self, channel: str) -> list[Member]:
        """Return who is present on a channel, through any worker, sorted by id."""
        ...

    async def lease(self, name: str, ttl: float, *, channel: str | None = None) -> Lease | None:
        """Take the lease of this name for ``ttl`` seconds; None if somebody has it.

        Every lease of a name has a higher number than those before it, whatever happened to the
        store meanwhile. Leases of one name on different channels are different leases. It is not
        kept alive: `renew` it well before it ends.
        """
        ...

    async def renew(self, lease: Lease, ttl: float) -> bool:
        """Hold a lease for ``ttl`` seconds from now; False if it has ended or is another's."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give a lease back, so that the next holder need not wait; idempotent."""
        ...


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
