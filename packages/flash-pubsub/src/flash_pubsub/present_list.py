"""Who is in a room, as the `Present` components of pages show it; kept up to date over workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flash.callbacks.execution import within
from flash.exits import ends_task
from flash.log_limit import limited_logger
from flash.serialize import dumps
from flash_pubsub.broker.page_owners import client_info
from flash_pubsub.broker.seam import MemberChange, presence_of
from flash_pubsub.errors import UnsupportedEnvelope
from flash_ws.protocol.channel import CatchUp
from flash_ws.protocol.frames import Frame
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from flash import Flash
    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.broker.seam import Publication
    from flash_pubsub.channels.declaration import ChannelPattern
    from flash_ws import ClientInfo

logger = limited_logger(__name__)

# The kind of page channels with the people of a room.
PRESENT = "present"

# People of a room whose names are sent; of the others only the number is.
MAX_NAMES = 50

# Characters of a name.
MAX_NAME_LENGTH = 100

# Seconds between two lists of one room, however many pages come and go.
INTERVAL = 0.1

# Seconds after which a page that has come from another worker is sent the list; it has entered by
# then, so it does not see itself leave.
_RETURN_SECONDS = 1.0

# Seconds that the application's function may take for one name; after that the page has none.
NAME_TIMEOUT = 5.0

# Changes that wait while the members are fetched. With one more, they are fetched again.
_MAX_WAITING = 10_000

Names = list[tuple["ChannelPattern", Callable[..., Any]]]


class PresentLists:
    """The lists of the rooms of this worker's pages; the `FrameSource` of their page channels.

    - ``names``: the functions that give the name of a page, by pattern. The list is shared with the
      caller, who may add to it.
    - ``grace``: seconds for which a page that left is still listed. So one that goes to another
      worker is listed all the time.
    - ``ttl``: seconds within which workers enter their pages again in a store that has lost them;
      until then those are listed.
    """

    def __init__(
        self,
        app: Flash,
        listeners: Listeners,
        backplane: BrokerBackplane,
        names: Names,
        *,
        grace: float,
        ttl: float,
    ) -> None:
        self.app = app
        self.listeners = listeners
        self.backplane = backplane
        self.names = names
        self.grace = grace
        self.ttl = ttl
        self._lists: dict[str, PresentList] = {}

    async def follow(self, channel: str) -> None:
        """Keep the list of a room from now on."""
        room = channel.partition(":")[2]
        found = self._lists.get(room)
        if found is None:
            found = self._lists[room] = PresentList(self, room)
        try:
            await asyncio.shield(found.opening)
        except BaseException:
            # The next page tries again.
            if self._lists.get(room) is found and found.opening.done():
                del self._lists[room]
                self.backplane.spawn(found.close())
            raise

    async def unfollow(self, channel: str) -> None:
        """Drop the list: no page of this worker shows it any more."""
        found = self._lists.pop(channel.partition(":")[2], None)
        if found is not None:
            await found.close()

    async def catch_up(self, channel: str, position: Position | None) -> CatchUp:
        """Return the present list; a page needs no other, so it misses nothing."""
        found = self._lists[channel.partition(":")[2]]
        if position is not None and position.epoch != found.epoch:
            # The page comes from another worker, and is about to enter here.
            found.send_later()
            return CatchUp(Position(found.epoch, found.number), (), recovered=True)
        frame = await found.latest()
        return CatchUp(Position(found.epoch, frame.number), (frame,), recovered=True)

    def close(self) -> None:
        """Forget all lists."""
        for each in self._lists.values():
            each.cancel()
        self._lists.clear()


class PresentList:
    """The members of one room, as a frame for pages; a `Listener` of the members' changes."""

    def __init__(self, lists: PresentLists, room: str) -> None:
        self._lists = lists
        self._room = room
        # Numbers of the frames are of this object: a page that comes from another gets the list.
        self.epoch = f"{lists.backplane.worker}:{id(self):x}"
        self.number = 0
        self._frame: Frame | None = None
        # By id of a member, which has its worker in it.
        self._members: dict[str, ClientInfo] = {}
        # By id of a page, its name; None for a page without one.
        self._names: dict[str, str | None] = {}
        # Changes that arrive while the members are fetched; None otherwise.
        self._waiting: list[MemberChange] | None = []
        self._is_changed = True
        self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None
        # Sends the list to pages that have come from other workers.
        self._later: asyncio.TimerHandle | None = None
        # By id of a member that has left, what removes it.
        self._leaving: dict[str, asyncio.TimerHandle] = {}
        self._building = asyncio.Lock()
        # Done when the members are known.
        self.opening: asyncio.Future[None] = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        await self._lists.listeners.listen(presence_of(self._room), self)
        await self._load()

    async def _load(self) -> None:
        while True:
            self._waiting = []
            members = await self._lists.listeners.broker.members(self._room)
            if len(self._waiting) <= _MAX_WAITING:
                break
        for timer in self._leaving.values():
            timer.cancel()
        self._leaving.clear()
        found = {each.id: client_info(each) for each in members}
        for name in self._members.keys() - found.keys():
            # It has left, or the store has lost it.
            self._remove_in(self._lists.ttl, name)
        self._members |= found
        waiting, self._waiting = self._waiting, None
        for change in waiting:
            self._apply(change)
        self._is_changed = True

    def cancel(self) -> None:
        """Send nothing any more."""
        self._is_closed = True
        self.opening.cancel()
        for timer in (self._timer, self._later, *self._leaving.values()):
            if timer is not None:
                timer.cancel()
        self._leaving.clear()

    async def close(self) -> None:
        """Receive no changes any more."""
        self.cancel()
        await self._lists.listeners.unlisten(presence_of(self._room), self)

    # -- from the broker -------------------------------------------------------------------------

    def deliver(self, publication: Publication) -> None:
        """Record a change, and send the list soon."""
        try:
            change = MemberChange.unpack(publication.payload)
        except UnsupportedEnvelope as error:
            logger.warning("%s", error)
            return
        if self._waiting is not None:
            if len(self._waiting) <= _MAX_WAITING:
                self._waiting.append(change)
            return
        self._apply(change)
        self._send_soon()

    def _apply(self, change: MemberChange) -> None:
        name = change.member.id
        timer = self._leaving.pop(name, None)
        if timer is not None:
            timer.cancel()
        if change.kind in ("joined", "changed"):
            self._is_changed = True
            self._members[name] = client_info(change.member)
        elif name in self._members and not self._is_closed:
            self._remove_in(self._lists.grace, name)

    def _remove_in(self, seconds: float, name: str) -> None:
        loop = asyncio.get_running_loop()
        self._leaving[name] = loop.call_later(seconds, self._remove, name)

    def _remove(self, name: str) -> None:
        self._leaving.pop(name, None)
        if self._members.pop(name, None) is not None:
            self._is_changed = True
            self._send_soon()

    def reset(self, channel: str, position: Position) -> None:
        """Fetch the members again, since changes are lost."""
        del channel, position
        self._waiting = []
        self._lists.backplane.spawn(self._reload())

    async def _reload(self) -> None:
        await self._lists.backplane.retry_until_available(self._load)
        self._send_soon()

    # -- for pages -------------------------------------------------------------------------------

    def _send_soon(self) -> None:
        if self._timer is None and not self._is_closed:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._send)

    def send_later(self) -> None:
        """Send the list in a second, also if it is as before."""
        if self._later is None and not self._is_closed:
            loop = asyncio.get_running_loop()
            self._later = loop.call_later(_RETURN_SECONDS, self._send_again)

    def _send_again(self) -> None:
        self._later = None
        self._is_changed = True
        self._send_soon()

    def _send(self) -> None:
        self._timer = None
        if not self._is_closed:
            self._lists.backplane.spawn(self._build())

    async def latest(self) -> Frame:
        """Return the list with every page that has entered before the call, on any worker."""
        listeners, channel = self._lists.listeners, presence_of(self._room)
        await listeners.wait_until_delivered(channel, await listeners.broker.position(channel))
        return await self._build()

    async def _build(self) -> Frame:
        """Return the list as a frame, and send it to the pages if it has changed."""
        async with self._building:
            if self._frame is not None and not self._is_changed:
                return self._frame
            self._is_changed = False
            people = self._people()
            pages = {each.id for each in people}
            for gone in self._names.keys() - pages:
                del self._names[gone]
            # Side by side, so that pages wait for one time-out at most.
            names = await asyncio.gather(*map(self._name_of, people[:MAX_NAMES]))
            self.number += 1
            frame = self._frame = _frame(
                self._room,
                Position(self.epoch, self.number),
                [each for each in names if each],
                len(people),
            )
            if not self._is_closed:
                self._lists.backplane.deliver_frame(frame)
            return frame

    def _people(self) -> list[ClientInfo]:
        """Return one page of each user, and each page without a user; who came first is first."""
        people: dict[tuple[str, str], ClientInfo] = {}
        for info in sorted(self._members.values(), key=lambda each: (each.connected_at, each.id)):
            key = ("page", info.id) if info.user is None else ("user", info.user)
            people.setdefault(key, info)
        return list(people.values())

    async def _name_of(self, info: ClientInfo) -> str | None:
        """Return the name of a page's visitor; that which the application gives, or the user's."""
        if info.id in self._names:
            return self._names[info.id]
        name: object = info.user
        for pattern, function in self._lists.names:
            variables = pattern.match(self._room)
            if variables is not None:
                name = await self._ask(function, info, variables)
                break
        found = str(name)[:MAX_NAME_LENGTH] if name else None
        self._names[info.id] = found
        return found

    async def _ask(
        self, function: Callable[..., Any], info: ClientInfo, variables: dict[str, str]
    ) -> object:
        try:
            call = self._lists.app.pool.call(function, info, **variables)
            return await within(f"present_name({self._room!r})", NAME_TIMEOUT, call)
        except BaseException as error:
            # An application's function: the page is counted without a name.
            if ends_task(error):
                raise
            logger.exception("present_name failed for %r in room %.80r", info.id, self._room)
            return None


def _frame(room: str, position: Position, names: list[str], count: int) -> Frame:
    channel = f"{PRESENT}:{room}"
    text = dumps(
        {
            "t": "snapshot",
            "c": channel,
            "e": position.epoch,
            "n": position.number,
            "u": [],
            "who": names,
            "count": count,
        }
    ).decode()
    # A later list replaces one that waits.
    sets = frozenset({("@present", room)})
    return Frame(text, len(text.encode()), channel, position.number, sets=sets)
