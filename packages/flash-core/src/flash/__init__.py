"""Flash: Dash on Quart, in which nothing blocks the event loop.

Everything that ``from dash import …`` offers is here, so that an app needs one changed import line.
`Dash` is `Flash`, and `callback` has additional options.
"""

from dash import (
    ALL,
    ALLSMALLER,
    MATCH,
    CeleryManager,
    ClientsideFunction,
    DiskcacheManager,
    Input,
    NoUpdate,
    Output,
    Patch,
    State,
    callback_context,
    clientside_callback,
    ctx,
    dash_table,
    dcc,
    development,
    exceptions,
    get_app,
    get_asset_url,
    get_relative_path,
    hooks,
    html,
    jupyter_dash,
    no_update,
    page_container,
    page_registry,
    register_page,
    set_props,
    stringify_id,
    strip_relative_path,
)

from flash.app import Flash, callback
from flash.background import AsyncManager, RedisManager
from flash.errors import BadRequest, CallbackTimeout, ConfigurationError, FlashError, Overloaded
from flash.moved import install_moved_modules as _install_moved_modules

__version__ = "0.1.0"

# An app can change `from dash import Dash` to `from flash import Dash`.
Dash = Flash

__all__ = [
    "ALL",
    "ALLSMALLER",
    "MATCH",
    "AsyncManager",
    "BadRequest",
    "CallbackTimeout",
    "CeleryManager",
    "ClientsideFunction",
    "ConfigurationError",
    "Dash",
    "DiskcacheManager",
    "Flash",
    "FlashError",
    "Input",
    "NoUpdate",
    "Output",
    "Overloaded",
    "Patch",
    "RedisManager",
    "State",
    "__version__",
    "callback",
    "callback_context",
    "clientside_callback",
    "ctx",
    "dash_table",
    "dcc",
    "development",
    "exceptions",
    "get_app",
    "get_asset_url",
    "get_relative_path",
    "hooks",
    "html",
    "jupyter_dash",
    "no_update",
    "page_container",
    "page_registry",
    "register_page",
    "set_props",
    "stringify_id",
    "strip_relative_path",
]


def __getattr__(name: str) -> object:
    """Return an export of a newer Dash that `__all__` does not have yet."""
    import dash

    if name in dash.__all__:
        return getattr(dash, name)
    raise AttributeError(f"module 'flash' has no attribute {name!r}")


_install_moved_modules()
