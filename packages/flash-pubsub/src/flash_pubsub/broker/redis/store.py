"""What a broker keeps in Redis: each operation one script, repeated until it is done or too late.

Knows nothing of listening; `flash_pubsub.publisher` needs no more than this.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgpack
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from flash.redis.address import Address, Node
from flash.redis.backoff import Backoff
from flash.redis.connection import Argument, Dialer, Line
from flash.redis.topology import topology_of
from flash_pubsub.broker.redis.keys import ChannelKeys, Keys, slot_of
from flash_pubsub.broker.redis.sequence import Entry, Stand
from flash_pubsub.broker.seam import (
    DEFAULT_RETENTION,
    NO_CHANGES,
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
    from collections.abc import Mapping, Sequence

_logger = logging.getLogger(__name__)

_SCRIPT = Path(__file__).with_name("script.lua").read_bytes()
_DIGEST = hashlib.sha1(_SCRIPT, usedforsecurity=False).hexdigest().encode()

# What presence remembers: nobody who is present is forgotten, however many changes there were.
_PRESENCE = Retention(max_values=100_000, max_snapshot_bytes=64 << 20)

# Ids in one step of presence, so that no step is long.
_IDS_AT_ONCE = 500

# How many channels' names are kept ready.
_KNOWN_CHANNELS = 4096

# The key of an attempt that was given none is remembered for this many times the time limit: no
# attempt, however late Redis comes to it, is then taken for a new one.
_OWN_KEY_AGE = 3

# Answers that another attempt may change.
_PASSING = (ClusterDownError, MasterDownError, ReadOnlyError, TryAgainError)
# Answers of a server that lets nobody in; redis-py counts some of these as connection errors.
_BARRED = (AuthenticationError, AuthorizationError)


@dataclass(frozen=True, slots=True)
class Catch:
    """Where a channel stands, and what somebody missed; ``entries`` is None if that is unknown."""

    stand: Stand
    entries: list[Entry] | None


class Store:
    """The Redis side of a broker, for one event loop.

    Raises as `flash_pubsub.broker.seam.Broker` does.
    """

    def __init__(self, address: Address, *, max_payload_bytes: int = 1 << 20) -> None:
        self.keys = Keys(address.prefix)
        # Seconds for one call, with all its attempts.
        self.timeout = address.timeout
        self.dialer = Dialer(address)
        self.topology = topology_of(address, self.dialer)
        self.published = 0
        self.retries = 0
        self._attempt_timeout = address.connect_timeout
        self._min_replicas = address.min_replicas
        self._max_payload_bytes = max_payload_bytes
        self._tell = b"SPUBLISH" if self.topology.sharded else b"PUBLISH"
        # By server, and whether for those who wait for replicas.
        self._lines: dict[tuple[Node, bool], asyncio.Task[Line]] = {}
        self._closed = False
        self._names = lru_cache(_KNOWN_CHANNELS)(self._checked_names)
        self._bounds = lru_cache(64)(_pack_bounds)

    async def close(self) -> None:
        """Close all connections; whoever waits for an answer gets an error."""
        self._closed = True
        lines, self._lines = list(self._lines.values()), {}
        for opening in lines:
            opening.cancel()
        await asyncio.gather(*(self._end(opening) for opening in lines))

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
            keys = [*names.all, names.wire + b":k:" + id_]
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

    async def touch(self, channel: str) -> Stand:
        """Return where a channel stands, and keep it from being forgotten."""
        return Stand.read(await self._on_channel("touch", channel))

    async def since(self, channel: str, position: Position) -> list[Publication] | None:
        """Return everything after a position; None if that cannot be known."""
        reply = await self._on_channel("since", channel, position.epoch, position.number)
        entries = _entries(reply[1])
        if entries is None:
            return None
        return [
            Publication(channel, Position(entry.epoch, entry.number), entry.payload or b"")
            for entry in entries
        ]

    async def resume(self, channel: str, epoch: str, number: int, id_: bytes) -> Catch:
        """Return what a worker missed that has delivered this publication last.

        Should the store never have had that one, everybody is told that the numbering begins anew.
        """
        stand, entries = await self._on_channel("resume", channel, epoch, number, id_)
        return Catch(Stand.read(stand), _entries(entries))

    async def snapshot(self, channel: str) -> Snapshot:
        """Return a channel's state as of one position."""
        return _snapshot(await self._on_channel("snapshot", channel))

    async def value(self, channel: str, name: str) -> bytes | None:
        """Return one value of a channel's state, without beginning the channel."""
        stored: bytes | None = await self._on_channel("value", channel, name)
        return None if stored is None else stored.partition(b":")[2]

    async def channels(self) -> list[str]:
        """Return the names of all channels but those that tell of presence, sorted."""
        found: set[str] = set()
        for node in await self._owners():
            cursor = 0
            while True:
                command = ["SCAN", cursor, "MATCH", self.keys.pattern, "COUNT", 1000]
                cursor, keys = await self._ask("listing channels", node, command)
                found.update(self.keys.channel_name(key) for key in keys)
                cursor = int(cursor)
                if not cursor:
                    break
        return sorted(name for name in found if not name.startswith(presence_of("")))

    async def enter(self, channel: str, member: Member, ttl: float) -> None:
        """Make somebody present for so many seconds."""
        await self._on_presence("enter", channel, _ms(ttl), member.id, member.data)

    async def keep(self, channel: str, member_ids: Sequence[str], ttl: float) -> list[str]:
        """Keep members alive, and let others expire; returns those who are not there any more."""
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
        """Take a lease, unless somebody has it."""
        key = self._lease_key(name, channel)
        number = await self._run(
            "lease", name, slot_of(key), [key], [_ms(ttl), secrets.token_bytes(9)]
        )
        return None if number is None else Lease(name, channel, int(number))

    async def renew(self, lease: Lease, ttl: float) -> bool:
        """Prolong a lease, unless it has ended."""
        key = self._lease_key(lease.name, lease.channel)
        return bool(
            await self._run("renew", lease.name, slot_of(key), [key], [_ms(ttl), lease.number])
        )

    async def release(self, lease: Lease) -> None:
        """End a lease now."""
        key = self._lease_key(lease.name, lease.channel)
        await self._run("release", lease.name, slot_of(key), [key], [lease.number])

    async def probe(self, wire: bytes, said: bytes) -> None:
        """Say something on a pub/sub channel, the way publications go."""
        await self._run("probe", "the worker itself", slot_of(wire), [wire], [said])

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
        """Run one operation of the script, again and again until there is an answer.

        With ``replicas``, until so many of them have what it did.
        """
        # The same epoch for all attempts, and so the same answer.
        fixed: list[Argument] = [operation, self._tell, secrets.token_urlsafe(9)]
        command = ["EVALSHA", _DIGEST, len(keys), *keys, *fixed, *arguments]
        return await self._repeat(f"{operation} {subject!r}", slot, command, replicas=replicas)

    async def _ask(self, doing: str, node: Node, command: list[Any]) -> Any:
        """Have one server do something."""
        return await self._repeat(doing, None, command, node)

    async def _owners(self) -> list[Node]:
        try:
            async with asyncio.timeout(self.timeout):
                return await self.topology.owners()
        except (RedisError, OSError) as error:
            raise BrokerUnavailable("listing servers", reason_of(error)) from error

    async def _repeat(
        self,
        doing: str,
        slot: int | None,
        command: list[Any],
        node: Node | None = None,
        *,
        replicas: int = 0,
    ) -> Any:
        if self._closed:
            raise BrokerClosed
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.timeout
        backoff: Backoff | None = None
        asked: Node | None = None
        failure: Exception | None = None
        while True:
            line = None
            try:
                async with asyncio.timeout_at(min(deadline, loop.time() + self._attempt_timeout)):
                    target = asked or node or await self.topology.owner(slot or 0)
                    line = await self._line(target, patient=replicas > 0)
                    reply = await line.call(command, asking=asked is not None)
                    if replicas:
                        await self._replicated(line, replicas)
                    return reply
            except NoScriptError:
                command = ["EVAL", _SCRIPT, *command[2:]]
                continue
            except MovedError as error:
                self.topology.learn(error.slot_id, Node(error.host, int(error.port)))
                asked = None
                failure = error
            except AskError as error:
                asked = Node(error.host, int(error.port))
                failure = error
                if loop.time() < deadline:
                    continue
            except _BARRED as error:
                raise BrokerRefused(doing, reason_of(error)) from error
            except (*_PASSING, BusyLoadingError) as error:
                self.topology.forget()
                asked, failure = None, error
            except ResponseError as error:
                raise BrokerRefused(doing, reason_of(error)) from error
            except (RedisError, OSError) as error:
                if self._closed:
                    raise BrokerClosed from error
                self.topology.forget()
                # Whatever a server that does not answer in time was asked, it may still do.
                if line is not None and not isinstance(error, RedisTimeoutError):
                    line.close()
                # That the last attempt was cut short says less than why those before it failed.
                asked, failure = None, (failure if _is_late(error) and failure else error)
            self.retries += 1
            backoff = backoff or Backoff(first=0.02, cap=0.5)
            wait = backoff.wait()
            if loop.time() + wait >= deadline:
                raise BrokerUnavailable(doing, reason_of(failure)) from failure
            await asyncio.sleep(wait)

    async def _replicated(self, line: Line, replicas: int) -> None:
        """Wait until so many replicas have everything that was done; raises otherwise."""
        longest = round(self._attempt_timeout * 500)
        found = await line.call(["WAIT", replicas, longest])
        if found < replicas:
            raise RedisTimeoutError(f"{found} of min_replicas={replicas} replicas have it so far")

    async def _line(self, node: Node, *, patient: bool) -> Line:
        """Return a line to a server, opened once for all who want it.

        Those who wait for replicas there hold up whoever comes after them: they have their own.
        """
        opening = self._lines.get((node, patient))
        if opening is not None and opening.done():
            if not opening.cancelled() and not opening.exception():
                line = opening.result()
                if not line.dead:
                    return line
            opening = None
        if opening is None:
            if self._closed:
                raise BrokerClosed
            opening = asyncio.create_task(self._open(node), name=f"flash-pubsub to {node}")
            opening.add_done_callback(_look_at)
            self._lines[node, patient] = opening
        try:
            # Others wait for it, too.
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            if self._closed and opening.cancelled():
                raise BrokerClosed from None
            raise

    async def _open(self, node: Node) -> Line:
        return Line(await self.dialer.dial(node))

    async def _end(self, opening: asyncio.Task[Line]) -> None:
        await asyncio.wait([opening])
        if not opening.cancelled() and not opening.exception():
            opening.result().close()
            await opening.result().closed()

    def _checked_names(self, channel: str) -> ChannelKeys:
        check_channel(channel)
        return self.keys.channel(channel)

    def _lease_key(self, name: str, channel: str | None) -> bytes:
        return self.keys.lease(name) if channel is None else self._names(channel).lease(name)


