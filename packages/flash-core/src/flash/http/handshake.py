"""A connection's handshake as Quart would see it, for endpoints that speak ASGI themselves.

A long-lived connection needs cookies, session and login when it opens, and a request context when a
handler runs, but not Quart's machinery for every message. The add-on packages build on this.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import quart
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from flash.seams import dash as dash_seam
from flash.seams import quart as quart_seam

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class ServedApp(Protocol):
    """What a handshake needs of the app."""

    server: Any


class Handshake:
    """The HTTP request that opened one connection, WebSocket or other."""

    def __init__(self, app: ServedApp, scope: dict[str, Any]) -> None:
        self._app = app
        self._scope = scope

    @asynccontextmanager
    async def active(self) -> AsyncGenerator[None]:
        """Make this the request at hand: `quart.request`, `session`, `dash.ctx.cookies`.

        Built when looked at. Changes to the session are not saved: there is no response to carry
        the cookie.
        """
        # Quart makes requests of HTTP scopes only; a WebSocket's opens with a GET. Made anew each
        # time, since there may be thousands of connections and few of them ask.
        scope = {"http_version": "1.1", "method": "GET", **self._scope, "type": "http"}
        context = quart_seam.DeferredRequestContext(self._app.server, scope, b"")
        await context.open_foreign_session()
        with context.active():
            dash_seam.app_context.set(self._app)
            yield

    async def refusal(self) -> quart.Response | None:
        """Run the app's ``before_request`` functions; return the response if one refuses.

        So a login guard that covers every route covers the connection, too. One that raises
        refuses as well: what Quart's error handlers make of it is returned.
        """
        server: Any = self._app.server
        async with self.active():
            try:
                result = await server.preprocess_request()
            except Exception as error:  # noqa: BLE001  a request's boundary: Quart answers
                try:
                    result = await server.handle_user_exception(error)
                except Exception as unhandled:  # noqa: BLE001  and logs
                    result = await server.handle_exception(unhandled)
            if isinstance(result, HTTPException) and result.response is not None:
                # `abort` with a whole response, such as a redirect.
                result = result.response
            if isinstance(result, HTTPException):
                # `abort` without a handler: a page of HTML is no use to a connection.
                return quart.Response(result.description or "", result.code or 500)
            if isinstance(result, WerkzeugResponse) and not isinstance(result, quart.Response):
                return quart.Response(result.get_data(), result.status_code)
            return None if result is None else await server.make_response(result)
