"""Callback requests over Dash's own WebSocket, handled before Dash's handler receives them.

Dash's handler opens the socket, runs its hooks, and handles every message that is not a call of a
compiled callback. It would parse a call twice, serialise its response three times, and start
several tasks for each message.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from dash.backends.ws import DISCONNECTED, DashWebsocketCallback
from dash.exceptions import PreventUpdate, WebsocketDisconnected

from flash.callbacks.execution import Superseded
from flash.callbacks.plan import Runner
from flash.errors import BadRequest, CallbackTimeout, Overloaded
from flash.exits import EXITS, handles_exits
from flash.log_limit import limited_logger
from flash.seams import quart as quart_seam
from flash.serialize import dumps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from flash.callbacks.dispatch import Dispatcher
    from flash.callbacks.execution import WorkerPool
    from flash.callbacks.hook_registry import Hooks
    from flash.callbacks.plan import CallbackPlan

logger = limited_logger(__name__)

# The key of a scope under which Dash's handler finds the `AdmittedSocket`; without it no guard and
# no limit has been applied, and the handler must not run.
ADMITTED = "flash.callback_socket"

# What the page gets in place of the text of an exception; over HTTP it gets the status 500 only.
FAILED = "the callback failed; the server's log has the reason"

# Close code for a message that is no JSON object.
_MALFORMED = 4400

# Bytes of JSON from which it is parsed in a thread.
LARGE_JSON = 256 * 1024

# Handles a message; False means that Dash must handle it.
MessageHandler = Callable[[str | bytes], bool | Coroutine[Any, Any, bool]]

# The most messages that wait for one page. Beyond them, `set_props` raises `queue.Full`.
MAX_WAITING = 10_000


class SocketOutbox:
    """Sends the messages of callbacks to one page, in order; collects several into one message.

    It replaces the queue that Dash passes to a callback. Dash uses only `sync_q` of that queue.
    """

    def __init__(self, send: Callable[[str], Awaitable[None]], delay: float) -> None:
        self._send = send
        # Seconds for which properties set by a running callback are collected.
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        # Filled by threads, emptied by the loop.
        self._texts: deque[str] = deque()
        self._is_sending = False
        self._timer: asyncio.TimerHandle | None = None
        # The flush that the timer started.
        self._flushing: asyncio.Task[None] | None = None
        # True once nothing is sent any more.
        self.is_closed = False

    @property
    def sync_q(self) -> SocketOutbox:
        """The queue for messages of threads, under the name that Dash uses."""
        return self

    def put_nowait(self, text: str) -> None:
        """Send a message soon; raises `queue.Full`. Thread-safe."""
        if len(self._texts) >= MAX_WAITING:
            raise queue.Full(f"{MAX_WAITING} messages wait, since the page does not read them")
        self._texts.append(text)
        self._loop.call_soon_threadsafe(self._schedule_flush)

    def _schedule_flush(self) -> None:
        if self._timer is None and self._texts and not self.is_closed:
            self._timer = self._loop.call_later(self._delay, self._start_flush)

    def _start_flush(self) -> None:
        self._timer = None
        if not self._is_sending:
            self._flushing = self._loop.create_task(self._flush())

    async def send(self, text: str) -> None:
        """Send a message after all that wait, in one with those of the same turn of the loop.

        A page whose change calls many callbacks gets their responses in few messages, and what one
        turn sends to many pages is written without pause: each write may wake another process.
        """
        self._texts.append(text)
        await asyncio.sleep(0)
        await self._flush()

    async def _flush(self) -> None:
        if self._is_sending:
            # The flush that runs sends the new message, too.
            return
        self._is_sending = True
        try:
            while self._texts and not self.is_closed:
                texts = [self._texts.popleft() for _ in range(len(self._texts))]
                await self._send(texts[0] if len(texts) == 1 else f"[{','.join(texts)}]")
        except OSError:
            # The page disconnected at the same moment.
            self.is_closed = True
        finally:
            self._is_sending = False

    async def close(self) -> None:
        """Discard waiting messages and send nothing more."""
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._flushing is not None and not self._flushing.done():
            self._flushing.cancel()
            await asyncio.wait({self._flushing})


class SocketApp(Protocol):
    """What callback requests over Dash's socket need of the app."""

    dispatcher: Dispatcher
    hooks: Hooks
    pool: WorkerPool
    internal_pool: WorkerPool

    @property
    def shows_errors(self) -> bool:
        """Whether pages may see the texts of exceptions."""
        ...

    @property
    def socket_batch_delay(self) -> float:
        """Seconds for which properties set over the socket are collected."""
        ...

    def may_use_socket(self, callback_id: str) -> bool:
        """Whether a callback may be called over the socket."""
        ...


class AdmittedSocket(Protocol):
    """One page's socket after the checks of `flash.access.callback_socket`."""

    # Returns the number of calls under way.
    count_calls: Callable[[], int]

    @property
    def max_calls(self) -> int:
        """The most calls under way; a further one is answered with an error."""
        ...

    @property
    def is_gone(self) -> bool:
        """Whether the socket has ended, so that no message will come."""
        ...

    async def send_text(self, text: str) -> None:
        """Send a message of Flash's own."""
        ...

    def handle_early(self, handle: MessageHandler) -> None:
        """Pass each message to ``handle`` before Quart gets it, unless somebody observes them."""
        ...

    def taken(self) -> None:
        """Note that a message has been taken, so that another may be read."""
        ...

    def end(self, code: int, reason: str) -> None:
        """Close the socket; returns at once."""
        ...


