"""Events that pages send: each page's are handled one after the other, in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from flash_ws.codes import CloseCode
from flash_ws.context import current_client
from flash_ws.errors import ProtocolError

if TYPE_CHECKING:
    from flash.execution import WorkerPool
    from flash_ws.client import Client

logger = logging.getLogger(__name__)

H = TypeVar("H", bound=Callable[..., Any])

# Events of one page waiting for earlier ones. With one more nothing is read from it until there is
# room; if that takes longer than so many seconds, it is disconnected as too fast.
MAX_WAITING = 100
PATIENCE = 10.0

# Names of events without a handler that are told apart in the log: they come from browsers.
MAX_UNKNOWN = 100


class Events:
    """The handlers of one app's page events.

    An event without a handler is dropped and logged, once per name and `MAX_UNKNOWN` names at most:
    it is an application's mistake, but the name comes from the browser.
    """

    def __init__(self) -> None:
        # Set before the first event.
        self.pool: WorkerPool | None = None
        self._handlers: dict[str, Callable[..., Any]] = {}
        # Names that were logged.
        self._unknown: set[str] = set()
        self._waiting: dict[str, asyncio.Queue[tuple[str, Any]]] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}

    def on(self, name: str) -> Callable[[H], H]:
        """Register the handler of an event."""

        def register(handler: H) -> H:
            self._handlers[name] = handler
            return handler

        return register

    async def receive(self, client: Client, frame: dict[str, Any]) -> None:
        """Queue a page's ``event`` frame; raises `ProtocolError`."""
        name = frame.get("name")
        if not isinstance(name, str):
            raise ProtocolError(CloseCode.MALFORMED, "'event' needs a 'name' that is a string")
        if name not in self._handlers:
            self._note_unknown(name[:60])
            return
        waiting = self._waiting.get(client.id)
        if waiting is None:
            waiting = self._waiting[client.id] = asyncio.Queue(MAX_WAITING)
            self._workers[client.id] = asyncio.ensure_future(self._work(client, waiting))
        try:
            async with asyncio.timeout(PATIENCE):
                await waiting.put((name, frame.get("data")))
        except TimeoutError as error:
            raise ProtocolError(CloseCode.TOO_FAST, f"{MAX_WAITING} events wait already") from error

    def _note_unknown(self, name: str) -> None:
        if name not in self._unknown and len(self._unknown) < MAX_UNKNOWN:
            self._unknown.add(name)
            logger.warning("no @live.on_event handler for %r", name)

    async def _work(self, client: Client, waiting: asyncio.Queue[tuple[str, Any]]) -> None:
        current_client.set(client)
        while True:
            name, data = await waiting.get()
            handler = self._handlers[name]
            try:
                async with client.handshake.active():
                    assert self.pool is not None
                    await self.pool.call(handler, data)
            except Exception:
                # An application's handler: logged, and the next event is handled.
                logger.exception("the handler of event %r failed", name)

    async def forget(self, client: Client) -> None:
        """Stop handling the events of a page that has gone."""
        self._waiting.pop(client.id, None)
        worker = self._workers.pop(client.id, None)
        if worker is not None:
            worker.cancel()
            await asyncio.wait({worker})
