"""Flash: Dash on Quart, in which nothing blocks the event loop.

Everything that ``from dash import …`` offers is here, so that an app needs one changed import line.
`Dash` is `Flash`, and `callback` has additional options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash.collector import paused_collector as _paused_collector

with _paused_collector():
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
        stringify_id,
        strip_relative_path,
    )

    from flash.access.visitor import Visitor
    from flash.app import Flash, callback
    from flash.drop_in import install
    from flash.errors import BadRequest, CallbackTimeout, ConfigurationError, FlashError, Overloaded
    from flash.moved import install_moved_modules as _install_moved_modules
    from flash.props import set_props

if TYPE_CHECKING:
    # Not in `__all__`, since a star import would need the add-on packages.
    from flash.addons import lazy as lazy
    from flash.addons import live as live
    from flash.addons import pubsub as pubsub
    from flash.background import AsyncManager, RedisManager

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
    "Visitor",
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
    "install",
    "jupyter_dash",
    "no_update",
    "page_container",
    "page_registry",
    "register_page",
    "set_props",
    "stringify_id",
    "strip_relative_path",
]


# Imported when somebody asks for them: most apps have no background callbacks.
_LATE = frozenset({"AsyncManager", "RedisManager"})
# Names of the add-on packages, which are imported when an app imports one.
_ADD_ONS = frozenset({"lazy", "live", "pubsub"})


def __getattr__(name: str) -> object:
    """Return a name that is imported late, or an export of a newer Dash."""
    import dash

    if name in _LATE:
        from flash import background

        return getattr(background, name)

    if name in _ADD_ONS:
        from flash import addons

        return addons.load(name)

    if name in dash.__all__:
        return getattr(dash, name)
    raise AttributeError(f"module 'flash' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the late names with the others, and those of the add-on packages that are installed."""
    from flash.addons import installed

    return sorted({*globals(), *_LATE, *installed()})


_install_moved_modules()