class SocketCalls:
    """The callback requests of one page over its socket.

    Plain functions of one page use at most half of the threads for callbacks, so that those of
    others find one.
    """

    def __init__(
        self, app: SocketApp, send: Callable[[str], Awaitable[None]], *, max_calls: int
    ) -> None:
        self._app = app
        self._max_calls = max_calls
        self._threads = asyncio.Semaphore(max(1, app.pool.max_threads // 2))
        self._loop = asyncio.get_running_loop()
        # The context of Dash's handler, in which callbacks find the app and the socket's request.
        self._context = copy_context()
        self._outbox = SocketOutbox(send, app.socket_batch_delay)
        # Futures of callbacks that requested a property from the page, by request id.
        self._property_requests: dict[str, Any] = {}
        self._shutdown = threading.Event()
        self._running: set[asyncio.Task[None]] = set()

    def handle(self, value: Any) -> bool:
        """Handle a message; False means that Dash must handle it."""
        match value:
            case {"type": "callback_request", "payload": {"output": str()} as body}:
                return self._start_call(value.get("requestId"), value.get("rendererId", ""), body)
            case {"type": "get_props_response", "requestId": str() as property_request}:
                return self._resolve(property_request, value.get("payload"))
            case _:
                return False

    def _start_call(self, request_id: Any, page: Any, body: dict[str, Any]) -> bool:
        app = self._app
        output = body["output"]
        try:
            plan = app.dispatcher.plan(output)
        except BadRequest:
            return False
        # Dash handles background callbacks, and refuses callbacks that may not use the socket.
        if plan is None or plan.background is not None or not app.may_use_socket(output):
            return False
        if self._shutdown.is_set():
            # It was read while the socket ended.
            return True
        if len(self._running) >= self._max_calls:
            reason = f"{self._max_calls} calls of this page are under way; try again later"
            self._outbox.put_nowait(_response(request_id, page, _error(reason)))
            return True
        task = self._loop.create_task(
            self._run_call(plan, request_id, page, body), context=self._context.copy()
        )
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return True

    def count(self) -> int:
        """Return the number of calls under way."""
        return len(self._running)

    @handles_exits
    async def _run_call(
        self, plan: CallbackPlan, request_id: Any, page: Any, body: dict[str, Any]
    ) -> None:
        outbox: Any = self._outbox
        socket = DashWebsocketCallback(
            self._property_requests, page, outbox, self._shutdown, self._loop
        )
        # Added by the script of flash-ws, since Dash sends it over HTTP only.
        identity = body.get("endId")
        identity = identity if isinstance(identity, str) else None
        try:
            if plan.runner is Runner.THREAD:
                async with self._threads:
                    data = await self._app.dispatcher.call(body, socket, identity)
            else:
                data = await self._app.dispatcher.call(body, socket, identity)
            payload = f'{{"status":"ok","data":{data.decode()}}}'
        except (PreventUpdate, WebsocketDisconnected, Superseded):
            payload = '{"status":"prevent_update"}'
        except (BadRequest, Overloaded, CallbackTimeout) as error:
            # Texts of Flash's own, which a page also gets over HTTP.
            payload = _error(str(error))
        except (Exception, *EXITS) as error:  # the boundary to an application's callback
            logger.exception("the callback %r failed", body["output"])
            payload = _error(str(error) if self._app.shows_errors else FAILED)
        await self._outbox.send(_response(request_id, page, payload))

    def _resolve(self, property_request: str, value: Any) -> bool:
        waiting = self._property_requests.get(property_request)
        if waiting is None:
            return False
        if not waiting.done():
            waiting.set_result(value)
        return True

    async def close(self) -> None:
        """Cancel running calls and begin no others.

        Callbacks in threads can read ``ctx.websocket.is_shutdown``.
        """
        self._shutdown.set()
        for waiting in list(self._property_requests.values()):
            if not waiting.done():
                waiting.set_result(DISCONNECTED)
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._outbox.close()


def _error(message: str) -> str:
    """Return the payload of a failed call."""
    return dumps({"status": "error", "message": message}).decode()


def _response(request_id: Any, page: Any, payload: str) -> str:
    """Return the message that answers a call."""
    head = dumps({"type": "callback_response", "rendererId": page, "requestId": request_id})
    return f'{head.decode()[:-1]},"payload":{payload}}}'


def _parse(message: str | bytes) -> Any:
    """Return the value of a message; None if it is not JSON."""
    try:
        return orjson.loads(message)
    except orjson.JSONDecodeError as error:
        if "surrogate" not in error.msg:
            return None
    try:
        # A browser escapes a lone surrogate, which orjson refuses and the slower parser accepts.
        return json.loads(message)
    except (ValueError, RecursionError):
        return None


@asynccontextmanager
async def intercept_calls(app: SocketApp, socket: AdmittedSocket) -> AsyncGenerator[None]:
    """Handle callback requests over the current WebSocket within the ``async with``."""
    calls = SocketCalls(app, socket.send_text, max_calls=socket.max_calls)
    socket.count_calls = calls.count
    # Such hooks must get every message, and Dash calls them.
    has_hooks = bool(app.hooks.of("websocket_message"))

    def handle(message: str | bytes) -> bool | Coroutine[Any, Any, bool]:
        return (
            handle_large(message) if len(message) >= LARGE_JSON else handle_value(_parse(message))
        )

    async def handle_large(message: str | bytes) -> bool:
        return handle_value(await app.internal_pool.run(_parse, message))

    def handle_value(value: Any) -> bool:
        if not isinstance(value, dict):
            # Dash's handler would fail.
            socket.end(_MALFORMED, "a message must be a JSON object")
            return True
        return not has_hooks and calls.handle(value)

    quart_seam.intercept_messages(handle, socket.taken, lambda: socket.is_gone)
    if not has_hooks:
        socket.handle_early(handle)
    try:
        yield
    finally:
        await calls.close()
