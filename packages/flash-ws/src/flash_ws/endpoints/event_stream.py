"""`EventStream`: one HTTP request that is answered with the events of a generator."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from werkzeug.exceptions import HTTPException

from flash.access.opening_request import OpeningRequest
from flash.errors import BadRequest
from flash.exits import ends_task, exit_error
from flash.log_limit import limited_logger
from flash.settings import AMOUNT, DURATION, SECONDS, Number, check
from flash_ws.endpoints.sse import DONE, KEEP_ALIVE, ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Mapping

    from werkzeug.datastructures import MultiDict

    from flash.access.refusal import Header
    from flash.http.gateway import Receive, Scope, Send
    from flash_ws.protocol.codes import CloseCode

logger = limited_logger(__name__)

# Seconds to wait for the first event before the response's headers are sent. An exception before
# that becomes an HTTP status.
_FIRST_EVENT_TIMEOUT = 0.5

# Seconds that a cancelled generator may take to end.
_CLEANUP_TIMEOUT = 2.0

# Milliseconds after which browsers reconnect to a server that restarts; chosen at random.
_RETRY_AFTER_RESTART = (500, 3000)

_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # Proxies must neither compress the stream, which would delay it, nor cache it.
    (b"cache-control", b"no-cache, no-transform"),
    # Without it nginx buffers the response.
    (b"x-accel-buffering", b"no"),
)


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """The settings of an SSE endpoint; times are in seconds."""

    # Time between comment lines that keep a silent stream open through proxies.
    keep_alive: float = 15.0
    # Milliseconds that browsers wait before they reconnect; None leaves it to the browser.
    retry: int | None = None
    # The data of the last event of a stream; None sends no such event.
    end: str | None = DONE
    # The size of a request's body; a larger one is answered with 413.
    max_body_bytes: int = 64 * 1024
    # Time after which a stream ends if the browser accepts no data.
    stall_timeout: float = 60.0
    # Time that a generator may continue after the server is told to stop.
    linger: float = 5.0

    def __post_init__(self) -> None:
        check(
            keep_alive=(self.keep_alive, SECONDS),
            retry=(self.retry, Number(whole=True, optional=True)),
            max_body_bytes=(self.max_body_bytes, AMOUNT),
            stall_timeout=(self.stall_timeout, SECONDS),
            linger=(self.linger, DURATION),
        )


class StreamRequest(OpeningRequest):
    """The request of an event stream, passed to the generator.

    `quart.request`, ``session`` and ``dash.ctx.cookies`` also work inside the generator.
    """

    def __init__(self, scope: Scope, body: bytes) -> None:
        super().__init__(scope)
        # GET from an ``EventSource``, POST from the SSE component with a payload.
        self.method: str = scope["method"]
        # The complete body.
        self.body = body
        # The id of the last event that the browser received before it reconnected, or None.
        self.last_event_id = _header(scope, b"last-event-id")

    @property
    def args(self) -> MultiDict[str, str]:
        """The parameters in the URL's query; the same as ``query``."""
        return self.query

    async def get_data(self) -> bytes:
        """Return the body; the same as ``body``, for code written for `quart.Request`."""
        return self.body

    async def get_json(self) -> Any:
        """Parse the body as JSON, whatever its content type, since the component sends text.

        Raises `flash.errors.BadRequest`, which ends the request with status 400.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"the body is not JSON: {error}") from error


class _ClientDisconnected(Exception):
    """Writing failed because the browser has disconnected; raised from the server's error."""


class EventStream:
    """The response to one request."""

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
        # Held by the one who writes: the generator or the keep-alive.
        self._writing = asyncio.Lock()
        # The loop's time when the last write began.
        self._wrote_at = self._loop.time()
        self._generating: asyncio.Task[None] | None = None
        self._stopping = False
        self._timer: asyncio.TimerHandle | None = None
        # Events sent so far.
        self.sent = 0

    def drain(self) -> None:
        """Cancel the generator after ``linger`` seconds, because the server stops."""
        if not self._stopping:
            self._stopping = True
            self._timer = self._loop.call_later(self._settings.linger, self._stop)

    def abort(self, code: CloseCode) -> None:
        """End at once because the application disconnected the user or the permission ended."""
        logger.info("ended a stream of %s: %s", self._request.path, code.meaning)
        self._stopping = True
        self._stop()

    @property
    def user(self) -> str | None:
        """The user that ``authorize`` named; None if it named nobody."""
        return self._request.user

    async def serve(
        self,
        generate: Callable[[StreamRequest], AsyncIterable[Any] | Awaitable[AsyncIterable[Any]]],
    ) -> Exception | None:
        """Send what ``generate`` yields until it ends, the browser leaves or the server stops.

        Returns an exception that the generator raised before the response began, which the caller
        has to answer; else None.
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
            logger.debug("cannot write to an event stream: %r", error)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for task in (generating, disconnected):
                task.cancel()
            _, running = await asyncio.wait({generating, disconnected}, timeout=_CLEANUP_TIMEOUT)
            for task in running:
                logger.warning("%r still runs although it was cancelled", task.get_coro())
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
        """Wait for the generator; return True if the browser leaves or stalls before its end."""
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
                    logger.info(
                        "ended a stream of %s: the browser accepts no data", self._request.path
                    )
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
        except BaseException as error:
            if isinstance(error, Exception) or ends_task(error):
                raise
            # A `CancelledError` is that of a task which the generator awaited: an error, and not
            # the end of the server.
            raise exit_error(generate, error) from error
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
                    # A field of the first event, not a separate event; see KEEP_ALIVE.
                    chunk = b"retry: %d\n%b" % (self._settings.retry, chunk)
            await self._transmit({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _transmit(self, message: dict[str, Any]) -> None:
        try:
            await self._send(message)
        except Exception as error:
            raise _ClientDisconnected from error

    async def _finish(self, stopped: bool, error: BaseException | None) -> None:
        """Send the last event in the form that the SSE component expects, and end the response.

        After an exception it is an event of type ``error``: the component closes and its ``done``
        stays false. When the server stops there is no last event; an ``EventSource`` reconnects.
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
                # An EventSource reconnects after any end. It then sends this id back, and the
                # endpoint tells it to stop.
                await self._write(
                    ServerSentEvent(self._settings.end, id=self._settings.end).encode()
                )
            elif not self._started:
                await self._write(KEEP_ALIVE)
            await self._transmit({"type": "http.response.body", "body": b"", "more_body": False})


def _reason(error: BaseException) -> str | None:
    """Return the text of an error that the browser may see; None for an internal error."""
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
