"""Flask's `request`, `session`, `g` and `current_app` in code that runs under Quart.

Flask keeps its contexts in two context variables. `follow_quart` puts a `_Following` in place of
each: it answers with Flask's own context where a Flask app is at work, and otherwise with a bridge
to the context of Quart. Nothing is made before something looks, so a request that does not use
Flask's names costs nothing.

The variables ``_cv_app`` and ``_cv_request`` exist in Flask 2.2 to 3.1, those of Quart in 0.19 to
0.22.
"""

# pyright: reportPrivateUsage=false, reportIncompatibleVariableOverride=false

from __future__ import annotations

import asyncio
import sys
import threading
from collections import ChainMap
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self, TypeVar

import flask.globals
from flask.templating import _default_template_ctx_processor as flask_template_values
from quart.globals import _cv_app as quart_app
from quart.globals import _cv_request as quart_request
from quart.globals import _cv_websocket as quart_websocket
from quart.json.provider import DefaultJSONProvider as QuartJSON
from quart.templating import _default_template_ctx_processor as quart_template_values

from flash.seams.flask_request import BODY, LOOP, flask_request

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Token

    import quart
    from werkzeug.local import LocalProxy

T = TypeVar("T")

_flask_app: Any = flask.globals._cv_app
_flask_request: Any = flask.globals._cv_request

_NOTHING = object()

_making = threading.Lock()

# Where a Quart context keeps its bridge, and a Quart app its Flask side.
_BRIDGE = "_flash_flask_bridge"
SIDE = "flash_flask_side"


