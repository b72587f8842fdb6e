"""Shared values in the hands of server code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flash_pubsub.shared.declaration import key_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from flash_pubsub.channels.outputs import ComponentId
    from flash_pubsub.shared.declaration import Key
    from flash_pubsub.shared.state import SharedState


class SharedValue:
    """One property of a component, as all pages see it; awaiting it is the same as `get`."""

    def __init__(self, state: SharedState, key: Key) -> None:
        self._state = state
        self._key = key

    async def get(self, default: Any = None) -> Any:
        """Return the value; ``default`` if nobody has set it yet.

        Whatever was published before this call is in it.
        """
        await self._state.up_to_date()
        return self._state.value(self._key, default)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.get().__await__()

    async def set(self, value: Any) -> None:
        """Set it on every page; like all that is pushed, it triggers no shared callback."""
        await self._state.set(self._key, value)


class SharedValues:
    """Finds shared values: ``await pubsub.shared["brightness", "value"].get()``."""

    def __init__(self, state: SharedState) -> None:
        self._state = state

    def __getitem__(self, name: tuple[ComponentId, str]) -> SharedValue:
        component_id, prop = name
        return SharedValue(self._state, key_of(component_id, prop))
