"""The cache's access to Redis: scripts within a time limit, news, and whether Redis answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from flash.redis import require_redis
from flash.supervision import SupervisedTask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flash.redis.address import Address
    from flash.redis.connection import Argument
    from flash.redis.scripts import Script

logger = logging.getLogger("flash_lazy")

# Attempts at a script: a connection that Redis has closed meanwhile is opened again.
_ATTEMPTS = 2
# Seconds between two pings, and after a failure.
_PING_EVERY = 1.0
# Pings without an answer after which the subscription is given up.
_SILENT_PINGS = 3


class CacheUnavailable(Exception):
    """Redis was not asked, or did not answer in time; counted and logged already."""


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """A snapshot of how a `RedisCache` gets on with Redis."""

    # Whether Redis is asked; if not, no load waits for it.
    connected: bool
    # Scripts that failed or took too long, and outages of Redis, since the start.
    failures: int
    outages: int


class CacheConnection:
    """Runs scripts within ``timeout`` seconds, and receives the messages of channels.

    A circuit breaker: after a failure no script is sent until Redis has answered a supervised task,
    which pings it once a second. So an outage costs one load the time limit and the others nothing.
    ``listen(channel, data)`` is called with each message. ``restored`` is awaited before scripts
    are sent again after an outage, since messages were lost.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout: float,
        listen: Callable[[str, bytes], None],
        restored: Callable[[], Awaitable[None]],
    ) -> None:
        require_redis("a cache in Redis", "flash-lazy[redis]")
        # Imported here rather than on the loop, since redis-py is an optional dependency.
        from redis import RedisError
        from redis.exceptions import ResponseError

        from flash.redis.client import RedisClient

        self._errors: tuple[type[Exception], ...] = (RedisError, OSError, TimeoutError)
        # Redis answered, but refuses: it has no memory left, or gives no permission.
        self._refusals: type[Exception] = ResponseError
        self._last_refusal = ""
        self._timeout = timeout
        self._listen = listen
        self._restored = restored
        self._client = RedisClient(address, timeout=timeout, max_attempts=_ATTEMPTS, values=True)
        self._statistics = CacheStatistics(connected=True, failures=0, outages=0)
        self._channels: tuple[str, ...] = ()
        self._subscription: SupervisedTask | None = None

    def statistics(self) -> CacheStatistics:
        """Return the counters of this moment."""
        return self._statistics

    async def open(self, channels: tuple[str, ...]) -> None:
        """Receive the messages of these channels from now on, in place of earlier ones."""
        await self._unsubscribe()
        self._channels = channels
        subscribed = asyncio.Event()
        self._subscription = SupervisedTask(
            "flash-lazy's news from Redis", partial(self._subscribe, subscribed)
        )
        self._subscription.start()
        # Wait, so that messages published from now on arrive, unless Redis is down.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await subscribed.wait()

    async def close(self) -> None:
        """Stop using Redis; `open` begins anew."""
        await self._unsubscribe()
        await self._client.close()

    async def run(self, script: Script, root: str, *arguments: Argument) -> Any:
        """Run a script; raises `CacheUnavailable`, during an outage at once."""
        if not self._statistics.connected:
            raise CacheUnavailable
        return await self.run_anyway(script, root, *arguments)

    async def run_anyway(self, script: Script, root: str, *arguments: Argument) -> Any:
        """Run a script during an outage too; raises `CacheUnavailable`."""
        try:
            return await self._client.run(script, [root], *arguments)
        except self._errors as error:
            self._statistics = replace(self._statistics, failures=self._statistics.failures + 1)
            if isinstance(error, self._refusals):
                self._note_refusal(str(error))
            else:
                self._note_outage(error)
            raise CacheUnavailable from error

    def _note_refusal(self, reason: str) -> None:
        # Logged once for each reason in a row.
        if reason != self._last_refusal:
            self._last_refusal = reason
            logger.warning("Redis refuses to be a cache; panels load without it: %s", reason)

    def _note_outage(self, error: Exception) -> None:
        known = self._statistics
        if known.connected:
            self._statistics = replace(known, connected=False, outages=known.outages + 1)
            logger.warning(
                "the cache in Redis cannot be used; panels load without it until it answers: %s: "
                "%s",
                type(error).__name__,
                error,
            )

    # -- the supervised task -----------------------------------------------------------------------

    async def _subscribe(self, subscribed: asyncio.Event) -> None:
        while True:
            try:
                await self._receive(subscribed)
            except self._errors as error:
                self._note_outage(error)
            await asyncio.sleep(_PING_EVERY)

    async def _receive(self, subscribed: asyncio.Event) -> None:
        """Receive messages over a connection of its own, until that fails."""
        from flash.redis.connection import send

        async with asyncio.timeout(self._timeout):
            # On a cluster every node passes on what is published on any of them.
            pool = self._client.pool
            node = await pool.topology.owner(self._client.slot_of(self._channels[0]))
            connection = await pool.connector.connect(node)
        reading: asyncio.Future[Any] | None = None
        try:
            await send(connection, connection.pack_command("SUBSCRIBE", *self._channels))
            silent = 0
            while silent < _SILENT_PINGS:
                reading = reading or asyncio.ensure_future(connection.read_response())
                await asyncio.wait({reading}, timeout=_PING_EVERY)
                if reading.done():
                    silent, reply, reading = 0, reading.result(), None
                    self._receive_one(reply, subscribed)
                else:
                    silent += 1
                    await send(connection, connection.pack_command("PING"))
                if not self._statistics.connected and subscribed.is_set():
                    await self._restore()
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.wait({reading})
            await connection.disconnect(nowait=True)
        raise TimeoutError("Redis does not answer pings")

    def _receive_one(self, reply: Any, subscribed: asyncio.Event) -> None:
        match reply:
            case [b"subscribe", channel, _]:
                if subscribed.is_set() and channel == self._channels[0].encode():
                    # A second subscription: messages between the two are lost.
                    self._note_outage(ConnectionError("the subscription had ended"))
                subscribed.set()
            case [b"message", channel, data]:
                self._listen(channel.decode(), data)
            case _:
                pass

    async def _restore(self) -> None:
        slot = self._client.slot_of(self._channels[0])
        await self._client.call(["PING"], slot=slot)
        with contextlib.suppress(CacheUnavailable):
            await self._restored()
            self._statistics = replace(self._statistics, connected=True)
            logger.info("the cache in Redis is used again")

    async def _unsubscribe(self) -> None:
        if self._subscription is not None:
            await self._subscription.stop()
            self._subscription = None
