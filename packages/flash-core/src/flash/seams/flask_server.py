"""The Quart app that Flash makes: one on which extensions written for Flask work.

It differs from `quart.Quart` where Flask's code would have to await: plain ``after_request``
functions get a `flask.Response`, session interfaces of Flask are called with Flask's request and
response, ``with app.app_context()`` works beside ``async with``.
"""

# pyright: reportPrivateUsage=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import asyncio
import inspect
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache, cached_property, wraps
from typing import TYPE_CHECKING, Any, Self

import flask
import flask.sessions
import quart
import quart.ctx
from flask.testing import FlaskClient
from quart.globals import _cv_app as quart_app
from quart.globals import _cv_request as quart_request
from quart.sessions import SessionInterface
from quart.utils import run_sync_iterable
from quart.wrappers.response import DataBody
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from flash.errors import ConfigurationError
from flash.seams.flask_extensions import (
    DISPATCH,
    ERROR_HANDLERS,
    check_middleware,
    check_replacement,
    check_view,
    point_middleware_at,
    take_compression,
)
from flash.seams.flask_globals import (
    SIDE,
    async_to_sync,
    close_request,
    flask_side,
    follow_quart,
    is_on_loop,
    serving_loop,
    share_registries,
    wait_for,
)
from flash.seams.flask_middleware import PROBE, WSGIMiddleware, wsgi_end
from flash.seams.flask_parts import Parts
from flash.seams.flask_request import flask_request
from flash.seams.quart import run_without_loop
from flash.seams.server_call import ServerCall, WSGIBridge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from types import TracebackType


