"""Who gets in: the page's origin, the app's own guards, ``authorize``; asked before anything else.

Pages of the live link and endpoints pass the same door, and both are asked again while they stay.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextvars import copy_context
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import quart
from werkzeug.exceptions import HTTPException

from flash.access.opening_request import Visit
from flash.access.refusal import Refused
from flash.errors import Overloaded
from flash.http.handshake import Handshake

if TYPE_CHECKING:
    from flash.access.origin import OriginPolicy
    from flash.callbacks.execution import WorkerPool
    from flash.http.gateway import Receive, Scope, Send

logger = logging.getLogger(__name__)

# Decides who may open something: true, or a user's name, lets in; anything false refuses. May be
# async; `quart.abort` chooses another status.
Authorize = Callable[[Visit], Any]

# Seconds that a browser may take to answer a close frame.
CLOSE_PATIENCE = 2.0

# What a close frame has room for, in bytes.
MAX_REASON_BYTES = 123

_NOT_ALLOWED = "not allowed to connect"


class GuardedApp(Protocol):
    """What admission needs of the app."""

    server: Any
    pool: WorkerPool


class Admission:
    """What every link and every connection of an endpoint has to pass; steps raise `Refused`.

    - ``authorize``: gets the `Visit`, with the request at hand (`quart.request`, ``session``,
      Quart-Auth's ``current_user``), may be plain (it then runs in a thread) or async. True lets
      in, a string lets in and names the user, False and None refuse with 401; `quart.abort` chooses
      another status. Anything else is a mistake, and refused.
    - ``recheck_interval``: seconds, about, after which everything is asked again of what is still
      open; None asks once.
    """

    def __init__(
        self,
        app: GuardedApp,
        origins: OriginPolicy,
        authorize: Authorize | None = None,
        *,
        recheck_interval: float | None = None,
    ) -> None:
        self._app = app
        self._origins = origins
        self._authorize = authorize
        self._recheck_interval = recheck_interval

    def check_origin(self, scope: Scope) -> None:
        """Refuse pages of other origins with 403."""
        objection = self._origins.objection(scope)
        if objection is not None:
            logger.warning("refused a connection to %s: %s", scope["path"], objection)
            raise Refused(HTTPStatus.FORBIDDEN, objection)

    async def check_guards(self, scope: Scope) -> None:
        """Run the app's ``before_request`` functions.

        What one answers in place of the endpoint is passed on where it is an error; a redirect to a
        login page becomes 401, since no connection can follow it.
        """
        if not self._app.server.before_request_funcs.get(None):
            return
        response = await Handshake(self._app, scope).refusal()
        if response is None:
            return
        if response.status_code < HTTPStatus.BAD_REQUEST:
            raise Refused(HTTPStatus.UNAUTHORIZED, f"{_NOT_ALLOWED}: log in first")
        body = await response.get_data(as_text=True)
        raise Refused(response.status_code, _line(body) or _NOT_ALLOWED)

    async def enter(self, scope: Scope, visit: Visit, body: bytes = b"") -> None:
        """Make the request at hand within the visit's context, and ask who the user is."""
        async with Handshake(self._app, scope).active():
            if body:
                quart.request.body.append(body)
            visit.enter(copy_context())
            visit.user = await self._ask(visit)

    async def admit(self, scope: Scope, visit: Visit) -> None:
        """Take all the steps."""
        self.check_origin(scope)
        await self.check_guards(scope)
        await self.enter(scope, visit)

    def recheck(
        self, scope: Scope, visit: Visit, withdrawn: Callable[[], object]
    ) -> Recheck | None:
        """Ask again every now and then until stopped; ``withdrawn`` is called at the first no.

        None where nothing is asked again.
        """
        if self._recheck_interval is None:
            return None
        return Recheck(lambda: self._still(scope, visit), self._recheck_interval, withdrawn)

    async def _still(self, scope: Scope, visit: Visit) -> bool:
        try:
            await self.check_guards(scope)
            async with Handshake(self._app, scope).active():
                return await self._ask(visit) == visit.user
        except Refused as refused:
            logger.info("the permission to use %s is withdrawn: %s", scope["path"], refused)
            return False

    async def _ask(self, visit: Visit) -> str | None:
        if self._authorize is None:
            return None
        try:
            verdict = await self._app.pool.call(self._authorize, visit)
            if verdict is not None and not isinstance(verdict, bool | str):
                raise TypeError(
                    f"authorize returned {verdict!r}: return True or False, or the user's name"
                )
        except HTTPException as error:
            raise _refused(error) from error
        except Overloaded as error:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the server is busy") from error
        except Exception as error:
            # An application's function: its failure must not let anybody in.
            logger.exception("authorize failed; nobody is let in")
            raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_ALLOWED) from error
        if not verdict:
            raise Refused(HTTPStatus.UNAUTHORIZED, _NOT_ALLOWED)
        return verdict if isinstance(verdict, str) else None


