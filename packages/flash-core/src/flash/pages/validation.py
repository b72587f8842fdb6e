"""The check of layouts when an app starts; a layout that needs its visitor is left out of it."""

from __future__ import annotations

import asyncio
import sysconfig
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dash import html

from flash.callbacks.functions import is_async, place_of
from flash.pages.pages import page_layouts, whole_layout
from flash.seams import quart as quart_seam

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable, Iterable

    from flash.callbacks.execution import WorkerPool


# Where Flash's own source is.
_FLASH = str(Path(__file__).parents[1])


class ValidatedApp(Protocol):
    """What `LayoutValidation` needs of the app."""

    config: Any
    server: Any
    page_pool: WorkerPool
    internal_pool: WorkerPool
    use_pages: bool
    # All components that a page can have, for the check in the browser; None if not known.
    validation_layout: Any
    # Whether the browser must not check callbacks, since not all layouts are known.
    is_layout_unknown: bool

    @property
    def logger(self) -> logging.Logger:
        """The app's log."""
        ...

    @property
    def layout_function(self) -> Callable[..., Any] | None:
        """The function that returns the layout, as it was assigned; None for components."""
        ...

    @property
    def raw_layout(self) -> Any:
        """The components, or the function that returns them."""
        ...

    def set_layout(self, value: Any) -> None:
        """Set the layout as Dash does: a function is called, for validation."""
        ...

    def with_extras(self, layout: Any) -> Any:
        """Return a layout with the components that plugins added to the app."""
        ...

    def run_first_request_setup(self) -> None:
        """Do Dash's set-up of the first request, which calls the layout."""
        ...


