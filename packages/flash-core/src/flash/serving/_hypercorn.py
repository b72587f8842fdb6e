"""Serving with Hypercorn."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

from ._hypercorn_socket import install_limits
from ._hypercorn_streams import install_streams
from .drain import CANCEL_DELAY
from .listener import BACKLOG

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator

    from .options import ServeOptions
    from .target import ASGIApp

# Seconds that a TLS connection which is being closed has for it while the server stops.
_CLOSE_TIMEOUT = 1.0


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

    with _tls_connections() as connections:
        closing = asyncio.ensure_future(_end_closing(connections, stop))
        try:
            await hypercorn_serve(cast("Any", app), config, shutdown_trigger=stopped, mode="asgi")
        finally:
            closing.cancel()


async def _end_closing(connections: set[asyncio.Transport], stop: asyncio.Event) -> None:
    """Abort TLS connections that are being closed for too long, once ``stop`` is set.

    Hypercorn waits for the client's part in closing them, for which asyncio gives it 30 s.
    """
    await stop.wait()
    before: set[asyncio.Transport] = set()
    while True:
        now = {each for each in connections if each.is_closing()}
        for each in now & before:
            each.abort()
        before = now
        await asyncio.sleep(_CLOSE_TIMEOUT)


@contextmanager
def _tls_connections() -> Generator[set[asyncio.Transport]]:
    """Yield the set of open TLS connections of servers that are created within the block."""
    loop: Any = asyncio.get_running_loop()
    create_server = loop.create_server
    open_connections: set[asyncio.Transport] = set()

    def watched(protocol: Any) -> Any:
        made, lost = protocol.connection_made, protocol.connection_lost

        def connection_made(transport: asyncio.Transport) -> None:
            open_connections.add(transport)
            protocol.connection_lost = lambda error: (
                open_connections.discard(transport),
                lost(error),
            )
            made(transport)

        protocol.connection_made = connection_made
        return protocol

    async def create(factory: Callable[[], Any], *given: Any, ssl: Any = None, **more: Any) -> Any:
        if ssl is None:
            return await create_server(factory, *given, **more)
        return await create_server(lambda: watched(factory()), *given, ssl=ssl, **more)

    loop.create_server = create
    try:
        yield open_connections
    finally:
        del loop.create_server


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
