"""Dash pages: the routing callback. Page layouts and titles may be ``async def``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from dash import Input, Output, html

from flash.callbacks.functions import is_async
from flash.seams import dash as dash_seam

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator

    from flash.callbacks.execution import WorkerPool

logger = logging.getLogger(__name__)

# Sets the title of the tab to the one in the output of the routing callback.
_SET_TITLE = "function(data) { document.title = data.title }"


class PagedApp(Protocol):
    """What `Pages` needs of the app."""

    page_pool: WorkerPool
    title: str
    routing_callback_inputs: dict[str, Any]

    def callback(self, *_args: Any, **_kwargs: Any) -> Any:
        """Register a callback."""
        ...

    def clientside_callback(self, clientside_function: Any, *args: Any, **kwargs: Any) -> Any:
        """Register a clientside callback."""
        ...

    def strip_relative_path(self, path: str) -> Any:
        """Return a URL path without the URL prefix of the app."""
        ...

    def filter_layout(self, layout: Any) -> Any:
        """Return a layout after the layout filters of the add-on packages."""
        ...

    def wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run ``coroutine`` on the app's loop and return its result; call it from a thread."""
        ...


class Pages:
    """The pages of one app."""

    def __init__(self, app: PagedApp) -> None:
        self._app = app
        self._is_registered = False

    def register(self) -> None:
        """Register the routing callback; idempotent, since a start that fails may be repeated."""
        if self._is_registered:
            return
        app = self._app
        dash_seam.validate.check_for_duplicate_pathnames(dash_seam.PAGE_REGISTRY)
        dash_seam.validate.validate_registry(dash_seam.PAGE_REGISTRY)
        inputs = {
            "pathname_": Input(dash_seam.PAGES_LOCATION, "pathname"),
            "search_": Input(dash_seam.PAGES_LOCATION, "search"),
            **app.routing_callback_inputs,
        }
        app.callback(
            Output(dash_seam.PAGES_CONTENT, "children"),
            Output(dash_seam.PAGES_STORE, "data"),
            inputs=inputs,
            prevent_initial_call=True,
            hidden=True,
        )(self._route)
        app.clientside_callback(
            _SET_TITLE,
            Output(dash_seam.PAGES_DUMMY, "children"),
            Input(dash_seam.PAGES_STORE, "data"),
            hidden=True,
        )
        self._is_registered = True
        for page in dash_seam.PAGE_REGISTRY.values():
            # Dash makes the meta tags in a thread and cannot await.
            for name in ("title", "description"):
                if is_async(page[name]):
                    page[name] = _BlockingFunction(app, page[name])

    async def layouts(self) -> list[Any]:
        """Return the layouts of all pages, called as at the start; one that fails is left out."""
        found: list[Any] = []
        for name, layout in page_layouts():
            try:
                found.append(await self._layout_of(layout))
            except Exception:
                logger.debug("the layout of the page %r is left out", name, exc_info=True)
        return found

    async def _layout_of(self, layout: Any, **arguments: Any) -> Any:
        return await self._app.page_pool.call(layout, **arguments) if callable(layout) else layout

    async def _route(
        self, pathname_: str, search_: str, **states: Any
    ) -> tuple[Any, dict[str, Any]]:
        app = self._app
        page, variables = dash_seam.path_to_page(app.strip_relative_path(pathname_))
        variables = variables or {}
        # Unlike in Dash, a query string cannot replace a variable of the path: a guard that has
        # checked `/u/alice` must not let `/u/alice?name=bob` show the page of bob.
        arguments = {**dash_seam.parse_query_string(search_), **variables, **states}
        if not page:
            page = next(
                (
                    each
                    for module, each in dash_seam.PAGE_REGISTRY.items()
                    if module.split(".")[-1] == "not_found_404"
                ),
                {"layout": html.H1("404 - Page not found"), "title": app.title},
            )
        layout = await self._layout_of(page.get("layout", ""), **arguments)
        title = page["title"]
        if isinstance(title, _BlockingFunction):
            title = await title.function(**variables)
        elif callable(title):
            title = await app.page_pool.call(title, **variables)
        return app.filter_layout(layout), {"title": title}


class _BlockingFunction:
    """Wraps an async title or description so that a thread can call it and wait for the result."""

    def __init__(self, app: PagedApp, function: Any) -> None:
        self._app = app
        self.function = function

    def __call__(self, **variables: Any) -> Any:
        return self._app.wait_for(self.function(**variables))


def page_layouts() -> Iterator[tuple[str, Any]]:
    """Return the module and the layout, or layout function, of each page."""
    return ((name, page["layout"]) for name, page in dash_seam.PAGE_REGISTRY.items())


def whole_layout(layouts: Iterable[Any]) -> html.Div:
    """Return one component with all ``layouts``, of which some may be lists of components.

    Raises an exception if `dash.page_container` is not among them.
    """
    whole = html.Div(
        [
            component
            for layout in layouts
            for component in (layout if isinstance(layout, list | tuple) else [layout])
        ]
    )
    if dash_seam.PAGES_CONTENT not in whole:
        raise Exception("`dash.page_container` not found in the layout")
    return whole
