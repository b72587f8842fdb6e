"""Dash's own WebSocket: admitted, limited and checked again before Dash's handler sees it.

Quart reads a WebSocket into a queue without a limit, and Dash's handler knows no guard, no
`authorize` and no limit. `CallbackSockets` is the ASGI application in front of both.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from flash.access.admission import Admission, Authorize, GuardedApp, refuse, truncate_reason
from flash.access.limits import RateLimit, TokenBucket
from flash.access.message_limit import with_message_limit
from flash.access.opening_request import OpeningRequest, draining_event
from flash.access.origin import Origin, OriginPolicy
from flash.access.places import Places
from flash.access.refusal import Refused
from flash.callbacks.execution import visitor, visitor_of
from flash.http.socket_calls import ADMITTED, FAILED
from flash.log_limit import limited_logger
from flash.seams import quart as quart_seam
from flash.serialize import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from flash.access.revocation import Revocations
    from flash.http.gateway import ASGIApp, Receive, Scope, Send
    from flash.http.socket_calls import MessageHandler

logger = limited_logger(__name__)

# Close codes. Dash's page opens the socket again after any code but 1000 and 4001.
_TOO_LARGE = 1009
_REFUSED = 4001
_OTHER_ORIGIN = 4003
_TOO_FAST = 4529
_DRAINING = 4531
_EXPIRED = 4532
_FULL = 4533
_SILENT = 4508

# Messages, and their characters, that may wait for Dash's handler. Beyond them nothing is read.
_MAX_UNREAD = 16
_MAX_UNREAD_SIZE = 1 << 20

# Messages that are read before other tasks have a turn. A server has several at once for a page
# that sends fast, and returns them without a wait.
_MAX_IN_A_ROW = 8

# Seconds to wait for the event that begins a WebSocket.
_CONNECT_TIMEOUT = 0.2

# Seconds within which a close frame is written.
_CLOSE_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """The limits of one page's socket."""

    # Messages from the page. One change of a page may call hundreds of callbacks.
    rate: RateLimit = RateLimit(per_second=500.0, burst=2_000)  # noqa: RUF009  frozen itself
    # Calls under way; a further one is answered with an error.
    max_calls: int = 1_000
    # Seconds of silence after which the socket is closed, if no call is under way. The page sends
    # a heartbeat every 30 s, unless the app sets another interval.
    idle_timeout: float = 100.0


class GuardedSocketApp(GuardedApp, Protocol):
    """What the admission of sockets needs of the app."""

    @property
    def socket_allowed_origins(self) -> tuple[str, ...]:
        """The other origins whose pages may open the socket."""
        ...

    @property
    def socket_heartbeat(self) -> float:
        """Seconds between two heartbeats of a page."""
        ...

    @property
    def shows_errors(self) -> bool:
        """Whether pages may see the texts of exceptions."""
        ...


