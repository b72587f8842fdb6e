"""Who gets in: the page's origin, the app's own guards, ``authorize``; asked before `accept`."""

from __future__ import annotations

import logging
from contextvars import copy_context
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import quart
from werkzeug.exceptions import HTTPException

from flash.handshake import Handshake
from flash_ws.errors import LiveError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash import Flash
    from flash.gateway import Scope, Send
    from flash_ws.origin import Header, OriginPolicy
    from flash_ws.visit import Visit

logger = logging.getLogger(__name__)


class Refused(LiveError):
    """A connection that is not opened; ``reason`` is one line, sent to the browser."""

    def __init__(self, status: int, reason: str, *headers: Header) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = headers

    def __str__(self) -> str:
        return f"{self.reason} (HTTP status {self.status})"


class Admission:
    """What every connection of an endpoint has to pass; each step raises `Refused`.

    ``authorize`` gets the `Visit`, with the request at hand, may be plain (it then runs in a
    thread) or async, and lets in by returning something true, which becomes the visit's ``user``.
    """

    def __init__(
        self, app: Flash, origins: OriginPolicy, authorize: Callable[[Any], Any] | None
    ) -> None:
        self._app = app
        self._origins = origins
        self._authorize = authorize

    def check_origin(self, scope: Scope) -> None:
        """Refuse pages of other origins with 403."""
        objection = self._origins.objection(scope)
        if objection is not None:
            logger.warning("refused a connection to %s: %s", scope["path"], objection)
            raise Refused(HTTPStatus.FORBIDDEN, objection)

    async def check_guards(self, scope: Scope) -> None:
        """Run the app's ``before_request`` functions.

        What one answers instead of the endpoint is passed on where it is an error; a redirect to a
        login page becomes 401, since no connection can follow it.
        """
        if not self._app.server.before_request_funcs.get(None):
            return
        try:
            response = await Handshake(self._app, scope).refusal()
        except HTTPException as error:
            raise _refused(error) from error
        except Exception as error:
            logger.exception("a before_request function failed; nobody is let in")
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            raise Refused(status, "not allowed to connect") from error
        if response is None:
            return
        if response.status_code < HTTPStatus.BAD_REQUEST:
            raise Refused(HTTPStatus.UNAUTHORIZED, "not allowed to connect: log in first")
        body = await response.get_data(as_text=True)
        raise Refused(response.status_code, _line(body) or "not allowed to connect")

    async def enter(self, scope: Scope, visit: Visit, body: bytes = b"") -> None:
        """Make the request at hand within the visit's context, and ask ``authorize``."""
        async with Handshake(self._app, scope).active():
            if body:
                quart.request.body.append(body)
            visit.enter(copy_context())
            if self._authorize is None:
                return
            try:
                visit.user = await self._app.pool.call(self._authorize, visit)
            except HTTPException as error:
                raise _refused(error) from error
            except Exception as error:
                logger.exception("authorize failed; nobody is let in")
                status = HTTPStatus.INTERNAL_SERVER_ERROR
                raise Refused(status, "not allowed to connect") from error
        if not visit.user:
            raise Refused(HTTPStatus.UNAUTHORIZED, "not allowed to connect")


def _refused(error: HTTPException) -> Refused:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    if status < HTTPStatus.BAD_REQUEST:
        return Refused(HTTPStatus.UNAUTHORIZED, "not allowed to connect: log in first")
    return Refused(status, _line(error.description or error.name))


def _line(text: str) -> str:
    """Return the first line, unless it is a page."""
    line = text.strip().partition("\n")[0]
    return "" if line.startswith("<") else line[:200]


async def refuse(scope: Scope, send: Send, refused: Refused) -> None:
    """Answer a request, or a WebSocket's handshake, with an HTTP status and one line."""
    kind = "http.response"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            # All that ASGI has without the extension; the browser sees 403 whatever the status.
            await send({"type": "websocket.close", "code": 1008, "reason": refused.reason[:100]})
            return
        kind = "websocket.http.response"
    body = f"{refused.reason}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *refused.headers,
    ]
    await send({"type": f"{kind}.start", "status": int(refused.status), "headers": headers})
    await send({"type": f"{kind}.body", "body": body, "more_body": False})
