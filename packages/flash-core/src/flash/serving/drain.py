"""Graceful shutdown: running requests get time to finish, then they are cancelled.

The three servers treat running requests differently when they stop: some wait for ever, some cancel
with a traceback. `Drain` is a middleware between server and app that makes this the same for all;
the server only has to stop accepting connections and wait.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from flash.errors import FlashError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .target import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("flash.serving")

# The key of an asyncio.Event in the lifespan's state, and so in every request's scope["state"]. The
# event is set when draining begins; long-lived responses end then, before they are cancelled.
DRAINING = "flash.draining"

# Seconds between sending a request a disconnect message and cancelling it.
CANCEL_DELAY = 0.5

# Seconds after the grace period for shutdown functions, and again for threads that still run.
SHUTDOWN_TIMEOUT = 5.0

_RETRY_LATER: Message = {
    "type": "http.response.start",
    "status": 503,
    "headers": [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"retry-after", b"1"),
        (b"connection", b"close"),
    ],
}


class StartupFailed(FlashError):
    """The app's start-up (``before_serving``) failed; ``reason`` is the message of its error."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the app did not start: {self.reason or 'its start-up function failed'}"


class Drain:
    """An ASGI middleware that lets running requests finish, for a limited time.

    ``begin`` starts draining. A request that still runs after ``grace_period`` seconds receives a
    disconnect message and is cancelled half a second later; if its response had not begun, the
    response is 503. An app without lifespan support counts as started. ``on_startup`` is called
    once: with None when the app has started, with its error message when its start-up failed.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        grace_period: float,
        on_startup: Callable[[str | None], None] | None = None,
    ) -> None:
        self._app = app
        self._grace_period = grace_period
        self._on_startup = on_startup
        # Set when draining begins.
        self.draining = asyncio.Event()
        # The error message of a failed start-up, else None.
        self.startup_failure: str | None = None
        # The tasks that serve a connection.
        self._running: set[asyncio.Task[object]] = set()
        # Those of them that serve a WebSocket.
        self._sockets: set[asyncio.Task[object]] = set()
        # The tasks that wait for the client's next message.
        self._receiving: set[asyncio.Task[object]] = set()
        # Those of them whose wait was cancelled because the grace period is over.
        self._disconnected: set[asyncio.Task[object]] = set()
        self._grace_ended = False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Start draining; call it on the loop. A second call ends the grace period at once."""
        if self.draining.is_set():
            self._end_grace_period()
            return
        self.draining.set()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._grace_period, self._end_grace_period)

    async def websockets_closed(self, seconds: float) -> None:
        """Wait until no WebSocket is open, for at most ``seconds``."""
        if self._sockets:
            await asyncio.wait(set(self._sockets), timeout=seconds)

    def close(self) -> None:
        """Cancel the timers; call it on the loop when the server has ended."""
        if self._timer is not None:
            self._timer.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI defines it."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        task = _current_task()
        self._running.add(task)
        if scope["type"] == "websocket":
            self._sockets.add(task)
        try:
            if not self._grace_ended:
                if self.draining.is_set():
                    send = _last_response(scope, send)
                await self._app(scope, self._receive_until_grace_ends(scope, receive), send)
        except asyncio.CancelledError:
            if not self._grace_ended or task.uncancel():
                raise
        finally:
            self._running.discard(task)
            self._sockets.discard(task)
        if self._grace_ended:
            await _refuse(scope, send)

    def _receive_until_grace_ends(self, scope: Scope, receive: Receive) -> Receive:
        async def receive_until_grace_ends() -> Message:
            if self._grace_ended:
                return _client_gone(scope)
            task = _current_task()
            self._receiving.add(task)
            try:
                return await receive()
            except asyncio.CancelledError:
                if task not in self._disconnected or task.uncancel():
                    raise
                return _client_gone(scope)
            finally:
                self._receiving.discard(task)
                self._disconnected.discard(task)

        return receive_until_grace_ends

    def _end_grace_period(self) -> None:
        if self._running and not self._grace_ended:
            logger.warning(
                "cancelling %d request(s) that did not finish within the grace period",
                len(self._running),
            )
        self._disconnect_clients()

    def _disconnect_clients(self) -> None:
        if self._grace_ended:
            return
        self._grace_ended = True
        if self._timer is not None:
            self._timer.cancel()
        self._disconnected = set(self._receiving)
        for task in self._disconnected:
            task.cancel()
        self._timer = asyncio.get_running_loop().call_later(CANCEL_DELAY, self._cancel)

    def _cancel(self) -> None:
        for task in self._running:
            task.cancel()

    async def _end_requests(self) -> None:
        """End all running requests, so that shutdown functions run after every request."""
        self._disconnect_clients()
        for _ in range(2):
            if self._running:
                await asyncio.wait(self._running, timeout=CANCEL_DELAY)
            self._cancel()

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})[DRAINING] = self.draining
        answered: set[str] = set()

        async def receive_after_requests() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._end_requests()
            return message

        async def send_and_note(message: Message) -> None:
            stage, _, outcome = message["type"].removeprefix("lifespan.").partition(".")
            if outcome == "failed" and stage == "startup":
                self.startup_failure = str(message.get("message", ""))
            if stage == "startup" and self._on_startup is not None:
                # Called before the server gets the message: it may end the process at once.
                self._on_startup(self.startup_failure)
            answered.add(stage)
            await send(message)

        try:
            await self._app(scope, receive_after_requests, send_and_note)
        except Exception as error:  # ASGI: an app without lifespan support raises an error.
            if self.startup_failure is not None:
                raise
            logger.debug("the app does not support the lifespan protocol: %r", error)
        for stage in ("startup", "shutdown"):
            if stage not in answered and self.startup_failure is None:
                if stage == "shutdown":
                    await receive_after_requests()
                await send_and_note({"type": f"lifespan.{stage}.complete"})