class CallbackSockets:
    """Dash's own sockets of one app's pages.

    A socket is refused for its origin, by the app's guards and by ``authorize``, as the live link
    is, and while it is open the checks are repeated.
    """

    def __init__(
        self,
        app: GuardedSocketApp,
        *,
        authorize: Authorize | None = None,
        recheck_interval: float | None = None,
        max_open: int = 20_000,
    ) -> None:
        self._app = app
        self.limits = SocketLimits()
        # Shared with the live link, if the app has one.
        self.places = Places(max_open)
        # The function of the app, and that of its live link once there is one; see `Admission`.
        self._wider = authorize
        self._authorize: Authorize | None = None
        self._revocations: Revocations | None = None
        self._recheck_interval = recheck_interval
        self._open: set[CallbackSocket] = set()
        # The number of sockets refused since the start.
        self.refused = 0
        # Made by the first socket.
        self._admission: Admission | None = None

    def require(
        self,
        authorize: Authorize | None,
        recheck_interval: float | None,
        places: Places,
        revocations: Revocations | None = None,
    ) -> None:
        """Ask the link's ``authorize`` for each socket, too, and count sockets in ``places``."""
        self._revocations = revocations
        self._authorize, self._recheck_interval = authorize, recheck_interval
        self.places = places
        self._admission = None

    async def user_of_request(self) -> str | None:
        """Return the user of the current request, see `Admission.user_of_request`."""
        return await self._current_admission().user_of_request()

    def disconnect(self, user: str) -> None:
        """Close the sockets of a user; their pages do not open them again until reloaded."""
        for socket in tuple(self._open):
            if socket.user == user:
                socket.end(_REFUSED, "disconnected by the application")

    @property
    def open(self) -> int:
        """The number of sockets that are open."""
        return len(self._open)

    async def serve(self, scope: Scope, receive: Receive, send: Send, dash: ASGIApp) -> None:
        """Serve one socket: check it, then pass it to ``dash``, the app that has Dash's handler."""
        receive = await _connected(receive)
        opening = OpeningRequest(scope)
        places = self.places
        try:
            admission = self._current_admission()
            admission.check_origin(scope)
            address = visitor_of(scope)
            _check_room(places, scope, address)
        except Refused as refused:
            await self._refuse(scope, receive, send, refused)
            return
        places.take(address)
        holder = address
        try:
            try:
                # Quart runs `before_websocket` functions itself before Dash's handler.
                await admission.check_guards(scope, with_websocket_guards=False)
                await admission.authorize(scope, opening)
                if opening.user is not None:
                    holder = _change_holder(places, holder, visitor_of(scope, opening.user))
                    visitor.set(holder)
            except Refused as refused:
                await self._refuse(scope, receive, send, refused)
                return
            is_observed = quart_seam.has_message_observers(dash)
            socket = CallbackSocket(
                self._app, self.limits, opening.user, receive, send, is_observed=is_observed
            )
            self._open.add(socket)
            recheck = admission.recheck(
                scope, opening, lambda: socket.end(_EXPIRED, "the permission is to be asked again")
            )
            try:
                await dash({**scope, ADMITTED: socket}, socket.receive, socket.send)
            finally:
                self._open.discard(socket)
                if recheck is not None:
                    recheck.stop()
                await socket.ended()
        finally:
            places.release(holder)

    def _current_admission(self) -> Admission:
        if self._admission is None:
            self._admission = Admission(
                self._app,
                OriginPolicy(_valid_origins(self._app.socket_allowed_origins)),
                self._authorize,
                wider=(self._wider,),
                recheck_interval=self._recheck_interval,
                revocations=self._revocations,
            )
        return self._admission

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
        self.refused += 1
        code = {HTTPStatus.UNAUTHORIZED: _REFUSED, HTTPStatus.FORBIDDEN: _REFUSED}.get(
            HTTPStatus(refused.status), refused.close_code
        )
        if refused.is_of_origin:
            code = _OTHER_ORIGIN
        await refuse(
            scope,
            receive,
            send,
            Refused(refused.status, refused.reason, *refused.headers, close_code=code),
        )


async def _connected(receive: Receive) -> Receive:
    """Take the event that begins a WebSocket; return a ``receive`` for what follows.

    Granian's worker ends if a socket is accepted before this event is taken. A server has it at
    once. Quart's test client never sends it, so it is not waited for.
    """
    first: asyncio.Future[dict[str, Any]] | None = asyncio.ensure_future(receive())
    await asyncio.wait({first}, timeout=_CONNECT_TIMEOUT)
    if first.done() and first.result()["type"] == "websocket.connect":
        return receive

    async def receive_rest() -> dict[str, Any]:
        nonlocal first
        if first is None:
            return await receive()
        event = await first
        first = None
        return event

    return receive_rest


def _change_holder(
    places: Places, before: Hashable | None, now: Hashable | None
) -> Hashable | None:
    """Count a connection for its user instead of its address; raises `Refused`."""
    if places.is_full_for(now) and not places.is_full:
        raise _too_many()
    places.release(before)
    places.take(now)
    return now


def _too_many() -> Refused:
    return Refused(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "this visitor has as many connections as one may have",
        (b"retry-after", b"1"),
        close_code=_FULL,
    )


