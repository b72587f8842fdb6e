"""`DashApp`: the base class of `flash.Flash`, which gives private methods of Dash public names."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

import dash
from dash.development.base_component import ComponentRegistry

from flash.seams.dash import (
    END_SCOPE,
    GLOBAL_CALLBACK_MAP,
    GLOBAL_INLINE_SCRIPTS,
    ISSUED,
    PAGE_REGISTRY,
    PREVIOUS,
    HooksManager,
    import_pages,
    sign,
    unsign,
    validate,
)
from flash.seams.dash_checks import shorten_checks
from flash.seams.dash_declarations import shorten_declarations

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

# Dash's class, whatever `dash.Dash` is afterwards.
StockDash = dash.Dash

shorten_checks()
shorten_declarations()

# Settings that are sent to the page and that an app may change while it serves.
_PAGE_SETTINGS = ("update_title", "show_undo_redo", "suppress_callback_exceptions")


class _ById:
    """Compares an object by identity, since components compare by content."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and other._value is self._value

    def __hash__(self) -> int:
        return id(self._value)


class DocumentParts(Protocol):
    """Makes the tags of a page's HTML that Dash inserts."""

    def scripts(self) -> str:
        """Return the script tags."""
        ...

    def css(self) -> str:
        """Return the style tags."""
        ...

    def config(self) -> str:
        """Return the tag with the page's configuration."""
        ...


def replace_dash(kind: type[DashApp]) -> bool:
    """Let ``dash.Dash`` and ``dash.dash.Dash`` be ``kind``; return False if they were already."""
    modules: list[Any] = [dash, sys.modules["dash.dash"]]
    known = all(module.Dash is kind for module in modules)
    for module in modules:
        module.Dash = kind
    return not known


