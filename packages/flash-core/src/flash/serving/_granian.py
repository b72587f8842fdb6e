"""Serving with granian, which binds sockets and manages worker processes by itself."""

from __future__ import annotations

import asyncio
import logging
import math
import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from granian import Granian, _signals
from granian._granian import WorkerSignal
from granian.constants import Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server as EmbeddedServer

from flash.errors import ConfigurationError

from .drain import CANCEL_DELAY, SHUTDOWN_TIMEOUT
from .listener import BACKLOG, Address
from .timeouts import HEAD_TIMEOUT
from .watch import HEARTBEAT_INTERVAL, Alive, Heartbeats

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from .drain import Drain
    from .options import ServeOptions
    from .target import ASGIApp

logger = logging.getLogger("flash.serving")
granian_logger = logging.getLogger("_granian")

# Seconds for the app to close its WebSockets. Granian may not report that a browser has answered a
# close frame, so each one may take as long as the app waits for that answer.
WEBSOCKET_CLOSE_TIMEOUT = 3.0

# Seconds for granian's threads to write what the app has sent; granian does not report the end.
FLUSH_DELAY = 0.2

# Stands for no report within an interval.
_NOTHING = object()

# Granian always applies a logging configuration; this one changes only levels.
_KEEP_LOGGING: dict[str, Any] = {
    "incremental": True,
    "formatters": {},
    "handlers": {},
    "loggers": {},
}


def _settings(address: Address, options: ServeOptions) -> dict[str, Any]:
    if address.kind == "fd":
        raise ConfigurationError(
            f"granian cannot listen on {address}; use hypercorn or uvicorn, or bind to host:port"
        )
    where: dict[str, Any] = (
        {"uds": Path(address.host)}
        if address.kind == "unix"
        else {"address": address.ip(), "port": address.port}
    )
    tls: dict[str, Any] = {}
    if options.certfile and options.keyfile:
        tls = {
            "ssl_cert": Path(options.certfile),
            "ssl_key": Path(options.keyfile),
            "ssl_protocol_min": SSLProtocols.tls12,
        }
    return {
        **where,
        **tls,
        "interface": Interfaces.ASGI,
        "http1_settings": HTTP1Settings(header_read_timeout=round(HEAD_TIMEOUT * 1000)),
        "backlog": BACKLOG,
        "log_level": "warning" if options.log_level in {None, "info"} else options.log_level,
        "log_dictconfig": _KEEP_LOGGING,
    }


def _is_running_child(pid: int) -> bool:
    """Tell whether a child of this process still runs; a child that has ended stays as it is."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


async def serve(
    app: Drain, address: Address, options: ServeOptions, *, stop: asyncio.Event
) -> None:
    """Serve an application object on this event loop until ``stop`` is set."""
    settings = _settings(address, options)
    if settings["log_level"] == "warning":
        # Granian warns only that embedding is experimental; Flash's tests cover this use.
        settings["log_level"] = "error"
    server = EmbeddedServer(app, **settings)
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            # `stop` cuts open connections and may raise errors while it does.
            await wait_for_websockets(app)
        server.stop()
        await serving
    finally:
        stopping.cancel()


def defer_shutdown() -> Callable[[], None]:
    """Keep a granian worker from ending at a signal; return the function that ends it.

    Call it in the worker before it serves. Otherwise granian cuts every WebSocket when the signal
    arrives.
    """
    made: list[WorkerSignal] = []

    def make_signal(_loop: asyncio.AbstractEventLoop) -> WorkerSignal:
        made.append(WorkerSignal())
        return made[-1]

    _signals.set_loop_signals = make_signal

    def end() -> None:
        for each in made:
            each.set()

    return end


async def wait_for_websockets(app: Drain) -> None:
    """Wait until the app has closed its WebSockets and granian has written the close frames."""
    await app.websockets_closed(WEBSOCKET_CLOSE_TIMEOUT)
    await asyncio.sleep(FLUSH_DELAY)


def serve_workers(
    load: Callable[[Connection], ASGIApp],
    address: Address,
    options: ServeOptions,
    *,
    report: Callable[[Any], bool],
) -> None:
    """Serve in ``options.workers`` processes until a signal stops this process.

    ``load`` runs in each worker. ``report`` receives what ``load`` sends into its pipe, in a thread
    of this process; the server stops if it returns false.
    """
    # All workers write into one pipe without a lock, since a killed worker would not release it.
    reports, pipe = multiprocessing.Pipe(duplex=False)
    server = Granian(
        f"flash, at {address}",
        **_settings(address, options),
        workers=options.workers,
        respawn_failed_workers=True,
        workers_kill_timeout=math.ceil(options.grace_period + CANCEL_DELAY + SHUTDOWN_TIMEOUT + 1),
    )

    # Whether a worker has served. Until then the workers report themselves why they end.
    has_served = False

    heartbeats = Heartbeats()

    def kill_silent() -> None:
        for pid in filter(_is_running_child, heartbeats.silent(time.monotonic())):
            logger.error(
                "worker %s does not run: it is stopped or hangs; it is killed and replaced", pid
            )
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def read_reports() -> None:
        nonlocal has_served
        while True:
            message = reports.recv() if reports.poll(HEARTBEAT_INTERVAL) else _NOTHING
            kill_silent()
            if message is None:
                return
            if isinstance(message, Alive):
                heartbeats.heard(message.pid, time.monotonic())
            if message is _NOTHING or isinstance(message, Alive):
                continue
            has_served = report(message)
            if not has_served:
                server.signal_handler_interrupt()

    def has_started_serving(_record: logging.LogRecord) -> bool:
        return has_served

    reader = threading.Thread(target=read_reports, name="flash-reports", daemon=True)
    reader.start()
    granian_logger.addFilter(has_started_serving)
    try:
        server.serve(target_loader=partial(load, pipe), wrap_loader=False)
    finally:
        granian_logger.removeFilter(has_started_serving)
        pipe.send(None)
        reader.join()
        reports.close()
        pipe.close()
