"""Every private name of Dash that Flash touches, each with why it is needed and where it exists.

Nothing else in Flash imports from a ``dash._…`` module or reads an underscore attribute of a Dash
app. All names exist in Dash 4.4.1 to 4.5.0rc2 unless a line says otherwise.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import importlib
import inspect
import secrets
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import dash

# Dash's own checks, so that the error texts stay Dash's.
from dash import _validate as validate

# The store of callbacks made by `dash.callback` before an app has claimed them; the third has
# scripts of `clientside_callback("function…")`.
from dash._callback import GLOBAL_CALLBACK_LIST, GLOBAL_CALLBACK_MAP, GLOBAL_INLINE_SCRIPTS

# What `dash.ctx` reads; one context variable for the whole process.
from dash._callback_context import context_value

# The signed identity of a page load, echoed by the renderer with every callback as `endId`.
from dash._callback_signing import END_SCOPE, cache_scope, job_scope, sign, unsign

# What `dash.get_app()` reads.
from dash._get_app import app_context

# Groupings: the shape in which a callback's arguments and outputs were declared.
from dash._grouping import flatten_grouping, grouping_len, map_grouping, update_args_group

# The store of hooks, shared by every app of the process.
from dash._hooks import HooksManager

# `dash.NoUpdate` is public, its test for "is this a no_update in any spelling" is a method of it.
from dash._no_update import NoUpdate

# Pages: the registry is public, the matching of a path to a page is not.
from dash._pages import PAGE_REGISTRY
from dash._pages import _import_layouts_from_pages as import_pages
from dash._pages import _parse_query_string as parse_query_string
from dash._pages import _path_to_page as path_to_page

# The dictionary with attribute access that `dash.ctx` and third-party code expect.
from dash._utils import (
    AttributeDict,
    clean_property_name,
    get_caller_name,
    inputs_to_dict,
    stringify_id,
)
from dash.development.base_component import ComponentRegistry

# The renderer's JSON is fingerprinted by these; the component-suite routes parse it.
from dash.fingerprint import check_fingerprint

if TYPE_CHECKING:
    import logging
    from collections.abc import (
        Awaitable,
        Callable,
        Collection,
        Coroutine,
        Generator,
        Mapping,
        Sequence,
    )


# The ids of the components that make up `dash.page_container`.
from dash.dash import _ID_CONTENT as PAGES_CONTENT
from dash.dash import _ID_DUMMY as PAGES_DUMMY
from dash.dash import _ID_LOCATION as PAGES_LOCATION
from dash.dash import _ID_STORE as PAGES_STORE
from dash.dash import (
    _re_index_config_id,
    _re_index_entry_id,
    _re_index_scripts_id,
    _re_renderer_scripts_id,
)

# The names that Dash's `register_callback` gives to the two wrappers it puts into `callback_map`.
_WRAPPERS = frozenset({"add_context", "async_add_context"})


__all__ = [
    "END_SCOPE",
    "GLOBAL_CALLBACK_LIST",
    "GLOBAL_CALLBACK_MAP",
    "GLOBAL_INLINE_SCRIPTS",
    "PAGES_CONTENT",
    "PAGES_DUMMY",
    "PAGES_LOCATION",
    "PAGES_STORE",
    "PAGE_REGISTRY",
    "AttributeDict",
    "DashApp",
    "HooksManager",
    "NoUpdate",
    "Registration",
    "app_context",
    "cache_scope",
    "check_index",
    "clean_property_name",
    "context_value",
    "flatten_grouping",
    "get_caller_name",
    "grouping_len",
    "inputs_to_dict",
    "is_first_request_setup",
    "job_scope",
    "map_grouping",
    "parse_query_string",
    "path_to_page",
    "read_registration",
    "registered_file",
    "sign",
    "stringify_id",
    "unsign",
    "update_args_group",
    "validate",
    "without_banner",
]

# What must be in a page's HTML: patterns, with how an error names them.
_INDEX_CHECKS = (
    _re_index_entry_id,
    _re_index_config_id,
    _re_index_scripts_id,
    _re_renderer_scripts_id,
)


@dataclass(frozen=True, slots=True)
class Registration:
    """What `dash.callback` was told, read back from the wrapper it stored.

    `callback_map` keeps the dependencies but neither the user's function nor `on_error`; both live
    only in the wrapper's closure (`register_callback` in `dash/_callback.py`).
    """

    function: Callable[..., Any]
    on_error: Callable[[Exception], Any] | None
    # The grouping of Outputs as declared; its leaves are `Output` objects.
    output: Any
    multi: bool
    has_output: bool
    background_key: str | None


def read_registration(wrapper: object) -> Registration | None:
    """Return what stands behind an entry of `callback_map`, or None where it is not Dash's wrapper.

    None means that somebody replaced the entry, or that a newer Dash registered a kind of callback
    that Flash does not know (a streaming generator in 4.5): such a callback is left to Dash.
    """
    code = getattr(wrapper, "__code__", None)
    if code is None or code.co_name not in _WRAPPERS or not hasattr(wrapper, "__closure__"):
        return None
    closure: Mapping[str, Any] = inspect.getclosurevars(wrapper).nonlocals  # type: ignore[arg-type]
    try:
        return Registration(
            function=closure["func"],
            on_error=closure["on_error"],
            output=closure["output"],
            multi=closure["multi"],
            has_output=closure["has_output"],
            background_key=closure["background_key"],
        )
    except KeyError:
        return None


# Settings that an app may change while it serves and that the page is told of.
_PAGE_SETTINGS = ("update_title", "show_undo_redo", "suppress_callback_exceptions")


class _Same:
    """Equal to another of the same object only: components compare by their contents."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other._value is self._value

    def __hash__(self) -> int:
        return id(self._value)


