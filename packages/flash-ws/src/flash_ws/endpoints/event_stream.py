"""One HTTP request answered with server-sent events, from a generator."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from werkzeug.exceptions import HTTPException

from flash.access.opening_request import OpeningRequest
from flash.errors import BadRequest
from flash_ws.endpoints.sse import DONE, KEEP_ALIVE, ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Mapping

    from werkzeug.datastructures import MultiDict

    from flash.access.refusal import Header
    from flash.http.gateway import Receive, Scope, Send
    from flash_ws.protocol.codes import CloseCode

    Generate = Callable[["StreamRequest"], AsyncIterable[Any] | Awaitable[AsyncIterable[Any]]]

logger = logging.getLogger(__name__)

# Seconds that a generator may take to its first event before the answer's headers are sent. What it
# raises within them is answered with an HTTP status.
_FIRST_EVENT_TIMEOUT = 0.5

# Seconds that a cancelled generator may take to end.
_CLEANUP_TIMEOUT = 2.0

# Milliseconds after which browsers come back to a server that restarts, spread out.
_RETRY_AFTER_RESTART = (500, 3000)

_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # A proxy that compresses would wait for more; one that caches would repeat it.
    (b"cache-control", b"no-cache, no-transform"),
    # nginx keeps back what it can otherwise.
    (b"x-accel-buffering", b"no"),
)


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How an endpoint answers; times are in seconds."""

    # Between lines that keep a silent stream open through proxies.
    keep_alive: float = 15.0
    # Milliseconds that a browser is told to wait before it connects again; None tells it nothing.
    retry: int | None = None
    # The data of the event that ends a stream; None ends it without one.
    end: str | None = DONE
    # Of a request's body; a longer one is answered 413.
    max_body_bytes: int = 64 * 1024
    # That a browser may take nothing of what is sent; then the stream ends.
    stall_timeout: float = 60.0
    # That a generator may go on once the server is told to stop.
    linger: float = 5.0


