"""Which pages may read a table: the app's `authorize` functions, asked in tasks and asked again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from flash.access.admission import Recheck
from flash.log_limit import limited_logger
from flash_pubsub.channels.permission import Permissions
from flash_pubsub.channels.subscription import is_signed
from flash_pubsub.errors import BrokerError
from flash_pubsub.table.changes import channel_of
from flash_ws import CloseCode, ProtocolError
from flash_ws.callbacks.deferred import hub_of
from flash_ws.protocol.frames import connection_frame, parse_positions
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from flash import Flash
    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.channels.declaration import Declarations
    from flash_ws import Live
    from flash_ws.clients.client import LinkedClient as Client

logger = limited_logger(__name__)

# Tables that one page may show.
MAX_TABLES = 50


class Shelf(Protocol):
    """The tables of a worker."""

    def is_open_to_all(self, name: str) -> bool | None:
        """Tell whether a table needs no `authorize`; None if there is no table of this name."""
        ...

    async def open(self, client: Client, name: str, position: Position | None) -> None:
        """Send a table to a page; raises `BrokerError`."""
        ...

    async def shut(self, client_id: str, name: str) -> None:
        """Send a table to a page no more; idempotent."""
        ...


class TableAccess:
    """Handles the frames with which pages ask for tables.

    The application's functions run in tasks: no other frame of a page waits for them.
    """

    def __init__(
        self,
        app: Flash,
        live: Live,
        declarations: Declarations,
        backplane: BrokerBackplane,
        shelf: Shelf,
    ) -> None:
        self._app = app
        self._live = live
        self._permissions = Permissions(app, declarations)
        self._backplane = backplane
        self._shelf = shelf
        # By client and table, the task that handles the latest request.
        self._requests: dict[str, dict[str, asyncio.Task[Any]]] = {}
        # By client and table that the page shows, the repetition of `authorize`; None without one.
        self._shown: dict[str, dict[str, Recheck | None]] = {}

    async def subscribe(self, client: Client, frame: dict[str, Any]) -> None:
        """Handle a page's ``table`` frame; raises `ProtocolError`."""
        name, token = frame.get("table"), frame.get("token")
        if not isinstance(name, str):
            raise ProtocolError(CloseCode.MALFORMED, "'table' needs a 'table'")
        position: Position | None = None
        if frame.get("at") is not None:
            position = Position(*parse_positions({"at": frame["at"]}, 1)["at"])
        if not is_signed(self._app, channel_of(name), token):
            logger.warning("%r asked for the table %.80r without a valid signature", client, name)
            self._answer(client, name, "denied")
            return
        requests = self._requests.setdefault(client.id, {})
        shown = self._shown.get(client.id, {})
        if name not in {**requests, **shown} and len({**requests, **shown}) >= MAX_TABLES:
            logger.warning("%r shows %d tables already", client, MAX_TABLES)
            self._answer(client, name, "denied")
            return
        before = requests.get(name)
        if before is not None:
            before.cancel()
        task = requests[name] = self._backplane.spawn(self._open(client, name, position))
        task.add_done_callback(lambda done: self._end(client.id, name, done))

    async def unsubscribe(self, client: Client, frame: dict[str, Any]) -> None:
        """Handle a page's ``table-end`` frame; raises `ProtocolError`."""
        name = frame.get("table")
        if not isinstance(name, str):
            raise ProtocolError(CloseCode.MALFORMED, "'table-end' needs a 'table'")
        await self._stop(client.id, name)

    async def forget(self, client: Client) -> None:
        """End what a page that is gone has asked for."""
        for name in {**self._requests.get(client.id, {}), **self._shown.get(client.id, {})}:
            await self._stop(client.id, name)

    def withdraw(self, client_id: str, name: str) -> None:
        """Take a table from a page for as long as the page is loaded; returns at once."""
        if self._shelf.is_open_to_all(name) is None:
            return
        self._permissions.withdraw(client_id, name)
        client = hub_of(self._app).clients.get(client_id)
        if client is not None:
            self._backplane.spawn(self._deny(client, name))

    async def _open(self, client: Client, name: str, position: Position | None) -> None:
        await client.wait_until_introduced()
        is_allowed = await self._is_allowed(client, name)
        if self._requests.get(client.id, {}).get(name) is not asyncio.current_task():
            # The page is gone or has changed its mind, and the function suppressed cancellation.
            return
        if not is_allowed:
            await self._close(client.id, name)
            self._answer(client, name, "denied")
            return
        try:
            await self._shelf.open(client, name, position)
        except BrokerError as error:
            logger.warning("a page is disconnected and will reconnect: %s", error)
            client.close(CloseCode.FULL, "the broker is unavailable")
            return
        self._begin_recheck(client, name)
        self._answer(client, name, "subscribed")

    async def _is_allowed(self, client: Client, name: str) -> bool:
        is_open = self._shelf.is_open_to_all(name)
        if is_open is None:
            logger.warning("%r asked for the table %.80r, which is not declared", client, name)
            return False
        if self._permissions.is_withdrawn(client, name):
            return False
        guards = self._permissions.guards(name)
        if not guards:
            if not is_open:
                logger.warning(
                    "no page may show the table %.80r: declare who may with @pubsub.authorize(…)",
                    name,
                )
            return is_open
        return await self._permissions.allow(client, name, guards)

    def _begin_recheck(self, client: Client, name: str) -> None:
        """Ask `authorize` again while the page shows the table, if `Live` has an interval."""
        shown = self._shown.setdefault(client.id, {})
        earlier = shown.get(name)
        if earlier is not None:
            earlier.stop()
        interval, guards = self._live.recheck_interval, self._permissions.guards(name)
        shown[name] = (
            None
            if interval is None or not guards
            else Recheck(
                lambda: self._permissions.ask(client, name, guards),
                interval,
                lambda: self._backplane.spawn(self._deny(client, name)),
            )
        )

    async def _deny(self, client: Client, name: str) -> None:
        await self._stop(client.id, name)
        self._answer(client, name, "denied")

    async def _stop(self, client_id: str, name: str) -> None:
        request = self._requests.get(client_id, {}).pop(name, None)
        if request is not None:
            request.cancel()
        await self._close(client_id, name)

    async def _close(self, client_id: str, name: str) -> None:
        shown = self._shown.get(client_id, {})
        recheck = shown.pop(name, None)
        if recheck is not None:
            recheck.stop()
        if not shown:
            self._shown.pop(client_id, None)
        await self._shelf.shut(client_id, name)

    def _end(self, client_id: str, name: str, task: asyncio.Task[Any]) -> None:
        requests = self._requests.get(client_id, {})
        if requests.get(name) is task:
            del requests[name]
        if not requests:
            self._requests.pop(client_id, None)

    def _answer(self, client: Client, name: str, status: str) -> None:
        client.deliver(connection_frame("table", table=name, status=status))
