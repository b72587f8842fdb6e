"""The line to Redis: scripts under a time-out, news, and knowing when it is cut."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from flash.supervision import SupervisedTask

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger("flash_lazy")

_CONNECTIONS = 32
# Seconds between two looks at a line on which nothing comes, and after a failure.
_LOOK_EVERY = 1.0
# Looks without any answer after which the connection that news come over is given up.
_SILENT_LOOKS = 3


class LineDown(Exception):
    """Redis could not be asked, or did not answer in time; counted and logged already."""


@dataclass(frozen=True, slots=True)
class LineStatistics:
    """A moment of a `RedisLine`."""

    # Whether Redis is asked; while it is not, nothing waits for it.
    connected: bool
    # Scripts that failed or took too long, and times that the line was cut, since the start.
    failures: int
    outages: int


class RedisLine:
    """Asks Redis within ``timeout`` seconds, and hears what it has to tell.

    A line that was cut is not asked again before Redis has answered the task that looks after it,
    once a second: a Redis that is down costs one load its time-out, and the others nothing.
    ``listen(channel, data)`` is called with each message; ``restored`` is awaited before a line
    that was cut is used again, since messages were lost.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        listen: Callable[[str, bytes], None],
        restored: Callable[[], Awaitable[None]],
    ) -> None:
        try:
            # An extra, and imported here rather than on the loop.
            import redis
            from redis.asyncio import BlockingConnectionPool, Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError as error:
            raise ImportError(
                'a cache in Redis needs redis: pip install "flash-lazy[redis]"'
            ) from error
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError, TimeoutError)
        # Redis has answered, but does not do it: it has no memory left, or gives no permission.
        self._refusals: type[Exception] = redis.ResponseError
        self._last_refusal = ""
        self._timeout = timeout
        self._listen = listen
        self._restored = restored
        options: dict[str, Any] = {}
        if importlib.util.find_spec("redis.driver_info"):
            # redis 8 reads its own version from disk for every connection, unless told not to.
            options["driver_info"] = None
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # One more: a connection that Redis has closed meanwhile is opened anew.
            retry=Retry(NoBackoff(), 1),
            **options,
        )
        # Connects when first used, and again after `close`. Untyped: half of redis-py's
        # annotations are for both kinds of client at once.
        self._client: Any = Redis.from_pool(pool)
        self._statistics = LineStatistics(connected=True, failures=0, outages=0)
        self._channels: tuple[str, ...] = ()
        self._keeper: SupervisedTask | None = None

    def statistics(self) -> LineStatistics:
        """Return what the line does at this moment."""
        return self._statistics

    async def open(self, channels: tuple[str, ...]) -> None:
        """Hear these channels from now on, in place of those before."""
        await self._dismiss()
        self._channels = channels
        heard = asyncio.Event()
        self._keeper = SupervisedTask("flash-lazy's news from Redis", partial(self._keep, heard))
        self._keeper.start()
        # What is published from now on is heard, unless Redis is down.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await heard.wait()

    async def close(self) -> None:
        """Hang up; `open` begins anew."""
        await self._dismiss()
        await self._client.aclose()

    async def ask(self, script: str, root: str, *arguments: Any) -> Any:
        """Run a script; raises `LineDown`, at once where the line is known to be cut."""
        if not self._statistics.connected:
            raise LineDown
        return await self._ask(script, root, *arguments)

    async def insist(self, script: str, root: str, *arguments: Any) -> Any:
        """Do the same on a line that is being restored."""
        return await self._ask(script, root, *arguments)

    async def _ask(self, script: str, root: str, *arguments: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._client.eval(script, 1, root, *arguments)
        except self._errors as error:
            self._statistics = replace(self._statistics, failures=self._statistics.failures + 1)
            if isinstance(error, self._refusals):
                self._refused(str(error))
            else:
                self._cut(error)
            raise LineDown from error

    def _refused(self, reason: str) -> None:
        # Said once for as long as it stays the same.
        if reason != self._last_refusal:
            self._last_refusal = reason
            logger.warning("Redis refuses to be a cache; panels load without it: %s", reason)

    def _cut(self, error: Exception) -> None:
        known = self._statistics
        if known.connected:
            self._statistics = replace(known, connected=False, outages=known.outages + 1)
            logger.warning(
                "the cache in Redis cannot be used; panels load without it until it answers: %s: "
                "%s",
                type(error).__name__,
                error,
            )

    # -- the task that looks after the line --------------------------------------------------------

    async def _keep(self, heard: asyncio.Event) -> None:
        while True:
            try:
                await self._hear(heard)
            except self._errors as error:
                self._cut(error)
            await asyncio.sleep(_LOOK_EVERY)

    async def _hear(self, heard: asyncio.Event) -> None:
        """Hear news over a connection of its own, until it fails."""
        async with self._client.pubsub() as news:
            async with asyncio.timeout(self._timeout):
                await news.subscribe(*self._channels)
            silent = 0
            while silent < _SILENT_LOOKS:
                message = await news.get_message(timeout=_LOOK_EVERY)
                if message is None:
                    silent += 1
                    async with asyncio.timeout(self._timeout):
                        await news.ping()
                else:
                    silent = 0
                match message:
                    case {"type": "subscribe", "channel": channel}:
                        if heard.is_set() and channel == self._channels[0].encode():
                            # redis-py has connected anew by itself: news were lost.
                            self._cut(ConnectionError("the connection was lost"))
                        heard.set()
                    case {"type": "message", "channel": channel, "data": data}:
                        self._listen(channel.decode(), data)
                    case _:
                        pass
                if not self._statistics.connected:
                    await self._restore()
        raise TimeoutError("Redis is silent")

    async def _restore(self) -> None:
        async with asyncio.timeout(self._timeout):
            await self._client.ping()
        with contextlib.suppress(LineDown):
            await self._restored()
            self._statistics = replace(self._statistics, connected=True)
            logger.info("the cache in Redis is used again")

    async def _dismiss(self) -> None:
        if self._keeper is not None:
            await self._keeper.stop()
            self._keeper = None
