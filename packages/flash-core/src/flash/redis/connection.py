"""One connection to one Redis server, for any number of commands at once."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from redis.asyncio.connection import AbstractConnection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import Connection as PlainConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from flash.moved import renamed_exports
from flash.redis.address import Address, Kind, Node

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

_logger = logging.getLogger(__name__)

Argument = bytes | str | int

# Commands of one connection that wait for their answers; one more raises `TooManyCommands`.
MAX_COMMANDS = 10_000


class TooManyCommands(RedisError):
    """A connection has `MAX_COMMANDS` commands that wait for their answers."""

    def __str__(self) -> str:
        return f"{MAX_COMMANDS} commands wait for their answers on one connection"


class Connector:
    """Opens connections to the servers of one address."""

    def __init__(self, address: Address) -> None:
        self._address = address
        # Seconds for everything before the first command, the log-in included.
        self._connect_timeout = address.connect_timeout

    async def connect(self, node: Node) -> AbstractConnection:
        """Open a connection and log in; raises what redis-py raises, or ``TimeoutError``."""
        address = self._address
        connection = await self._open(node, address.username, address.password, address.db)
        if address.kind is Kind.SENTINEL:
            try:
                async with asyncio.timeout(self._connect_timeout):
                    await connection.send_command("ROLE")
                    role: Any = await connection.read_response()
                if role[0] != b"master":
                    raise RedisConnectionError(f"{node} is not the master any more")
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
        return connection

    async def connect_sentinel(self, node: Node) -> AbstractConnection:
        """Open a connection to a sentinel."""
        address = self._address
        return await self._open(node, address.sentinel_username, address.sentinel_password, 0)

    async def _open(
        self, node: Node, username: str | None, password: str | None, db: int
    ) -> AbstractConnection:
        # Without redis-py's own timeouts: a subscription may be idle for any time, and every
        # command has a time limit of its own.
        settings: dict[str, Any] = {
            "db": db,
            "username": username,
            "password": password,
            "protocol": 2,
            "socket_timeout": None,
            "socket_connect_timeout": self._connect_timeout,
            "health_check_interval": 0,
        }
        # In a thread, since redis-py reads its own version, and TLS its certificates, from disk.
        connection = await asyncio.to_thread(self._make, node, settings)
        try:
            async with asyncio.timeout(self._connect_timeout):
                await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    def _make(self, node: Node, settings: dict[str, Any]) -> AbstractConnection:
        if self._address.kind is Kind.UNIX:
            return UnixDomainSocketConnection(path=node.host, **settings)
        settings |= {"host": node.host, "port": node.port, "socket_keepalive": True}
        if not self._address.tls:
            return PlainConnection(**settings)
        tls: dict[str, Any] = dict(self._address.tls_options)
        connection = SSLConnection(**settings, **tls)
        connection.ssl_context.get()
        return connection


async def send(connection: AbstractConnection, packed: Sequence[bytes]) -> None:
    """Write commands to a connection; raises what redis-py raises if it is closed.

    redis-py alone would reconnect a closed connection: its reader would not know, and nothing
    would close it.
    """
    if not connection.is_connected:
        raise RedisConnectionError("the connection is closed")
    await connection.send_packed_command(packed, check_health=False)


class Connection:
    """A connection that sends commands without waiting for the answers to earlier ones.

    Commands are executed in the order of the calls. When the connection fails or is closed, all
    calls that wait fail and the connection is `dead`. ``keeps_sending``: a call that is cancelled
    while its command is written does not end the connection, at the cost of a task per command.
    """

    def __init__(self, connection: AbstractConnection, *, keeps_sending: bool = False) -> None:
        self._connection = connection
        self._keeps_sending = keeps_sending
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._now = asyncio.get_running_loop().time
        # When the last answer came, or the first command that waits was sent.
        self._heard_at = 0.0
        self.dead = False
        self._reader = asyncio.create_task(self._read(), name="flash-redis connection")

    async def call(self, arguments: Sequence[Argument], *, asking: bool = False) -> Any:
        """Send one command and return its answer; raises what redis-py raises.

        ``asking`` lets a node of a cluster answer for a slot that is being moved to it.
        """
        if self.dead:
            raise RedisConnectionError("the connection is closed")
        waiting = self._waiting
        if not waiting:
            self._heard_at = self._now()
        elif len(waiting) >= MAX_COMMANDS:
            raise TooManyCommands
        packed = self._connection.pack_command(*arguments)
        loop = asyncio.get_running_loop()
        if asking:
            packed = [*self._connection.pack_command("ASKING"), *packed]
            permission = loop.create_future()
            permission.cancel()
            waiting.append(permission)
        answer: asyncio.Future[Any] = loop.create_future()
        waiting.append(answer)
        try:
            if self._keeps_sending:
                await asyncio.shield(_watched(send(self._connection, packed)))
            else:
                await send(self._connection, packed)
        except BaseException:
            answer.cancel()
            raise
        return await answer

    def is_silent(self, seconds: float) -> bool:
        """Tell whether commands wait and no answer has come for so long."""
        return bool(self._waiting) and self._now() - self._heard_at >= seconds

    def close(self) -> None:
        """End the connection without waiting."""
        self._reader.cancel()

    async def closed(self) -> None:
        """Wait until the connection has ended."""
        await asyncio.wait([self._reader])

    async def _read(self) -> None:
        waiting, read, now = self._waiting, self._connection.read_response, self._now
        try:
            while True:
                try:
                    reply: Any = await read()
                except ResponseError as error:
                    reply = error
                self._heard_at = now()
                answer = waiting.popleft()
                if answer.done():  # its call was cancelled
                    continue
                if isinstance(reply, ResponseError):
                    answer.set_exception(reply)
                else:
                    answer.set_result(reply)
        except asyncio.CancelledError:
            await self._end("the connection was closed")
            raise
        except GeneratorExit:
            # The loop has ended.
            raise
        except BaseException as error:  # whatever it is, the calls that wait must fail
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


def _watched(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Return a task for ``work`` whose error is not reported if no call waits for it."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


__getattr__ = renamed_exports(__name__, {"Dialer": "Connector", "Line": "Connection"})
