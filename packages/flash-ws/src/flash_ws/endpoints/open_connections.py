"""`OpenConnections`: the connections and event streams that an app's endpoints have open."""

from __future__ import annotations

import asyncio
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from flash.access.opening_request import draining_event
from flash.access.places import Places
from flash.access.refusal import Refused
from flash.callbacks.execution import visitor_of
from flash_ws.endpoints.websocket import SERVICE_RESTART, Connection
from flash_ws.operating.statistics import EndpointStatistics
from flash_ws.protocol.codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Hashable

    from flash.http.gateway import Scope


class OpenConnection(Protocol):
    """A connection or an event stream that is open."""

    @property
    def user(self) -> str | None:
        """The user that ``authorize`` named; None if it named nobody."""
        ...

    def drain(self) -> None:
        """Begin to close because the server stops; returns at once."""
        ...

    def abort(self, code: CloseCode) -> None:
        """Close without sending what waits; returns at once."""
        ...


class OpenConnections:
    """Counts the open connections of all endpoints of an app, and closes them."""

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        # What is open, and the visitor whose it is.
        self._open: dict[OpenConnection, Hashable | None] = {}
        self._places = Places(max_connections)
        self._watcher: asyncio.Task[None] | None = None
        self._opened = 0
        self._connections = 0
        self.refused = 0
        self.closed: Counter[int] = Counter()

    def check_room(self, scope: Scope) -> None:
        """Raise `Refused` with 503 at ``max_connections``, or if the server is about to stop."""
        draining = draining_event(scope)
        if len(self._open) >= self._max_connections:
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"all {self._max_connections} connections are in use",
                (b"retry-after", b"5"),
                close_code=CloseCode.FULL.number,
            )
        self.check_share(visitor_of(scope))
        if draining is not None and draining.is_set():
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the server is about to restart",
                (b"retry-after", b"1"),
                close_code=SERVICE_RESTART,
            )

    def check_share(self, visitor: Hashable | None) -> None:
        """Raise `Refused` with 503 if a user or an address has half of ``max_connections``."""
        if self._places.is_full_for(visitor):
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "this visitor has as many connections as one may have",
                (b"retry-after", b"5"),
                close_code=CloseCode.FULL.number,
            )

    def add(self, connection: OpenConnection, scope: Scope) -> None:
        """Add an open connection; its `drain` is called when the server is about to stop."""
        holder = self._open[connection] = visitor_of(scope, connection.user)
        self._places.take(holder)
        self._opened += 1
        self._connections += isinstance(connection, Connection)
        draining = draining_event(scope)
        if self._watcher is None and draining is not None:
            self._watcher = asyncio.create_task(self._watch(draining))

    def remove(self, connection: OpenConnection) -> None:
        """Remove a connection that has ended."""
        self._places.release(self._open.pop(connection))
        self._connections -= isinstance(connection, Connection)
        if not self._open and self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    async def _watch(self, draining: asyncio.Event) -> None:
        await draining.wait()
        for connection in tuple(self._open):
            connection.drain()

    def disconnect(self, user: str) -> None:
        """Close all connections and streams of a user."""
        for connection in tuple(self._open):
            if connection.user == user:
                connection.abort(CloseCode.KICKED)

    def statistics(self, groups: int) -> EndpointStatistics:
        """Return the counts."""
        return EndpointStatistics(
            connections=self._connections,
            streams=len(self._open) - self._connections,
            opened=self._opened,
            refused=self.refused,
            closed=dict(self.closed),
            groups=groups,
        )
