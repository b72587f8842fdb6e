"""The data of a broker in Redis: each operation is one call of one script.

It does not subscribe to anything; `flash_pubsub.publisher` needs only this module.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgpack
from redis.exceptions import RedisError

from flash.redis.address import Address, Kind, Node
from flash.redis.client import RedisClient
from flash.redis.errors import RedisClosed, RedisRefused, RedisUnavailable, reason_of
from flash.redis.scripts import Script
from flash.top.exchange import KEPT_FOR, samples_of
from flash_pubsub.broker.redis.keys import ChannelKeys, Keys, slot_of
from flash_pubsub.broker.redis.sequence import ChannelHead, Entry
from flash_pubsub.broker.seam import (
    DEFAULT_RETENTION,
    NO_CHANGES,
    Kept,
    Lease,
    Member,
    Publication,
    Retention,
    Snapshot,
    check_channel,
    presence_of,
)
from flash_pubsub.errors import (
    BrokerClosed,
    BrokerRefused,
    BrokerUnavailable,
    Fenced,
    Overtaken,
    PayloadTooLarge,
    UnsupportedEnvelope,
)
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from redis.asyncio.connection import AbstractConnection

    from flash.redis.connection import Argument
    from flash.redis.topology import Topology

_logger = logging.getLogger(__name__)

_SCRIPT = Script(Path(__file__).with_name("script.lua").read_bytes())

# KEYS the samples for one watcher; ARGV a sample, ms to keep them, how many there may be.
_ANSWER_WATCHER = Script("""
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
""")
# Samples that wait for one watcher; more workers than that are not shown.
_MAX_SAMPLES = 10_000

# The retention of presence: no member who is present is dropped, however many changes there were.
_PRESENCE = Retention(max_values=100_000, max_snapshot_bytes=64 << 20)

# Ids in one call about presence, so that no call blocks Redis for long.
_IDS_AT_ONCE = 500

# Channels whose key names are cached.
_KNOWN_CHANNELS = 4096

# The idempotency key of a publication without one is kept for this many times the time limit: an
# attempt that Redis executes late is then recognised as the same publication.
_OWN_KEY_AGE = 3


@dataclass(frozen=True, slots=True)
class Recovery:
    """The head of a channel and the entries that a worker missed; None if they are unknown."""

    head: ChannelHead
    entries: list[Entry] | None


class Store:
    """Reads and writes the data of a broker, for one event loop.

    Raises as `flash_pubsub.broker.seam.Broker` does.
    """

    def __init__(self, address: Address, *, max_payload_bytes: int = 1 << 20) -> None:
        self.address = address
        self.keys = Keys(address.prefix)
        # Seconds for one call, with all its attempts.
        self.timeout = address.timeout
        # Whether a message reaches only subscribers on the server of its channel.
        self.sharded = address.kind is Kind.CLUSTER
        self.published = 0
        self._client = RedisClient(address, attempt_timeout=address.connect_timeout)
        self._min_replicas = address.min_replicas
        self._max_payload_bytes = max_payload_bytes
        self._publish_command = b"SPUBLISH" if self.sharded else b"PUBLISH"
        self._closed = False
        self._names = lru_cache(_KNOWN_CHANNELS)(self._checked_names)
        self._bounds = lru_cache(64)(_pack_bounds)

    @property
    def topology(self) -> Topology:
        """The servers of this Redis."""
        return self._client.pool.topology

    @property
    def retries(self) -> int:
        """Attempts that have failed."""
        return self._client.retries

    async def connect(self, node: Node) -> AbstractConnection:
        """Open a connection of its own, for subscriptions; raises what redis-py raises."""
        return await self._client.pool.connector.connect(node)

    async def close(self) -> None:
        """Stop using the connections; calls in progress fail."""
        self._closed = True
        await self._client.close()

    def names(self, channel: str) -> ChannelKeys:
        """Return a channel's keys; raises `InvalidChannel`."""
        return self._names(channel)

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
        """See `flash_pubsub.broker.seam.Broker.publish`."""
        if len(payload) > self._max_payload_bytes:
            raise PayloadTooLarge(channel, len(payload), self._max_payload_bytes)
        names = self._names(channel)
        id_ = secrets.token_bytes(9)
        if key is None:
            keys = [*names.all, names.topic + b":k:" + id_]
            key_age = int(self.timeout * _OWN_KEY_AGE * 1000)
        else:
            keys = [*names.all, names.idempotency("u:" + key)]
            key_age = _ms(retention.max_key_age)
        arguments: list[Argument] = [id_, key_age, self._bounds(retention)]
        if fence is None:
            arguments += (b"", b"")
        else:
            arguments += (_guard(fence), fence.number)
            if fence.channel == channel:
                keys.append(names.lease(fence.name))
        arguments += (payload, 0)
        if changes:
            kept = {name: value for name, value in changes.items() if value is not None}
            arguments[-1] = len(kept)
            for name, value in kept.items():
                arguments += (name, value)
            arguments += [name for name, value in changes.items() if value is None]
        operation = "publish"
        if after is not None:
            operation = "publish after"
            arguments.append(f"{after.epoch} {after.number}")
        try:
            reply = await self._run(
                operation, channel, names.slot, keys, arguments, replicas=self._min_replicas
            )
        except BrokerRefused as error:
            if fence is not None and error.reason.endswith("FENCED"):
                raise Fenced(fence.name, fence.number) from None
            if after is not None and error.reason.endswith("OVERTAKEN"):
                raise Overtaken(channel, after.number) from None
            raise
        self.published += 1
        epoch, _, number = reply.partition(b" ")
        return Position(epoch.decode(), int(number))

    async def touch(self, channel: str) -> ChannelHead:
        """Return the head of a channel, and postpone its expiry."""
        return ChannelHead.read(await self._on_channel("touch", channel))

    async def position(self, channel: str) -> Position:
        """Return the position of the newest publication."""
        return (await self.touch(channel)).position

    async def since(self, channel: str, position: Position) -> list[Publication] | None:
        """Return all publications after a position; None if some may be missing."""
        reply = await self._on_channel("since", channel, position.epoch, position.number)
        entries = _entries(reply[1])
        if entries is None:
            return None
        return [_publication(channel, entry) for entry in entries]

    async def kept(self, channel: str, position: Position) -> Kept:
        """Return the publications after a position that the history has."""
        head, found = await self._on_channel("kept", channel, position.epoch, position.number)
        here = ChannelHead.read(head).position
        kept: list[Publication] = []
        for entry in reversed(_entries(found) or []):
            # An entry that is not the one before those read so far ends what is complete.
            if Position(entry.epoch, entry.number) != Position(here.epoch, here.number - len(kept)):
                break
            kept.append(_publication(channel, entry))
        kept.reverse()
        return Kept(Position(here.epoch, here.number - len(kept)), kept)

    async def resume(self, channel: str, epoch: str, number: int, id_: bytes) -> Recovery:
        """Return what a worker missed since the publication that it delivered last.

        If the store never had that one, the channel begins a new epoch, and every worker is told.
        """
        head, entries = await self._on_channel("resume", channel, epoch, number, id_)
        return Recovery(ChannelHead.read(head), _entries(entries))

    async def snapshot(self, channel: str) -> Snapshot:
        """Return a channel's state at one position."""
        return _snapshot(await self._on_channel("snapshot", channel))

    async def value(self, channel: str, name: str) -> bytes | None:
        """Return one value of a channel's state, without creating the channel."""
        stored: bytes | None = await self._on_channel("value", channel, name)
        return None if stored is None else stored.partition(b":")[2]

    async def channels(self) -> list[str]:
        """Return the names of all channels except those of presence, sorted."""
        found: set[str] = set()
        for node in await self._owners():
            cursor = 0
            while True:
                command = ["SCAN", cursor, "MATCH", self.keys.pattern, "COUNT", 1000]
                scan = self._client.call(command, node=node)
                cursor, keys = await self._answer("list channels of", str(node), scan)
                found.update(self.keys.channel_name(key) for key in keys)
                cursor = int(cursor)
                if not cursor:
                    break
        return sorted(name for name in found if not name.startswith(presence_of("")))

    async def enter(self, channel: str, member: Member, ttl: float) -> None:
        """Make a member present for ``ttl`` seconds."""
        await self._on_presence("enter", channel, _ms(ttl), member.id, member.data)

    async def keep(self, channel: str, member_ids: Sequence[str], ttl: float) -> list[str]:
        """Renew members, and remove expired ones; returns those of ``member_ids`` that are gone."""
        gone: list[str] = []
        for start in range(0, max(1, len(member_ids)), _IDS_AT_ONCE):
            ids = member_ids[start : start + _IDS_AT_ONCE]
            gone += [
                id_.decode() for id_ in await self._on_presence("keep", channel, _ms(ttl), *ids)
            ]
        return gone

    async def leave(self, channel: str, member_ids: Sequence[str]) -> None:
        """Make members absent."""
        for start in range(0, len(member_ids), _IDS_AT_ONCE):
            await self._on_presence("leave", channel, *member_ids[start : start + _IDS_AT_ONCE])

    async def members(self, channel: str) -> list[Member]:
        """Return who is present, sorted by id."""
        values = _snapshot(await self._on_presence("members", channel)).values
        return [Member(id_, data) for id_, data in sorted(values.items())]

    async def lease(self, name: str, ttl: float, channel: str | None) -> Lease | None:
        """Take a lease; None if another holder has it."""
        key = self._lease_key(name, channel)
        number = await self._run(
            "lease", name, slot_of(key), [key], [_ms(ttl), secrets.token_bytes(9)]
        )
        return None if number is None else Lease(name, channel, int(number))

    async def renew(self, lease: Lease, ttl: float) -> bool:
        """Renew a lease; false if it has ended."""
        key = self._lease_key(lease.name, lease.channel)
        return bool(
            await self._run("renew", lease.name, slot_of(key), [key], [_ms(ttl), lease.number])
        )

    async def release(self, lease: Lease) -> None:
        """End a lease now."""
        key = self._lease_key(lease.name, lease.channel)
        await self._run("release", lease.name, slot_of(key), [key], [lease.number])

    async def probe(self, topic: bytes, said: bytes) -> None:
        """Publish ``said`` on a pub/sub channel, as a publication is."""
        await self._run("probe", "the worker itself", slot_of(topic), [topic], [said])

    async def answer_watcher(self, watcher: bytes, sample: bytes) -> None:
        """Give a sample of this worker to one `flash top --redis`."""
        key = samples_of(self.address.prefix, watcher)
        run = self._client.run(_ANSWER_WATCHER, [key], sample, KEPT_FOR * 1000, _MAX_SAMPLES)
        await self._answer("answer", "flash top", run)

    async def _on_channel(self, operation: str, channel: str, *arguments: Argument) -> Any:
        names = self._names(channel)
        return await self._run(operation, channel, names.slot, names.all, arguments)

    async def _on_presence(self, operation: str, channel: str, *arguments: Argument) -> Any:
        self._names(channel)
        names = self._names(presence_of(channel))
        keys = (*names.all, names.deadlines)
        bounds = self._bounds(_PRESENCE)
        return await self._run(operation, channel, names.slot, keys, [bounds, *arguments])

    async def _run(
        self,
        operation: str,
        subject: str,
        slot: int,
        keys: Sequence[bytes],
        arguments: Sequence[Argument],
        replicas: int = 0,
    ) -> Any:
        """Run one operation of the script; with ``replicas``, until so many have executed it."""
        # The same for all attempts, so that they have the same effect.
        new_epoch = secrets.token_urlsafe(9)
        fixed: list[Argument] = [operation, self._publish_command, new_epoch]
        command = _SCRIPT.call(keys, [*fixed, *arguments])
        run = self._client.run_call(_SCRIPT, command, keys, slot=slot, replicas=replicas)
        return await self._answer(operation, subject, run)

    async def _answer(
        self, operation: str, subject: str, command: Coroutine[None, None, Any]
    ) -> Any:
        """Return the answer to a command; its errors become those of a broker."""
        if self._closed:
            command.close()
            raise BrokerClosed
        try:
            return await command
        except RedisUnavailable as error:
            raise BrokerUnavailable(f"{operation} {subject!r}", str(error)) from error
        except RedisRefused as error:
            raise BrokerRefused(f"{operation} {subject!r}", str(error)) from error
        except RedisClosed as error:
            raise BrokerClosed from error

    async def _owners(self) -> list[Node]:
        try:
            async with asyncio.timeout(self.timeout):
                return await self.topology.owners()
        except (RedisError, OSError) as error:
            limit = f"within {self.timeout:g} s"
            reason = str(RedisUnavailable(self.address, limit, reason_of(error)))
            raise BrokerUnavailable("list servers", reason) from error

    def _checked_names(self, channel: str) -> ChannelKeys:
        check_channel(channel)
        return self.keys.channel(channel)

    def _lease_key(self, name: str, channel: str | None) -> bytes:
        return self.keys.lease(name) if channel is None else self._names(channel).lease(name)


