"""One connection to one Redis server, for any number of commands at once."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from flash.redis.address import Address, Kind, Node

if TYPE_CHECKING:
    from collections.abc import Sequence

_logger = logging.getLogger(__name__)

Argument = bytes | str | int


class Dialer:
    """Opens connections to the servers of one address."""

    def __init__(self, address: Address) -> None:
        self._address = address
        # Seconds for everything up to the first command, log-in included.
        self._connect_timeout = address.connect_timeout

    async def dial(self, node: Node) -> Connection:
        """Open a connection, logged in; raises what redis-py raises, or ``TimeoutError``."""
        address = self._address
        connection = await self._open(node, address.username, address.password, address.db)
        if address.kind is Kind.SENTINEL:
            try:
                async with asyncio.timeout(self._connect_timeout):
                    await connection.send_command("ROLE")
                    role: Any = await connection.read_response()
                if role[0] != b"master":
                    raise RedisConnectionError(f"{node} is no master any more")
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
        return connection

    async def dial_sentinel(self, node: Node) -> Connection:
        """Open a connection to a sentinel."""
        address = self._address
        return await self._open(node, address.sentinel_username, address.sentinel_password, 0)

    async def _open(
        self, node: Node, username: str | None, password: str | None, db: int
    ) -> Connection:
        # No timeouts of redis-py's: a listener may be idle for as long as it likes, and every
        # command has a limit of its own.
        settings: dict[str, Any] = {
            "host": node.host,
            "port": node.port,
            "db": db,
            "username": username,
            "password": password,
            "protocol": 2,
            "socket_timeout": None,
            "socket_connect_timeout": self._connect_timeout,
            "socket_keepalive": True,
            "health_check_interval": 0,
        }
        # In a thread, for redis-py looks up its own version on the disk, and TLS its certificates.
        connection = await asyncio.to_thread(self._make, settings)
        try:
            async with asyncio.timeout(self._connect_timeout):
                await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    def _make(self, settings: dict[str, Any]) -> Connection:
        if not self._address.tls:
            return Connection(**settings)
        tls: dict[str, Any] = dict(self._address.tls_options)
        connection = SSLConnection(**settings, **tls)
        connection.ssl_context.get()
        return connection


async def send(connection: Connection, packed: Sequence[bytes]) -> None:
    """Write commands to a connection; raises what redis-py raises if it is open no more.

    Left to itself, redis-py would open it anew: behind the back of whoever reads from it, and
    without anybody there to close it.
    """
    if not connection.is_connected:
        raise RedisConnectionError("the connection is closed")
    await connection.send_packed_command(packed, check_health=False)


class Line:
    """A connection on which commands are sent without waiting for the answers of others.

    They are executed in the order of the calls. Once anything about the connection fails, all that
    wait fail with it and the line is `dead`; so does closing it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self.dead = False
        self._reader = asyncio.create_task(self._read(), name="flash-pubsub line")

    async def call(self, arguments: Sequence[Argument], *, asking: bool = False) -> Any:
        """Send one command and return its answer; raises what redis-py raises.

        ``asking`` has a cluster's node answer for a slot that is on its way to it.
        """
        if self.dead:
            raise RedisConnectionError("the connection is closed")
        packed = self._connection.pack_command(*arguments)
        loop = asyncio.get_running_loop()
        if asking:
            packed = [*self._connection.pack_command("ASKING"), *packed]
            permission = loop.create_future()
            permission.cancel()
            self._waiting.append(permission)
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(answer)
        try:
            await send(self._connection, packed)
        except BaseException:
            answer.cancel()
            raise
        return await answer

    def close(self) -> None:
        """End it without waiting for anything."""
        self._reader.cancel()

    async def closed(self) -> None:
        """Wait until it has ended."""
        await asyncio.wait([self._reader])

    async def _read(self) -> None:
        waiting, read = self._waiting, self._connection.read_response
        try:
            while True:
                try:
                    reply: Any = await read()
                except ResponseError as error:
                    reply = error
                answer = waiting.popleft()
                if answer.done():  # whoever asked has given up, or never cared
                    continue
                if isinstance(reply, ResponseError):
                    answer.set_exception(reply)
                else:
                    answer.set_result(reply)
        except asyncio.CancelledError:
            await self._end("the connection was closed")
            raise
        except Exception as error:  # whatever it is, those who wait are told, and go elsewhere
            if not isinstance(error, RedisError | OSError):
                _logger.exception("a connection to Redis failed")
            await self._end(f"{type(error).__name__}: {error}")

    async def _end(self, reason: str) -> None:
        self.dead = True
        while self._waiting:
            answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(RedisConnectionError(reason))
        await self._connection.disconnect(nowait=True)