class StreamRequest(OpeningRequest):
    """The request that a stream answers.

    `quart.request`, ``session`` and ``dash.ctx.cookies`` work inside the generator, too.
    """

    def __init__(self, scope: Scope, body: bytes) -> None:
        super().__init__(scope)
        # GET from an ``EventSource``; POST from the SSE component with a payload.
        self.method: str = scope["method"]
        # The whole body.
        self.body = body
        # The id of the last event that the browser got before its connection broke, or None.
        self.last_event_id = _header(scope, b"last-event-id")

    @property
    def args(self) -> MultiDict[str, str]:
        """What follows the question mark in the URL; the same as ``query``."""
        return self.query

    async def get_data(self) -> bytes:
        """Return the body, as `quart.Request.get_data` does."""
        return self.body

    async def get_json(self) -> Any:
        """Return what the body holds as JSON, whatever its content type.

        (The component sends a string payload as text.) Raises `flash.errors.BadRequest`, which ends
        the request with status 400.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"the body is not JSON: {error}") from error


class _ClientDisconnected(Exception):
    """The browser is gone: whatever the server raised when it was written to."""


class EventStream:
    """The answer to one request, while it lasts."""

    def __init__(
        self,
        request: StreamRequest,
        settings: StreamSettings,
        receive: Receive,
        send: Send,
        *,
        headers: tuple[Header, ...] | list[Header] = (),
    ) -> None:
        self._request = request
        self._settings = settings
        self._receive = receive
        self._send = send
        self._headers = [*_HEADERS, *headers]
        self._loop = asyncio.get_running_loop()
        self._started = False
        # One writes at a time: the generator's events, or a keep-alive.
        self._writing = asyncio.Lock()
        # The loop's time when the last write began, and whether it still goes on.
        self._wrote_at = self._loop.time()
        self._generating: asyncio.Task[None] | None = None
        self._stopping = False
        self._timer: asyncio.TimerHandle | None = None
        # Events sent so far.
        self.sent = 0

    def drain(self) -> None:
        """End because the server stops, if the generator has not ended by itself soon."""
        if not self._stopping:
            self._stopping = True
            self._timer = self._loop.call_later(self._settings.linger, self._stop)

    def abort(self, code: CloseCode) -> None:
        """End at once because the application does not want it any more."""
        logger.info("ended a stream of %s: %s", self._request.path, code.meaning)
        self._stopping = True
        self._stop()

    @property
    def user(self) -> str | None:
        """Who reads it, if ``authorize`` named somebody."""
        return self._request.user

    async def serve(
        self,
        generate: Callable[[StreamRequest], AsyncIterable[Any] | Awaitable[AsyncIterable[Any]]],
    ) -> Exception | None:
        """Send what ``generate`` gives until it ends, the browser goes or the server stops.

        Returns what the generator raised before the answer began: it is for the caller to answer.
        """
        generating = self._generating = self._loop.create_task(
            self._run(generate), context=self._request.context()
        )
        disconnected = self._loop.create_task(self._wait_for_disconnect())
        try:
            if await self._wait_for_end(generating, disconnected):
                return None
            error = None if generating.cancelled() else generating.exception()
            if isinstance(error, _ClientDisconnected):
                raise error
            if error is not None and not self._started:
                return cast("Exception", error)
            await self._finish(generating.cancelled(), error)
        except (_ClientDisconnected, TimeoutError) as error:
            logger.debug("an event stream cannot be written to: %r", error)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for task in (generating, disconnected):
                task.cancel()
            _, running = await asyncio.wait({generating, disconnected}, timeout=_CLEANUP_TIMEOUT)
            for task in running:
                logger.warning("%r goes on although it was cancelled", task.get_coro())
        return None

    def _stop(self) -> None:
        if self._generating is not None:
            self._generating.cancel()

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _wait_for_end(
        self, generating: asyncio.Task[None], disconnected: asyncio.Task[None]
    ) -> bool:
        """Wait for the generator's end; true if the browser went, or takes nothing, before it."""
        settings = self._settings
        while True:
            wait = settings.keep_alive if self._started else _FIRST_EVENT_TIMEOUT
            await asyncio.wait(
                {generating, disconnected}, timeout=wait, return_when=asyncio.FIRST_COMPLETED
            )
            if disconnected.done():
                return True
            if generating.done():
                return False
            quiet = self._loop.time() - self._wrote_at
            if self._writing.locked():
                if quiet >= settings.stall_timeout:
                    logger.info("ended a stream of %s: nobody reads it", self._request.path)
                    return True
            elif not self._started or quiet >= settings.keep_alive:
                async with asyncio.timeout(settings.stall_timeout):
                    await self._write(KEEP_ALIVE)

    async def _run(
        self,
        generate: Callable[[StreamRequest], AsyncIterable[Any] | Awaitable[AsyncIterable[Any]]],
    ) -> None:
        answer = generate(self._request)
        events = cast(
            "AsyncIterable[Any]",
            answer if hasattr(answer, "__aiter__") else await answer,  # type: ignore[misc]
        )
        try:
            async for value in events:
                await self._write(ServerSentEvent.of(value).encode())
                self.sent += 1
        finally:
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()

    async def _write(self, chunk: bytes) -> None:
        async with self._writing:
            self._wrote_at = self._loop.time()
            if not self._started:
                self._started = True
                status = int(HTTPStatus.OK)
                start = {"type": "http.response.start", "status": status, "headers": self._headers}
                await self._transmit(start)
                if self._settings.retry is not None:
                    # A field of the first event, not an event of its own: see KEEP_ALIVE.
                    chunk = b"retry: %d\n%b" % (self._settings.retry, chunk)
            await self._transmit({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _transmit(self, message: dict[str, Any]) -> None:
        try:
            await self._send(message)
        except Exception as error:
            raise _ClientDisconnected from error

    async def _finish(self, stopped: bool, error: BaseException | None) -> None:
        """Send the last event, as the component understands it, and end the answer.

        After an error that is an event of type ``error``: the SSE component closes and its ``done``
        stays false. When the server stops there is none, and an ``EventSource`` comes back.
        """
        async with asyncio.timeout(_CLEANUP_TIMEOUT):
            if error is not None:
                reason = _reason(error)
                if reason is None:
                    logger.error("the stream of %s failed", self._request.path, exc_info=error)
                await self._write(
                    ServerSentEvent(reason or "the stream failed", event="error").encode()
                )
            elif stopped:
                await self._write(b"retry: %d\n" % random.randint(*_RETRY_AFTER_RESTART))
            elif self._settings.end is not None:
                # Its id comes back with an EventSource, which connects again after any end and is
                # told then that there is no more.
                await self._write(
                    ServerSentEvent(self._settings.end, id=self._settings.end).encode()
                )
            elif not self._started:
                await self._write(KEEP_ALIVE)
            await self._transmit({"type": "http.response.body", "body": b"", "more_body": False})


def _reason(error: BaseException) -> str | None:
    """Return what the browser may know of an error; None for what is nobody's business but ours."""
    if isinstance(error, BadRequest):
        return error.reason.partition("\n")[0]
    if isinstance(error, HTTPException):
        return (error.description or error.name).partition("\n")[0]
    return None


def _header(scope: Mapping[str, Any], name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return value.decode(errors="replace")
    return None