def _publication(channel: str, entry: Entry) -> Publication:
    return Publication(channel, Position(entry.epoch, entry.number), entry.payload or b"")


def _entries(reply: Any) -> list[Entry] | None:
    """Read entries; None if the script returned none, or one is unreadable."""
    try:
        return None if reply is None else [Entry.read(data) for data in reply]
    except UnsupportedEnvelope as error:
        _logger.warning("the history of a channel is not used: %s", error)
        return None


def _snapshot(reply: Any) -> Snapshot:
    head, flat = reply
    found: list[tuple[tuple[int, int], str, bytes]] = []
    for name, stored in zip(flat[::2], flat[1::2], strict=True):
        order, _, value = stored.partition(b":")
        number, _, index = order.partition(b".")
        try:
            found.append(((int(number), int(index)), name.decode(), value))
        except ValueError:
            _logger.warning("a value of a channel's state is not used: no broker has written it")
    found.sort(key=lambda entry: entry[0])
    return Snapshot(ChannelHead.read(head).position, {name: value for _, name, value in found})


def _pack_bounds(retention: Retention) -> bytes:
    bounds = [
        retention.max_messages,
        retention.max_bytes,
        _ms(retention.max_age),
        _ms(retention.max_idle),
        retention.max_values,
        retention.max_snapshot_bytes,
        retention.keeps_places,
    ]
    return cast("bytes", msgpack.packb(bounds))


def _guard(lease: Lease) -> str:
    """Return the name under which a channel keeps the highest fencing number of a lease."""
    return lease.name if lease.channel is None else f"{lease.channel}\n{lease.name}"


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
