"""Reading and setting shared values in server code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flash_pubsub.shared.declaration import key_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from flash_pubsub.channels.outputs import ComponentId
    from flash_pubsub.shared.declaration import Key
    from flash_pubsub.shared.state import SharedState


class SharedValue:
    """The value of one property as all pages show it; awaiting it is the same as `get`."""

    def __init__(self, state: SharedState, key: Key) -> None:
        self._state = state
        self._key = key

    async def get(self, default: Any = None) -> Any:
        """Return the value; ``default`` if it was never set.

        The value includes everything that was published before the call, on any worker.
        """
        await self._state.up_to_date()
        return self._state.value(self._key, default)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.get().__await__()

    async def set(self, value: Any) -> None:
        """Set the value on every page; like every push, this triggers no shared callback."""
        await self._state.set(self._key, value)


class SharedValues:
    """Access to shared values: ``await pubsub.shared["brightness", "value"].get()``."""

    def __init__(self, state: SharedState) -> None:
        self._state = state

    def __getitem__(self, name: tuple[ComponentId, str]) -> SharedValue:
        component_id, prop = name
        return SharedValue(self._state, key_of(component_id, prop))
