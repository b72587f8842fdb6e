"""Serving with uvicorn."""

from __future__ import annotations

import asyncio
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from ._uvicorn_http import FlashHTTP
from ._uvicorn_socket import LimitedWebSocket
from .drain import CANCEL_DELAY
from .listener import BACKLOG

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator

    from .drain import Drain
    from .options import ServeOptions


# Seconds for the app to close its WebSockets with its own close codes.
WEBSOCKET_CLOSE_TIMEOUT = 0.5


class _Server(uvicorn.Server):
    """uvicorn's server without signal handling; it calls ``listening`` when it accepts."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._listening()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def serve(
    app: Drain,
    sock: socket.socket,
    options: ServeOptions,
    *,
    stop: asyncio.Event,
    listening: Callable[[], None],
) -> None:
    """Serve on a bound socket until ``stop`` is set; call ``listening`` when it accepts."""
    server = _Server(
        uvicorn.Config(
            cast("Any", app),
            interface="asgi3",
            lifespan="on",
            http=FlashHTTP,
            ws=LimitedWebSocket,
            workers=1,
            backlog=BACKLOG,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            ssl_certfile=options.certfile,
            ssl_keyfile=options.keyfile,
            # Drain ends requests that run too long; uvicorn's own limit is later.
            timeout_graceful_shutdown=math.ceil(options.grace_period + 2 * CANCEL_DELAY),
        ),
        listening,
    )

    async def stop_server() -> None:
        await stop.wait()
        # uvicorn then closes every WebSocket with its own code and drops unsent messages.
        await app.websockets_closed(WEBSOCKET_CLOSE_TIMEOUT)
        server.should_exit = True

    stopping = asyncio.create_task(stop_server())
    try:
        await server.serve(sockets=[sock])
    finally:
        stopping.cancel()
