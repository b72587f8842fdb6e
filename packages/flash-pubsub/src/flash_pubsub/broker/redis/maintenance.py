"""The regular work of a broker: renew members, remove expired ones, compare with the store."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from flash_pubsub.broker.seam import Member, presence_of
from flash_pubsub.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash_pubsub.broker.redis.listener import Listener
    from flash_pubsub.broker.redis.store import Store

_logger = logging.getLogger(__name__)

# Channels that are compared with the store in one turn.
_CHANNELS_A_TURN = 100
# A member is renewed this many times within its time to live.
_TIMES_ALIVE = 3


class _ChannelMembers:
    """The members of one channel that this worker entered."""

    def __init__(self) -> None:
        # By id: their data, and seconds for which they live unless renewed.
        self.by_id: dict[str, tuple[bytes, float]] = {}
        # When they must be renewed next, by the loop's clock.
        self.due_at = 0.0

    @property
    def ttl(self) -> float:
        """The shortest time to live of all."""
        return min(ttl for _, ttl in self.by_id.values())


class Maintenance:
    """Works in turns while the broker is open; a later turn does what failed in an earlier one."""

    def __init__(self, store: Store, listener: Listener, *, interval: float) -> None:
        self._store = store
        self._listener = listener
        self._interval = interval
        self._members: dict[str, _ChannelMembers] = {}
        # The last channel that was compared, in the order of names.
        self._audited = ""

    def note(self, channel: str, member: Member, ttl: float) -> None:
        """Renew a member from now on."""
        members = self._members.setdefault(channel, _ChannelMembers())
        members.by_id[member.id] = member.data, ttl
        due_at = asyncio.get_running_loop().time() + ttl / _TIMES_ALIVE
        members.due_at = min(members.due_at or due_at, due_at)

    def forget(self, channel: str, member_id: str) -> None:
        """Stop renewing a member."""
        members = self._members.get(channel)
        if members is not None:
            members.by_id.pop(member_id, None)
            if not members.by_id:
                del self._members[channel]

    async def empty(self) -> None:
        """Make all members leave that this worker entered."""
        all_members, self._members = self._members, {}
        for channel, members in all_members.items():
            await self._store.leave(channel, list(members.by_id))

    async def run(self) -> None:
        """Take turns, until cancelled."""
        while True:
            shortest = min(
                (members.ttl for members in self._members.values()), default=self._interval
            )
            await asyncio.sleep(min(self._interval, shortest / _TIMES_ALIVE))
            try:
                await self._turn()
            except BrokerError as error:
                _logger.info("this turn of the maintenance is cut short: %s", error)
            except Exception:  # whatever it is, members must be renewed in the next turn
                _logger.exception("a turn of the maintenance failed")

    async def _turn(self) -> None:
        for channel in self._due():
            await self._keep(channel)
        for channel in self._next_channels(self._listener.channels):
            await self._listener.audit(channel)
            if channel.startswith(presence_of("")):
                await self._store.keep(channel.removeprefix(presence_of("")), [], 1.0)

    def _due(self) -> list[str]:
        now = asyncio.get_running_loop().time()
        return [channel for channel, members in self._members.items() if members.due_at <= now]

    async def _keep(self, channel: str) -> None:
        members = self._members.get(channel)
        if members is None:
            return
        due_at = asyncio.get_running_loop().time() + members.ttl / _TIMES_ALIVE
        for ttl in {ttl for _, ttl in members.by_id.values()}:
            ids = [id_ for id_, (_, own) in members.by_id.items() if own == ttl]
            for id_ in await self._store.keep(channel, ids, ttl):
                # The store has lost the member, or this worker was too late.
                if known := members.by_id.get(id_):
                    await self._store.enter(channel, Member(id_, known[0]), ttl)
        members.due_at = due_at

    def _next_channels(self, channels: Iterable[str]) -> list[str]:
        """Return the channels to compare now: in the order of names, from the start at the end."""
        names = sorted(channels)
        later = [name for name in names if name > self._audited]
        turn = (later + names)[: min(len(names), _CHANNELS_A_TURN)]
        self._audited = turn[-1] if turn else ""
        return turn
