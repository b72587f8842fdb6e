"""dash-extensions' ``enrich`` on Flash: ``from flash.enrich import DashProxy, Input, Output, …``.

Everything that ``dash_extensions.enrich`` offers is here under the same name. `Dash`, `DashProxy`
and `DashBlueprint` are its classes put on top of `flash.Flash`: its transforms apply, and callbacks
and layouts may be ``async def``. Needs the package dash-extensions.
"""

from __future__ import annotations

import inspect
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

from dash import get_app

from flash.app import Flash
from flash.callbacks.execution import is_async

try:
    from dash_extensions import enrich

    # All that it has, in any version; the three classes below take the place of its own.
    from dash_extensions.enrich import *  # noqa: F403  # pyright: ignore[reportWildcardImportFromLibrary, reportAssignmentType]
except ImportError as error:
    raise ImportError(
        "flash.enrich needs dash-extensions: pip install flash-core[enrich]"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence


class _Bridge:
    """An ``async def`` as the transforms know functions: called from a thread, it gives a result.

    A transform wraps a callback in a plain function that works on what the callback returned, and
    may touch a disk (`ServersideOutputTransform`). So the whole chain runs in a thread, which waits
    while the async function at its heart runs on the app's loop.
    """

    def __init__(self, function: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        update_wrapper(self, function)
        # Transforms read the annotations, for which they do not look through wrappers.
        self.__signature__ = inspect.signature(function)
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return get_app().wait_for(self.function(*args, **kwargs))


class _BridgeTransform(enrich.DashTransform):
    """Comes before all others and bridges the async callbacks."""

    def sort_key(self) -> Any:
        return float("-inf")

    def apply_serverside(self, callbacks: Any) -> Any:
        for blueprint in callbacks:
            if is_async(blueprint.f):
                blueprint.f = _Bridge(blueprint.f)
        return callbacks


class _UnbridgeTransform(enrich.DashTransform):
    """Comes after all others: an async callback that none of them wrapped stays on the loop."""

    def sort_key(self) -> Any:
        return float("inf")

    def apply_serverside(self, callbacks: Any) -> Any:
        for blueprint in callbacks:
            if isinstance(blueprint.f, _Bridge):
                blueprint.f = blueprint.f.function
        return callbacks


class DashBlueprint(enrich.DashBlueprint):
    """`dash_extensions.enrich.DashBlueprint`, whose callbacks and layout may be ``async def``.

    An async callback that one of ``transforms`` wraps occupies a thread while it runs.
    """

    def __init__(
        self,
        transforms: Sequence[enrich.DashTransform] | None = None,
        include_global_callbacks: bool = False,
    ) -> None:
        bridged = [_BridgeTransform(), *(transforms or ()), _UnbridgeTransform()]
        super().__init__(bridged, include_global_callbacks)

    @property
    def layout(self) -> Any:
        """The layout, or the function that makes it; an async one can be called like a plain one.

        It must then be called from a thread.
        """
        return super().layout

    @layout.setter
    def layout(self, value: Any) -> None:
        value = _Bridge(value) if is_async(value) else value
        enrich.DashBlueprint.layout.fset(self, value)  # type: ignore[attr-defined]


class DashProxy(enrich.DashProxy, Flash):
    """`dash_extensions.enrich.DashProxy` on Flash; it takes the arguments of both.

    Callbacks take the options of `flash.callback`, too.
    """

    # Assigned by dash-extensions.
    blueprint: Any

    def __init__(
        self,
        *args: Any,
        transforms: Sequence[enrich.DashTransform] | None = None,
        include_global_callbacks: bool = True,
        blueprint: enrich.DashBlueprint | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *args,
            blueprint=blueprint or DashBlueprint(transforms, include_global_callbacks),
            **kwargs,
        )

    @property
    def raw_layout(self) -> Any:
        """What gives the layout with the transforms applied."""
        layout = self.blueprint.layout
        if layout is None:
            return None
        if not self.has_started:
            # A transform may look at the layout only after it saw the callbacks, at start-up.
            return self._called
        if isinstance(layout, _Bridge):
            return self._awaited
        return self._called if callable(layout) else self._transformed(layout)

    @raw_layout.setter
    def raw_layout(self, value: Any) -> None:
        self.blueprint.layout = value

    def layout_value(self) -> Any:
        """Return the layout with the transforms applied; from a thread where it is async."""
        return self.with_extras(self._called())

    def _called(self) -> Any:
        layout = self.blueprint.layout
        return self._transformed(layout() if callable(layout) else layout)

    async def _awaited(self) -> Any:
        return self._transformed(await self.blueprint.layout.function())

    def _transformed(self, layout: Any) -> Any:
        changes = callable(self.blueprint.layout)
        for transform in self.blueprint.transforms:
            layout = transform.layout(layout, changes)
        return layout


class Dash(enrich.Dash, DashProxy):
    """`dash_extensions.enrich.Dash` on Flash: `DashProxy` with the usual transforms."""