class LayoutValidation:
    """Calls the layouts of one app for Dash's validation, without a visitor.

    A layout that fails is logged with its place, and the app goes on without its validation: the
    layout may need the session of its visitor, whose request is served.
    """

    def __init__(self, app: ValidatedApp) -> None:
        self._app = app
        # The result of an async layout while Dash, which cannot await, validates it.
        self.awaited: Any = None
        # What the layout has raised in the validation that runs; None while none does.
        self._failures: list[Exception] | None = None
        # The last result of a layout function that Dash called.
        self._result: Any = None
        # Whether the layout failed when it was assigned, so that Dash has not kept its result.
        self._failed_before = False

    def attempt(self, layout: Callable[[], Any]) -> Any:
        """Call a function that makes a layout for Dash.

        While layouts are validated, an empty component takes the place of a layout that fails.
        """
        try:
            self._result = layout()
        except Exception as error:
            if self._failures is None:
                raise
            self._failures.append(error)
            return html.Div()
        return self._result

    def assign(self, function: Callable[[], Any]) -> None:
        """Set a plain function as the layout; if it fails now, it is validated at the start only.

        Dash calls it without a request, and it may need one.
        """
        app = self._app
        before = app.validation_layout
        self._failures = failures = []
        try:
            app.set_layout(function)
        finally:
            self._failures = None
        self._failed_before = bool(failures)
        if failures:
            app.validation_layout = before
            app.logger.debug("the layout is called again at the start", exc_info=failures[0])

    async def run(self) -> None:
        """Validate the layouts, and do the rest of Dash's set-up for the first request."""
        app = self._app
        self._failures = failures = []
        path = app.config.routes_pathname_prefix
        try:
            if is_async(app.raw_layout):
                await self._await_layout(path, failures)
            # Dash does this within the first request, and layouts may use the request.
            context = await quart_seam.startup_request_context(app.server, path)
            with context:
                function = app.layout_function
                if function is not None and self.awaited is None and self._has_guards():
                    # Dash's set-up calls it once more, and cannot be repeated.
                    await self._guarded(partial(app.page_pool.call, function))
                await app.internal_pool.run(app.run_first_request_setup)
                if failures:
                    self._go_on_without_layout(failures[0])
                if app.config.suppress_callback_exceptions:
                    return
                if app.use_pages:
                    await self._validate_pages()
                elif not failures and not app.validation_layout:
                    if self.awaited is not None:
                        app.validation_layout = self.awaited
                    elif self._failed_before:
                        app.validation_layout = self._result
        finally:
            self._failures = None
            self._result = self.awaited = None

    async def _await_layout(self, path: str, failures: list[Exception]) -> None:
        """Await an async layout without a request; if that fails, in a made-up request.

        Dash calls a plain layout function so when it is assigned, and some functions then return
        all components that any page can have.
        """
        app = self._app
        call = partial(app.page_pool.call, app.raw_layout)
        try:
            self.awaited = app.with_extras(await call())
        except Exception as error:  # noqa: BLE001  a layout is the user's code
            app.logger.debug("the layout is called in a made-up request: %r", error)
            context = await quart_seam.startup_request_context(app.server, path)
            with context:
                (made,) = await self._guarded(call)
            if isinstance(made, Exception):
                failures.append(made)
                made = html.Div()
            self.awaited = app.with_extras(made)

    async def _validate_pages(self) -> None:
        """Let the browser check callbacks against the layouts of all pages.

        Raises an exception if `dash.page_container` is not in the app's layout.
        """
        app = self._app
        layouts = {f"the layout of the page {name!r}": each for name, each in page_layouts()}
        calls = [partial(self._layout_of, layout) for layout in layouts.values()]
        if not app.is_layout_unknown:
            calls.append(partial(self._layout_of, app.raw_layout))
        made = await self._guarded(*calls)
        own = made[len(layouts)] if len(made) > len(layouts) else None
        for (what, layout), result in zip(layouts.items(), made, strict=False):
            if isinstance(result, Exception):
                self._report(what, layout, result)
        if isinstance(own, Exception):
            self._report("the layout", app.layout_function, own)
        elif own is not None:
            whole = whole_layout(each for each in made if not isinstance(each, Exception))
            # The browser would report what the missing pages have.
            app.validation_layout = None if app.is_layout_unknown else whole

    async def _layout_of(self, layout: Any) -> Any:
        return await self._app.page_pool.call(layout) if callable(layout) else layout

    async def _guarded(self, *calls: Callable[[], Awaitable[Any]]) -> list[Any]:
        """Call layouts in the made-up request; call those that fail again after the guards.

        Returns results and, of those that failed again, exceptions. Some layouts read what a
        ``before_request`` function has put into ``g``. The guards are not called otherwise, since
        there is no visitor; what they answer is not used.
        """
        results = await _all(calls)
        failed = [i for i, result in enumerate(results) if isinstance(result, Exception)]
        if not failed or not self._has_guards():
            return results
        app = self._app
        app.logger.debug("layouts are called again after the guards", exc_info=results[failed[0]])
        try:
            await app.server.preprocess_request()
        except Exception:
            app.logger.debug("a guard refused the made-up request", exc_info=True)
        for i, result in zip(failed, await _all([calls[i] for i in failed]), strict=True):
            results[i] = result
        return results

    def _has_guards(self) -> bool:
        return any(self._app.server.before_request_funcs.values())

    def _go_on_without_layout(self, error: Exception) -> None:
        app = self._app
        if app.validation_layout and not app.use_pages:
            # The browser has what to check callbacks against: the app's own, or the result of the
            # function when it was assigned.
            app.logger.debug("the layout failed in the made-up request", exc_info=error)
        else:
            self._report("the layout", app.layout_function, error)

    def _report(self, what: str, layout: Any, error: Exception) -> None:
        app = self._app
        app.is_layout_unknown = True
        app.logger.warning(
            "%s failed when it was called without a visitor at the start. The app goes on, and the "
            "browser does not check the components of callbacks: %s: %s (%s). To have them "
            "checked, let the layout return its components for an empty session, too.",
            what if layout is None else f"{what} ({place_of(layout)})",
            type(error).__name__,
            error,
            _line_of(error),
        )


async def _all(calls: Iterable[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """Await calls at once; return their results and exceptions."""
    results = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
    return results


def _line_of(error: Exception) -> str:
    """Return ``file:line`` of the last line of the app that ran before ``error`` was raised."""
    installed = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if not each.filename.startswith((_FLASH, *installed))]
    return "{0.filename}:{0.lineno}".format((own or frames)[-1])
