"""Presence: which pages are on a channel, on all workers, and calling join and leave handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import msgpack

from flash.log_limit import limited_logger
from flash_pubsub.broker.page_owners import client_info
from flash_pubsub.broker.seam import Member, MemberChange, presence_of
from flash_pubsub.errors import BrokerError, UnsupportedEnvelope

if TYPE_CHECKING:
    from flash import Flash
    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.broker.seam import Broker, Publication
    from flash_pubsub.channels.declaration import ChannelPattern
    from flash_ws import ClientInfo
    from flash_ws.clients.client import LinkedClient as Client
    from flash_ws.protocol.position import Position

logger = limited_logger(__name__)

# The channel whose members are the members of all channels, for workers that have handlers.
_ALL_CHANNELS = "live:presence"

# Seconds of the lease to handle one join or leave, so that no other worker handles it as well.
_HANDLER_LEASE_SECONDS = 60.0

Handler = Callable[..., Any]


class Presence:
    """The members of all channels; used on one worker's event loop.

    - ``ttl``: seconds after which the members of a worker that died are removed.
    - ``grace``: seconds for which a page that left may come back, on any worker, without a call of
      the leave and join handlers.
    """

    def __init__(
        self,
        app: Flash,
        listeners: Listeners,
        backplane: BrokerBackplane,
        *,
        ttl: float,
        grace: float,
    ) -> None:
        self._app = app
        self._listeners = listeners
        self._broker: Broker = listeners.broker
        self._backplane = backplane
        self._ttl = ttl
        self._grace = grace
        self.join_handlers: list[tuple[ChannelPattern, Handler]] = []
        self.leave_handlers: list[tuple[ChannelPattern, Handler]] = []
        # By channel and client: the workers that have the client; empty during the grace period.
        self._workers_by_member: dict[tuple[str, str], set[str]] = {}
        self._leave_timers: dict[tuple[str, str], asyncio.TimerHandle] = {}
        # By client of this worker: the channels on which it is present.
        self._own_channels: dict[str, set[str]] = {}

    @property
    def _has_handlers(self) -> bool:
        return bool(self.join_handlers or self.leave_handlers)

    async def start(self) -> None:
        """Load all members and listen for changes, if there are join or leave handlers."""
        if self._has_handlers:
            await self._listeners.listen(presence_of(_ALL_CHANNELS), self)
            for member in await self._broker.members(_ALL_CHANNELS):
                channel, client_id, worker = _parse_member_id(member.id)
                self._workers_by_member.setdefault((channel, client_id), set()).add(worker)

    def close(self) -> None:
        """Cancel the grace periods and forget all members."""
        for timer in self._leave_timers.values():
            timer.cancel()
        self._leave_timers.clear()
        self._workers_by_member.clear()
        self._own_channels.clear()

    # -- this worker's pages ---------------------------------------------------------------------

    async def enter(self, client: Client, channel: str) -> None:
        """Add a page to the members of a channel; idempotent."""
        self._own_channels.setdefault(client.id, set()).add(channel)
        info = client.info
        data = cast("bytes", msgpack.packb([info.user, info.path, info.connected_at]))
        worker = self._backplane.worker
        await self._broker.enter(channel, Member(f"{client.id}@{worker}", data), self._ttl)
        if self._has_handlers:
            member = Member(_member_id(channel, client.id, worker), data)
            await self._broker.enter(_ALL_CHANNELS, member, self._ttl)

    async def leave(self, client_id: str, channel: str) -> None:
        """Remove a page from the members of a channel; idempotent."""
        channels = self._own_channels.get(client_id, set())
        if channel not in channels:
            return
        channels.discard(channel)
        if not channels:
            self._own_channels.pop(client_id, None)
        worker = self._backplane.worker
        await self._broker.leave(channel, f"{client_id}@{worker}")
        if self._has_handlers:
            await self._broker.leave(_ALL_CHANNELS, _member_id(channel, client_id, worker))

    async def leave_all(self, client: Client) -> None:
        """Remove a page from the members of all channels; errors of the broker are logged."""
        for channel in list(self._own_channels.get(client.id, ())):
            try:
                await self.leave(client.id, channel)
            except BrokerError as error:
                logger.warning("%s; the member expires instead", error)

    async def who(self, channel: str) -> list[ClientInfo]:
        """Return the pages on a channel, each once, sorted by the time at which they connected."""
        found: dict[str, ClientInfo] = {}
        for member in await self._broker.members(channel):
            info = client_info(member)
            found[info.id] = info
        return sorted(found.values(), key=lambda each: each.connected_at)

    # -- joins and leaves ------------------------------------------------------------------------

    def deliver(self, publication: Publication) -> None:
        """Record a change of a member, and call the handlers if a page joined or left."""
        try:
            change = MemberChange.unpack(publication.payload)
        except UnsupportedEnvelope as error:
            logger.warning("%s", error)
            return
        channel, client_id, worker = _parse_member_id(change.member.id)
        key = channel, client_id
        event = f"{publication.position.epoch}:{publication.position.number}"
        workers = self._workers_by_member.setdefault(key, set())
        if change.kind in ("joined", "changed"):
            is_new = not workers and key not in self._leave_timers
            workers.add(worker)
            timer = self._leave_timers.pop(key, None)
            if timer is not None:
                timer.cancel()
            if is_new and change.kind == "joined":
                self._notify(self.join_handlers, event, channel, change.member)
        else:
            workers.discard(worker)
            if not workers and key not in self._leave_timers:
                loop = asyncio.get_running_loop()
                self._leave_timers[key] = loop.call_later(
                    self._grace, self._finish_leave, key, event, change.member
                )

    def reset(self, channel: str, position: Position) -> None:
        """Load all members again; handlers are not called for changes that were lost."""
        del channel, position
        self._backplane.spawn(self._reload_members())

    async def _reload_members(self) -> None:
        members = await self._backplane.retry_until_available(
            lambda: self._broker.members(_ALL_CHANNELS)
        )
        self._workers_by_member.clear()
        for member in members:
            channel, client_id, worker = _parse_member_id(member.id)
            self._workers_by_member.setdefault((channel, client_id), set()).add(worker)

    def _finish_leave(self, key: tuple[str, str], event: str, member: Member) -> None:
        self._leave_timers.pop(key, None)
        if self._workers_by_member.get(key):
            return
        self._workers_by_member.pop(key, None)
        self._notify(self.leave_handlers, event, key[0], member)

    def _notify(
        self,
        handlers: list[tuple[ChannelPattern, Handler]],
        event: str,
        channel: str,
        member: Member,
    ) -> None:
        calls = [
            (handler, variables)
            for pattern, handler in handlers
            if (variables := pattern.match(channel)) is not None
        ]
        if calls:
            self._backplane.spawn(self._call_handlers(calls, event, channel, member))

    async def _call_handlers(
        self,
        calls: list[tuple[Handler, dict[str, str]]],
        event: str,
        channel: str,
        member: Member,
    ) -> None:
        """Call the handlers, on the worker that takes the lease for this event first."""
        lease = await self._backplane.retry_until_available(
            lambda: self._broker.lease(f"presence:{event}", _HANDLER_LEASE_SECONDS)
        )
        if lease is None:
            return
        _, client_id, worker = _parse_member_id(member.id)
        info = client_info(Member(f"{client_id}@{worker}", member.data))
        for handler, variables in calls:
            try:
                await self._app.pool.call(handler, info, **variables)
            except Exception:  # an application's handler: logged, and the rest run
                logger.exception("%r failed for %r on channel %r", handler, info.id, channel)


def _member_id(channel: str, client_id: str, worker: str) -> str:
    return f"{client_id}@{worker}|{channel}"


def _parse_member_id(name: str) -> tuple[str, str, str]:
    """Return the channel, the client's id and the worker of a member's id."""
    member, _, channel = name.partition("|")
    client_id, _, worker = member.rpartition("@")
    return channel, client_id, worker