class Recheck:
    """Asks every ``interval`` seconds, spread a little, whether a visit is still allowed."""

    # By which part of the interval one recheck differs from the next: thousands of pages that came
    # back at once are not to be asked at once for ever.
    SPREAD = 0.1
    # After so many rechecks in a row that raise, the permission is withdrawn: a recheck that fails
    # must not be taken for a yes. Until then the next one follows within `ASK_AGAIN` seconds.
    MAX_FAILURES = 3
    ASK_AGAIN = 5.0

    def __init__(
        self,
        ask: Callable[[], Any],
        interval: float,
        withdrawn: Callable[[], object],
    ) -> None:
        self._ask = ask
        self._interval = interval
        self._withdrawn = withdrawn
        self._loop = asyncio.get_running_loop()
        self._asking: asyncio.Task[None] | None = None
        # Rechecks in a row that raised instead of answering.
        self._failures = 0
        self._timer = self._next()

    def stop(self) -> None:
        """Ask no more."""
        self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()

    def _next(self) -> asyncio.TimerHandle:
        spread = random.uniform(1 - self.SPREAD, 1 + self.SPREAD)
        interval = min(self._interval, self.ASK_AGAIN) if self._failures else self._interval
        return self._loop.call_later(interval * spread, self._begin)

    def _begin(self) -> None:
        self._asking = self._loop.create_task(self._once())

    async def _once(self) -> None:
        try:
            may_stay = await self._ask()
        except Exception:  # an application's guard or session store: asked again, and then a no
            self._failures += 1
            may_stay = self._failures < self.MAX_FAILURES
            logger.exception(
                "a recheck failed (%d of %d in a row); %s",
                self._failures,
                self.MAX_FAILURES,
                "it is asked again soon" if may_stay else "the permission is withdrawn",
            )
        else:
            self._failures = 0
        if may_stay:
            self._timer = self._next()
        else:
            self._withdrawn()


def _refused(error: HTTPException) -> Refused:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    if status < HTTPStatus.BAD_REQUEST:
        return Refused(HTTPStatus.UNAUTHORIZED, f"{_NOT_ALLOWED}: log in first")
    return Refused(status, _line(error.description or error.name))


def _line(text: str) -> str:
    """Return the first line, unless it is a page."""
    line = text.strip().partition("\n")[0]
    return "" if line.startswith("<") else line[:200]


def fitting(reason: str) -> str:
    """Return as much of a reason as a close frame has room for."""
    return reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")


async def refuse(scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
    """Answer a request, or a WebSocket's handshake, that is not let in.

    A browser tells a page nothing of a handshake that was answered with an HTTP status. So a page's
    WebSocket is accepted and closed at once, with the code that says why; nothing that it sends is
    looked at. Programs get the status.
    """
    if scope["type"] == "websocket":
        if any(name == b"origin" for name, _ in scope["headers"]):
            await _close(scope, receive, send, refused)
            return
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            # All that ASGI has without the extension; the program sees 403 whatever the status.
            reason = fitting(refused.reason)
            await send({"type": "websocket.close", "code": refused.close_code, "reason": reason})
            return
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    body = f"{refused.reason}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *refused.headers,
    ]
    await send({"type": f"{kind}.start", "status": refused.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body, "more_body": False})


async def _close(scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
    # Without one of the subprotocols that it offered, a browser would take no code.
    offered = [*scope.get("subprotocols", ()), None]
    reason = fitting(refused.reason)
    try:
        await send({"type": "websocket.accept", "subprotocol": offered[0]})
        await send({"type": "websocket.close", "code": refused.close_code, "reason": reason})
        async with asyncio.timeout(CLOSE_PATIENCE):
            # Thrown away, but read: a socket closed with bytes unread is reset, code and all.
            while (await receive())["type"] != "websocket.disconnect":
                pass
    except TimeoutError:
        logger.debug("a refused browser did not answer close code %d", refused.close_code)
    except Exception as error:  # noqa: BLE001  each server has its own for a socket that is gone
        logger.debug("a refused browser was gone before its close frame: %r", error)
