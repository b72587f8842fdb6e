"""What a worker does regularly: keep members alive, let others expire, compare with the store."""

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

# Channels compared with the store, and channels whose members are looked at, at each turn.
_CHANNELS_A_TURN = 100
# A member is kept alive this many times within its time to live.
_TIMES_ALIVE = 3


class _Room:
    """The members of one channel that entered through this worker."""

    def __init__(self) -> None:
        # By id: their data, and seconds for which they live unless kept.
        self.members: dict[str, tuple[bytes, float]] = {}
        # When they are to be kept alive next, by the loop's clock.
        self.due_at = 0.0

    @property
    def ttl(self) -> float:
        """The shortest time that any of them lives."""
        return min(ttl for _, ttl in self.members.values())


class Maintenance:
    """Takes turns while the broker is open; what fails in one turn is done in a later one."""

    def __init__(self, store: Store, listener: Listener, *, interval: float) -> None:
        self._store = store
        self._listener = listener
        self._interval = interval
        self._rooms: dict[str, _Room] = {}
        # Where the last turn stopped, in the sorted names.
        self._audited = ""

    def note(self, channel: str, member: Member, ttl: float) -> None:
        """Keep somebody alive from now on."""
        room = self._rooms.setdefault(channel, _Room())
        room.members[member.id] = member.data, ttl
        due_at = asyncio.get_running_loop().time() + ttl / _TIMES_ALIVE
        room.due_at = min(room.due_at or due_at, due_at)

    def forget(self, channel: str, member_id: str) -> None:
        """Keep somebody alive no more."""
        room = self._rooms.get(channel)
        if room is not None:
            room.members.pop(member_id, None)
            if not room.members:
                del self._rooms[channel]

    async def empty(self) -> None:
        """Make everybody leave who entered through this worker."""
        rooms, self._rooms = self._rooms, {}
        for channel, room in rooms.items():
            await self._store.leave(channel, list(room.members))

    async def run(self) -> None:
        """Take turns, until cancelled."""
        while True:
            shortest = min((room.ttl for room in self._rooms.values()), default=self._interval)
            await asyncio.sleep(min(self._interval, shortest / _TIMES_ALIVE))
            try:
                await self._turn()
            except BrokerError as error:
                _logger.info("the rest of this turn is left to the next: %s", error)
            except Exception:  # whatever it is, members are to be kept alive in the next turn
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
        return [channel for channel, room in self._rooms.items() if room.due_at <= now]

    async def _keep(self, channel: str) -> None:
        room = self._rooms.get(channel)
        if room is None:
            return
        due_at = asyncio.get_running_loop().time() + room.ttl / _TIMES_ALIVE
        for ttl in {ttl for _, ttl in room.members.values()}:
            ids = [id_ for id_, (_, own) in room.members.items() if own == ttl]
            for id_ in await self._store.keep(channel, ids, ttl):
                # The store has lost them, or this worker was too late.
                if known := room.members.get(id_):
                    await self._store.enter(channel, Member(id_, known[0]), ttl)
        room.due_at = due_at

    def _next_channels(self, channels: Iterable[str]) -> list[str]:
        """Return those whose turn it is, in the order of their names, and around again."""
        names = sorted(channels)
        later = [name for name in names if name > self._audited]
        turn = (later + names)[: min(len(names), _CHANNELS_A_TURN)]
        self._audited = turn[-1] if turn else ""
        return turn
