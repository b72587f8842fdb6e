"""A Quart request context that is built when something looks at it, and Quart's private names.

Quart builds request, session and URL match for every request; a callback that looks at none of them
need not pay. Nothing else in Flash touches private names of Quart. All exist in Quart 0.20 to 0.22.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import quart
import quart.signals
from quart.ctx import RequestContext
from quart.debug import traceback_response
from quart.globals import _cv_app as app_variable
from quart.globals import _cv_request as request_variable
from quart.sessions import SecureCookieSessionInterface
from quart.utils import encode_headers as encode_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

T = TypeVar("T")

# What a request passes through in Quart; a subclass that changes one of them wants to see requests.
_DISPATCH = (
    "asgi_app",
    "__call__",
    "handle_request",
    "request_context",
    "full_dispatch_request",
    "preprocess_request",
    "dispatch_request",
    "finalize_request",
    "process_response",
    "make_response",
    "do_teardown_request",
    "do_teardown_appcontext",
)

_SIGNALS = (
    quart.signals.request_started,
    quart.signals.request_finished,
    quart.signals.request_tearing_down,
    quart.signals.appcontext_pushed,
    quart.signals.appcontext_popped,
    quart.signals.appcontext_tearing_down,
)


def is_plain(app: quart.Quart) -> bool:
    """Tell whether ``app``'s class handles requests exactly as `Quart` does. Decided once."""
    kind = type(app)
    return (
        all(getattr(kind, name) is getattr(quart.Quart, name) for name in _DISPATCH)
        and not app.url_map.host_matching
    )


def is_watched(app: quart.Quart) -> bool:
    """Tell whether anything of ``app`` wants to see each request: functions, signals, sessions.

    Asked on every request, since any of them may be registered at any time.
    """
    return bool(
        app.before_request_funcs.get(None)
        or app.after_request_funcs.get(None)
        or app.teardown_request_funcs.get(None)
        or app.teardown_appcontext_funcs
        or app.url_value_preprocessors.get(None)
        or not _has_cookie_session(app)
        or any(signal.receivers for signal in _SIGNALS)
    )


class DeferredRequestContext(RequestContext):
    """The request context of one callback request, built from its ASGI scope on first look.

    ``body`` is the whole body, already received. In every respect but its birth it is the context
    that Quart would have made: request, URL match, session, ``after_this_request``.
    """

    def __init__(self, app: quart.Quart, scope: Any, body: bytes) -> None:
        # Not the base's: it would build the request.
        self.app = app
        self.flashes = None
        self.preserved = False
        self._after_request_functions = []
        self._cv_tokens = []
        self._scope = scope
        self._body = body

    @cached_property
    def request_websocket(self) -> Any:  # type: ignore[override]
        """The request (the base class keeps it under this name)."""
        connection = self.app.asgi_http_class(self.app, self._scope)
        request = connection._create_request_from_scope(_no_push)  # type: ignore[attr-defined, arg-type]
        request.body.append(self._body)
        request.body.set_complete()
        request.routing_exception = None
        request.json_module = self.app.json
        self.__dict__["request_websocket"] = request
        if self.url_adapter is not None:
            self.match_request()
        return request

    @cached_property
    def url_adapter(self) -> Any:  # type: ignore[override]
        """The URL adapter bound to the request."""
        return self.app.create_url_adapter(self.request_websocket)

    @cached_property
    def session(self) -> Any:  # type: ignore[override]
        """The session, from its cookie."""
        interface = self.app.session_interface
        session = drive(interface.open_session(self.app, self.request_websocket))
        if session is None:
            session = drive(interface.make_null_session(self.app))
        return session

    async def open_foreign_session(self) -> None:
        """Load the session now if it is kept anywhere but in its cookie, which must be awaited."""
        interface: Any = self.app.session_interface
        if type(interface) is not SecureCookieSessionInterface:
            session = await interface.open_session(self.app, self.request_websocket)
            self.__dict__["session"] = session or await interface.make_null_session(self.app)

    def copy(self) -> RequestContext:
        """Return an ordinary context of the same request and session."""
        return RequestContext(self.app, self.request_websocket, self.session)

    @property
    def must_be_finished(self) -> bool:
        """Whether the response has to go through `finish`.

        So if anything looked at the request; or the page has a session, whose cookie Quart may
        refresh with every response.
        """
        return (
            "request_websocket" in self.__dict__
            or bool(self._after_request_functions)
            or self._has_session_cookie()
        )

    def _has_session_cookie(self) -> bool:
        name = self.app.config["SESSION_COOKIE_NAME"].encode() + b"="
        return any(key == b"cookie" and name in value for key, value in self._scope["headers"])

    async def finish(self, response: Any) -> Any:
        """Do what Quart does with a view's response: ``after_this_request``, session, closing."""
        response = await self.app.process_response(response, self)
        await self._close()
        return response

    async def fail(self, error: Exception) -> Any:
        """Return what Quart's error handlers make of ``error``; logs as Quart does."""
        try:
            result = await self.app.handle_user_exception(error)
            return await self.app.finalize_request(result, self)
        except Exception as unhandled:  # noqa: BLE001  as in `Quart.handle_request`
            try:
                return await self.app.handle_exception(unhandled)
            except Exception as propagated:
                if not (self.app.debug or self.app.testing):
                    raise
                # It reads the source files, and waits for nothing.
                return await asyncio.to_thread(drive, traceback_response(propagated))
        finally:
            await self._close()

    async def _close(self) -> None:
        request = self.__dict__.get("request_websocket")
        if request is not None:
            await request.close()

    @contextmanager
    def active(self) -> Generator[None]:
        """Make this the current request context, and with it an app context."""
        app_token = app_variable.set(self.app.app_context())
        request_token = request_variable.set(self)
        try:
            yield
        finally:
            request_variable.reset(request_token)
            app_variable.reset(app_token)


async def first_visit(app: quart.Quart, path: str) -> DeferredRequestContext:
    """Return the context of a visit that nobody made: a GET of ``path`` without any header.

    Layouts that look at the request or the session see it when they are called at start-up.
    """
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": None,
        "server": None,
    }
    context = DeferredRequestContext(app, scope, b"")
    if not _has_cookie_session(app):
        interface = app.session_interface
        session = await interface.open_session(app, context.request_websocket)
        context.session = session or await interface.make_null_session(app)
    return context


def _has_cookie_session(app: quart.Quart) -> bool:
    return type(app.session_interface) is SecureCookieSessionInterface


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits: some of Quart's are `async` in name only."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} waited for something; it never does")


async def _no_push(*_: Any) -> None:
    """Push nothing: a callback's response has no resources to announce."""


def intercept(take: Callable[[str | bytes], bool]) -> None:
    """Hand ``take`` every message of the WebSocket at hand; who receives sees those it returns."""
    websocket: Any = quart.websocket
    inner = websocket._receive

    async def receive() -> str | bytes:
        while True:
            message = await inner()
            if not take(message):
                return message

    websocket._receive = receive


def has_middleware(app: quart.Quart) -> bool:
    """Tell whether somebody has put ASGI middleware around ``app``."""
    return getattr(app.asgi_app, "__self__", None) is not app