class DocumentParts(Protocol):
    """The tags of a page's HTML that Dash asks for."""

    def scripts(self) -> str:
        """Return the script tags."""
        ...

    def css(self) -> str:
        """Return the style tags."""
        ...

    def config(self) -> str:
        """Return the tag with the page's configuration."""
        ...


class DashApp(dash.Dash):
    """`dash.Dash` with its private methods behind public ones, which `flash.app.Flash` builds on.

    Overrides what Dash would call on the event loop or once per request. Nothing in it awaits.
    """

    # Sent to the page with the rest of its configuration, by name; for add-ons. Assigned before
    # `dash.Dash.__init__` runs.
    page_extras: dict[str, Any]

    # -- what Dash calls -------------------------------------------------------------------------

    @property
    def _hooks(self) -> Any:
        return self.hook_registry()

    @_hooks.setter
    def _hooks(self, registry: object) -> None:
        """Ignore Dash's registry: `hook_registry` is used in its place."""

    def _layout_value(self) -> Any:
        return self.layout_value()

    def _add_url(
        self, name: str, view_func: Callable[..., Any], methods: Sequence[str] = ("GET",)
    ) -> None:
        # Dash hands over its bound methods here; a subclass answers some of them itself.
        super()._add_url(name, self.view_for(name, view_func), methods)

    def _execute_callback(self, func: Any, args: Any, outputs_list: Any, g: Any) -> Any:
        call = super()._execute_callback(func, args, outputs_list, g)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            # Dash's MCP, in a thread, expects the result; callbacks here are async.
            return lambda: self.wait_for(call())
        return call

    def _config(self) -> dict[str, Any]:
        config = super()._config()
        if not self.uses_websocket_callbacks:
            # Told of it, every page would open Dash's socket, used or not.
            config.pop("websocket", None)
        return {**config, **self.page_extras}

    def _generate_scripts_html(self) -> str:
        return self.document_parts().scripts()

    def _generate_css_dist_html(self) -> str:
        return self.document_parts().css()

    def _generate_config_html(self) -> str:
        return self.document_parts().config()

    def enable_pages(self) -> None:
        """Import the pages; their routing callback is registered at start-up, by Flash."""
        if self.use_pages and self.pages_folder:
            import_pages(self.config.pages_folder)

    # -- what a subclass fills in ----------------------------------------------------------------

    def hook_registry(self) -> Any:
        """Return the registry that Dash reads hooks from; called within `dash.Dash.__init__`."""
        raise NotImplementedError

    def document_parts(self) -> DocumentParts:
        """Return what makes the tags of the page's HTML."""
        raise NotImplementedError

    def layout_value(self) -> Any:
        """Return the layout, called if it is a function, with the extra components."""
        return super()._layout_value()

    def view_for(self, name: str, view: Callable[..., Any]) -> Callable[..., Any]:
        """Return the view to register for Dash's route ``name``."""
        del name
        return view

    def wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run ``coroutine`` on the app's loop and wait for it, from a thread."""
        raise NotImplementedError

    # -- what a subclass uses --------------------------------------------------------------------

    def add_url(
        self, name: str, view: Callable[..., Awaitable[Any]], methods: Sequence[str] = ("GET",)
    ) -> None:
        """Register a view below the app's own prefix."""
        super()._add_url(name, view, methods)

    def run_first_request_setup(self) -> None:
        """Do what Dash does before its first request: walk assets, claim callbacks, validate.

        Reads the disk. Calls `layout_value`. Idempotent.
        """
        self._setup_server()

    @property
    def raw_layout(self) -> Any:
        """What was assigned to ``layout``: components or a function."""
        return self._layout

    @raw_layout.setter
    def raw_layout(self, value: Any) -> None:
        """Set the layout without calling it, where the public setter would."""
        validate.validate_layout_type(value)
        self._layout = value
        self._layout_is_function = callable(value)

    def with_extras(self, layout: Any) -> Any:
        """Return ``layout`` with the components that plugins added to the app."""
        if self._extra_components:
            return dash.html.Div(children=[layout, *self._extra_components])
        return layout

    @property
    def on_error(self) -> Callable[[Exception], Any] | None:
        """The app's own error handler, or None."""
        return self._on_error

    @property
    def background_manager(self) -> Any:
        """The app's background manager, or None."""
        return self._background_manager

    def background_managers(self) -> list[Any]:
        """Return every background manager that the app or a callback of it was given."""
        return self._background_managers()

    @property
    def callback_list(self) -> list[dict[str, Any]]:
        """What the page is told of the callbacks."""
        return self._callback_list

    @property
    def mcp_path(self) -> str:
        """The URL path of Dash's MCP server, served or not."""
        return f"{self.config.routes_pathname_prefix}{self._mcp_path}"

    @property
    def uses_websocket_callbacks(self) -> bool:
        """Whether any callback goes over Dash's own WebSocket."""
        return bool(self._websocket_callbacks) or any(
            entry.get("websocket") for entry in self.callback_map.values()
        )

    def may_use_socket(self, callback_id: str) -> bool:
        """Whether a callback may be called over Dash's own WebSocket."""
        entry = self.callback_map.get(callback_id, {})
        return bool(self._websocket_callbacks or entry.get("websocket"))

    @property
    def socket_batch_delay(self) -> float:
        """Seconds that properties set over Dash's own WebSocket wait for more."""
        return self._websocket_batch_delay or 0.0

    def signing_secret(self) -> bytes:
        """Return the key for background handles; may read the manager's store."""
        return self._get_signing_secret()

    def share_signing_secret(self, secret: bytes) -> None:
        """Sign with a key that all workers of a deployment have; the server's own goes before."""
        self._generated_signing_secret = secret

    def page_state(self) -> tuple[Any, ...]:
        """Return what the page's configuration depends on, to tell when it changes."""
        layout = self.validation_layout
        return (
            self.resource_state(),
            # The layout itself, so that it lives as long as it is compared with.
            layout if layout is None else _Same(layout),
            len(self._extra_components),
            repr(self.page_extras),
            self.uses_websocket_callbacks,
            *(self.config.get(name) for name in _PAGE_SETTINGS),
        )

    def new_page_identity(self) -> str:
        """Return a fresh signed identity for a page; may read the manager's store."""
        return sign(self._get_signing_secret(), END_SCOPE, secrets.token_hex(12))

    def page_of(self, token: str) -> str | None:
        """Return the id of the page that a signed identity names, or None if it is not ours."""
        return unsign(self._get_signing_secret(), END_SCOPE, token)

    def page_config(self) -> dict[str, Any]:
        """Return what the renderer is told of the app, a fresh page identity included."""
        return self._config()

    @property
    def is_developing(self) -> bool:
        """Whether files and bundles may change under the running app."""
        return bool(self._dev_tools.hot_reload or self._dev_tools.serve_dev_bundles)

    def resource_state(self) -> tuple[Any, ...]:
        """Return what the page's script and style tags depend on, to tell when they change."""
        return (
            len(ComponentRegistry.registry),
            len(self._inline_scripts) + len(GLOBAL_INLINE_SCRIPTS),
            len(self.scripts.get_all_scripts()),
            len(self.css.get_all_css()),
            len(HooksManager.hooks._js_dist),
            len(HooksManager.hooks._css_dist),
            len(self.config.external_scripts),
            len(self.config.external_stylesheets),
            self.config.requests_pathname_prefix,
        )

    def make_scripts_html(self) -> str:
        """Return the page's script tags. Asks the disk for each file's age."""
        return super()._generate_scripts_html()

    def make_css_html(self) -> str:
        """Return the page's style tags. Asks the disk for each file's age."""
        return super()._generate_css_dist_html()


