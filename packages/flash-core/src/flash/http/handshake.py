"""The opening request of a long-lived connection as a Quart request, for ASGI endpoints.

Such a connection needs cookies, session and login when it opens, and a request context while a
handler runs, but no Quart request for every message. The add-on packages use this.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import quart
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from flash.seams import dash as dash_seam
from flash.seams import quart as quart_seam

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable


class ServedApp(Protocol):
    """What a handshake needs of the app."""

    server: Any
    config: Any

    async def serve_index(self, *args: Any, **kwargs: Any) -> Any:
        """Serve the page; the view at the app's prefix unless the app has replaced it."""
        ...


class PageGuard:
    """Whether code around the view of the page lets a visitor through to it.

    Apps put a login around views: ``view_functions[name] = login_required(view_functions[name])``.
    A connection has no view of its own, so the view of the page is called in its place. If the call
    gets as far as `Flash.serve_index`, that notes it and makes no page. Only a visitor who gets so
    far, and whose answer is no refusal afterwards, is let through.
    """

    def __init__(self) -> None:
        self.is_passed = False

    @classmethod
    def asked(cls) -> PageGuard | None:
        """Return the guard for which the view of the page is called; None for a request."""
        return _guard.get()

    async def ask(self, view: Callable[[], Awaitable[Any]]) -> Any:
        """Call the view of the page, and return what it answers."""
        token = _guard.set(self)
        try:
            return await view()
        finally:
            _guard.reset(token)

    def refusal(self, response: quart.Response | None) -> quart.Response | None:
        """Return the response that refuses the visitor; None if the page would be sent."""
        if response is None:
            # A view that answers nothing is an error in the app, and no permission.
            return None if self.is_passed else quart.Response("", HTTPStatus.FORBIDDEN)
        is_sent = self.is_passed and response.status_code < HTTPStatus.MULTIPLE_CHOICES
        return None if is_sent else response


_guard: ContextVar[PageGuard | None] = ContextVar("flash_page_guard", default=None)


class Handshake:
    """The HTTP request that opened a connection, such as a WebSocket or an event stream."""

    def __init__(self, app: ServedApp, scope: dict[str, Any]) -> None:
        self._app = app
        self._scope = scope

    @property
    def scope(self) -> dict[str, Any]:
        """The ASGI scope of the request."""
        return self._scope

    @asynccontextmanager
    async def active(self) -> AsyncGenerator[None]:
        """Make this the current request: `quart.request`, `session`, `dash.ctx.cookies`.

        The request is built on first access. Changes to the session are not saved, because no
        response follows that could set the cookie.
        """
        # Quart makes requests from HTTP scopes only, and a WebSocket is opened by a GET. The
        # context is not kept, because there may be thousands of connections and few need it.
        scope = {"http_version": "1.1", "method": "GET", **self._scope, "type": "http"}
        context = quart_seam.DeferredRequestContext(self._app.server, scope, b"")
        await context.open_stored_session()
        with context:
            dash_seam.enter_app(self._app)
            yield

    @property
    def is_guarded(self) -> bool:
        """Whether `refusal` has anything to ask."""
        has_functions = bool(self._app.server.before_request_funcs.get(None))
        return has_functions or self._view_around_page() is not None

    def _view_around_page(self) -> Any:
        """Return the view that the app has put in the place of its page's own; None if none."""
        views: dict[str, Any] = self._app.server.view_functions
        view = views.get(self._app.config.routes_pathname_prefix)
        return None if view == self._app.serve_index else view

    async def refusal(self) -> quart.Response | None:
        """Run the app's ``before_request`` functions; return the response of one that refuses.

        This applies a login guard for all routes to the connection, too, and one that the app has
        put around the view of its page. If a function raises, the response of Quart's error
        handlers is returned.
        """
        server: Any = self._app.server
        view = self._view_around_page()
        async with self.active():
            response = await self._run_guards(server.preprocess_request)
            if response is None and view is not None:
                guard = PageGuard()
                asked = partial(guard.ask, server.ensure_async(view))
                response = guard.refusal(await self._run_guards(asked))
            return response

    async def websocket_refusal(self) -> quart.Response | None:
        """Run the app's ``before_websocket`` functions; return the response of one that refuses.

        `quart.websocket` is the opening request then; a function that closes it refuses, too.
        """
        server: Any = self._app.server
        async with quart_seam.websocket_to_guard(server, self._scope) as opening:
            dash_seam.enter_app(self._app)
            response = await self._run_guards(server.preprocess_websocket)
        if response is None and opening.is_closed:
            return quart.Response("", HTTPStatus.FORBIDDEN)
        return response

    async def _run_guards(self, run: Callable[[], Awaitable[Any]]) -> quart.Response | None:
        server: Any = self._app.server
        try:
            result = await run()
        except Exception as error:  # noqa: BLE001  a request's boundary: Quart's handlers respond
            try:
                result = await server.handle_user_exception(error)
            except Exception as unhandled:  # noqa: BLE001  logged by Quart
                result = await server.handle_exception(unhandled)
        if isinstance(result, HTTPException) and result.response is not None:
            # `abort` with a whole response, such as a redirect.
            result = result.response
        if isinstance(result, HTTPException):
            # `abort` without an error handler: send its text only, not its HTML page.
            return quart.Response(result.description or "", result.code or 500)
        if isinstance(result, WerkzeugResponse) and not isinstance(result, quart.Response):
            return quart.Response(result.get_data(), result.status_code)
        return None if result is None else await server.make_response(result)
