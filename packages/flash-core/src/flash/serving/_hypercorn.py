"""Serving with Hypercorn."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

from ._hypercorn_socket import install_limits
from ._hypercorn_streams import install_streams
from .drain import CANCEL_DELAY
from .listener import BACKLOG

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from .options import ServeOptions
    from .target import ASGIApp


async def serve(
    app: ASGIApp,
    sock: socket.socket,
    options: ServeOptions,
    *,
    stop: asyncio.Event,
    listening: Callable[[], None],
) -> None:
    """Serve on a bound socket until ``stop`` is set; call ``listening`` when it accepts."""
    install_streams()
    install_limits()
    config = Config()
    config.bind = f"fd://{sock.detach()}"
    config.backlog = BACKLOG
    config.certfile, config.keyfile = options.certfile, options.keyfile
    # Hypercorn adds no handler to a logger that is passed in.
    config.errorlog = logging.getLogger("hypercorn.error")
    config.accesslog = None
    # Drain ends requests that run too long; Hypercorn's own limit is later.
    config.graceful_timeout = options.grace_period + 2 * CANCEL_DELAY

    _quiet_cancelled_connections(asyncio.get_running_loop())

    async def stopped() -> None:
        # Hypercorn awaits its shutdown trigger when every socket accepts.
        listening()
        await stop.wait()

    await hypercorn_serve(cast("Any", app), config, shutdown_trigger=stopped, mode="asgi")


def _quiet_cancelled_connections(loop: asyncio.AbstractEventLoop) -> None:
    """Log nothing for a connection that Hypercorn cancels when it stops.

    Python 3.11 asks the task of a cancelled connection for its exception, which raises, and logs
    the traceback of that. Later versions do not.
    """
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        is_cancelled = isinstance(context.get("exception"), asyncio.CancelledError)
        if is_cancelled and "StreamReaderProtocol.connection_made" in repr(context.get("handle")):
            return
        if before is not None:
            before(loop, context)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
