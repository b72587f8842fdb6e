"""Reading and setting shared values in server code."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from flash import ConfigurationError
from flash_pubsub.shared.declaration import key_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from contextlib import AbstractAsyncContextManager

    from flash_pubsub.channels.outputs import ComponentId
    from flash_pubsub.shared.declaration import Key
    from flash_pubsub.shared.state import SharedState


class HasState(Protocol):
    """Gives the state that a value belongs to; implemented by `SharedRooms` and `SharedValues`."""

    def use(self, room: str) -> AbstractAsyncContextManager[SharedState]:
        """Have the state of a room during the ``async with`` block."""
        ...


class SharedValue:
    """The value of one property as all pages show it; awaiting it is the same as `get`."""

    def __init__(self, states: HasState, room: str, key: Key) -> None:
        self._states = states
        self._room = room
        self._key = key

    async def get(self, default: Any = None) -> Any:
        """Return the value; ``default`` if it was never set.

        The value includes everything that was published before the call, on any worker.
        """
        async with self._states.use(self._room) as state:
            await state.up_to_date()
            return state.value(self._key, default)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.get().__await__()

    async def set(self, value: Any) -> None:
        """Set the value on every page; like every push, this triggers no shared callback."""
        async with self._states.use(self._room) as state:
            await state.set(self._key, value)


class RoomValues:
    """Access to the shared values of one room, by component id and property."""

    def __init__(self, states: HasState, room: str) -> None:
        self._states = states
        self._room = room

    def __getitem__(self, name: tuple[ComponentId, str]) -> SharedValue:
        component_id, prop = name
        return SharedValue(self._states, self._room, key_of(component_id, prop))


class SharedValues(RoomValues):
    """Access to shared values: ``await pubsub.shared["brightness", "value"].get()``."""

    def __init__(self, state: SharedState) -> None:
        super().__init__(self, "")
        self._everybody = state
        # Set once the `PubSub` has an app.
        self.rooms: HasState | None = None

    @asynccontextmanager
    async def use(self, room: str) -> AsyncGenerator[SharedState]:
        """Have the state that all pages share; ``room`` is empty."""
        del room
        yield self._everybody

    def room(self, name: str) -> RoomValues:
        """Return access to the values of one room, such as ``"desk/7"``.

        Reading and setting them raises `UnknownRoom` if no shared callback has this room.
        """
        if self.rooms is None:
            raise ConfigurationError("this PubSub has no app yet: PubSub(app), or init_app(app)")
        return RoomValues(self.rooms, name)