class DashApp(StockDash):
    """`dash.Dash` with public names for its private methods; the base class of `flash.Flash`.

    Overrides methods that Dash would call on the event loop or once per request. Has no async code.
    """

    # Additional configuration for the page, by name; for add-ons. Must be assigned before
    # `dash.Dash.__init__` runs.
    page_extras: dict[str, Any]
    # Called when the key that signs has changed, after `share_signing_secret`.
    secret_watchers: list[Callable[[], None]]

    # What Dash's developer tools show in addition, if they are shown: components of the renderer's
    # menu, and the scripts that define them. Must be assigned before `dash.Dash.__init__` runs.
    dev_tools_components: Sequence[Mapping[str, Any]] = ()
    dev_tools_scripts: Sequence[dict[str, Any]] = ()

    # Whether the app was made with a URL prefix, which then is not taken from a host.
    has_own_prefix: bool

    # Whether a layout failed when the app started, so that callbacks cannot be checked against it.
    is_layout_unknown = False

    # Whether Dash has looked for files in the assets folder.
    _has_assets = False

    # What the set-up of the first request has raised, where it cannot be repeated.
    _setup_failure: Exception | None = None

    # -- called by Dash -------------------------------------------------------------------------

    @property
    def _hooks(self) -> Any:
        return self.hook_registry()

    @_hooks.setter
    def _hooks(self, registry: object) -> None:
        """Ignore Dash's registry, which `hook_registry` replaces."""

    def _layout_value(self) -> Any:
        return self.attempt_layout(self.layout_value)

    def _add_url(
        self, name: str, view_func: Callable[..., Any], methods: Sequence[str] = ("GET",)
    ) -> None:
        # Dash passes its own bound methods here, and a subclass replaces some of them.
        super()._add_url(name, self.view_for(name, view_func), methods)

    def _execute_callback(self, func: Any, args: Any, outputs_list: Any, g: Any) -> Any:
        call = super()._execute_callback(func, args, outputs_list, g)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            # Dash's MCP server runs in a thread and expects a result, but callbacks are async.
            return lambda: self._result_of(call())
        return call

    def _result_of(self, result: Any) -> Any:
        """Return a callback's result; before the app has started, a plain one has it at once."""
        return self.wait_for(result) if asyncio.iscoroutine(result) else result

    def _config(self) -> dict[str, Any]:
        config = super()._config()
        if not self.uses_websocket_callbacks:
            # With this setting every page opens Dash's socket, even if no callback uses it.
            config.pop("websocket", None)
        if self.is_layout_unknown:
            # The browser would report each component that its first layout does not have.
            config["suppress_callback_exceptions"] = True
        if self.shows_dev_tools and self.dev_tools_components:
            config["dev_tools"] = [*self.dev_tools_components, *(config.get("dev_tools") or ())]
        return {**config, **self.page_extras}

    def _generate_scripts_html(self) -> str:
        return self.document_parts().scripts()

    def _generate_css_dist_html(self) -> str:
        return self.document_parts().css()

    def _generate_config_html(self) -> str:
        return self.document_parts().config()

    def enable_pages(self) -> None:
        """Import the pages; Flash registers their routing callback at start-up."""
        if self.use_pages and self.pages_folder:
            import_pages(self.config.pages_folder)

    # -- implemented by a subclass ----------------------------------------------------------------

    def hook_registry(self) -> Any:
        """Return the registry from which Dash reads hooks; called in `dash.Dash.__init__`."""
        raise NotImplementedError

    def document_parts(self) -> DocumentParts:
        """Return the object that makes the tags of the page's HTML."""
        raise NotImplementedError

    def layout_value(self) -> Any:
        """Return the layout, called if it is a function, with the components that plugins added."""
        return super()._layout_value()

    def attempt_layout(self, layout: Callable[[], Any]) -> Any:
        """Call a function that makes a layout for Dash, which validates the layout."""
        return layout()

    def view_for(self, name: str, view: Callable[..., Any]) -> Callable[..., Any]:
        """Return the view to register for Dash's route ``name``."""
        del name
        return view

    def wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run ``coroutine`` on the app's loop and return its result; call it from a thread."""
        raise NotImplementedError

    def take_root_path(self, root_path: str) -> None:
        """Use the path at which a host or a proxy serves the app as its prefix for URLs.

        Does nothing if the app was made with a prefix.
        """
        if self.has_own_prefix or self.config.requests_pathname_prefix != "/":
            return
        # The setting is read-only for users of the app.
        dict.__setitem__(self.config, "requests_pathname_prefix", root_path.rstrip("/") + "/")
        if self.use_pages:
            for page in PAGE_REGISTRY.values():
                page["relative_path"] = self.get_relative_path(page["path"])

    # -- used by a subclass --------------------------------------------------------------------

    def add_url(
        self, name: str, view: Callable[..., Awaitable[Any]], methods: Sequence[str] = ("GET",)
    ) -> None:
        """Register a view below the URL prefix of the app."""
        super()._add_url(name, view, methods)

    def run_first_request_setup(self) -> None:
        """Do Dash's set-up of the first request: find assets, take over callbacks, validate.

        Reads the disk. Calls `layout_value`. Idempotent; after a failure it can be repeated.
        """
        if self._setup_failure is not None:
            raise self._setup_failure
        with_assets = self.config.include_assets_files
        # The setting is read-only for users of the app. A second search would list files twice.
        dict.__setitem__(self.config, "include_assets_files", with_assets and not self._has_assets)
        try:
            self._setup_server()
        except Exception as error:
            if type(self)._setup_server is StockDash._setup_server:
                # Dash would do nothing the next time, and the app would be set up in part.
                self._got_first_request["setup_server"] = False
            else:
                # That of dash-extensions would register its callbacks twice.
                self._setup_failure = error
            raise
        finally:
            self._has_assets = True
            dict.__setitem__(self.config, "include_assets_files", with_assets)

    def set_layout(self, value: Any) -> None:
        """Set the layout as Dash does: a function is called, for validation."""
        StockDash.layout.fset(self, value)  # type: ignore[attr-defined]

    @property
    def raw_layout(self) -> Any:
        """The value assigned to ``layout``: components or a function."""
        return self._layout

    @raw_layout.setter
    def raw_layout(self, value: Any) -> None:
        """Set the layout without calling it; the public setter calls it."""
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
        """The error handler of the app, or None."""
        return self._on_error

    @property
    def background_manager(self) -> Any:
        """The app's background manager, or None."""
        return self._background_manager

    @background_manager.setter
    def background_manager(self, manager: Any) -> None:
        self._background_manager = manager

    def managers_in_use(self) -> list[Any]:
        """Return the managers by which background callbacks of the app run."""
        jobs = [each for each in self.callback_map.values() if each.get("background")]
        return [each.get("manager") or self._background_manager for each in jobs]

    def has_unmanaged_jobs(self) -> bool:
        """Whether a background callback has no manager of its own."""
        entries = (*self.callback_map.values(), *GLOBAL_CALLBACK_MAP.values())
        return any(each.get("background") and not each.get("manager") for each in entries)

    def background_managers(self) -> list[Any]:
        """Return all background managers of the app and of its callbacks."""
        return self._background_managers()

    @property
    def callback_list(self) -> list[dict[str, Any]]:
        """The descriptions of the callbacks that are sent to the page."""
        return self._callback_list

    @property
    def mcp_path(self) -> str:
        """The URL path of Dash's MCP server, whether or not it is enabled."""
        return f"{self.config.routes_pathname_prefix}{self._mcp_path}"

    @property
    def uses_websocket_callbacks(self) -> bool:
        """Whether any callback uses Dash's own WebSocket."""
        return bool(self._websocket_callbacks) or any(
            entry.get("websocket") for entry in self.callback_map.values()
        )

    def may_use_socket(self, callback_id: str) -> bool:
        """Whether a callback may be called over Dash's own WebSocket."""
        entry = self.callback_map.get(callback_id, {})
        return bool(self._websocket_callbacks or entry.get("websocket"))

    @property
    def socket_allowed_origins(self) -> tuple[str, ...]:
        """The other origins whose pages may open Dash's own WebSocket."""
        return tuple(self._websocket_allowed_origins)

    @property
    def socket_heartbeat(self) -> float:
        """Seconds between two heartbeats of a page over Dash's own WebSocket."""
        return (self._websocket_heartbeat_interval or 0) / 1000

    @property
    def socket_batch_delay(self) -> float:
        """Seconds for which properties set over Dash's own WebSocket are collected."""
        return self._websocket_batch_delay or 0.0

    def signing_secret(self) -> bytes:
        """Return the key that signs background handles; may read the manager's store."""
        return self._get_signing_secret()

    def share_signing_secret(self, secret: bytes) -> None:
        """Use a key that all workers share, unless the server has a secret key of its own."""
        self._generated_signing_secret = secret
        for tell in self.secret_watchers:
            tell()

    def page_state(self) -> tuple[Any, ...]:
        """Return the values on which the page's configuration depends, to detect a change."""
        layout = self.validation_layout
        return (
            self.resource_state(),
            # Holds the layout itself, so that its identity is not reused.
            layout if layout is None else _ById(layout),
            len(self._extra_components),
            repr(self.page_extras),
            self.uses_websocket_callbacks,
            self.is_layout_unknown,
            *(self.config.get(name) for name in _PAGE_SETTINGS),
        )

    def new_page_identity(self, previous: str | None = None) -> str:
        """Return a new signed identity for a page; may read the manager's store.

        With ``previous``, an identity that the page has used before, the page may still poll and
        cancel the background jobs that it has started with that one.
        """
        before = self.page_of(previous) if previous is not None else None
        return self._sign_identity(secrets.token_hex(12), before or "")

    def renewed_page_identity(self, token: str) -> str:
        """Return the identity of the same page, issued now; ``token`` must be valid."""
        page, _, before = (self._name_in(token) or "").partition(PREVIOUS)
        return self._sign_identity(page.partition(ISSUED)[0], before)

    def page_of(self, token: str) -> str | None:
        """Return the page id in a signed identity, or None if the signature is not valid."""
        name = self._name_in(token)
        return None if name is None else name.partition(PREVIOUS)[0].partition(ISSUED)[0]

    def page_identity_age(self, token: str) -> float:
        """Return the seconds since an identity was issued; infinity if that is not known."""
        issued = (self._name_in(token) or "").partition(PREVIOUS)[0].partition(ISSUED)[2]
        return time.time() - int(issued, 16) if issued else float("inf")

    def _sign_identity(self, page: str, before: str) -> str:
        name = f"{page}{ISSUED}{int(time.time()):x}"
        return sign(
            self._get_signing_secret(), END_SCOPE, f"{name}{PREVIOUS}{before}" if before else name
        )

    def _name_in(self, token: str) -> str | None:
        """Return what is signed in an identity, or None if the signature is not valid."""
        # Our signatures are ASCII, and Dash's comparison raises an error for other text.
        return unsign(self._get_signing_secret(), END_SCOPE, token) if token.isascii() else None

    def page_config(self) -> dict[str, Any]:
        """Return the configuration for the renderer, with a new page identity."""
        return self._config()

    @property
    def is_developing(self) -> bool:
        """Whether files and bundles may change while the app runs."""
        return bool(self._dev_tools.hot_reload or self._dev_tools.serve_dev_bundles)

    @property
    def shows_dev_tools(self) -> bool:
        """Whether pages show Dash's developer tools, which only the developer bundles have."""
        return bool(self._dev_tools.ui and self._dev_tools.serve_dev_bundles)

    def resource_state(self) -> tuple[Any, ...]:
        """Return the values on which script and style tags depend, to detect a change."""
        return (
            self.shows_dev_tools,
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

    def add_inline_script(self, script: str) -> None:
        """Put a script into each page, before Dash's renderer starts; see `csp_hashes`."""
        self._inline_scripts.append(script)

    def make_scripts_html(self) -> str:
        """Return the page's script tags. Reads the modification time of each file."""
        listed: Any = self.scripts._resources._resources
        for script in self.dev_tools_scripts:
            if script in listed and not self.shows_dev_tools:
                listed.remove(script)
            elif script not in listed and self.shows_dev_tools:
                listed.append(script)
        return super()._generate_scripts_html()

    def make_css_html(self) -> str:
        """Return the page's style tags. Reads the modification time of each file."""
        return super()._generate_css_dist_html()
