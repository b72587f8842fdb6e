"""Admission: checks origin, the app's guards and ``authorize`` before a connection is opened.

Pages of the live link and endpoints use the same checks. They are repeated while a connection is
open.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import quart
from werkzeug.exceptions import HTTPException

from flash.access.message_limit import MAX_REFUSED_BYTES, with_message_limit
from flash.access.opening_request import OpeningRequest
from flash.access.refusal import Header, Refused
from flash.access.visitor import Visitor
from flash.callbacks.context import current_request
from flash.callbacks.execution import within
from flash.callbacks.functions import name_of
from flash.errors import CallbackTimeout, Overloaded
from flash.exits import ends_task
from flash.http.handshake import Handshake, ServedApp
from flash.log_limit import limited_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash.access.origin import OriginPolicy
    from flash.access.revocation import Revocations
    from flash.callbacks.execution import WorkerPool
    from flash.http.gateway import Receive, Scope, Send

logger = limited_logger(__name__)

# Decides who may open a connection: True or a user's name allows, a false value refuses. May be
# async. `quart.abort` refuses with a status of its own.
Answer = Awaitable[bool | str | None] | bool | str | None
# The second form is that of older functions.
Authorize = Callable[[Visitor], Answer] | Callable[[OpeningRequest], Answer]

# Seconds that one `authorize` may take; after that the connection is refused with 503.
AUTHORIZE_TIMEOUT = 10.0

# Seconds to wait for a browser to answer a close frame.
CLOSE_TIMEOUT = 2.0

# The longest reason that fits into a close frame, in bytes.
MAX_REASON_BYTES = 123

_NOT_ALLOWED = "not allowed to connect"


class GuardedApp(ServedApp, Protocol):
    """What admission needs of the app."""

    pool: WorkerPool


class Admission:
    """The checks that every link and every connection of an endpoint must pass.

    A check that fails raises `Refused`.

    - ``authorize``: called with the `Visitor` while Quart's request is current
      (`quart.request`, ``session``, Quart-Auth's ``current_user``). It may be plain (it then runs
      in a thread) or async. True allows; a string allows and names the user; False, None and an
      empty string refuse with 401; `quart.abort` refuses with another status. Any other value is
      an error and refuses with 500. After `AUTHORIZE_TIMEOUT` seconds it is refused with 503.
    - ``wider``: the ``authorize`` functions of wider scope, the widest first. They are asked
      before, each with the user that the one before it has named, and name the user that
      ``authorize`` sees; they refuse nobody. A user that they have named stays if ``authorize``
      returns True. Without ``authorize`` the last of them is taken for it.
    - ``revocations``: users whose older cookies are refused although ``authorize`` names them.
    - ``recheck_interval``: seconds, about, between two repetitions of the checks for a connection
      that is open; None checks once.
    """

    def __init__(
        self,
        app: GuardedApp,
        origins: OriginPolicy,
        authorize: Authorize | None = None,
        *,
        wider: Sequence[Authorize | None] = (),
        recheck_interval: float | None = None,
        revocations: Revocations | None = None,
    ) -> None:
        self._app = app
        self._revocations = revocations
        self._origins = origins
        # From the widest scope to the narrowest, which decides.
        self._authorize = [each for each in (*wider, authorize) if each is not None]
        self._recheck_interval = recheck_interval

    def check_origin(self, scope: Scope) -> None:
        """Refuse a page of an origin that is not allowed, with 403.

        Removes the cookies from the request of a page that ``allowed_origins="*"`` alone allows.
        """
        reason = self._origins.refusal_reason(scope)
        if reason is not None:
            logger.warning("refused a connection to %s: %s", scope["path"], reason)
            raise Refused(HTTPStatus.FORBIDDEN, reason, is_of_origin=True)
        if not self._origins.may_use_cookies(scope):
            scope["headers"] = [each for each in scope["headers"] if each[0] != b"cookie"]

    async def check_guards(self, scope: Scope, *, with_websocket_guards: bool = True) -> None:
        """Run the app's guards; refuse if one of them returns a response.

        They are its ``before_request`` functions, what it has put around the view of its page, and
        for a WebSocket its ``before_websocket`` functions.

        The status of an error response is kept. A redirect, such as one to a login page, becomes
        401, because a connection cannot follow it.
        """
        server, response = self._app.server, None
        handshake = Handshake(self._app, scope)
        if handshake.is_guarded:
            response = await handshake.refusal()
        if (
            response is None
            and with_websocket_guards
            and scope["type"] == "websocket"
            and server.before_websocket_funcs.get(None)
        ):
            response = await handshake.websocket_refusal()
        if response is None:
            return
        body = await response.get_data(as_text=True)
        raise _refusal(response.status_code, _first_line(body) or _NOT_ALLOWED)

    async def authorize(self, scope: Scope, opening: OpeningRequest, body: bytes = b"") -> None:
        """Call ``authorize``; give ``opening`` its context and the name of its user.

        ``body`` is the body of the request, where it has been read.
        """
        async with Handshake(self._app, scope).active():
            if body:
                quart.request.body.append(body)
            opening.bind_context(copy_context())
            opening.user = await self._call_authorize(opening)

    async def user_of_request(self) -> str | None:
        """Return the name that ``authorize`` gives the user of the current request.

        None if it refuses, or gives no name. Raises `Refused` if it fails.
        """
        request = current_request()
        if not self._authorize or not hasattr(request, "scope"):
            return None
        opening = OpeningRequest(request.scope)
        opening.bind_context(copy_context())
        try:
            return await self._call_authorize(opening)
        except Refused as refused:
            if refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            return None

    async def admit(self, scope: Scope, opening: OpeningRequest) -> None:
        """Run all checks."""
        self.check_origin(scope)
        await self.check_guards(scope)
        await self.authorize(scope, opening)

    def recheck(
        self, scope: Scope, opening: OpeningRequest, on_withdrawn: Callable[[], object]
    ) -> Recheck | None:
        """Repeat guards and ``authorize`` until stopped; None without a ``recheck_interval``.

        ``on_withdrawn`` is called once, when a check refuses or ``authorize`` names another user.
        """
        if self._recheck_interval is None:
            return None
        return Recheck(
            lambda: self._is_still_allowed(scope, opening), self._recheck_interval, on_withdrawn
        )

    async def _is_still_allowed(self, scope: Scope, opening: OpeningRequest) -> bool:
        try:
            await self.check_guards(scope)
            async with Handshake(self._app, scope).active():
                # From now on `OpeningRequest.session` is the session as it is now, too.
                opening.bind_context(copy_context())
                return await self._call_authorize(opening) == opening.user
        except Refused as refusal:
            if refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                # The answer is not known; `Recheck` asks again soon, a bounded number of times.
                raise
            logger.info("the permission to use %s is withdrawn: %s", scope["path"], refusal)
            return False

    async def _call_authorize(self, opening: OpeningRequest) -> str | None:
        """Return the user's name, or None; raises `Refused`."""
        if not self._authorize:
            return None
        *wider, authorize = self._authorize
        user: str | None = None
        for each in wider:
            try:
                user = await self._ask(each, Visitor(opening, user), "names no user")
            except Refused as refused:
                if opening.user is not None and refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    # Whether a connection is still its user's is not known: ask again soon.
                    raise
                user = None
        return await self._ask(authorize, Visitor(opening, user))

    async def _ask(
        self, authorize: Authorize, visitor: Visitor, otherwise: str = "refuses the connection"
    ) -> str | None:
        """Call one function; ``otherwise`` says in the log what it means that it failed."""
        try:
            call = self._app.pool.call(authorize, visitor)
            result = await within("authorize", AUTHORIZE_TIMEOUT, call)
            if result is not None and not isinstance(result, bool | str):
                raise TypeError(
                    f"authorize returned {result!r}: return True, False or the name of the user"
                )
        except HTTPException as error:
            if error.response is not None:
                # `abort` with a whole response, such as a redirect, has no code of its own.
                raise _refusal(error.response.status_code, _NOT_ALLOWED) from error
            status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
            raise _refusal(status, _first_line(error.description or error.name)) from error
        except Overloaded as error:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the server is busy") from error
        except CallbackTimeout as error:
            name = name_of(authorize)
            logger.error("%s took longer than %g s, which %s", name, AUTHORIZE_TIMEOUT, otherwise)
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the server is busy") from error
        except Exception as error:
            # The boundary to an application's function: an error in it must not allow anybody.
            logger.exception("authorize failed, which %s", otherwise)
            raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, _NOT_ALLOWED) from error
        if not result:
            raise Refused(HTTPStatus.UNAUTHORIZED, _NOT_ALLOWED)
        user = result if isinstance(result, str) else visitor.user
        if user is None:
            return None
        if self._revocations is not None and self._revocations.refuses(user, self._app.server):
            raise Refused(HTTPStatus.UNAUTHORIZED, f"{_NOT_ALLOWED}: log in again")
        return user


