"""The views of an app other than callbacks: page, layout, list of callbacks, files."""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import dash

from flash.callbacks.response import HTML, EncodedResponse
from flash.seams import dash as dash_seam
from flash.seams import quart as quart_seam
from flash.serialize import dumps
from flash.static import StaticCache, StaticResponse, StaticTree
from flash.tracing import caused_by

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from contextlib import AbstractContextManager

    from flash.callbacks.execution import WorkerPool
    from flash.callbacks.hook_registry import Hooks
    from flash.tracing import Tracing

_NOT_TRACED = nullcontext()


# For the HTML of a page, which holds the page's identity: no cache may give it to another browser.
# "no-store" would keep browsers from showing the page again at once with the back button.
_CACHE_CONTROL = "private, no-cache"


class ViewedApp(Protocol):
    """What `Views` needs of the app."""

    config: Any
    registered_paths: Any
    page_pool: WorkerPool
    internal_pool: WorkerPool
    hooks: Hooks
    # None if nothing is traced.
    tracing: Tracing | None

    @property
    def callback_list(self) -> list[dict[str, Any]]:
        """The descriptions of the callbacks that are sent to the page."""
        ...

    @property
    def is_developing(self) -> bool:
        """Whether files and bundles may change while the app runs."""
        ...

    def index(self) -> str:
        """Return the HTML of the page; reads the disk."""
        ...

    async def render_layout(self) -> Any:
        """Return the layout to send to a page."""
        ...

    async def warm_up(self) -> None:
        """Do the set-up before values of the user are serialised on the loop; idempotent."""
        ...


class Views:
    """The views of one app.

    The gateway calls them directly or through Quart's routes. `quart.request` is available in both
    cases.
    """

    def __init__(self, app: ViewedApp) -> None:
        self._app = app
        self.files = StaticCache()
        self._assets: StaticTree | None = None
        # The list of callbacks, its length when it was serialised, and its JSON.
        self._dependencies: tuple[list[Any], int, bytes] = ([], -1, b"")

    def by_path(self) -> dict[str, Callable[[], Awaitable[EncodedResponse]]]:
        """Return the views that have a single path, by path."""
        prefix: str = self._app.config.routes_pathname_prefix
        return {
            prefix: self.index,
            f"{prefix}_dash-layout": self.layout,
            f"{prefix}_dash-dependencies": self.dependencies,
        }

    async def index(self) -> EncodedResponse:
        """Return the HTML of the page."""
        with self._traced("page"):
            return await self._index()

    async def _index(self) -> EncodedResponse:
        app = self._app
        # In a thread: it reads modification times of files and calls methods that users override.
        index = await app.internal_pool.run(app.index)
        hooks = app.hooks.of("index")
        for hook in hooks:
            index = await app.page_pool.call(hook.func, index)
        if hooks:
            dash_seam.check_index(index)
        return EncodedResponse(HTTPStatus.OK, index.encode(), HTML, cache_control=_CACHE_CONTROL)

    async def layout(self) -> EncodedResponse:
        """Return the layout as JSON."""
        app = self._app
        with self._traced("layout"):
            layout = await app.render_layout()
            # Always in a thread: to find out the size of a layout costs as much as to serialise it.
            return EncodedResponse(HTTPStatus.OK, await app.internal_pool.run(dumps, layout))

    def _traced(self, name: str) -> AbstractContextManager[object]:
        """Return the span of a view; nothing if nothing is traced."""
        tracing = self._app.tracing
        if tracing is None:
            return _NOT_TRACED
        headers = quart_seam.request_headers()
        return tracing.span(name, caused_by(headers), headers=headers)

    async def dependencies(self) -> EncodedResponse:
        """Return the list of callbacks with their dependencies as JSON."""
        await self._app.warm_up()
        callbacks = self._app.callback_list
        kept, count, body = self._dependencies
        if kept is not callbacks or count != len(callbacks):
            body = dumps(callbacks)
            self._dependencies = (callbacks, len(callbacks), body)
        return EncodedResponse(HTTPStatus.OK, body)

    async def file_at(
        self, path: str, method: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> StaticResponse | None:
        """Return a file of this app at a URL path; None if there is no such file."""
        config = self._app.config
        prefix: str = config.routes_pathname_prefix
        if not path.startswith(prefix):
            return None
        below = path[len(prefix) :]
        if below.startswith("_dash-component-suites/"):
            package, _, rest = below.removeprefix("_dash-component-suites/").partition("/")
            return await self.component_suite(package, rest, method, headers)
        assets = f"{config.assets_url_path.strip('/')}/"
        if below.startswith(assets):
            return await self.asset(below.removeprefix(assets), method, headers)
        if below == "_favicon.ico":
            return await self.favicon(method, headers)
        return None

    async def component_suite(
        self, package: str, path: str, method: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> StaticResponse | None:
        """Return a file of a component library; None if no library registered it."""
        found = dash_seam.registered_file(self._app.registered_paths, package, path)
        if found is None:
            return None
        return await self.files.answer(
            found[0],
            method=method,
            headers=headers,
            immutable=found[1],
            revalidate=self._app.is_developing,
        )

    async def asset(
        self, path: str, method: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> StaticResponse | None:
        """Return a file of the assets folder; None if there is no such file."""
        if self._assets is None:
            self._assets = StaticTree(Path(self._app.config.assets_folder), self.files)
        return await self._assets.answer(path, method=method, headers=headers)

    async def favicon(
        self, method: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> StaticResponse | None:
        """Return Dash's icon, for an app that has no icon of its own."""
        return await self.files.answer(
            Path(inspect.getfile(dash)).with_name("favicon.ico"),
            method=method,
            headers=headers,
            immutable=True,
            revalidate=False,
        )