def check_index(index: str) -> None:
    """Raise Dash's error if a page's HTML lacks what the renderer needs."""
    validate.validate_index("index", _INDEX_CHECKS, index)


@contextmanager
def without_banner(logger: logging.Logger) -> Generator[None]:
    """Keep Dash's "Dash is running on" out of ``logger``."""

    def is_other(record: logging.LogRecord) -> bool:
        return not record.msg.startswith("Dash is running on")

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


class _StopSwitch:
    """What `dash.testing`'s runner sets, on the loop it finds here, to end a Quart server."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = stop
        self._is_set = False

    def set(self) -> None:
        self._is_set = True
        self._stop()

    def is_set(self) -> bool:
        return self._is_set


def let_runners_stop(backend: Any, stop: Callable[[], None]) -> None:
    """Let `dash.testing`'s ThreadedRunner end the server by ``stop``; called on its loop."""
    backend._ws_shutdown_event = _StopSwitch(stop)


def is_first_request_setup(function: Callable[..., Any]) -> bool:
    """Tell whether ``function`` is what Dash registers to run before its first request."""
    # By name, since a subclass (dash-extensions') may have overridden it.
    return getattr(function, "__name__", None) == dash.Dash._setup_server.__name__


def registered_file(
    registered: Mapping[str, Collection[str]], package: str, fingerprinted: str
) -> tuple[Path, bool] | None:
    """Return the file a component-suite URL names, and whether the URL is fingerprinted.

    ``registered`` has the paths of each package, as Dash's ``registered_paths``. None for what no
    component library registered. Asks no disk.
    """
    path, has_fingerprint = _without_fingerprint(fingerprinted)
    # `get`, since looking up would add to the defaultdict.
    if path not in registered.get(package, ()):
        return None
    return _place_of(package, path), has_fingerprint


# A page asks for some fifteen; the bounds are against clients that make paths up.
@lru_cache(maxsize=1024)
def _without_fingerprint(path: str) -> tuple[str, bool]:
    return check_fingerprint(path)


@lru_cache(maxsize=4096)
def _place_of(package: str, path: str) -> Path:
    module = sys.modules.get(package) or importlib.import_module(package)
    return Path(module.__path__[0]) / path


def shared_storage_names() -> Any:
    """Return the module that has the parts of Dash's shared storage; None before Dash 4.5.

    Dash exports all that an implementation needs but the base class of its subscriptions.
    """
    if not hasattr(dash, "BaseSharedStorage"):
        return None
    return importlib.import_module("dash._shared_storage")