class ShutdownWatchdog:
    """Ends the process when serving, or a remaining thread, exceeds its time limit.

    A blocked event loop or a thread that never returns would keep the process alive for ever,
    because no exception can reach it. ``start`` may be called from a signal handler.
    """

    def __init__(self, grace_period: float) -> None:
        self._seconds = grace_period + CANCEL_DELAY + SHUTDOWN_TIMEOUT
        self._served = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="flash-deadline", daemon=True)
        self._started = False

    def start(self) -> None:
        """Start the countdown; further calls do nothing."""
        if not self._started:
            self._started = True
            self._thread.start()

    def served(self) -> None:
        """Note that serving has ended by itself; from now on only threads can delay the exit."""
        self._served.set()

    def _watch(self) -> None:
        if self._served.wait(self._seconds):
            # Returns when the interpreter begins to wait for its remaining threads.
            threading.main_thread().join()
            time.sleep(SHUTDOWN_TIMEOUT)
        logger.warning("ending the process: a function still runs and cannot be stopped")
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(0)


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("an ASGI application must be called in an asyncio task")
    return task


def _client_gone(scope: Scope) -> Message:
    if scope["type"] == "websocket":
        return {"type": "websocket.disconnect", "code": 1012}
    return {"type": "http.disconnect"}


def _last_response(scope: Scope, send: Send) -> Send:
    """Add ``connection: close`` to the response of an HTTP/1 request."""
    if scope["type"] != "http" or not str(scope["http_version"]).startswith("1"):
        return send

    async def send_last(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {
                **message,
                "headers": [*message.get("headers", ()), (b"connection", b"close")],
            }
        await send(message)

    return send_last


async def _refuse(scope: Scope, send: Send) -> None:
    """Send 503 or a close frame to a request that was cancelled before its response began."""
    try:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1012, "reason": "server restarts"})
        else:
            await send(_RETRY_LATER)
            await send({"type": "http.response.body", "body": b"the server is restarting\n"})
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 — each server has its own
        # error for a response that has begun; granian's is a CancelledError. The task ends here.
        logger.debug("a response was cancelled after it began: %r", error)