class Recheck:
    """Repeats a check every ``interval`` seconds, with some jitter, until it fails or is stopped.

    Must be made on the event loop. ``check`` returns whether the connection is still allowed.
    """

    # The part of the interval by which it varies at random. Without it, thousands of pages that
    # reconnect at the same time would be checked at the same time from then on.
    JITTER = 0.1
    # After this many checks in a row that raise, the permission is withdrawn: an error is not a
    # permission. Until then the next check follows within `RETRY_INTERVAL` seconds.
    MAX_FAILURES = 3
    RETRY_INTERVAL = 5.0

    def __init__(
        self,
        check: Callable[[], Any],
        interval: float,
        on_withdrawn: Callable[[], object],
    ) -> None:
        self._check = check
        self._interval = interval
        self._on_withdrawn = on_withdrawn
        self._loop = asyncio.get_running_loop()
        self._running: asyncio.Task[None] | None = None
        # Checks in a row that raised.
        self._failures = 0
        self._timer = self._schedule()

    def stop(self) -> None:
        """End the checks; idempotent."""
        self._timer.cancel()
        if self._running is not None:
            self._running.cancel()

    def _schedule(self) -> asyncio.TimerHandle:
        jitter = random.uniform(1 - self.JITTER, 1 + self.JITTER)
        interval = min(self._interval, self.RETRY_INTERVAL) if self._failures else self._interval
        return self._loop.call_later(interval * jitter, self._begin)

    def _begin(self) -> None:
        self._running = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            is_allowed = await self._check()
        except BaseException as error:
            # The boundary to an application's guard or session store.
            if ends_task(error):
                raise
            self._failures += 1
            is_allowed = self._failures < self.MAX_FAILURES
            logger.exception(
                "a recheck failed (%d of %d in a row); %s",
                self._failures,
                self.MAX_FAILURES,
                "it is repeated soon" if is_allowed else "the permission is withdrawn",
            )
        else:
            self._failures = 0
        if is_allowed:
            self._timer = self._schedule()
        else:
            self._on_withdrawn()


