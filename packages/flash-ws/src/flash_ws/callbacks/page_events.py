"""`PageEvents`: the handlers of events from pages, run in order for each page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from flash.exits import ends_task
from flash.log_limit import limited_logger
from flash_ws.clients.context import current_client
from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.errors import ProtocolError
from flash_ws.protocol.frames import connection_frame
from flash_ws.protocol.page_values import find_marker

if TYPE_CHECKING:
    from flash.callbacks.execution import WorkerPool
    from flash_ws.clients.client import LinkedClient

logger = limited_logger(__name__)

H = TypeVar("H", bound=Callable[..., Any])

# Events of one page that may wait. With one more, reading from the page stops until there is room.
# If that takes longer than ``QUEUE_TIMEOUT`` seconds, its link is closed with TOO_FAST.
MAX_WAITING = 100
QUEUE_TIMEOUT = 10.0

# Seconds that running handlers have to end before the server closes the links to stop.
DRAIN_TIMEOUT = 0.25

# Names of events without a handler that are logged, at most, since browsers choose the names.
MAX_UNKNOWN_NAMES = 100


@dataclass(eq=False, slots=True)
class _EventQueue:
    """The events of one page."""

    # Name, data and number of each event; the number is 0 if the page sent none.
    waiting: asyncio.Queue[tuple[str, Any, int]] = field(
        default_factory=lambda: asyncio.Queue(MAX_WAITING)
    )
    worker: asyncio.Task[None] | None = None
    # The highest numbers of the events received and handled.
    received: int = 0
    handled: int = 0
    is_handling: bool = False


class PageEvents:
    """The handlers of one app's page events.

    The events of one page are handled one after the other, in order.

    A page numbers its events. The server acknowledges the handled ones, and the page sends the
    others again with its next connection. Events received already are not handled again, so each
    event is handled exactly once as long as this worker runs and has the page. If the page moves to
    another worker, that worker handles the events not handled here. An event is handled twice only
    if its handler was interrupted, by the end of the process or by the move of the page.

    An event without a handler is dropped. It is logged once for each name, and for at most
    `MAX_UNKNOWN_NAMES` names.
    """

    def __init__(self) -> None:
        self._pool: WorkerPool | None = None
        self._handlers: dict[str, Callable[..., Any]] = {}
        # Names whose data may hold components, and names for which others have been refused.
        self._accepting: set[str] = set()
        self._refused_names: set[str] = set()
        # Names without a handler that have been logged.
        self._unknown_names: set[str] = set()
        # By client id.
        self._queues: dict[str, _EventQueue] = {}
        # Whether no more events are started, because the server is about to stop.
        self._is_draining = False

    def start(self, pool: WorkerPool) -> None:
        """Start handling events; plain functions run in the threads of ``pool``."""
        self._pool = pool
        self._is_draining = False

    def on(self, name: str, *, accepts_components: bool = False) -> Callable[[H], H]:
        """Return a decorator that registers the handler of event ``name``."""

        def register(handler: H) -> H:
            self._handlers[name] = handler
            (self._accepting.add if accepts_components else self._accepting.discard)(name)
            return handler

        return register

    async def receive(self, client: LinkedClient, frame: dict[str, Any]) -> None:
        """Queue a page's ``event`` frame; raises `ProtocolError`."""
        name, number = frame.get("name"), frame.get("k", 0)
        if not isinstance(name, str):
            raise ProtocolError(CloseCode.MALFORMED, "'event' needs a 'name' that is a string")
        if type(number) is not int or number < 0:
            raise ProtocolError(CloseCode.MALFORMED, "'k' of an 'event' is not a positive integer")
        queue = self._queues.get(client.id)
        if queue is None:
            queue = self._queues[client.id] = _EventQueue()
            queue.worker = asyncio.ensure_future(self._work(client, queue))
        if 0 < number <= queue.received:
            # The page sends it again because it has not received the acknowledgement.
            _acknowledge(client, queue)
            return
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT):
                await queue.waiting.put((name, frame.get("data"), number))
        except TimeoutError as error:
            raise ProtocolError(CloseCode.TOO_FAST, f"{MAX_WAITING} events wait already") from error
        queue.received = max(queue.received, number)

    async def drain(self) -> None:
        """Start no more events, and wait up to `DRAIN_TIMEOUT` seconds for running handlers.

        The pages send the other events again to the worker that serves them next.
        """
        self._is_draining = True
        busy = [each.worker for each in self._queues.values() if each.is_handling and each.worker]
        if busy:
            await asyncio.wait(busy, timeout=DRAIN_TIMEOUT)

    async def _work(self, client: LinkedClient, queue: _EventQueue) -> None:
        current_client.set(client)
        await client.wait_until_introduced()
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

    async def _handle(self, client: LinkedClient, name: str, data: Any) -> None:
        handler = self._handlers.get(name)
        if handler is None:
            self._log_unknown(name[:60])
            return
        marker = None if name in self._accepting else find_marker(data)
        if marker is not None:
            self._log_refused(name, marker)
            return
        try:
            async with client.handshake.active():
                assert self._pool is not None
                await self._pool.call(handler, data)
        except BaseException as error:
            # An application's handler or session store: logged; the next event is handled.
            if ends_task(error):
                raise
            logger.exception("the handler of event %r failed", name)

    def _log_refused(self, name: str, marker: str) -> None:
        if name not in self._refused_names:
            self._refused_names.add(name)
            logger.warning(
                "dropped an event %r of a page, because its data holds %s: a handler that passes "
                "it on would show it on other pages; accept it with accepts_components=True",
                name,
                marker,
            )

    def _log_unknown(self, name: str) -> None:
        if name not in self._unknown_names and len(self._unknown_names) < MAX_UNKNOWN_NAMES:
            self._unknown_names.add(name)
            logger.warning("dropped an event of a page: no @live.on_event handler for %r", name)

    async def forget(self, client: LinkedClient) -> None:
        """Cancel the handling of the events of a page that is gone; the hub waits for its end."""
        queue = self._queues.pop(client.id, None)
        if queue is not None and queue.worker is not None and not queue.worker.done():
            queue.worker.cancel()
            client.ending.add(queue.worker)


def _acknowledge(client: LinkedClient, queue: _EventQueue) -> None:
    """Send the page the number up to which its events have been handled."""
    if queue.handled:
        client.deliver(connection_frame("taken", k=queue.handled))
