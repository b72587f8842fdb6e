"""Commands to the Redis at one address, over connections that all its users in a loop share."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from flash.errors import quoted
from flash.redis.address import Address, Kind, Node
from flash.redis.backoff import Backoff
from flash.redis.connection import Argument, Connection, Connector, TooManyCommands
from flash.redis.errors import RedisClosed, RedisRefused, RedisUnavailable, reason_of
from flash.redis.topology import Topology, topology_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

    from flash.redis.scripts import Script

logger = logging.getLogger(__name__)

# The connections to one server. Short commands have their own, so that a large value on its way
# does not delay them; so have commands that wait for replicas.
_MESSAGES = "messages"
_VALUES = "values"
_REPLICAS = "replicas"

# Errors that another attempt may overcome.
_PASSING = (
    *(BusyLoadingError, ClusterDownError, MasterDownError, ReadOnlyError, TooManyCommands),
    TryAgainError,
)
# Errors of a server that refuses the log-in; redis-py counts some of these as connection errors.
_BARRED = (AuthenticationError, AuthorizationError)
# Seconds for which a thread waits for a loop that may have stopped, beyond the call's time limit.
_LOOP_SECONDS = 5.0


class ConnectionPool:
    """The connections to the servers of one address, shared by every client of one event loop.

    A server gets at most three: one for messages, one for values and one for commands that wait
    for replicas; beside these one for each client that has sent a blocking command. Commands that
    are sent at the same time share a connection, up to `flash.redis.connection.MAX_COMMANDS`.
    """

    def __init__(self, address: Address, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.connector = Connector(address)
        self.topology: Topology = topology_of(address, self.connector)
        # Clients that use the pool; the last one closes it.
        self.users = 0
        self._closed = False
        self._opening: dict[tuple[Node, Hashable], asyncio.Task[Connection]] = {}

    def find(self, node: Node, use: Hashable) -> Connection | None:
        """Return an open connection to a server, if there is one."""
        opening = self._opening.get((node, use))
        if opening is None or not opening.done() or opening.cancelled() or opening.exception():
            return None
        connection = opening.result()
        return None if connection.dead else connection

    async def open(self, node: Node, use: Hashable) -> Connection:
        """Return a connection to a server, opened once for all that want it."""
        if connection := self.find(node, use):
            return connection
        opening = self._opening.get((node, use))
        if opening is None or opening.done():
            if self._closed:
                raise RedisClosed
            opening = asyncio.create_task(self._open(node, use), name=f"flash-redis to {node}")
            opening.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._opening[node, use] = opening
        try:
            # Shielded, since other calls wait for it too.
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            if self._closed and opening.cancelled():
                raise RedisClosed from None
            raise

    async def close(self, use: Hashable = None) -> None:
        """Close the connections of one use, by default all; calls that wait on them fail."""
        self._closed = self._closed or use is None
        chosen = [each for each in self._opening if use is None or each[1] == use]
        openings = [self._opening.pop(each) for each in chosen]
        for opening in openings:
            opening.cancel()
        await asyncio.gather(*(_end(opening) for opening in openings))

    async def _open(self, node: Node, use: Hashable) -> Connection:
        connection = await self.connector.connect(node)
        return Connection(connection, keeps_sending=use != _MESSAGES)


# Held by the clients that use them.
_pools: WeakKeyDictionary[
    asyncio.AbstractEventLoop, WeakValueDictionary[tuple[object, ...], ConnectionPool]
] = WeakKeyDictionary()


class RedisClient:
    """One user of the Redis at an address: sends commands and scripts, with attempts and a limit.

    It opens no connection before the first command, and belongs to the event loop of that until
    `close`; after that it may be used again. A command is tried again until ``timeout`` seconds
    have passed, or ``max_attempts`` attempts have failed, each of which may take
    ``attempt_timeout`` seconds; a command whose answer is lost may so be executed twice.
    ``values``: the answers or arguments may be large.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout: float | None = None,
        attempt_timeout: float | None = None,
        max_attempts: int | None = None,
        values: bool = False,
    ) -> None:
        self.address = address
        self.timeout = timeout or address.timeout
        # Attempts that have failed, since the start.
        self.retries = 0
        self._attempt_timeout = attempt_timeout or self.timeout
        self._max_attempts = max_attempts
        self._use = _VALUES if values else _MESSAGES
        self._is_cluster = address.kind is Kind.CLUSTER
        self._pool: ConnectionPool | None = None
        # Counts the calls of `close`: a call that began before one does not outlive it.
        self._closings = 0

    @property
    def pool(self) -> ConnectionPool:
        """The connections that this client shares; to be used on their event loop only."""
        loop = asyncio.get_running_loop()
        if self._pool is None or self._pool.loop is not loop:
            # A client of a loop that has ended is used again on another.
            pools = _pools.setdefault(loop, WeakValueDictionary())
            key = self.address.server_key
            self._pool = pools.get(key) or pools.setdefault(key, ConnectionPool(self.address, loop))
            self._pool.users += 1
        return self._pool

    async def close(self) -> None:
        """Stop using the connections; the last client closes them. Idempotent."""
        self._closings += 1
        pool, self._pool = self._pool, None
        if pool is None:
            return
        pool.users -= 1
        if not pool.users:
            _pools.get(pool.loop, {}).pop(self.address.server_key, None)
        if pool.loop is asyncio.get_running_loop():
            await pool.close(self if pool.users else None)

    def slot_of(self, key: bytes | str) -> int:
        """Return the hash slot of a key; 0 where there is no cluster."""
        if not self._is_cluster:
            return 0
        return key_slot(key.encode() if isinstance(key, str) else key)

    async def run(self, script: Script, keys: Sequence[bytes | str], *arguments: Argument) -> Any:
        """Run a script; on a cluster its keys share a hash slot. Raises as `call` does.

        Keys of the wrong type are deleted, see `run_call`.
        """
        command = script.call(keys, arguments)
        return await self.run_call(script, command, keys, slot=self.slot_of(keys[0]))

    async def run_call(
        self,
        script: Script,
        command: Sequence[Argument],
        keys: Sequence[bytes | str],
        *,
        slot: int,
        replicas: int = 0,
    ) -> Any:
        """Send the call of a script with ``keys``, as `Script.call` makes it.

        If a key has the type of another program, all keys of the script are deleted, and it runs
        once more: what they held counts as lost, as after a restart of Redis.
        """
        try:
            return await self.call(command, slot=slot, script=script, replicas=replicas)
        except RedisRefused as error:
            # Before Redis 7 the word stands after the place in the script.
            if "WRONGTYPE" not in error.reason:
                raise
            logger.warning(
                "a key in %s has the wrong type; deleted it and what belongs to it: %s",
                self.address,
                ", ".join(quoted(_text(key)) for key in keys[:10]),
            )
        await self.call([b"UNLINK", *keys], slot=slot)
        return await self.call(command, slot=slot, script=script, replicas=replicas)

    async def call(
        self,
        command: Sequence[Argument],
        *,
        slot: int = 0,
        node: Node | None = None,
        script: Script | None = None,
        replicas: int = 0,
        blocks: float = 0,
    ) -> Any:
        """Send one command to ``node``, or to the owner of ``slot``, and return its answer.

        ``script`` is the one that the command runs. With ``replicas`` it returns when so many have
        executed it too. ``blocks``: seconds for which the command itself may block its connection.

        Raises `RedisUnavailable`, `RedisRefused` and `RedisClosed`.
        """
        pool, closings = self.pool, self._closings
        use: Hashable = self._use
        if blocks:
            use = self
        elif replicas:
            use = _REPLICAS
        now = pool.loop.time
        deadline = now() + self.timeout + blocks
        limit = self._attempt_timeout + blocks
        backoff: Backoff | None = None
        asked: Node | None = None
        failure: Exception | None = None
        attempts = 0
        while True:
            connection = None
            try:
                async with asyncio.timeout_at(min(deadline, now() + limit)):
                    target = asked or node or await pool.topology.owner(slot)
                    connection = pool.find(target, use) or await pool.open(target, use)
                    reply = await connection.call(command, asking=asked is not None)
                    if replicas:
                        await self._wait_for_replicas(connection, replicas)
                    return reply
            except NoScriptError as error:
                if script is None:
                    raise RedisRefused(self.address, reason_of(error)) from error
                command = script.load(command)
                continue
            except MovedError as error:
                pool.topology.learn(error.slot_id, Node(error.host, int(error.port)))
                asked, failure = None, error
            except AskError as error:
                asked, failure = Node(error.host, int(error.port)), error
                if now() < deadline:
                    continue
            except _BARRED as error:
                raise RedisRefused(self.address, reason_of(error)) from error
            except _PASSING as error:
                pool.topology.forget()
                attempts += 1
                asked, failure = None, error
            except ResponseError as error:
                raise RedisRefused(self.address, reason_of(error)) from error
            except (RedisError, OSError) as error:
                if self._closings != closings:
                    raise RedisClosed from error
                pool.topology.forget()
                attempts += 1
                if connection is not None and _has_failed(connection, error, limit):
                    connection.close()
                # The last attempt may have been cut short: the failure before it says more.
                asked, failure = None, (failure if _is_late(error) and failure else error)
            if self._closings != closings:
                raise RedisClosed from failure
            self.retries += 1
            backoff = backoff or Backoff(first=0.02, cap=0.5)
            wait = backoff.wait()
            if attempts == self._max_attempts:
                times = "attempt" if attempts == 1 else "attempts"
                raise RedisUnavailable(
                    self.address, f"in {attempts} {times}", reason_of(failure)
                ) from failure
            if now() + wait >= deadline:
                within = f"within {self.timeout:g} s"
                raise RedisUnavailable(self.address, within, reason_of(failure)) from failure
            await asyncio.sleep(wait)

    def call_from_thread(self, work: Callable[[RedisClient], Awaitable[Any]]) -> Any:
        """Await ``work(client)`` and return its result; blocks the calling thread.

        On the loop that this client belongs to, if it runs; else on a loop of its own, over
        connections that are closed at the end.
        """
        loop = None if self._pool is None else self._pool.loop

        async def shared() -> Any:
            return await work(self)

        async def alone() -> Any:
            client = RedisClient(self.address, timeout=self.timeout, values=True)
            try:
                return await work(client)
            finally:
                await client.close()

        if loop is not None and loop.is_running() and loop is not _running_loop():
            future = asyncio.run_coroutine_threadsafe(shared(), loop)
            return future.result(self.timeout + _LOOP_SECONDS)
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, alone()).result()

    async def _wait_for_replicas(self, connection: Connection, replicas: int) -> None:
        """Wait until so many replicas have executed everything; raises otherwise."""
        longest = round(self._attempt_timeout * 500)
        found = await connection.call(["WAIT", replicas, longest])
        if found < replicas:
            raise RedisTimeoutError(f"{found} of min_replicas={replicas} replicas have it so far")


async def _end(opening: asyncio.Task[Connection]) -> None:
    await asyncio.wait([opening])
    if not opening.cancelled() and not opening.exception():
        opening.result().close()
        await opening.result().closed()


def _has_failed(connection: Connection, error: Exception, limit: float) -> bool:
    """Tell whether a connection is of no use after an error of one of its calls."""
    if isinstance(error, RedisTimeoutError):
        return False
    # A connection that is only slow still answers the calls of others.
    return not _is_late(error) or connection.is_silent(limit / 2)


def _is_late(error: Exception) -> bool:
    return isinstance(error, TimeoutError) and not isinstance(error, RedisError)


def _text(key: bytes | str) -> str:
    return key if isinstance(key, str) else key.decode(errors="replace")


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
