"""The Quart app that Flash makes: one on which extensions written for Flask work.

It differs from `quart.Quart` where Flask's code would have to await: plain ``after_request``
functions get a `flask.Response`, session interfaces of Flask are called with Flask's request and
response, ``with app.app_context()`` works beside ``async with``.
"""

# pyright: reportPrivateUsage=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import asyncio
import inspect
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Self, cast

import flask
import flask.sessions
import quart
import quart.ctx
from flask.testing import FlaskClient
from quart.globals import _cv_app as quart_app
from quart.globals import _cv_request as quart_request
from quart.sessions import SessionInterface
from quart.wrappers.response import DataBody
from werkzeug.wrappers import Response as WerkzeugResponse

from flash.errors import ConfigurationError
from flash.seams.flask_globals import (
    SIDE,
    close_request,
    flask_side,
    follow_quart,
    share_registries,
)
from flash.seams.flask_middleware import PROBE, WSGIMiddleware, wsgi_end
from flash.seams.flask_request import flask_request
from flash.seams.quart import run_without_loop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType


class AppContext(quart.ctx.AppContext):
    """An app context for ``async with`` and, outside of the event loop, ``with``."""

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


class RequestContext(quart.ctx.RequestContext):
    """A request context for ``async with`` and, outside of the event loop, ``with``."""

    def __enter__(self) -> Self:
        app_context = self.app.app_context()
        app_token = quart_app.set(app_context)
        self._cv_tokens.append((quart_request.set(self), app_context))
        self._app_token = app_token
        if self.session is None:
            interface: Any = self.app.session_interface
            self.session = run_without_loop(
                interface.open_session(self.app, self.request_websocket)
            )
            if self.session is None:
                self.session = run_without_loop(interface.make_null_session(self.app))
        if self.url_adapter is not None:
            self.match_request()
        return self

    async def pop(self, exc: BaseException | None = None) -> None:
        """Leave the context, and close the files of its request."""
        if len(self._cv_tokens) == 1:
            close_request(self)
        await super().pop(exc)

    def __exit__(self, *error: object) -> None:
        token, _ = self._cv_tokens.pop()
        quart_request.reset(token)
        quart_app.reset(self._app_token)


class FlaskSessions(SessionInterface):
    """A session interface of Flask's, called in a thread with Flask's request and response."""

    def __init__(self, inner: flask.sessions.SessionInterface) -> None:
        self.inner = inner

    async def open_session(self, app: Any, request: Any) -> Any:
        """Load the session of a request."""
        side = flask_side(app)
        made = flask_request(request, side.request_class)
        return await asyncio.to_thread(self.inner.open_session, side, made)

    async def save_session(self, app: Any, session: Any, response: Any) -> None:
        """Save a session, and put its cookie into the response."""
        view = response if isinstance(response, WerkzeugResponse) else ResponseView(response)
        await asyncio.to_thread(self.inner.save_session, flask_side(app), session, view)  # type: ignore[arg-type]
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
        self._wsgi: Any = None
        follow_quart()

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
        # What calls the Flask app by WSGI gets what the server answers.
        app.wsgi_app = server.wsgi  # type: ignore[method-assign]
        return server

    def app_context(self) -> AppContext:
        """Return an app context, for ``async with`` or ``with``."""
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
        if self._wsgi is None:
            # Only where it is needed: an app that is served over ASGI need not import it.
            import a2wsgi

            self._wsgi = a2wsgi.ASGIMiddleware(cast("Any", self))
        # Not every server says it, and without it the address would be lost.
        environ.setdefault("REMOTE_PORT", "0")
        return self._wsgi(environ, start_response)

    async def startup(self) -> None:
        """Do what is done before serving; middleware around an adopted app is found by then."""
        outer = vars(flask_side(self)).get("wsgi_app", self.wsgi)
        if outer != self.wsgi:
            self.wsgi_app = outer
            flask_side(self).wsgi_app = self.wsgi  # type: ignore[method-assign]
        await super().startup()

    @property
    def wsgi_app(self) -> Any:
        """What WSGI middleware is put around; a setter, so that apps written for Flask can."""
        return wsgi_end

    @wsgi_app.setter
    def wsgi_app(self, middleware: Any) -> None:
        self.asgi_app = WSGIMiddleware(middleware, self.asgi_app)  # type: ignore[method-assign]

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

    async def make_response(self, result: Any) -> Any:
        """Return what a view returned as a response of Quart."""
        response = await super().make_response(result)
        return to_quart(response) if isinstance(response, WerkzeugResponse) else response

    async def process_response(self, response: Any, request_context: Any = None) -> Any:
        """Call ``after_request`` functions, plain ones as Flask does, and save the session."""
        context = request_context or quart_request.get()
        functions = list(context._after_request_functions)
        if any(self.after_request_funcs.values()):
            for name in (*context.request.blueprints, None):
                functions.extend(reversed(self.after_request_funcs[name]))
        for function in functions:
            response = await self._after(function, response)
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
        if isinstance(result, ResponseView):
            return result.apply()
        return to_quart(result) if isinstance(result, WerkzeugResponse) else result


# What a request passes through in Flask; a subclass that changes one of them wants to see requests.
_DISPATCH = (
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
        for name in _DISPATCH:
            if getattr(type(app), name) is not getattr(flask.Flask, name) or name in vars(app):
                raise ConfigurationError(
                    f"{app!r} handles requests in its own way ({name}), which Flash does not call; "
                    "use before_request, after_request or ASGI middleware instead"
                )
        known = app.__dict__[_ADOPTED] = FlashServer.adopting(app)
    return known


# Where an adopted Flask app keeps its server.
_ADOPTED = "_flash_server"


def to_quart(response: WerkzeugResponse) -> quart.Response:
    """Return a response of Flask's as one of Quart's, which reads a stream in threads."""
    is_stream = response.is_streamed or response.direct_passthrough
    made = quart.Response(
        _stream(response) if is_stream else response.get_data(), status=response.status_code
    )
    made.headers.clear()
    made.headers.extend(response.headers)
    return made


async def _stream(response: WerkzeugResponse) -> AsyncGenerator[bytes]:
    """Yield the parts of a streamed response, each made in a thread.

    They are all made in the context in which the response was returned, which is what Flask's
    ``stream_with_context`` needs.
    """
    context = copy_context()
    parts = iter(response.iter_encoded())

    def following() -> bytes | None:
        return context.run(next, parts, None)  # pyright: ignore[reportArgumentType, reportReturnType]

    try:
        while (part := await asyncio.to_thread(following)) is not None:
            yield part
    finally:
        response.close()
