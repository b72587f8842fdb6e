"""Events that pages send: each page's are handled one after the other, in order, none is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from flash_ws.clients.context import current_client
from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.errors import ProtocolError
from flash_ws.protocol.frames import connection_frame

if TYPE_CHECKING:
    from flash.callbacks.execution import WorkerPool
    from flash_ws.clients.client import Client

logger = logging.getLogger(__name__)

H = TypeVar("H", bound=Callable[..., Any])

# Events of one page waiting for earlier ones. With one more nothing is read from it until there is
# room; if that takes longer than so many seconds, it is disconnected as too fast.
MAX_WAITING = 100
QUEUE_TIMEOUT = 10.0

# Seconds that handlers have to end before the pages are sent away, since the server stops.
DRAIN_TIMEOUT = 0.25

# Names of events without a handler that are told apart in the log: they come from browsers.
MAX_UNKNOWN_NAMES = 100


@dataclass(eq=False, slots=True)
class _EventQueue:
    """One page's events."""

    # Name, data and number of each; 0 for one that its sender has not numbered.
    waiting: asyncio.Queue[tuple[str, Any, int]] = field(
        default_factory=lambda: asyncio.Queue(MAX_WAITING)
    )
    worker: asyncio.Task[None] | None = None
    # The numbers up to which events have come, and have been handled.
    received: int = 0
    handled: int = 0
    is_handling: bool = False


class PageEvents:
    """The handlers of one app's page events.

    A page numbers its events, learns how far they have been handled, and sends the others again
    with its next connection. What has come already is not handled again, so that each event is
    handled exactly once as long as this worker lives and keeps the page. Where the page moves to
    another worker, the events not handled here are handled there; one whose handler was cut off,
    by the end of its process or by the page's move, is handled a second time.

    An event without a handler is dropped and logged, once per name and for `MAX_UNKNOWN_NAMES`
    names at most: it is an application's mistake, but the name comes from the browser.
    """

    def __init__(self) -> None:
        self._pool: WorkerPool | None = None
        self._handlers: dict[str, Callable[..., Any]] = {}
        # Names that were logged.
        self._unknown_names: set[str] = set()
        # By page.
        self._queues: dict[str, _EventQueue] = {}
        # Whether no more events are begun, for the server is about to stop.
        self._is_draining = False

    def start(self, pool: WorkerPool) -> None:
        """Handle events from now on; plain functions run in the pool's threads."""
        self._pool = pool
        self._is_draining = False

    def on(self, name: str) -> Callable[[H], H]:
        """Register the handler of an event."""

        def register(handler: H) -> H:
            self._handlers[name] = handler
            return handler

        return register

    async def receive(self, client: Client, frame: dict[str, Any]) -> None:
        """Queue a page's ``event`` frame; raises `ProtocolError`."""
        name, number = frame.get("name"), frame.get("k", 0)
        if not isinstance(name, str):
            raise ProtocolError(CloseCode.MALFORMED, "'event' needs a 'name' that is a string")
        if type(number) is not int or number < 0:
            raise ProtocolError(CloseCode.MALFORMED, "'k' of an 'event' is no positive integer")
        queue = self._queues.get(client.id)
        if queue is None:
            queue = self._queues[client.id] = _EventQueue()
            queue.worker = asyncio.ensure_future(self._work(client, queue))
        if 0 < number <= queue.received:
            # Sent again by a page that has not learned of it, or not yet.
            _acknowledge(client, queue)
            return
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT):
                await queue.waiting.put((name, frame.get("data"), number))
        except TimeoutError as error:
            raise ProtocolError(CloseCode.TOO_FAST, f"{MAX_WAITING} events wait already") from error
        queue.received = max(queue.received, number)

    async def drain(self) -> None:
        """Begin no more events, and give those handled at this moment a while to end.

        The pages send the others again, to whoever serves them next.
        """
        self._is_draining = True
        busy = [each.worker for each in self._queues.values() if each.is_handling and each.worker]
        if busy:
            await asyncio.wait(busy, timeout=DRAIN_TIMEOUT)

    async def _work(self, client: Client, queue: _EventQueue) -> None:
        current_client.set(client)
        while not self._is_draining:
            name, data, number = await queue.waiting.get()
            if self._is_draining:
                return
            queue.is_handling = True
            try:
                await self._handle(client, name, data)
            finally:
                queue.is_handling = False
            if number:
                queue.handled = number
                _acknowledge(client, queue)

    async def _handle(self, client: Client, name: str, data: Any) -> None:
        handler = self._handlers.get(name)
        if handler is None:
            self._log_unknown(name[:60])
            return
        try:
            async with client.handshake.active():
                assert self._pool is not None
                await self._pool.call(handler, data)
        except Exception:
            # An application's handler: logged, and the next event is handled.
            logger.exception("the handler of event %r failed", name)

    def _log_unknown(self, name: str) -> None:
        if name not in self._unknown_names and len(self._unknown_names) < MAX_UNKNOWN_NAMES:
            self._unknown_names.add(name)
            logger.warning("no @live.on_event handler for %r", name)

    async def forget(self, client: Client) -> None:
        """Stop handling the events of a page that has gone."""
        queue = self._queues.pop(client.id, None)
        if queue is not None and queue.worker is not None:
            queue.worker.cancel()
            await asyncio.wait({queue.worker})


def _acknowledge(client: Client, queue: _EventQueue) -> None:
    """Tell a page how far its events have been handled."""
    if queue.handled:
        client.deliver(connection_frame("taken", k=queue.handled))
