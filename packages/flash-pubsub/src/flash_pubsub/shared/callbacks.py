"""The shared callbacks of one app: their declarations, and what runs them on this worker."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flash import ClientsideFunction, ConfigurationError
from flash_pubsub.shared.checks import RunCounters
from flash_pubsub.shared.conflicts import check_outputs, check_rooms
from flash_pubsub.shared.layout import find_value
from flash_pubsub.shared.rooms import SharedRooms
from flash_pubsub.shared.runs import SharedRuns
from flash_pubsub.shared.state import SharedState
from flash_ws.callbacks.event_callbacks import NamedInput, distinct_name

if TYPE_CHECKING:
    from flash import Flash
    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.channels.declaration import Declarations
    from flash_pubsub.shared.declaration import Key, SharedCallback


class SharedCallbacks:
    """Declares the shared callbacks of an app, and runs them for all pages and for each room.

    - ``channels``: the channels of the app, whose callbacks may set no shared property.
    - ``lease_ttl``: seconds after which another worker takes over when this one dies in a callback.
    - ``max_rooms``: rooms with pages that this worker has at a time.
    """

    def __init__(
        self,
        listeners: Listeners,
        backplane: BrokerBackplane,
        channels: Declarations,
        *,
        lease_ttl: float,
        max_rooms: int,
    ) -> None:
        self._listeners = listeners
        self._backplane = backplane
        self._channels = channels
        self._lease_ttl = lease_ttl
        self._max_rooms = max_rooms
        # The values that all pages share; those of rooms are not in it.
        self.state = SharedState(listeners, backplane)
        self.counters = RunCounters()
        self.by_name: dict[str, SharedCallback] = {}
        # The properties that all pages share.
        self._keys: set[Key] = set()
        self._app: Flash | None = None
        self._runs: SharedRuns | None = None
        # None without an app.
        self.rooms: SharedRooms | None = None

    def add(self, callback: SharedCallback) -> None:
        """Add a callback; raises `ConfigurationError` if another one sets one of its Outputs."""
        for key in callback.output_keys:
            for other in self.by_name.values():
                if key in other.output_keys:
                    raise ConfigurationError(
                        f"the shared callbacks {other.label!r} and {callback.label!r} both set "
                        f"{'.'.join(key)}; only one shared callback may set a property"
                    )
        check_rooms(callback, self.by_name.values())
        if self._app is not None and self._app.has_started:
            check_outputs(self._app, [callback], self._channels.callbacks)
        callback = replace(callback, name=distinct_name(callback.name, self.by_name))
        if self._app is not None:
            self._activate(self._app, callback)
        self.by_name[callback.name] = callback
        if callback.room is None:
            self._keys.update(callback.input_keys, callback.output_keys)

    def connect(self, app: Flash) -> SharedRooms:
        """Serve the pages of an app; called once, before it is served.

        Returns the source of the frames of all shared values, which also receives ``share`` frames.
        """
        self._app = app
        self._runs = SharedRuns(
            app,
            self._listeners.broker,
            self.state,
            lease_ttl=self._lease_ttl,
            layout_value=self._layout_value,
            counters=self.counters,
        )
        self.rooms = SharedRooms(
            app,
            self._listeners,
            self._backplane,
            self.state,
            self._runs,
            lease_ttl=self._lease_ttl,
            layout_value=self._layout_value,
            counters=self.counters,
            max_rooms=self._max_rooms,
        )
        app.page_extras["flash_pubsub"] = {"shared": {}}
        for callback in self.by_name.values():
            self._activate(app, callback)
        return self.rooms

    def _activate(self, app: Flash, callback: SharedCallback) -> None:
        """Register a shared callback with the runs and the pages of the app."""
        assert self._runs is not None
        # First, since Dash may refuse a dependency.
        register_on_page(app, callback)
        extras = app.page_extras["flash_pubsub"]
        extras["shared"][callback.name] = callback.page_config()
        if callback.room is None:
            self._runs.add(callback)
        else:
            assert self.rooms is not None
            self.rooms.add(callback)
            extras["rooms"] = {each.text: each.path for each in self.rooms.patterns}

    def check_outputs(self) -> None:
        """Raise `ConfigurationError` if another callback of the app sets a shared property.

        Called when all callbacks of the app are known.
        """
        assert self._app is not None
        check_outputs(self._app, self.by_name.values(), self._channels.callbacks)

    async def close(self) -> None:
        """Stop all runs and forget the rooms."""
        for part in (self._runs, self.rooms):
            if part is not None:
                await part.close()

    def values(self) -> dict[str, dict[str, Any]]:
        """Return what all pages share and has been set, by component id and property."""
        values: dict[str, dict[str, Any]] = {}
        for key in self._keys:
            if self.state.json(key) is not None:
                values.setdefault(key[0], {})[key[1]] = self.state.value(key)
        return values

    async def _layout_value(self, key: Key) -> Any:
        assert self._app is not None
        value = find_value(await self._app.render_layout(), *key)
        return find_value(await self._app.render_pages(), *key) if value is None else value


def register_on_page(app: Any, callback: SharedCallback) -> None:
    """Register the clientside callback that reports changes of the callback's inputs."""
    first, *others = (*callback.inputs, *callback.states)
    app.clientside_callback(
        ClientsideFunction("flash_pubsub", callback.name),
        NamedInput(first, callback.name),
        *others,
        prevent_initial_call=True,
        hidden=True,
    )
