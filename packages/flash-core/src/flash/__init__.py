"""Flash: Dash on Quart, with nothing blocking.

Everything that ``from dash import …`` offers is here, so an app moves by one changed import line;
`Dash` is `Flash`, and `callback` knows a few options more.
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

# So that an app moves by changing `from dash import Dash` to `from flash import Dash`.
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
    """Return what a newer Dash exports and this list does not name yet."""
    import dash

    if name in dash.__all__:
        return getattr(dash, name)
    raise AttributeError(f"module 'flash' has no attribute {name!r}")


_install_moved_modules()
