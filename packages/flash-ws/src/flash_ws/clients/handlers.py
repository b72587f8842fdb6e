"""`HandlerCalls`: calls of the application's handlers for one page, each within its time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from flash.exits import ends_task
from flash.log_limit import limited_logger
from flash_ws.clients.client import LinkedClient
from flash_ws.clients.context import current_client

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from flash import Flash

logger = limited_logger(__name__)

ClientHandler = Callable[[LinkedClient], Any]


class HandlerCalls:
    """Calls handlers in the context and with the session of a page; ``spawn`` makes a task."""

    def __init__(
        self, app: Flash, spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]
    ) -> None:
        self._app = app
        self._spawn = spawn

    async def call(self, client: LinkedClient, handlers: list[ClientHandler]) -> None:
        """Call the handlers one after the other; an exception is logged, and the rest run."""
        token = current_client.set(client)
        try:
            async with AsyncExitStack() as stack:
                try:
                    await stack.enter_async_context(client.handshake.active())
                except BaseException as error:
                    # An application's session store: cleaning up must not wait for it.
                    if ends_task(error):
                        raise
                    logger.exception(
                        "cannot open the session of %r; its handlers run without a session", client
                    )
                for handler in handlers:
                    try:
                        await self._app.pool.call(handler, client)
                    except Exception:  # an application's handler: logged, and the rest run
                        logger.exception("the handler %r failed for %r", handler, client)
        finally:
            current_client.reset(token)

    async def call_within(
        self, seconds: float, client: LinkedClient, handlers: list[ClientHandler], what: str
    ) -> None:
        """Call the handlers, and cancel them after so many seconds; ``what`` is for the log."""
        # In a task, whose end nobody waits for if it suppresses the cancellation.
        calling = self._spawn(self.call(client, handlers))
        _, late = await asyncio.wait({calling}, timeout=seconds)
        if late:
            calling.cancel()
            logger.error(
                "the %s handlers took longer than %g s for %r and were cancelled; start long work "
                "in a task of its own",
                what,
                seconds,
                client,
            )
