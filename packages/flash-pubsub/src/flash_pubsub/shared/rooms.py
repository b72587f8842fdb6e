"""The rooms of one worker: each has a state and runs of its own while pages are in it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flash.log_limit import limited_logger
from flash_pubsub.broker.seam import check_channel
from flash_pubsub.errors import InvalidChannel, TooManyRooms, UnknownRoom
from flash_pubsub.shared.checks import NOT_IN_ROOM, refusal_frame
from flash_pubsub.shared.runs import SharedRuns
from flash_pubsub.shared.state import ROOM_LIMITS, SHARED, SharedState
from flash_ws.protocol.channel import CatchUp
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from flash import Flash
    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.shared.checks import RunCounters
    from flash_pubsub.shared.declaration import Key, SharedCallback
    from flash_pubsub.shared.room_pattern import RoomPattern
    from flash_ws.clients.client import LinkedClient as Client

logger = limited_logger(__name__)

# Rooms without pages that a worker keeps, and for how many seconds. Beyond it the one that was left
# first is dropped; the broker keeps its values.
MAX_IDLE_ROOMS = 100
IDLE_SECONDS = 60.0

# Seconds that a change waits for the state of its room, which is being fetched.
_OPENING_TIMEOUT = 10.0


def page_channel_of(room: str) -> str:
    """Return the page channel that carries the state of a room."""
    return f"{SHARED}:{room}"


@dataclass(eq=False, slots=True)
class _OpenRoom:
    """A room whose state this worker has."""

    state: SharedState
    runs: SharedRuns
    # Done when the state is fetched.
    opening: asyncio.Future[None]
    # Whether pages of this worker are in it.
    is_followed: bool = False
    # Calls of server code that use the state.
    uses: int = 0

    @property
    def is_used(self) -> bool:
        return self.is_followed or self.uses > 0


class SharedRooms:
    """The `FrameSource` of the shared state of all pages and of each room.

    - ``everybody`` and ``runs``: the state that all pages share, and its callbacks.
    - ``max_rooms``: rooms with pages that this worker has at a time; no page enters one more.
    """

    def __init__(
        self,
        app: Flash,
        listeners: Listeners,
        backplane: BrokerBackplane,
        everybody: SharedState,
        runs: SharedRuns,
        *,
        lease_ttl: float,
        layout_value: Callable[[Key], Awaitable[Any]],
        counters: RunCounters,
        max_rooms: int,
    ) -> None:
        self._app = app
        self._listeners = listeners
        self._backplane = backplane
        self._everybody = everybody
        self._runs = runs
        self._lease_ttl = lease_ttl
        self._layout_value = layout_value
        self._counters = counters
        self._max_rooms = max_rooms
        # The callbacks that have a room, by name.
        self._callbacks: dict[str, SharedCallback] = {}
        self._inputs: set[Key] = set()
        self._open: dict[str, _OpenRoom] = {}
        # The rooms that nobody uses, and since when; the one left first is first.
        self._idle: OrderedDict[str, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return the number of rooms whose state this worker has."""
        return len(self._open)

    # -- declarations ----------------------------------------------------------------------------

    def add(self, callback: SharedCallback) -> None:
        """Add a callback that has a room."""
        self._callbacks[callback.name] = callback
        self._inputs.update(callback.input_keys)

    @property
    def patterns(self) -> list[RoomPattern]:
        """The patterns of all callbacks, each once; one with a path before one without."""
        found: dict[str, RoomPattern] = {}
        for callback in self._callbacks.values():
            room = callback.room
            if room is not None and (room.text not in found or room.path is not None):
                found[room.text] = room
        return list(found.values())

    def has_state(self, room: str) -> bool:
        """Tell whether a shared callback belongs to this room."""
        return any(each.match(room) is not None for each in self.patterns)

    def is_open_to_all(self, room: str) -> bool:
        """Tell whether this is the one room of a callback, whose pattern has no variables."""
        return any(each.text == room and each.pattern.is_single for each in self.patterns)

    def is_from_url(self, room: str) -> bool:
        """Tell whether the URL of a page may name this room, which then needs no signature."""
        return any(each.path is not None and each.match(room) is not None for each in self.patterns)

    def has_place(self, room: str) -> bool:
        """Tell whether a page may enter a room: its name is not too long, and there is a place."""
        try:
            check_channel(f"live:{page_channel_of(room)}")
        except InvalidChannel:
            return False
        return room in self._open or self._used < self._max_rooms

    @property
    def _used(self) -> int:
        return len(self._open) - len(self._idle)

    # -- opening and closing ---------------------------------------------------------------------

    def _enter(self, room: str) -> _OpenRoom:
        """Return a room that is used from now on; it may still be opening."""
        entry = self._open.get(room)
        if entry is None:
            if self._used >= self._max_rooms:
                raise TooManyRooms(room, self._max_rooms)
            entry = self._open[room] = self._make(room)
            entry.opening.add_done_callback(lambda done: self._on_opened(room, entry, done))
        self._idle.pop(room, None)
        return entry

    def _make(self, room: str) -> _OpenRoom:
        callbacks = [
            (callback, variables)
            for callback in self._callbacks.values()
            if callback.room is not None and (variables := callback.room.match(room)) is not None
        ]
        if not callbacks:
            raise UnknownRoom(room, [each.text for each in self.patterns])
        name = page_channel_of(room)
        state = SharedState(
            self._listeners,
            self._backplane,
            name,
            limits=ROOM_LIMITS,
            times=self._everybody.times,
            inputs=self._inputs,
        )
        runs = SharedRuns(
            self._app,
            self._listeners.broker,
            state,
            lease_ttl=self._lease_ttl,
            layout_value=self._layout_value,
            counters=self._counters,
            variables={key: value for _, each in callbacks for key, value in each.items()},
            has_page=lambda client: name in client.extra_channels,
        )
        for callback, _ in callbacks:
            runs.add(callback)
        return _OpenRoom(state, runs, asyncio.ensure_future(state.start()))

    def _on_opened(self, room: str, entry: _OpenRoom, done: asyncio.Future[None]) -> None:
        """Forget a room whose state could not be fetched; the next page tries again."""
        if not done.cancelled() and done.exception() is None:
            return
        if self._open.get(room) is entry:
            del self._open[room]
            self._idle.pop(room, None)
            self._backplane.spawn(entry.state.stop())

    @asynccontextmanager
    async def use(self, room: str) -> AsyncGenerator[SharedState]:
        """Have the state of a room during the ``async with`` block.

        Raises `UnknownRoom`, `TooManyRooms` and what the broker raises.
        """
        check_channel(f"live:{page_channel_of(room)}")
        entry = self._enter(room)
        entry.uses += 1
        try:
            await asyncio.shield(entry.opening)
            yield entry.state
        finally:
            entry.uses -= 1
            self._settle(room, entry)

    def _settle(self, room: str, entry: _OpenRoom) -> None:
        """Close rooms that nobody uses, beyond a number and a time."""
        if entry.is_used or self._open.get(room) is not entry:
            return
        self._idle[room] = asyncio.get_running_loop().time()
        self._idle.move_to_end(room)
        if len(self._idle) > MAX_IDLE_ROOMS:
            self._close_idle(len(self._idle) - MAX_IDLE_ROOMS)
        self._schedule()

    def _schedule(self) -> None:
        if self._idle and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(IDLE_SECONDS / 2, self._close_old)

    def _close_old(self) -> None:
        self._timer = None
        since = asyncio.get_running_loop().time() - IDLE_SECONDS
        self._close_idle(sum(left <= since for left in self._idle.values()))
        self._schedule()

    def _close_idle(self, count: int) -> None:
        """Close so many of the rooms that were left first, but none in which a callback runs."""
        for room in list(self._idle)[:count]:
            entry = self._open[room]
            if entry.runs.is_idle:
                del self._idle[room], self._open[room]
                self._backplane.spawn(entry.state.stop())

    async def close(self) -> None:
        """Stop the callbacks of all rooms, and forget the rooms."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        entries = list(self._open.values())
        self._open.clear()
        self._idle.clear()
        for entry in entries:
            entry.opening.cancel()
            await entry.runs.close()
        await asyncio.gather(*(each.opening for each in entries), return_exceptions=True)

    # -- from pages ------------------------------------------------------------------------------

    async def receive(self, client: Client, frame: dict[str, Any]) -> None:
        """Handle a page's ``share`` frame; raises `ProtocolError`.

        A change of a callback that has a room counts only from a page that is in the room.
        """
        callback = self._callbacks.get(str(frame.get("cb")))
        if callback is None:
            await self._runs.receive(client, frame)
            return
        entry = self._room_of(client, callback, frame.get("room"))
        if entry is not None and not entry.opening.done():
            # Of this page only. It has just come from another worker.
            await asyncio.wait({entry.opening}, timeout=_OPENING_TIMEOUT)
        if entry is None or not entry.opening.done() or entry.opening.cancelled():
            self._counters.count_refusal(callback, NOT_IN_ROOM)
            number = frame.get("k")
            if type(number) is int and number:
                client.deliver(refusal_frame(callback, number, NOT_IN_ROOM))
            return
        await entry.runs.receive(client, frame)

    def _room_of(self, client: Client, callback: SharedCallback, room: object) -> _OpenRoom | None:
        """Return the room that a frame names, if the page is in it and the callback is its own."""
        if not isinstance(room, str) or callback.room is None or callback.room.match(room) is None:
            return None
        if page_channel_of(room) not in client.extra_channels:
            return None
        return self._open.get(room)

    # -- for pages -------------------------------------------------------------------------------

    async def follow(self, channel: str) -> None:
        """Have the state of a room, since a page of this worker has entered it."""
        room = channel.partition(":")[2]
        if not room or not self.has_state(room):
            # The state of all pages is received from its start on. A page may come from a worker
            # with another version of the app.
            return
        entry = self._enter(room)
        entry.is_followed = True
        await asyncio.shield(entry.opening)

    async def unfollow(self, channel: str) -> None:
        """Note that no page of this worker is in a room any more."""
        room = channel.partition(":")[2]
        entry = self._open.get(room)
        if entry is not None:
            entry.is_followed = False
            self._settle(room, entry)

    async def catch_up(self, channel: str, position: Position | None) -> CatchUp:
        """Return the whole state for a new page, and the missed frames for a returning one."""
        room = channel.partition(":")[2]
        if not room:
            return await self._everybody.catch_up(position)
        if not self.has_state(room):
            return CatchUp(Position("", 0), (), recovered=False)
        async with self.use(room) as state:
            return await state.catch_up(position)