def _check_room(places: Places, scope: Scope, visitor: Hashable | None) -> None:
    draining = draining_event(scope)
    for code, reason, applies in (
        (_DRAINING, "the server is about to restart", draining is not None and draining.is_set()),
        (_FULL, "the server has as many pages as it takes", places.is_full),
    ):
        if applies:
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE, reason, (b"retry-after", b"1"), close_code=code
            )
    if places.is_full_for(visitor):
        raise _too_many()


def _valid_origins(allowed: Iterable[str]) -> list[str]:
    """Return the origins that are written as such; Dash takes any text and never matches others."""
    valid: list[str] = []
    for each in allowed:
        if Origin.parse(each) is None:
            logger.warning(
                "websocket_allowed_origins=%r is not an origin, so it allows no page: write "
                "scheme, host and port only, such as https://example.org",
                each,
            )
        else:
            valid.append(each)
    return valid


class CallbackSocket:
    """One open socket, between the server and Quart: ``receive`` and ``send`` of ASGI."""

    def __init__(
        self,
        app: GuardedSocketApp,
        limits: SocketLimits,
        user: str | None,
        receive: Receive,
        send: Send,
        *,
        is_observed: bool = False,
    ) -> None:
        self._app = app
        self._is_observed = is_observed
        self._receive = receive
        self._send = send
        self.limits = limits
        # The user that ``authorize`` named, or None.
        self.user = user
        self._loop = asyncio.get_running_loop()
        self._bucket = TokenBucket(limits.rate, self._loop.time())
        # Set to the close code once the socket is closed from this side.
        self._end: asyncio.Future[int] = self._loop.create_future()
        # The task that waits for the next event; None while no event is waited for.
        self._reader: asyncio.Task[Any] | None = None
        # Messages read since other tasks had a turn.
        self._in_a_row = 0
        # The loop's time when waiting for the next event began, None while it is not waited for.
        self._listening_since: float | None = None
        # Whether the last event has been received.
        self.is_gone = False
        self._closing: asyncio.Task[None] | None = None
        # The sizes of messages that Dash's handler has not taken, oldest first.
        self._unread: list[int] = []
        self._room: asyncio.Future[None] | None = None
        # Returns the number of calls under way; set by `intercept_calls`.
        self.count_calls: Callable[[], int] = lambda: 0
        # Handles a message before Quart gets it; False means that Quart gets it.
        self._handle: MessageHandler | None = None
        self._watch_silence(self._longest_silence)

    @property
    def max_calls(self) -> int:
        """The most calls under way."""
        return self.limits.max_calls

    @property
    def max_message_bytes(self) -> int | None:
        """The size of one message, which is that of a request over HTTP; None is unlimited."""
        return self._app.server.config["MAX_CONTENT_LENGTH"]

    def handle_early(self, handle: MessageHandler) -> None:
        """Pass each message to ``handle``, and on to Quart only if it returns False.

        It gets none while middleware or a receiver of a signal observes what Quart gets, nor while
        earlier messages wait for Dash's handler.
        """
        if not self._is_observed:
            self._handle = handle

    async def receive(self) -> dict[str, Any]:
        """Return the next event; a disconnect once the socket is closed from this side."""
        event = await self._receive_unhandled()
        self.is_gone = event["type"] == "websocket.disconnect"
        return event

    async def _receive_unhandled(self) -> dict[str, Any]:
        while True:
            self._in_a_row += 1
            if self._in_a_row > _MAX_IN_A_ROW:
                self._in_a_row = 1
                await asyncio.sleep(0)
            if self._unread:
                await self._wait_for_room()
            # Nothing is awaited between this and the reading, which an end from here on cancels.
            if self._end.done():
                return {"type": "websocket.disconnect", "code": self._end.result()}
            event = await self._next_event()
            if event["type"] != "websocket.receive":
                return event
            message = event.get("text")
            if message is None:
                message = event.get("bytes") or b""
            refusal = self._refusal_of(message)
            if refusal is not None:
                self.end(*refusal)
                continue
            if self._handle is not None and not self._unread:
                is_handled = self._handle(message)
                if is_handled is True or (is_handled is not False and await is_handled):
                    continue
            self._unread.append(len(message))
            return event

    async def _wait_for_room(self) -> None:
        """Wait until Dash's handler has taken enough of what waits for it."""
        while not self._end.done() and (
            len(self._unread) >= _MAX_UNREAD or sum(self._unread) >= _MAX_UNREAD_SIZE
        ):
            self._room = self._loop.create_future()
            await asyncio.wait({self._room, self._end}, return_when=asyncio.FIRST_COMPLETED)

    async def _next_event(self) -> dict[str, Any]:
        self._listening_since = self._loop.time()
        # Neither a task nor a timeout for each message: they would cost as much as the callback.
        self._reader = reader = asyncio.current_task()
        try:
            return await self._receive()
        except asyncio.CancelledError:
            if reader is None or not self._end.done() or reader.uncancel() > 0:
                raise
            return {"type": "websocket.disconnect", "code": self._end.result()}
        finally:
            self._reader = self._listening_since = None

    def _watch_silence(self, seconds: float) -> None:
        self._silence_timer = self._loop.call_later(seconds, self._check_silence)

    def _check_silence(self) -> None:
        """Close the socket if nothing has come for too long and no call is under way."""
        silence = self._longest_silence
        if self._listening_since is None or self.count_calls():
            self._watch_silence(silence)
            return
        left = self._listening_since + silence - self._loop.time()
        if left > 0:
            self._watch_silence(left)
        else:
            self.end(_SILENT, "nothing was heard for too long")

    @property
    def _longest_silence(self) -> float:
        """Seconds of silence after which the socket is closed."""
        return max(self.limits.idle_timeout, 3 * self._app.socket_heartbeat)

    def _refusal_of(self, message: str | bytes) -> tuple[int, str] | None:
        limit = self.max_message_bytes
        if limit is not None and (
            len(message) > limit
            or (isinstance(message, str) and 4 * len(message) > limit < len(message.encode()))
        ):
            return _TOO_LARGE, f"the message is longer than the allowed {limit} bytes"
        if not self._bucket.take(self._loop.time()):
            return _TOO_FAST, "more messages than are taken in this time"
        return None

    def taken(self) -> None:
        """Note that Dash's handler has taken a message, so that another may be read."""
        if self._unread:
            self._unread.pop(0)
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def send(self, event: dict[str, Any]) -> None:
        """Send an event of Dash's handler; without the texts of exceptions in production."""
        if self._end.done():
            return
        if event["type"] == "websocket.accept":
            event = with_message_limit(event, self.max_message_bytes, _TOO_LARGE)
        text = event.get("text")
        if text is not None and not self._app.shows_errors and '"error"' in text:
            event = {**event, "text": _without_error_texts(text)}
        await self._send(event)

    async def send_text(self, text: str) -> None:
        """Send a message of Flash's own."""
        if not self._end.done():
            await self._send({"type": "websocket.send", "text": text})

    def end(self, code: int, reason: str) -> None:
        """Close the socket; returns at once."""
        if not self._end.done():
            self._end.set_result(code)
            if self._reader is not None:
                self._reader.cancel()
            self._closing = asyncio.ensure_future(self._close(code, reason))

    async def _close(self, code: int, reason: str) -> None:
        event = {"type": "websocket.close", "code": code, "reason": truncate_reason(reason)}
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._send(event)
        except TimeoutError:
            logger.debug("a page does not take close code %d", code)
        except Exception as error:  # noqa: BLE001  each server has its own error for a closed socket
            logger.debug("a page closed its socket before close code %d: %r", code, error)

    async def ended(self) -> None:
        """Wait until the close frame is written, if the socket was closed from this side."""
        self._silence_timer.cancel()
        if self._closing is not None:
            await asyncio.wait({self._closing})


def _without_error_texts(text: str) -> str:
    """Return messages of Dash's handler with `FAILED` in place of the texts of exceptions."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    has_changed = False
    for message in value if isinstance(value, list) else [value]:
        match message:
            case {"type": "callback_response", "payload": {"status": "error"} as payload}:
                payload["message"] = FAILED
                has_changed = True
            case _:
                pass
    return dumps(value).decode() if has_changed else text
