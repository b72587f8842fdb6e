"""Callbacks that come over Dash's own WebSocket, taken out of it before Dash's handler sees them.

Dash's handler opens the socket, asks its hooks, and answers every message that is not a call of a
compiled callback. A call that went through it would be parsed twice, its answer serialised three
times, and each message would cost it several tasks.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import orjson
import quart
from dash.backends.ws import DISCONNECTED, DashWebsocketCallback
from dash.exceptions import PreventUpdate, WebsocketDisconnected

from flash.errors import BadRequest
from flash.seams import quart as quart_seam
from flash.serialize import dumps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from flash.callbacks.dispatch import Dispatcher
    from flash.callbacks.hook_registry import Hooks

logger = logging.getLogger(__name__)

# Messages waiting to be sent to one page. With one more, `set_props` raises `queue.Full`.
MAX_WAITING = 10_000


class SocketOutbox:
    """What callbacks send to one page: in order, several in one message if they come together.

    In place of the queue that Dash hands to a callback, of which it uses `sync_q` alone.
    """

    def __init__(self, send: Callable[[str], Awaitable[None]], delay: float) -> None:
        self._send = send
        # Seconds that properties set by a running callback wait for more.
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        # Added to by threads, taken from by the loop.
        self._texts: deque[str] = deque()
        self._is_sending = False
        self._timer: asyncio.TimerHandle | None = None
        # The task that the timer started.
        self._flushing: asyncio.Task[None] | None = None
        # Nothing is sent any more.
        self.is_closed = False

    @property
    def sync_q(self) -> SocketOutbox:
        """Where Dash puts messages, from any thread."""
        return self

    def put_nowait(self, text: str) -> None:
        """Send a message soon; raises `queue.Full`. From any thread."""
        if len(self._texts) >= MAX_WAITING:
            raise queue.Full(f"{MAX_WAITING} messages wait for a page that does not take them")
        self._texts.append(text)
        self._loop.call_soon_threadsafe(self._wait_for_more)

    def _wait_for_more(self) -> None:
        if self._timer is None and self._texts and not self.is_closed:
            self._timer = self._loop.call_later(self._delay, self._leave)

    def _leave(self) -> None:
        self._timer = None
        if not self._is_sending:
            self._flushing = self._loop.create_task(self._flush())

    async def send(self, text: str) -> None:
        """Send a message, and all that wait before it, now."""
        self._texts.append(text)
        await self._flush()

    async def _flush(self) -> None:
        if self._is_sending:
            # Whoever does sends this, too.
            return
        self._is_sending = True
        try:
            while self._texts and not self.is_closed:
                texts = [self._texts.popleft() for _ in range(len(self._texts))]
                await self._send(texts[0] if len(texts) == 1 else f"[{','.join(texts)}]")
        except OSError:
            # The page has gone in the same moment.
            self.is_closed = True
        finally:
            self._is_sending = False

    async def close(self) -> None:
        """Send nothing more."""
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._flushing is not None and not self._flushing.done():
            self._flushing.cancel()
            await asyncio.wait({self._flushing})


class SocketApp(Protocol):
    """What calls over Dash's socket need of the app."""

    dispatcher: Dispatcher
    hooks: Hooks

    @property
    def socket_batch_delay(self) -> float:
        """Seconds that properties set over the socket wait for more."""
        ...

    def may_use_socket(self, callback_id: str) -> bool:
        """Whether a callback may be called over the socket."""
        ...


class SocketCalls:
    """The calls that one page makes over its socket."""

    def __init__(self, app: SocketApp, send: Callable[[str], Awaitable[None]]) -> None:
        self._app = app
        self._loop = asyncio.get_running_loop()
        self._outbox = SocketOutbox(send, app.socket_batch_delay)
        # What callbacks wait for that asked the page for a property, by the question's id.
        self._asked: dict[str, Any] = {}
        self._has_ended = threading.Event()
        self._running: set[asyncio.Task[None]] = set()

    def take(self, message: str | bytes) -> bool:
        """Begin what a message asks for; False leaves it to Dash."""
        try:
            value = orjson.loads(message)
        except orjson.JSONDecodeError:
            return False
        match value:
            case {"type": "callback_request", "payload": {"output": str()} as body}:
                return self._call(value.get("requestId"), value.get("rendererId", ""), body)
            case {"type": "get_props_response", "requestId": str() as question}:
                return self._hear(question, value.get("payload"))
            case _:
                return False

    def _call(self, request_id: Any, page: Any, body: dict[str, Any]) -> bool:
        app = self._app
        output = body["output"]
        try:
            plan = app.dispatcher.plan(output)
        except BadRequest:
            return False
        # A background job's handle goes through Dash, and what Dash refuses is for it to refuse.
        if plan is None or plan.background is not None or not app.may_use_socket(output):
            return False
        task = self._loop.create_task(self._answer(request_id, page, body))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return True

    async def _answer(self, request_id: Any, page: Any, body: dict[str, Any]) -> None:
        outbox: Any = self._outbox
        socket = DashWebsocketCallback(self._asked, page, outbox, self._has_ended, self._loop)
        try:
            data = await self._app.dispatcher.call(body, socket)
            payload = f'{{"status":"ok","data":{data.decode()}}}'
        except (PreventUpdate, WebsocketDisconnected):
            payload = '{"status":"prevent_update"}'
        except Exception as error:
            # An application's callback: the page is told, as by Dash.
            logger.exception("the callback %r failed", body["output"])
            payload = dumps({"status": "error", "message": str(error)}).decode()
        head = dumps({"type": "callback_response", "rendererId": page, "requestId": request_id})
        await self._outbox.send(f'{head.decode()[:-1]},"payload":{payload}}}')

    def _hear(self, question: str, answer: Any) -> bool:
        waiting = self._asked.get(question)
        if waiting is None:
            return False
        if not waiting.done():
            waiting.set_result(answer)
        return True

    async def close(self) -> None:
        """Cancel what runs; callbacks in threads learn of it by ``ctx.websocket.is_shutdown``."""
        self._has_ended.set()
        for waiting in list(self._asked.values()):
            if not waiting.done():
                waiting.set_result(DISCONNECTED)
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._outbox.close()


@asynccontextmanager
async def taking_calls(app: SocketApp) -> AsyncGenerator[None]:
    """Answer the calls that come over the WebSocket at hand, as long as this lasts."""
    if app.hooks.of("websocket_message"):
        # They see every message; Dash asks them.
        yield
        return
    socket: Any = quart.websocket
    calls = SocketCalls(app, socket.send)
    quart_seam.intercept(calls.take)
    try:
        yield
    finally:
        await calls.close()
