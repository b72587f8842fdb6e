"""A Quart request context that is built on first access, and other uses of Quart's private names.

Quart builds request, session and URL match for every request, although most callbacks use none of
them. Only this module uses private names of Quart. All exist in Quart 0.20 to 0.22.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import asynccontextmanager
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, Self, TypeVar

import quart
import quart.signals
from quart.ctx import RequestContext
from quart.debug import traceback_response
from quart.globals import _cv_app as app_variable
from quart.globals import _cv_request as request_variable
from quart.sessions import SecureCookieSession, SecureCookieSessionInterface
from quart.utils import encode_headers as encode_headers

from flash.errors import FlashError
from flash.exits import EXITS, exit_error
from flash.seams.flask_globals import close_request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator

T = TypeVar("T")

# Methods that Quart calls for a request; a subclass that overrides one must get all requests.
_DISPATCH_METHODS = (
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

# Where Flash's own kind of Quart app is written, which handles requests as `Quart` does.
_OWN_SERVER = "flash.seams.flask_server"

# Methods of a Quart app that run functions of users for a request or a WebSocket.
_USERS_CODE = (
    "preprocess_request",
    "dispatch_request",
    "process_response",
    "do_teardown_request",
    "preprocess_websocket",
    "dispatch_websocket",
    "postprocess_websocket",
    "do_teardown_websocket",
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
# The dictionaries in which the signals keep their receivers for as long as they exist.
_RECEIVERS = tuple(signal.receivers for signal in _SIGNALS)


def has_standard_dispatch(app: quart.Quart) -> bool:
    """Return whether the class of ``app`` handles requests as `Quart` does.

    The server that Flash makes does, though it overrides some of the methods.
    """
    return (
        all(_is_standard(getattr(type(app), name), name) for name in _DISPATCH_METHODS)
        and not app.url_map.host_matching
    )


def log_start_failures_in_one_line(app: quart.Quart) -> None:
    """Leave out Quart's traceback of a `FlashError` that ends the start and says all; idempotent.

    The server logs the text of the error.
    """
    if not any(isinstance(each, _StartFailures) for each in app.logger.filters):
        app.logger.addFilter(_StartFailures())


class _StartFailures(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for the record with which Quart logs such an error."""
        error = record.exc_info[1] if record.exc_info else None
        # Quart logs an exception of a request with its method and path.
        is_at_start = record.msg == "Exception"
        return not (is_at_start and isinstance(error, FlashError) and error.says_all)


def raise_exits_as_errors(app: quart.Quart) -> None:
    """Let views and other functions of ``app`` that call ``sys.exit()`` fail; idempotent.

    Quart's error handlers then answer with 500, as for every other exception.
    """
    for name in _USERS_CODE:
        method = getattr(app, name)
        if not hasattr(method, "__wrapped__"):
            setattr(app, name, _with_exits_as_errors(method))