class AppContext(quart.ctx.AppContext):
    """An app context for ``async with`` and, outside of the event loop, ``with``.

    Its parts are made on first access, since each callback has an app context.
    """

    def __init__(self, app: quart.Quart) -> None:
        # Without `super().__init__`, which would make the parts.
        self.app = app
        self._cv_tokens = []

    @cached_property
    def url_adapter(self) -> Any:  # type: ignore[override]
        """The URL adapter bound to the server's name, if that is configured."""
        return self.app.create_url_adapter(None)

    @cached_property
    def g(self) -> Any:  # type: ignore[override]
        """The object behind `quart.g`."""
        return self.app.app_ctx_globals_class()

    def push(self) -> Any:
        """Make this the current context; awaitable on the event loop, and not elsewhere."""
        return super().push() if is_on_loop() else self.__enter__()

    def pop(self, exc: BaseException | None = None) -> Any:
        """Leave the context; awaitable on the event loop, and not elsewhere."""
        if is_on_loop():
            return super().pop(exc)
        self.__exit__(None if exc is None else type(exc), exc, None)
        return None

    def __enter__(self) -> Self:
        self._cv_tokens.append(quart_app.set(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            for function in reversed(self.app.teardown_appcontext_funcs):
                if not inspect.iscoroutinefunction(function):
                    function(error)
        finally:
            quart_app.reset(self._cv_tokens.pop())


class QuietAppContext(AppContext):
    """An app context for ``async with`` at whose end no ``teardown_appcontext`` function runs."""

    async def pop(self, exc: BaseException | None = None) -> None:
        """Leave the context."""
        del exc
        quart_app.reset(self._cv_tokens.pop())


class RequestContext(quart.ctx.RequestContext):
    """A request context for ``async with`` and, outside of the event loop, ``with``."""

    def push(self) -> Any:
        """Make this the current context; awaitable on the event loop, and not elsewhere."""
        return super().push() if is_on_loop() else self.__enter__()

    def __enter__(self) -> Self:
        app_context = self.app.app_context()
        app_token = quart_app.set(app_context)
        self._cv_tokens.append((quart_request.set(self), app_context))
        self._app_token = app_token
        if self.session is None:
            interface: Any = self.app.session_interface
            if isinstance(interface, FlaskSessions):
                self.session = interface.open_here(self.app, self.request_websocket)
            else:
                self.session = run_without_loop(
                    interface.open_session(self.app, self.request_websocket)
                )
            if self.session is None:
                self.session = run_without_loop(interface.make_null_session(self.app))
        if self.url_adapter is not None:
            self.match_request()
        return self

    def pop(self, exc: BaseException | None = None) -> Any:
        """Leave the context, close the files of its request; awaitable on the event loop only."""
        if is_on_loop():
            return self._pop(exc)
        self.__exit__()
        return None

    async def _pop(self, exc: BaseException | None) -> None:
        is_last = len(self._cv_tokens) == 1
        try:
            await super().pop(exc)
        finally:
            if is_last:
                close_request(self)

    def __exit__(self, *error: object) -> None:
        token, _ = self._cv_tokens.pop()
        quart_request.reset(token)
        quart_app.reset(self._app_token)


class FlaskSessions(SessionInterface):
    """A session interface of Flask's, called in a thread with Flask's request and response."""

    def __init__(self, inner: flask.sessions.SessionInterface) -> None:
        self.__dict__["inner"] = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.inner, name, value)

    def open_here(self, app: Any, request: Any) -> Any:
        """Load the session of a request in this thread."""
        side = flask_side(app)
        made = flask_request(request, side.request_class)
        session = self.inner.open_session(side, made)
        return self.inner.make_null_session(side) if session is None else session

    async def open_session(self, app: Any, request: Any) -> Any:
        """Load the session of a request."""
        return await app.call_in_thread(self.open_here, app, request)

    async def save_session(self, app: Any, session: Any, response: Any) -> None:
        """Save a session, and put its cookie into the response."""
        view = response if isinstance(response, WerkzeugResponse) else ResponseView(response)
        await app.call_in_thread(self.inner.save_session, flask_side(app), session, view)  # type: ignore[arg-type]
        if isinstance(view, ResponseView):
            view.apply()

    async def make_null_session(self, app: Any) -> Any:
        """Return the session of a request that cannot have one."""
        return self.inner.make_null_session(flask_side(app))

    def is_null_session(self, obj: object) -> bool:
        """Tell whether a session stands for one that cannot be had."""
        return self.inner.is_null_session(obj)


class ResponseView(flask.Response):
    """A Quart response as Flask's code sees it: status, headers and cookies, and a body at hand.

    A body that is still to be made, such as a stream, stays as it is unless it is replaced.
    """

    def __init__(self, response: quart.Response) -> None:
        super().__init__(status=response.status)
        self._quart = response
        self.headers = response.headers
        body: Any = response.response
        self._data: bytes | None = bytes(body.data) if isinstance(body, DataBody) else None
        if self._data is not None:
            self.response = [self._data]
        else:
            self.direct_passthrough = True

    def apply(self) -> quart.Response:
        """Put what was changed into the Quart response, and return that."""
        response = self._quart
        response.status_code = self.status_code
        if self.direct_passthrough and self._data is None and not self.response:
            return response
        data = self.get_data()
        if data != self._data:
            response.set_data(data)
        return response


class FlashServer(quart.Quart):
    """A `quart.Quart` for code written for Quart and for Flask."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Flask's functions read them without a default, and Quart 0.20 does not set all of them.
        for key, value in flask.Flask.default_config.items():
            self.config.setdefault(key, value)
        # Calls a plain function in a thread; without it, Quart's threads are used.
        self.run_in_thread: Callable[..., Awaitable[Any]] | None = None
        # The function of flask-compress for responses that Flash does not compress itself.
        self._compress: Callable[[Any], Any] | None = None
        # Whether the next app context is that of the start or the end of serving, see there.
        self._is_lifespan_quiet = False
        follow_quart()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ERROR_HANDLERS and not inspect.iscoroutinefunction(value):
            value = self._awaitable(value)
        elif name in _CLASSES and isinstance(value, type) and issubclass(value, _CLASSES[name]):
            # Quart's own cannot be one of Flask's; Flask's code gets it.
            setattr(flask_side(self), name, value)
            return
        else:
            check_replacement(name, value)
        super().__setattr__(name, value)

    def _awaitable(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a coroutine function for a plain one that returns a response of Flask's."""

        async def handle(error: Exception) -> Any:
            result = await self.call_in_thread(function, error)
            return self._to_quart_kind(await result if inspect.isawaitable(result) else result)

        return handle

    async def call_in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a plain function in a thread, in a copy of the context."""
        return await (self.run_in_thread or asyncio.to_thread)(function, *args)

    def sync_to_async(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return a coroutine function that calls a plain one in a thread."""
        run = self.run_in_thread
        if run is None:
            return super().sync_to_async(func)

        @wraps(func)
        async def call(*args: Any, **kwargs: Any) -> Any:
            result = await run(func, *args, **kwargs)
            return run_sync_iterable(result) if inspect.isgenerator(result) else result

        call._quart_async_wrapper = True  # type: ignore[attr-defined]
        return call

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return a plain function for threads, as Flask's method of that name does."""
        return flask_side(self).ensure_sync(func)

    @classmethod
    def adopting(cls, app: flask.Flask) -> FlashServer:
        """Return a server that shares the registries of a Flask app.

        What is registered on either of them, now or later, is served.
        """
        server = cls(app.import_name, static_folder=None, root_path=app.root_path)
        for key, value in server.config.items():
            app.config.setdefault(key, value)
        # Flask's map knows no requests of ASGI: the Flask app gets the server's.
        routes = server.url_map
        routes.converters.update(app.url_map.converters)
        for rule in app.url_map.iter_rules():
            routes.add(rule.empty())
        app.url_map, app.url_rule_class = routes, server.url_rule_class
        share_registries(server, app)
        server.name = app.name  # type: ignore[misc]
        server.session_interface = app.session_interface  # type: ignore[assignment]
        server.__dict__[SIDE] = app
        app.async_to_sync = async_to_sync  # type: ignore[method-assign]
        for name in ERROR_HANDLERS & vars(app).keys():
            setattr(server, name, vars(app)[name])
        if "wsgi_app" in vars(app):
            # Middleware that is around the Flask app already.
            check_middleware(app.wsgi_app)
            if not point_middleware_at(app, server.wsgi):
                raise ConfigurationError(
                    f"{app!r} has WSGI middleware in which Flash does not find the app; put it "
                    "around afterwards: `app.server.wsgi_app = middleware(app.server.wsgi_app)`"
                )
            server.wsgi_app = app.wsgi_app
        # What calls the Flask app by WSGI gets what the server answers.
        app.wsgi_app = server.wsgi  # type: ignore[method-assign]
        # What calls it by ASGI as well: a call is looked up on the class.
        app.__class__ = _called_by_both(type(app))
        return server

    def app_context(self) -> AppContext:
        """Return an app context, for ``async with`` or ``with``."""
        if self._is_lifespan_quiet:
            # Quart makes the first one.
            self._is_lifespan_quiet = False
            return QuietAppContext(self)
        return AppContext(self)

    def test_client(self, use_cookies: bool = True, **options: Any) -> Any:
        """Return a test client: Quart's on an event loop, elsewhere one that does not await."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            side = flask_side(self)
            return FlaskClient(side, None, use_cookies, **options)
        return super().test_client(use_cookies, **options)

    def wsgi(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Serve one request by WSGI, on an event loop in a thread of its own."""
        if PROBE in environ:
            return wsgi_end(environ, start_response)
        return WSGIBridge.of(self)(environ, start_response)

    async def _asgi(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI connection."""
        await self.asgi_app(scope, receive, send)

    def _direct(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        """Serve one ASGI connection."""
        return self.asgi_app(scope, receive, send)

    # Servers of both kinds call the same object.
    __call__ = ServerCall(_asgi, wsgi, _direct)  # type: ignore[assignment]

    async def startup(self) -> None:
        """Do what is done before serving; middleware around an adopted app is found by then."""
        outer = vars(flask_side(self)).get("wsgi_app", self.wsgi)
        if outer != self.wsgi:
            self.wsgi_app = outer
            flask_side(self).wsgi_app = self.wsgi  # type: ignore[method-assign]
        with self._lifespan_context(self.before_serving_funcs):
            await super().startup()

    async def shutdown(self) -> None:
        """Do what is done after serving."""
        with self._lifespan_context(self.after_serving_funcs):
            await super().shutdown()

    @contextmanager
    def _lifespan_context(self, functions: list[Callable[[], Any]]) -> Generator[None]:
        """Run no ``teardown_appcontext`` functions at the start and the end of serving.

        Flask has no app context at these times. Functions of the app's own may use theirs.
        """
        self._is_lifespan_quiet = not self.while_serving_gens and all(map(_is_own, functions))
        try:
            yield
        finally:
            self._is_lifespan_quiet = False

    @property
    def wsgi_app(self) -> Any:
        """What WSGI middleware is put around; a setter, so that apps written for Flask can."""
        return wsgi_end

    @wsgi_app.setter
    def wsgi_app(self, middleware: Any) -> None:
        check_middleware(middleware)
        self.asgi_app = WSGIMiddleware(middleware, self.asgi_app, self)  # type: ignore[method-assign]

    def request_context(self, request: Any) -> RequestContext:
        """Return a request context, for ``async with`` or ``with``."""
        return RequestContext(self, request)

    @property
    def session_interface(self) -> Any:
        """Where sessions are kept; one of Flask's may be set as well."""
        return self._session_interface

    @session_interface.setter
    def session_interface(self, value: Any) -> None:
        if isinstance(value, flask.sessions.SecureCookieSessionInterface):
            # The same cookie, signed in the same way.
            value = type(self)._default_sessions
        elif isinstance(value, flask.sessions.SessionInterface):
            value = FlaskSessions(value)
        self._session_interface = value

    _default_sessions: Any = quart.Quart.session_interface
    _session_interface: Any = quart.Quart.session_interface

    def open_resource(self, path: Any, mode: str = "rb", *args: Any, **kwargs: Any) -> Any:
        """Open a file of the app; to be awaited on the event loop, and not in a thread."""
        opener: Any = super() if is_on_loop() else flask_side(self)
        return opener.open_resource(path, mode, *args, **kwargs)

    def open_instance_resource(self, path: Any, mode: str = "rb", **kwargs: Any) -> Any:
        """Open a file of the instance; to be awaited on the event loop, and not in a thread."""
        opener: Any = super() if is_on_loop() else flask_side(self)
        return opener.open_instance_resource(path, mode, **kwargs)

    def make_response(self, result: Any) -> Any:
        """Return what a view returned as a response: on the event loop an awaitable of Quart's.

        In a thread it is a response of Flask's, since the caller is written for Flask.
        """
        if is_on_loop():
            return self._make_response(result)
        if isinstance(result, quart.Response):
            return ResponseView(result)
        return flask_side(self).make_response(result)

    async def _make_response(self, result: Any) -> Any:
        side = flask_side(self)
        if side.response_class is not flask.Flask.response_class and not isinstance(
            result, quart.Response | WerkzeugResponse | HTTPException
        ):
            result = side.make_response(result)
        response = await super().make_response(result)
        return to_quart(response, self) if isinstance(response, WerkzeugResponse) else response

    def handle_exception(self, error: Exception) -> Any:
        """Return the response to an exception; awaitable on the event loop, not in a thread."""
        return self._handled(super().handle_exception, error)

    def handle_user_exception(self, error: Exception) -> Any:
        """Return the response to an exception; awaitable on the event loop, not in a thread."""
        return self._handled(super().handle_user_exception, error)

    def _handled(self, handle: Callable[[Any], Any], error: Exception) -> Any:
        if is_on_loop():
            return handle(error)

        async def raised() -> Any:
            try:
                # Handlers look at the exception that is being handled.
                raise error
            except Exception:  # noqa: BLE001  handed on to Quart
                return await handle(error)

        return wait_for(raised(), serving_loop())

    def add_url_rule(
        self, rule: str, endpoint: str | None = None, view_func: Any = None, *args: Any, **kw: Any
    ) -> None:
        """Add a route; raises `ConfigurationError` for a view that cannot work."""
        check_view(view_func)
        super().add_url_rule(rule, endpoint, view_func, *args, **kw)

    def take_over_compression(self) -> bool:
        """Take flask-compress, if it is registered, out of what is called for every response.

        Return whether it is: Flash then compresses its own responses, and flask-compress others.
        """
        functions = self.after_request_funcs.get(None, [])
        function = take_compression(functions)
        if function is not None:
            self._compress = function
        return self._compress is not None

    async def process_response(self, response: Any, request_context: Any = None) -> Any:
        """Call ``after_request`` functions, plain ones as Flask does, and save the session."""
        context = request_context or quart_request.get()
        functions = list(context._after_request_functions)
        if any(self.after_request_funcs.values()):
            for name in (*context.request.blueprints, None):
                functions.extend(reversed(self.after_request_funcs[name]))
        for function in functions:
            response = await self._after(function, response)
        if self._compress is not None and "Content-Encoding" not in response.headers:
            response = await self._after(self._compress, response)
        session = context.session
        if not self.session_interface.is_null_session(session):
            save: Any = self.session_interface.save_session
            await self.ensure_async(save)(self, session, response)
        return response

    async def _after(self, function: Callable[[Any], Any], response: Any) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(response)
        view = response if isinstance(response, WerkzeugResponse) else ResponseView(response)
        result: Any = await self.ensure_async(function)(view)
        return self._to_quart_kind(result)

    def _to_quart_kind(self, response: Any) -> Any:
        """Return a response of Flask's as one of Quart's, and anything else as it is."""
        if isinstance(response, ResponseView):
            return response.apply()
        return to_quart(response, self) if isinstance(response, WerkzeugResponse) else response


# Classes of an app that Flask's code may replace by one derived from Flask's.
_CLASSES: dict[str, type] = {"request_class": flask.Request, "response_class": flask.Response}

# The packages whose functions need no app context before and after serving (of Dash since 4.5).
_OWN_PACKAGES = frozenset({"dash", "flash", "flash_lazy", "flash_pubsub", "flash_ws"})


def _is_own(function: Callable[..., Any]) -> bool:
    return function.__module__.partition(".")[0] in _OWN_PACKAGES


@cache
def _called_by_both(kind: type[flask.Flask]) -> type[flask.Flask]:
    """Return a class of Flask apps that are adopted: called by ASGI and by WSGI."""

    async def asgi(app: Any, scope: Any, receive: Any, send: Any) -> None:
        await app.__dict__[_ADOPTED](scope, receive, send)

    def wsgi(app: Any, environ: Any, start_response: Any) -> Any:
        return app.wsgi_app(environ, start_response)

    names = {
        "__call__": ServerCall(asgi, wsgi, asgi),
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
    }
    return type(kind.__name__, (kind,), names)


def server_for(app: object) -> quart.Quart | None:
    """Return the Quart app to serve ``app`` with: itself, or one that adopts a Flask app.

    None for anything else. Raises `ConfigurationError` for a Flask app that changes how requests
    are handled, or that has WSGI middleware around it.
    """
    if isinstance(app, quart.Quart):
        follow_quart()
        flask_side(app)
        return app
    if not isinstance(app, flask.Flask):
        return None
    known = app.__dict__.get(_ADOPTED)
    if known is None:
        for name in DISPATCH:
            is_changed = getattr(type(app), name) is not getattr(flask.Flask, name)
            if is_changed or (name in vars(app) and name != "wsgi_app"):
                raise ConfigurationError(
                    f"{app!r} handles requests in its own way ({name}), which Flash does not call; "
                    "use before_request, after_request or ASGI middleware instead"
                )
        known = app.__dict__[_ADOPTED] = FlashServer.adopting(app)
    return known


# Where an adopted Flask app keeps its server.
_ADOPTED = "_flash_server"


def to_quart(response: WerkzeugResponse, server: FlashServer) -> quart.Response:
    """Return a response of Flask's as one of Quart's, which reads a stream in threads."""
    body: Any
    if response.is_streamed or response.direct_passthrough:
        # All parts are made in the context in which the response was returned, which is what
        # Flask's ``stream_with_context`` needs.
        parts = response.iter_encoded()
        body = Parts(parts, response.close, copy_context(), server.call_in_thread).read()
    else:
        body = response.get_data()
    made = quart.Response(body, status=response.status_code)
    made.headers.clear()
    made.headers.extend(response.headers)
    return made
