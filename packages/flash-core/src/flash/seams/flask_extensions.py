"""What extensions of Flask do to an app that a Quart app cannot take as it is.

Some replace a method of the app, some register a function that Flash makes needless, and some need
a server of WSGI. What cannot work is refused when it is attached.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from flash.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    import flask

# Methods that an extension may replace by a plain function: they are only called for errors.
ERROR_HANDLERS = frozenset({"handle_exception", "handle_user_exception", "handle_http_exception"})

# What a request passes through in Flask; who changes one of them wants to see requests.
DISPATCH = (
    "wsgi_app",
    "__call__",
    "full_dispatch_request",
    "preprocess_request",
    "dispatch_request",
    "finalize_request",
    "process_response",
    "make_response",
    "do_teardown_request",
)

_REPLACED = frozenset(DISPATCH) - {"wsgi_app", "__call__"}

# By the package of WSGI middleware that holds connections open: what to use instead.
_MIDDLEWARE = {
    "flask_socketio": "flash_ws (`flash_ws.Live`) for messages, or `app.add_asgi_route` with "
    "`socketio.ASGIApp`",
    "engineio": "flash_ws (`flash_ws.Live`) for messages, or `app.add_asgi_route` with "
    "`socketio.ASGIApp`",
    "socketio": "flash_ws (`flash_ws.Live`) for messages, or `app.add_asgi_route` with "
    "`socketio.ASGIApp`",
}

# By the package in which a view is written that holds its connection: what to use instead.
_VIEWS = {"flask_sock": "`@app.server.websocket(rule)` of Quart"}

_NEEDLESS = "flask_compress"


def check_replacement(name: str, value: object) -> None:
    """Raise `ConfigurationError` if a method of the server must not be replaced by ``value``."""
    if name in _REPLACED and callable(value) and not inspect.iscoroutinefunction(value):
        raise ConfigurationError(
            f"app.server.{name} = {value!r}: requests do not pass through a plain function here; "
            "use before_request, after_request or ASGI middleware (`app.server.asgi_app = …`)"
        )


def check_middleware(middleware: object) -> None:
    """Raise `ConfigurationError` for WSGI middleware that needs a server of WSGI."""
    package = (getattr(middleware, "__module__", None) or type(middleware).__module__).partition(
        "."
    )[0]
    remedy = _MIDDLEWARE.get(package)
    if remedy is not None:
        raise ConfigurationError(
            f"{package} takes over connections of a WSGI server, and Flash is served by ASGI; "
            f"use {remedy}"
        )


def check_view(view: object) -> None:
    """Raise `ConfigurationError` for a view that needs a server of WSGI."""
    # Not its ``__module__``, which a decorator takes from the function that it wraps.
    package = str(getattr(view, "__globals__", {}).get("__name__")).partition(".")[0]
    remedy = _VIEWS.get(package)
    if remedy is not None:
        raise ConfigurationError(
            f"{package} takes over connections of a WSGI server, and Flash is served by ASGI; "
            f"use {remedy}"
        )


def take_compression(after_request: list[Callable[..., Any]]) -> Callable[..., Any] | None:
    """Remove flask-compress from the functions called after requests, and return its function.

    It would run for every response, in a thread; Flash compresses its own.
    """
    for function in after_request:
        owner = type(getattr(function, "__self__", None)).__module__
        if owner.partition(".")[0] == _NEEDLESS:
            after_request.remove(function)
            return function
    return None


def point_middleware_at(app: flask.Flask, end: Callable[..., Any]) -> bool:
    """Let the WSGI middleware around a Flask app call ``end`` instead of the app.

    False if it is not found, which middleware that keeps the app in a closure is not.
    """
    own = type(app).wsgi_app.__get__(app)
    layer: Any = app.wsgi_app
    for _ in range(_MAX_LAYERS):
        inner = None
        for name, value in list(getattr(layer, "__dict__", {}).items()):
            if value == own:
                setattr(layer, name, end)
                return True
            if name in ("app", "wsgi_app", "application") and callable(value):
                inner = value
        if inner is None:
            break
        layer = inner
    return False


_MAX_LAYERS = 20