def _with_exits_as_errors(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await method(*args, **kwargs)
        except EXITS as error:
            # Quart logs the path of the request.
            raise exit_error(method, error) from error

    return call


def _is_standard(method: Any, name: str) -> bool:
    return method is getattr(quart.Quart, name) or method.__module__ == _OWN_SERVER


def has_request_observers(app: quart.Quart) -> bool:
    """Return whether ``app`` has code that must run for each request.

    Such code is a function before, after or at the end of a request, a receiver of a signal, or a
    session that is not in a cookie. Called for every request, since any of them may be added later.
    """
    return bool(
        any(_RECEIVERS)
        or app.before_request_funcs.get(None)
        or app.after_request_funcs.get(None)
        or app.teardown_request_funcs.get(None)
        or app.teardown_appcontext_funcs
        or app.url_value_preprocessors.get(None)
        or not _has_cookie_session(app)
    )


class ReadSession(SecureCookieSession):
    """A session in a cookie that notes when it is read, so that its response varies by cookie.

    From 3.1.3 Flask notes that in its own request context, and Quart's, which has Flask's session,
    no longer does: a shared cache could give one visitor's page to another.
    """

    def __getitem__(self, key: str) -> Any:
        self.accessed = True
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.accessed = True
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        self.accessed = True
        return super().__iter__()

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, or ``default``."""
        self.accessed = True
        return super().get(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return a value, and store ``default`` if there is none."""
        self.accessed = True
        return super().setdefault(key, default)

    def keys(self) -> Any:
        """Return the keys."""
        self.accessed = True
        return super().keys()

    def values(self) -> Any:
        """Return the values."""
        self.accessed = True
        return super().values()

    def items(self) -> Any:
        """Return keys and values."""
        self.accessed = True
        return super().items()


def note_session_reads(app: Any) -> None:
    """Let sessions in cookies note when they are read, unless the app has a class of its own."""
    interface = app.session_interface
    # One of Flask's own is inside of ours.
    interface = getattr(interface, "inner", interface)
    if getattr(interface, "session_class", None) is SecureCookieSession:
        interface.session_class = ReadSession


class RawHeaders(Mapping[str, str]):
    """The headers of an ASGI scope by their names in lower case; only those read are decoded."""

    __slots__ = ("_raw",)

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = dict(raw)

    def __getitem__(self, name: str) -> str:
        return str(self._raw[name.encode("latin-1")], "latin-1")

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a header, or ``default``."""
        # Not the inherited one, which raises an exception for each header that is not there.
        value = self._raw.get(name.encode("latin-1"))
        return default if value is None else str(value, "latin-1")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.encode("latin-1") in self._raw

    def __iter__(self) -> Iterator[str]:
        return (str(name, "latin-1") for name in self._raw)

    def __len__(self) -> int:
        return len(self._raw)


def request_headers() -> Mapping[str, str]:
    """Return the current request's headers, names in lower case; builds no request for it."""
    context = request_variable.get(None)
    if context is None:
        return {}
    if isinstance(context, DeferredRequestContext):
        return RawHeaders(context.scope["headers"])
    return {name.lower(): value for name, value in context.request_websocket.headers.items()}


class DeferredRequestContext(RequestContext):
    """The request context of one callback request, built from its ASGI scope on first access.

    ``body`` is the complete body. Once built, the context is equal to the one that Quart makes:
    request, URL match, session, ``after_this_request``.
    """

    def __init__(self, app: quart.Quart, scope: Any, body: bytes) -> None:
        # Without `super().__init__`, which would build the request.
        self.app = app
        self.flashes = None
        self.preserved = False
        self._after_request_functions = []
        self._cv_tokens = []
        self._scope = scope
        self._body = body

    @property
    def scope(self) -> Any:
        """The ASGI scope."""
        return self._scope

    @cached_property
    def request_websocket(self) -> Any:  # type: ignore[override]
        """The request, under the name that the base class uses."""
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
        session = run_without_loop(interface.open_session(self.app, self.request_websocket))
        if session is None:
            session = run_without_loop(interface.make_null_session(self.app))
        return session

    async def open_stored_session(self) -> None:
        """Load a session that is not kept in its cookie; only such a session must be awaited."""
        interface: Any = self.app.session_interface
        if type(interface) is not SecureCookieSessionInterface:
            self.__dict__["session"] = await _stored_session(self.app, self.request_websocket)

    def copy(self) -> RequestContext:
        """Return a normal request context with the same request and session."""
        return RequestContext(self.app, self.request_websocket, self.session)

    @property
    def needs_finish(self) -> bool:
        """Whether the response must pass through `finish`.

        It must if any code used the request, or if the client has a session cookie, which Quart may
        refresh with every response.
        """
        return (
            "request_websocket" in self.__dict__
            or bool(self._after_request_functions)
            or self._has_session_cookie()
        )

    def _has_session_cookie(self) -> bool:
        headers: list[tuple[bytes, bytes]] = self._scope["headers"]
        if b"cookie" not in dict(headers):
            return False
        name: bytes = self.app.config["SESSION_COOKIE_NAME"].encode() + b"="
        return any(key == b"cookie" and name in value for key, value in headers)

    async def finish(self, response: Any) -> Any:
        """Process a response as Quart does: ``after_this_request``, session, close the request."""
        response = await self.app.process_response(response, self)
        await self._close()
        return response

    async def handle_error(self, error: Exception) -> Any:
        """Return the response of Quart's error handlers to ``error``; logs as Quart does."""
        try:
            result = await self.app.handle_user_exception(error)
            return await self.app.finalize_request(result, self)
        except Exception as unhandled:  # noqa: BLE001  as in `Quart.handle_request`
            try:
                return await self.app.handle_exception(unhandled)
            except Exception as propagated:
                if not (self.app.debug or self.app.testing):
                    raise
                # In a thread, because it reads source files. It does not await anything.
                return await asyncio.to_thread(run_without_loop, traceback_response(propagated))
        finally:
            await self._close()

    async def _close(self) -> None:
        request = self.__dict__.get("request_websocket")
        if request is not None:
            close_request(self)
            await request.close()

    # Not a generator with `contextmanager`, which costs each request 1.5 µs.
    def __enter__(self) -> Self:
        """Make this the current request context, and with it an app context."""
        self._app_token = app_variable.set(self.app.app_context())
        self._request_token = request_variable.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Make the contexts current that were before."""
        request_variable.reset(self._request_token)
        app_variable.reset(self._app_token)


async def startup_request_context(app: quart.Quart, path: str) -> DeferredRequestContext:
    """Return the context of a made-up request: a GET of ``path`` without cookies.

    It is the current request while layouts are called at start-up.
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
        context.session = await _stored_session(app, context.request_websocket)
    return context


async def _stored_session(app: quart.Quart, request: Any) -> Any:
    # An empty session may be false.
    session = await app.session_interface.open_session(app, request)
    return await app.session_interface.make_null_session(app) if session is None else session


def _has_cookie_session(app: quart.Quart) -> bool:
    return type(app.session_interface) is SecureCookieSessionInterface


def run_without_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, as some of Quart's, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} waited, but it must not: it runs without an event loop")


async def _no_push(*_: Any) -> None:
    """Ignore HTTP/2 pushes: the response of a callback has no resources to push."""


def has_message_observers(asgi_app: Any) -> bool:
    """Return whether anybody sees the messages of a WebSocket between ``asgi_app`` and its handler.

    Middleware that is put around Quart does, and receivers of Quart's signal.
    """
    return bool(quart.signals.websocket_received.receivers) or not isinstance(
        getattr(asgi_app, "__self__", None), quart.Quart
    )


def intercept_messages(
    handle: Callable[[str | bytes], bool | Coroutine[Any, Any, bool]],
    taken: Callable[[], None],
    is_gone: Callable[[], bool],
) -> None:
    """Pass each message of the current WebSocket to ``handle``; if it returns True, hide it.

    ``taken`` is called when a message has been handled, so that another may be read. A receive that
    is cancelled loses no message: the next one goes on with it. Once ``is_gone``, each receive is
    cancelled: Quart cancels the handler when the socket ends, but in Python 3.11
    `asyncio.wait_for`, which Dash's handler uses, forgets that if a message came just before.
    """
    websocket: Any = quart.websocket
    inner = websocket._receive
    # A message whose handling is not complete, and the task that handles it.
    pending: tuple[str | bytes, asyncio.Task[bool]] | None = None

    async def receive() -> str | bytes:
        nonlocal pending
        while True:
            if is_gone():
                raise asyncio.CancelledError
            if pending is None:
                message = await inner()
                is_handled = handle(message)
                if not isinstance(is_handled, bool):
                    pending = message, asyncio.create_task(is_handled)
                    continue
            else:
                message, handling = pending
                is_handled = await asyncio.shield(handling)
                pending = None
            taken()
            if not is_handled:
                return message

    websocket._receive = receive


class GuardedWebSocket:
    """What functions that run before a WebSocket have done with it."""

    def __init__(self) -> None:
        # Whether a function has closed it.
        self.is_closed = False

    async def send(self, event: Any) -> None:
        """Note a close; nothing is sent, since the socket is not accepted yet."""
        self.is_closed = self.is_closed or event["type"] != "websocket.accept"


@asynccontextmanager
async def websocket_to_guard(app: quart.Quart, scope: Any) -> AsyncGenerator[GuardedWebSocket]:
    """Make the opening of a WebSocket Quart's current one, for functions that run before it."""
    opening = GuardedWebSocket()
    connection: Any = app.asgi_websocket_class(app, scope)
    async with app.websocket_context(connection._create_websocket_from_scope(opening.send)):
        yield opening


def has_middleware(app: quart.Quart) -> bool:
    """Return whether ASGI middleware has been put around ``app``."""
    return getattr(app.asgi_app, "__self__", None) is not app