class FlaskSide(flask.Flask):
    """`flask.current_app` under Quart: a Flask app that shares the registries of a Quart app.

    Flask's own functions work on it as on any Flask app, without awaiting: ``make_response``,
    ``url_for``, templates, JSON. What a Quart app has and a Flask app does not, such as an
    attribute that an extension has set, is looked up there.
    """

    def __init__(self, server: quart.Quart) -> None:
        self.__dict__["_server"] = server
        super().__init__(
            server.import_name,
            static_folder=None,
            # Given, since to find them is to look at the disk, perhaps on the event loop.
            root_path=server.root_path,
            instance_path=server.instance_path,
        )
        share_registries(self, server)

    def __getattr__(self, name: str) -> Any:
        server = self.__dict__.get("_server")
        if server is None:
            # While it is copied or unpickled.
            raise AttributeError(name)
        return getattr(server, name)

    @property
    def session_interface(self) -> Any:  # type: ignore[override]
        """Flask's side of the session interface that the Quart app uses."""
        return getattr(self._server.session_interface, "inner", flask.Flask.session_interface)

    @property
    def json(self) -> Any:  # type: ignore[override]
        """The JSON provider, with the settings that the Quart app's has."""
        served = self._server.json
        if not isinstance(served, QuartJSON):
            return served
        for name in _JSON_SETTINGS:
            setattr(self._json, name, getattr(served, name))
        return self._json

    @json.setter
    def json(self, value: Any) -> None:
        self._json = value

    def wsgi_app(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Serve one request by WSGI: what the Quart app answers."""
        return self._server.wsgi(environ, start_response)

    def create_jinja_environment(self) -> Any:
        """Return an environment whose templates need no awaiting; it shares filters and globals."""
        made = super().create_jinja_environment()
        served = self._server.jinja_env
        made.filters, made.tests = served.filters, served.tests
        made.globals = ChainMap(made.globals, served.globals)  # type: ignore[assignment]
        return made

    def update_template_context(self, context: dict[str, Any]) -> None:
        """Add what the context processors of the Quart app return."""
        given = context.copy()
        names: list[str | None] = [None]
        if flask.has_request_context():
            names.extend(reversed(flask.request.blueprints))
        for name in names:
            for function in self._server.template_context_processors[name]:
                is_quarts = function is quart_template_values
                own: Any = flask_template_values if is_quarts else self.ensure_sync(function)
                context.update(own())
        context.update(given)

    def async_to_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return a plain function, for threads, that waits for ``func`` on the serving loop."""
        return async_to_sync(func)

    def __eq__(self, other: object) -> bool:
        return other is self or other is self._server

    def __hash__(self) -> int:
        return hash(self._server)


def async_to_sync(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return a plain function, for threads, that waits for ``func`` on the serving loop."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if is_on_loop():
            name = getattr(func, "__qualname__", repr(func))
            raise RuntimeError(
                f"{name} is an `async def` function, and the caller, which is written for Flask, "
                "cannot await it on the event loop. Call it from a plain `def` function, which "
                f"runs in a thread, or by `await asyncio.to_thread({name}, …)`"
            )
        return wait_for(func(*args, **kwargs), serving_loop())

    return call


# Settings of a JSON provider, which Quart's and Flask's have in common.
_JSON_SETTINGS = ("sort_keys", "ensure_ascii", "compact", "mimetype", "default")


def is_on_loop() -> bool:
    """Return whether the caller runs on an event loop, and so must not wait."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def serving_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that serves the current request; None outside of requests."""
    context = _request_context()
    loop: asyncio.AbstractEventLoop | None = context and context.scope.get(LOOP)
    return loop if loop is not None and loop.is_running() else None


# How many threads, each waiting for the next, wait for the code that runs now.
waiting_threads: ContextVar[int] = ContextVar("flash_waiting_threads", default=0)


def wait_for(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop | None) -> T:
    """Run a coroutine on ``loop``, or on one of its own, and return its result; from a thread.

    The coroutine gets the context of the caller.
    """
    token = waiting_threads.set(waiting_threads.get() + 1)
    try:
        if loop is None:
            return asyncio.run(coroutine)
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    finally:
        waiting_threads.reset(token)


# What Flask and Quart both get from `flask.sansio`, and look up whenever they use it.
_REGISTRIES = (
    "config",
    "url_map",
    "view_functions",
    "error_handler_spec",
    "before_request_funcs",
    "after_request_funcs",
    "teardown_request_funcs",
    "teardown_appcontext_funcs",
    "url_value_preprocessors",
    "url_default_functions",
    "url_build_error_handlers",
    "blueprints",
    "extensions",
    "jinja_options",
    "shell_context_processors",
    "aborter",
)


def share_registries(to: Any, owner: Any) -> None:
    """Let one app use the registries of another: what is registered on either is on both."""
    for name in _REGISTRIES:
        setattr(to, name, getattr(owner, name))
    for name in ("template_folder", "static_url_path", "secret_key", "instance_path"):
        value = getattr(owner, name, None)
        if value is not None and getattr(to, name, None) != value:
            setattr(to, name, value)


def flask_side(server: quart.Quart) -> flask.Flask:
    """Return the Flask app that stands for ``server`` in code written for Flask."""
    side: flask.Flask | None = server.__dict__.get(SIDE)
    if side is None:
        side = server.__dict__[SIDE] = FlaskSide(server)
    return side


class _AppBridge:
    """What Flask's code sees as its app context."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._tokens: list[Token[Any]] = []
        self.app = flask_side(context.app)
        self.g = context.g

    @property
    def url_adapter(self) -> Any:
        """The URL adapter of the Quart context."""
        return self._context.url_adapter

    def __enter__(self) -> Self:
        self._tokens.append(quart_app.set(self._context))
        return self

    def __exit__(self, *error: object) -> None:
        _reset(quart_app, self._tokens.pop())


class _RequestBridge:
    """What Flask's code sees as its request context."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.app = flask_side(context.app)
        self._request: flask.Request | None = None
        self._tokens: list[tuple[Token[Any], Token[Any]]] = []

    @property
    def request(self) -> flask.Request:
        """The request, made on first look."""
        if self._request is None:
            made = flask_request(self._context.request_websocket, self.app.request_class)
            with _making:
                # Another thread may have made one: there is one request for all.
                self._request = self._request or made
        return self._request

    @property
    def scope(self) -> Any:
        """The ASGI scope of the request."""
        return self._context.request_websocket.scope

    @property
    def session(self) -> Any:
        """The session of the Quart context."""
        return self._context.session

    @property
    def flashes(self) -> Any:
        """Messages that were taken out of the session during this request."""
        return self._context.flashes

    @flashes.setter
    def flashes(self, value: Any) -> None:
        self._context.flashes = value

    @property
    def url_adapter(self) -> Any:
        """The URL adapter of the Quart context."""
        return self._context.url_adapter

    @property
    def _after_request_functions(self) -> Any:
        return self._context._after_request_functions

    def close(self) -> None:
        """Close the files of the request, and end the reading of its body."""
        if self._request is not None:
            self._request.environ[BODY].abandon()
            self._request.close()

    def copy(self) -> _RequestBridge:
        """Return another bridge to the same request, for another thread."""
        return _RequestBridge(self._context)

    def __enter__(self) -> Self:
        app = quart_app.get(None)
        if app is None or app.app is not self._context.app:
            app = self._context.app.app_context()
        self._tokens.append((quart_app.set(app), quart_request.set(self._context)))
        return self

    def __exit__(self, *error: object) -> None:
        app_token, request_token = self._tokens.pop()
        _reset(quart_request, request_token)
        _reset(quart_app, app_token)


def _reset(variable: ContextVar[Any], token: Token[Any]) -> None:
    # A generator may end in another context than it began in, which is thrown away then.
    with suppress(ValueError):
        variable.reset(token)


def close_request(context: Any) -> None:
    """Close what reading the request through Flask has opened, such as uploaded files."""
    bridge = context.__dict__.get(_BRIDGE)
    if bridge is not None:
        bridge.close()


def _bridge(context: Any, kind: Callable[[Any], Any]) -> Any:
    if context is None:
        return None
    found = context.__dict__.get(_BRIDGE)
    if found is None:
        # Several threads may look at once: all get the same.
        found = context.__dict__.setdefault(_BRIDGE, kind(context))
    return found


def _request_context() -> Any:
    return _bridge(quart_request.get(None) or quart_websocket.get(None), _RequestBridge)


def _app_context() -> Any:
    return _bridge(quart_app.get(None), _AppBridge)


class _Following:
    """A context variable of Flask's that has Quart's context where Flask has none."""

    def __init__(self, own: ContextVar[Any], other: Callable[[], Any]) -> None:
        self._own = own
        self._other = other
        self.name = own.name

    def get(self, default: Any = _NOTHING) -> Any:
        """Return the context; raises `LookupError` as a context variable does."""
        context = self._own.get(None)
        if context is None:
            context = self._other()
        if context is None:
            if default is _NOTHING:
                raise LookupError(self.name)
            return default
        return context

    def set(self, context: Any) -> Token[Any]:
        """Make this Flask's own context."""
        return self._own.set(context)

    def reset(self, token: Token[Any]) -> None:
        """Undo a `set`."""
        self._own.reset(token)


def follow_quart() -> None:
    """Let Flask's context-bound names answer from Quart's contexts; idempotent, for the process."""
    variable: Any = flask.globals._cv_app
    if isinstance(variable, _Following):
        return
    app, request = (
        _Following(_flask_app, _app_context),
        _Following(_flask_request, _request_context),
    )
    # Flask's modules, and extensions, import the variables by name.
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if type(names) is not dict:
            continue
        for name, own, followed in (
            ("_cv_app", _flask_app, app),
            ("_cv_request", _flask_request, request),
        ):
            if names.get(name) is own:
                names[name] = followed
    _point(flask.globals.request, request, "request", flask.globals._no_req_msg)
    _point(flask.globals.session, request, "session", flask.globals._no_req_msg)
    _point(flask.globals.request_ctx, request, None, flask.globals._no_req_msg)
    _point(flask.globals.current_app, app, "app", flask.globals._no_app_msg)
    _point(flask.globals.g, app, "g", flask.globals._no_app_msg)
    _point(flask.globals.app_ctx, app, None, flask.globals._no_app_msg)


def _point(proxy: Any, variable: _Following, attribute: str | None, message: str) -> None:
    """Let a proxy object, which others have imported, look at another variable."""

    def look() -> Any:
        context = variable.get(None)
        if context is None:
            raise RuntimeError(message)
        return context if attribute is None else getattr(context, attribute)

    kind: type[LocalProxy[Any]] = type(proxy)
    kind.__init__(proxy, look, unbound_message=message)