def _entries(reply: Any) -> list[Entry] | None:
    """Read entries; None if there are none, or one that cannot be read."""
    try:
        return None if reply is None else [Entry.read(data) for data in reply]
    except UnsupportedEnvelope as error:
        _logger.warning("history is not used: %s", error)
        return None


def _snapshot(reply: Any) -> Snapshot:
    stand, flat = reply
    found: list[tuple[tuple[int, int], str, bytes]] = []
    for name, stored in zip(flat[::2], flat[1::2], strict=True):
        order, _, value = stored.partition(b":")
        number, _, index = order.partition(b".")
        found.append(((int(number), int(index)), name.decode(), value))
    found.sort(key=lambda entry: entry[0])
    return Snapshot(Stand.read(stand).position, {name: value for _, name, value in found})


def _pack_bounds(retention: Retention) -> bytes:
    bounds = [
        retention.max_messages,
        retention.max_bytes,
        _ms(retention.max_age),
        _ms(retention.max_idle),
        retention.max_values,
        retention.max_snapshot_bytes,
    ]
    return cast("bytes", msgpack.packb(bounds))


def _guard(lease: Lease) -> str:
    """Return what fencing numbers are remembered by: leases of other channels are others."""
    return lease.name if lease.channel is None else f"{lease.channel}\n{lease.name}"


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _is_late(error: Exception) -> bool:
    return isinstance(error, TimeoutError) and not isinstance(error, RedisError)


def _look_at(opening: asyncio.Task[Line]) -> None:
    """See the error of a connection that nobody waits for any more."""
    if not opening.cancelled():
        opening.exception()


def reason_of(error: BaseException) -> str:
    """Say in one line what went wrong."""
    text = " ".join(str(error).split())
    if not text and isinstance(error, TimeoutError):
        return "no answer in time"
    return text or type(error).__name__