def _refusal(status: int, reason: str) -> Refused:
    """Return the refusal for a status; a redirect is taken for one to a login page."""
    if status < HTTPStatus.BAD_REQUEST:
        return Refused(HTTPStatus.UNAUTHORIZED, f"{_NOT_ALLOWED}: log in first")
    return Refused(status, reason)


def _first_line(text: str) -> str:
    """Return at most 200 characters of the first line; an empty string if ``text`` is HTML."""
    line = text.strip().partition("\n")[0]
    return "" if line.startswith("<") else line[:200]


def truncate_reason(reason: str) -> str:
    """Return as much of ``reason`` as fits into a close frame."""
    return reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")


async def expect_http(scope: Scope, receive: Receive, *methods: str) -> None:
    """Raise `Refused` for a WebSocket and for a request with any other method."""
    if scope["type"] != "http":
        await receive()  # websocket.connect
        raise Refused(HTTPStatus.BAD_REQUEST, "this path speaks HTTP")
    if scope["method"] not in methods:
        allow = (b"allow", ", ".join(methods).encode())
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"this path takes only {methods[0]}", allow)


async def send_response(
    send: Send, status: HTTPStatus, headers: list[Header], body: bytes = b""
) -> None:
    """Send a whole HTTP response."""
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def refuse(scope: Scope, receive: Receive, send: Send, refusal: Refused) -> None:
    """Send a refusal as the response to a request or to a WebSocket's handshake.

    A browser does not show a page the HTTP status of a refused handshake. The WebSocket of a page
    is therefore accepted and closed at once, with a close code that names the reason; messages from
    it are discarded. Other clients get the HTTP status.
    """
    if scope["type"] == "websocket":
        if any(name == b"origin" for name, _ in scope["headers"]):
            await _accept_and_close(scope, receive, send, refusal)
            return
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            # ASGI without this extension cannot send a status: the client gets 403 in any case.
            reason = truncate_reason(refusal.reason)
            await send({"type": "websocket.close", "code": refusal.close_code, "reason": reason})
            return
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    body = f"{refusal.reason}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *refusal.headers,
    ]
    await send({"type": f"{kind}.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body, "more_body": False})


async def _accept_and_close(scope: Scope, receive: Receive, send: Send, refusal: Refused) -> None:
    # A browser that offered subprotocols fails the connection, without a close code, unless the
    # server selects one of them.
    offered = [*scope.get("subprotocols", ()), None]
    reason = truncate_reason(refusal.reason)
    try:
        accept = {"type": "websocket.accept", "subprotocol": offered[0]}
        await send(with_message_limit(accept, MAX_REFUSED_BYTES, refusal.close_code))
        await send({"type": "websocket.close", "code": refusal.close_code, "reason": reason})
        async with asyncio.timeout(CLOSE_TIMEOUT):
            # Messages are read and discarded: closing a socket with unread bytes resets it, and the
            # close code is lost.
            while (await receive())["type"] != "websocket.disconnect":
                pass
    except TimeoutError:
        logger.debug("a refused browser did not answer close code %d", refusal.close_code)
    except Exception as error:  # noqa: BLE001  each server has its own error for a closed socket
        logger.debug("a refused browser closed the socket before its close frame: %r", error)
