"""Calls of the functions of shared callbacks, and what they set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash.exceptions import PreventUpdate

from flash import NoUpdate, Patch, stringify_id
from flash.callbacks.context import EventContext
from flash.callbacks.execution import within
from flash.callbacks.traced import call_in_span
from flash_pubsub.shared.declaration import key_of
from flash_pubsub.shared.patch import apply_patch
from flash_ws.clients.context import current_client
from flash_ws.protocol.frames import INCREMENTAL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import TypeAlias

    from flash import Flash
    from flash_pubsub.shared.declaration import Key, PendingChanges, SharedCallback
    from flash_pubsub.shared.state import SharedState

    # The values to set, and the additions to values, such as ``extendData``.
    Result: TypeAlias = tuple[dict[Key, Any], list[tuple[Key, Any]]]


class SharedCalls:
    """Calls functions with the values of their inputs, as a page that has changed one.

    - ``layout_value``: returns the value that the layout gives to a property.
    - ``variables``: the variables of the room's name, for functions that take them.
    """

    def __init__(
        self,
        app: Flash,
        state: SharedState,
        layout_value: Callable[[Key], Awaitable[Any]],
        variables: Mapping[str, str],
    ) -> None:
        self._app = app
        self._state = state
        self._layout_value = layout_value
        self._variables = variables

    def call(
        self, callback: SharedCallback, pending: PendingChanges, values: list[Any]
    ) -> Awaitable[Result]:
        """Call the function, in a span if the app is traced."""
        tracing = self._app.tracing
        if tracing is None:
            return self._call(callback, pending, values)
        attributes = {
            "flash.callback.id": callback.label,
            "flash.shared.pages": len(pending.origins),
        }
        span = tracing.span(f"shared {callback.label}", attributes)
        return call_in_span(span, lambda: self._call(callback, pending, values))

    async def _call(
        self, callback: SharedCallback, pending: PendingChanges, values: list[Any]
    ) -> Result:
        client = pending.client
        assert client is not None
        context = EventContext(
            _slots(callback.inputs, values),
            _slots(callback.states, pending.states),
            [_property_name(callback.inputs[index]) for index in pending.changed],
        )
        variables = {name: self._variables[name] for name in callback.room_arguments}
        token = current_client.set(client)
        try:
            async with client.handshake.active():
                with context.active():
                    try:
                        call = self._app.pool.call(
                            callback.function, *values, *pending.states, **variables
                        )
                        result = await within(callback.label, callback.timeout, call)
                    except PreventUpdate:
                        result = NoUpdate()
                updates = [
                    *callback.outputs.updates(result, callback.label),
                    *context.take_updates(),
                ]
                return await self._resolve_updates(updates)
        finally:
            current_client.reset(token)

    async def _resolve_updates(self, updates: Sequence[tuple[Any, Mapping[str, Any]]]) -> Result:
        """Separate values to set from additions to values; apply patches."""
        values: dict[Key, Any] = {}
        additions: list[tuple[Key, Any]] = []
        for component_id, props in updates:
            for prop, value in props.items():
                key = key_of(component_id, prop)
                if isinstance(value, Patch):
                    if key in values:
                        before = values[key]
                    elif self._state.json(key) is not None:
                        before = self._state.value(key)
                    else:
                        before = await self._layout_value(key)
                    values[key] = apply_patch(before, value, ".".join(key))
                elif prop in INCREMENTAL:
                    additions.append((key, value))
                else:
                    values[key] = value
        return values, additions


def _slots(dependencies: Any, values: Any) -> list[dict[str, Any]]:
    return [
        {"id": each.component_id, "property": each.component_property, "value": value}
        for each, value in zip(dependencies, values, strict=True)
    ]


def _property_name(dependency: Any) -> str:
    return f"{stringify_id(dependency.component_id)}.{dependency.component_property}"
