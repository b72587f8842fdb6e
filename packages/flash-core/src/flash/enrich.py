"""dash-extensions' ``enrich`` on Flash: ``from flash.enrich import DashProxy, Input, Output, …``.

Everything that ``dash_extensions.enrich`` exports is here under the same name. `Dash`, `DashProxy`
and `DashBlueprint` are its classes with `flash.Flash` as their base: its transforms apply, and
callbacks and layouts may be ``async def``. Needs the package dash-extensions.
"""

from __future__ import annotations

import inspect
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any

from dash import get_app

from flash.app import Flash
from flash.callbacks.functions import is_async

try:
    from dash_extensions import enrich

    # All of its exports, in any version; the three classes below replace its own.
    from dash_extensions.enrich import *  # noqa: F403  # pyright: ignore[reportWildcardImportFromLibrary, reportAssignmentType]
except ImportError as error:
    raise ImportError(
        "flash.enrich needs dash-extensions: pip install flash-core[enrich]"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence


class _BlockingFunction:
    """Wraps an ``async def`` so that a transform can call it in a thread and use its result.

    A transform wraps a callback in a plain function that uses the result of the callback and may
    access a disk (`ServersideOutputTransform`). The wrappers therefore run in a thread, which waits
    while the async function runs on the app's loop.
    """

    def __init__(self, function: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        update_wrapper(self, function)
        # Transforms read the signature, and do not follow ``__wrapped__``.
        self.__signature__ = inspect.signature(function)
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return get_app().wait_for(self.function(*args, **kwargs))


class _WrapAsyncTransform(enrich.DashTransform):
    """Runs before all other transforms and wraps async callbacks."""

    def sort_key(self) -> Any:
        return float("-inf")

    def apply_serverside(self, callbacks: Any) -> Any:
        for blueprint in callbacks:
            if is_async(blueprint.f):
                blueprint.f = _BlockingFunction(blueprint.f)
        return callbacks


class _UnwrapAsyncTransform(enrich.DashTransform):
    """Runs after all other transforms and unwraps async callbacks that none of them wrapped.

    Such callbacks run on the loop.
    """

    def sort_key(self) -> Any:
        return float("inf")

    def apply_serverside(self, callbacks: Any) -> Any:
        for blueprint in callbacks:
            if isinstance(blueprint.f, _BlockingFunction):
                blueprint.f = blueprint.f.function
        return callbacks


class DashBlueprint(enrich.DashBlueprint):
    """`dash_extensions.enrich.DashBlueprint`, whose callbacks and layout may be ``async def``.

    An async callback that one of ``transforms`` has wrapped occupies a thread while it runs.
    """

    def __init__(
        self,
        transforms: Sequence[enrich.DashTransform] | None = None,
        include_global_callbacks: bool = False,
    ) -> None:
        bridged = [_WrapAsyncTransform(), *(transforms or ()), _UnwrapAsyncTransform()]
        super().__init__(bridged, include_global_callbacks)

    @property
    def layout(self) -> Any:
        """The layout, or the function that returns it.

        An async function is wrapped: call it from a thread, without ``await``.
        """
        return super().layout

    @layout.setter
    def layout(self, value: Any) -> None:
        value = _BlockingFunction(value) if is_async(value) else value
        enrich.DashBlueprint.layout.fset(self, value)  # type: ignore[attr-defined]


class DashProxy(enrich.DashProxy, Flash):
    """`dash_extensions.enrich.DashProxy` on Flash; takes the arguments of both.

    Callbacks also take the options of `flash.callback`.
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
        """The layout, or the function that returns it, with the transforms applied."""
        layout = self.blueprint.layout
        if layout is None:
            return None
        if not self.has_started:
            # Transforms must process the callbacks, at start-up, before the layout.
            return self._evaluate
        if isinstance(layout, _BlockingFunction):
            return self._await_layout
        return self._evaluate if callable(layout) else self._apply_transforms(layout)

    @raw_layout.setter
    def raw_layout(self, value: Any) -> None:
        self.blueprint.layout = value

    @property
    def layout_function(self) -> Callable[..., Any] | None:
        """The function that returns the layout, as it was assigned; None for components."""
        return self.blueprint.layout if callable(self.blueprint.layout) else None

    def run_first_request_setup(self) -> None:
        """Do the set-up of dash-extensions and of Dash for the first request."""
        function = self.layout_function
        if function is None:
            super().run_first_request_setup()
            return
        # dash-extensions calls it itself, so that embedded blueprints register their callbacks.
        self.blueprint.layout = partial(self.attempt_layout, function)
        try:
            super().run_first_request_setup()
        finally:
            self.blueprint.layout = function

    def layout_value(self) -> Any:
        """Return the layout with the transforms applied; from a thread if it is async."""
        return self.with_extras(self._evaluate())

    def _evaluate(self) -> Any:
        layout = self.blueprint.layout
        return self._apply_transforms(layout() if callable(layout) else layout)

    async def _await_layout(self) -> Any:
        return self._apply_transforms(await self.blueprint.layout.function())

    def _apply_transforms(self, layout: Any) -> Any:
        is_function = callable(self.blueprint.layout)
        for transform in self.blueprint.transforms:
            layout = transform.layout(layout, is_function)
        return layout


class Dash(enrich.Dash, DashProxy):
    """`dash_extensions.enrich.Dash` on Flash: `DashProxy` with the usual transforms."""
