"""`RedisCache`: cached panels, and loads in progress, shared by all workers of an app."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from flash import ConfigurationError
from flash.callbacks.execution import SharedCalls
from flash.redis.address import Kind, parse_url
from flash.settings import AMOUNT, SECONDS, check
from flash.supervision import SupervisedTask
from flash_lazy.cache import redis_scripts as scripts
from flash_lazy.cache.redis_connection import CacheConnection, CacheStatistics, CacheUnavailable
from flash_lazy.cache.seam import (
    Entry,
    Hear,
    Invalidation,
    Key,
    Run,
    call_digest,
    loader_digest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from flash.redis.address import Address
    from flash.redis.connection import Argument
    from flash.redis.scripts import Script

logger = logging.getLogger("flash_lazy")

# Seconds. A run that takes longer and began before an invalidation might be kept.
_LONGEST_RUN = 3600
# Seconds between two checks of a load in another worker, in case its message is lost.
_LOOK_EVERY = 1.0
# Seconds for which an app is listed at least, and between two renewals of that.
_LISTED = 7 * 86400
_LIST_EVERY = 3600
# Apps that are listed for one prefix.
_MAX_LISTED = 1000
# Seconds after which an app that could not be listed is listed again.
_LIST_AGAIN = 1.0
# Invalidations that wait for the end of an outage; beyond it those of one loader become one.
_MAX_OWED = 1000


@dataclass(frozen=True, slots=True)
class _Lease:
    """The right to run a load, or a run in another worker whose result is awaited."""

    key: Key
    # The invalidations that preceded the run.
    epoch: str
    token: str


class RedisCache:
    """Keeps panels in a Redis that all workers share, and lets their equal loads run once.

    ``url`` is an address that `flash.redis.address.parse_url` reads: one server, Sentinel or
    Cluster. ``prefix`` is the beginning of every key, by default ``<prefix of the address>``
    followed by ``:lazy:``. A worker that runs a load holds a lease and renews it; the others wait
    for the result. If that worker is killed, they wait for ``lease_seconds`` at most. Beyond
    ``max_entries`` or ``max_bytes`` of JSON, for each app, the entries that expire first are
    dropped; a larger entry is not kept. A call that takes longer than ``timeout`` seconds has
    failed: panels then load without Redis, as without a cache, until it answers again.
    `statistics` counts that, and the log says it once. What was invalidated meanwhile is sent to
    Redis before it is used again.

    Apps are told apart by their ``secret_key``, which all workers must have.
    """

    def __init__(
        self,
        url: str | Address,
        *,
        prefix: str | None = None,
        max_entries: int = 10_000,
        max_bytes: int = 256 * 1024 * 1024,
        lease_seconds: float = 10,
        timeout: float = 2,
    ) -> None:
        check(
            max_entries=(max_entries, AMOUNT),
            max_bytes=(max_bytes, AMOUNT),
            lease_seconds=(lease_seconds, SECONDS),
            timeout=(timeout, SECONDS),
        )
        address = parse_url(url) if isinstance(url, str) else url
        if address.kind is Kind.MEMORY:
            raise ConfigurationError("RedisCache needs the address of a Redis, redis://…")
        self.prefix = f"{address.prefix}:lazy:" if prefix is None else prefix
        self.address = address
        self.timeout = timeout
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.lease_seconds = lease_seconds
        self._connection = CacheConnection(
            address, timeout=timeout, listen=self._listen, restored=self._catch_up
        )
        self._hearers: dict[str, Hear] = {}
        # Loads in progress for callers of this worker, here or in another worker.
        self._flights = SharedCalls()
        self._epochs: defaultdict[tuple[str, str], int] = defaultdict(int)
        # Set when a run in another worker has ended, by its token.
        self._ends: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        # Invalidations on their way to Redis; and those that wait for the end of an outage, with
        # the seconds for which the entries that they cover may be kept there.
        self._sending: dict[asyncio.Future[None], Invalidation] = {}
        self._owed: dict[Invalidation, float] = {}
        # Tasks that outlive their caller: runs that other workers wait for, withdrawals.
        self._tasks: set[asyncio.Task[Any]] = set()
        # Seconds for which this worker's apps have to be listed: longer than any entry is kept.
        self._listed = _LISTED
        # Set when they have to be listed at once.
        self._is_due = asyncio.Event()
        self._listing = SupervisedTask("flash-lazy's entry in Redis", self._stay_listed)

    def statistics(self) -> CacheStatistics:
        """Return whether Redis answers, and how often it did not."""
        return self._connection.statistics()

    # -- LazyCache ---------------------------------------------------------------------------------

    async def open(self, scope: str, hear: Hear) -> None:
        """Call ``hear`` with every invalidation that any worker makes."""
        self._hearers[scope] = hear
        await self._connection.open(tuple(f"{self._root(each)}news" for each in self._hearers))
        # Awaited, so that an app that is being served can be invalidated by its address.
        await self._list_apps()
        self._listing.start()

    async def close(self, scope: str) -> None:
        """Stop calling ``hear`` of this scope; with the last one, end all runs."""
        self._hearers.pop(scope, None)
        if not self._hearers:
            await self._listing.stop()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._connection.close()

    async def find(self, key: Key) -> Entry | None:
        """Return the entry that Redis has; None if Redis does not answer."""
        await self._settle(key)
        try:
            match await self._connection.run(scripts.FIND, *self._place(key)):
                case [content, at]:
                    return Entry(content, float(at))
                case _:
                    return None
        except CacheUnavailable:
            return None

    async def load(self, key: Key, run: Run, *, seconds: float = 0, newer_than: float = 0) -> Entry:
        """Run ``run`` once for all workers, and keep the entry for ``seconds``."""
        await self._settle(key)
        epoch = self._epochs[key.scope, key.loader]
        share = partial(self._share, key, run, seconds, newer_than)
        return await self._flights.run((key, epoch), share)

    async def forget(self, invalidation: Invalidation, *, seconds: float = 0) -> None:
        """Drop the entries that it covers; returns when Redis has, or during an outage."""
        if invalidation.loader is None:
            self._hear(invalidation)
            return
        sent = asyncio.get_running_loop().create_future()
        self._sending[sent] = invalidation
        try:
            await self._tell(invalidation, seconds, self._connection.run)
        except CacheUnavailable:
            self._owe(invalidation, seconds)
            # Redis sends no message of it either.
            self._hear(invalidation)
        finally:
            del self._sending[sent]
            sent.set_result(None)

    # -- loading -----------------------------------------------------------------------------------

    async def _share(self, key: Key, run: Run, seconds: float, newer_than: float) -> Entry:
        token = secrets.token_hex(8)
        lease_ms = _ms(self.lease_seconds)
        newer = repr(newer_than) if seconds else ""
        while True:
            try:
                match await self._connection.run(
                    scripts.BEGIN, *self._place(key), token, lease_ms, newer
                ):
                    case [b"kept", content, at]:
                        return Entry(content, float(at))
                    case [b"run", _, epoch]:
                        lease = _Lease(key, epoch.decode(), token)
                        return await self._lead(lease, run, seconds)
                    case [_, holder, epoch]:
                        lease = _Lease(key, epoch.decode(), holder.decode())
                        entry = await self._follow(lease)
                    case answer:
                        raise ConfigurationError(f"Redis answered {answer!r}")
            except CacheUnavailable:
                return await run()
            # The run of the other worker has failed, or that worker has died: try to run it here.
            if entry is not None:
                return entry

    async def _lead(self, lease: _Lease, run: Run, seconds: float) -> Entry:
        """Run the load; after the last caller here has left, go on while other workers wait."""
        deserted = asyncio.Event()
        task = self._spawn(self._carry(lease, run, seconds, deserted))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            deserted.set()
            raise

    async def _carry(
        self, lease: _Lease, run: Run, seconds: float, deserted: asyncio.Event
    ) -> Entry:
        entry: Entry | None = None
        running = asyncio.ensure_future(run())
        leaving = asyncio.ensure_future(deserted.wait())
        try:
            while not running.done():
                watched = {running} if deserted.is_set() else {running, leaving}
                await asyncio.wait(
                    watched,
                    timeout=self.lease_seconds / 3,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not running.done() and not await self._renew(lease) and deserted.is_set():
                    running.cancel()
                    await asyncio.wait({running})
            entry = running.result()
            return entry
        finally:
            running.cancel()
            leaving.cancel()
            await self._end(lease, entry, seconds)

    async def _renew(self, lease: _Lease) -> bool:
        """Renew the lease; tell whether other workers wait for its result."""
        try:
            waiting = await self._connection.run(
                scripts.RENEW, *self._held(lease), _ms(self.lease_seconds)
            )
        except CacheUnavailable:
            return False
        return waiting > 0

    async def _end(self, lease: _Lease, entry: Entry | None, seconds: float) -> None:
        key = lease.key
        arguments = [
            *(lease.epoch, lease.token, json.dumps(["end", lease.token])),
            _ms(self.lease_seconds),
        ]
        if entry is not None:
            if seconds + 2 * _LIST_EVERY > self._listed:
                self._listed = int(seconds) + _LISTED
                self._is_due.set()
            size = len(str(key)) + len(entry.content)
            arguments += [
                *(entry.content, repr(entry.loaded_at), int(seconds * 1000), size),
                *(self.max_entries, self.max_bytes),
            ]
        with suppress(CacheUnavailable):
            await self._connection.run(scripts.END, *self._place(key), *arguments)

    async def _follow(self, lease: _Lease) -> Entry | None:
        """Wait for a run in another worker; None if it has ended without a result."""
        ended = asyncio.Event()
        self._ends[lease.token].add(ended)
        try:
            while True:
                match await self._connection.run(scripts.LOOK, *self._held(lease)):
                    case [b"kept", content, at]:
                        return Entry(content, float(at))
                    case [b"wait"]:
                        with suppress(TimeoutError):
                            async with asyncio.timeout(min(_LOOK_EVERY, self.lease_seconds / 2)):
                                await ended.wait()
                        ended.clear()
                    case _:
                        return None
        except asyncio.CancelledError:
            self._spawn(self._leave(lease))
            raise
        finally:
            self._ends[lease.token].discard(ended)
            if not self._ends[lease.token]:
                del self._ends[lease.token]

    async def _leave(self, lease: _Lease) -> None:
        with suppress(CacheUnavailable):
            await self._connection.run(scripts.LEAVE, *self._held(lease))

    # -- invalidating ------------------------------------------------------------------------------

    async def _settle(self, key: Key) -> None:
        """Wait for the invalidations of this worker that have not reached Redis yet."""
        if self._sending:
            due = [sent for sent, each in self._sending.items() if each.covers(key)]
            if due:
                await asyncio.wait(due)

    async def _tell(
        self,
        invalidation: Invalidation,
        seconds: float,
        run: Callable[..., Coroutine[Any, Any, Any]],
    ) -> None:
        """Send an invalidation to Redis, and through it to every worker, this one too."""
        loader, call = invalidation.loader, invalidation.call
        await run(
            scripts.FORGET,
            self._root(invalidation.scope),
            *(loader, call or "", _ms(seconds + _LONGEST_RUN)),
            json.dumps(["forget", loader, call]),
        )

    def _owe(self, invalidation: Invalidation, seconds: float) -> None:
        if len(self._owed) >= _MAX_OWED:
            # The number of loaders is bounded by the code of the app.
            invalidation = Invalidation(invalidation.scope, invalidation.loader)
        self._owed[invalidation] = max(seconds, self._owed.get(invalidation, 0))

    async def _catch_up(self) -> None:
        """Send what was invalidated during an outage; this worker may have missed anything."""
        while self._owed:
            invalidation, seconds = next(iter(self._owed.items()))
            await self._tell(invalidation, seconds, self._connection.run_anyway)
            self._owed.pop(invalidation, None)
        for scope in list(self._hearers):
            self._hear(Invalidation(scope))
        self._is_due.set()

    async def forget_everywhere(
        self, names: Sequence[str], arguments: str | None, *, seconds: float = 0
    ) -> int:
        """Drop results in every app that uses this Redis and prefix; returns the number of apps.

        ``names`` are the loader's names, ``arguments`` those of one call as canonical JSON or None
        for all calls. Raises `flash.redis.errors.RedisUnavailable` or `RedisRefused`. The cache
        need not be open.
        """
        # Not above: it brings redis-py, an optional dependency.
        from flash.redis.client import RedisClient

        client = RedisClient(self.address, timeout=self.timeout)

        async def run(script: Script, root: str, *arguments: Argument) -> Any:
            return await client.run(script, [root], *arguments)

        try:
            apps = self._apps
            scopes = await client.call(["ZRANGE", apps, 0, -1], slot=client.slot_of(apps))
            for scope in [each.decode() for each in scopes]:
                call = None if arguments is None else call_digest(scope, arguments)
                for name in names:
                    invalidation = Invalidation(scope, loader_digest(scope, name), call)
                    await self._tell(invalidation, seconds, run)
            return len(scopes)
        finally:
            await client.close()

    async def _stay_listed(self) -> None:
        while True:
            wait = _LIST_EVERY if await self._list_apps() else _LIST_AGAIN
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._is_due.wait()

    async def _list_apps(self) -> bool:
        """Put this worker's apps on the list of the address; tell whether Redis has done so."""
        self._is_due.clear()
        try:
            for scope in list(self._hearers):
                await self._connection.run(
                    scripts.REGISTER, self._apps, scope, _ms(self._listed), _MAX_LISTED
                )
        except CacheUnavailable:
            return False
        return True

    def _listen(self, channel: str, data: bytes) -> None:
        try:
            news: object = json.loads(data)
        except ValueError:
            logger.warning("a message on %s is not one of flash-lazy: %.60r", channel, data)
            return
        match news:
            case ["end", str(token)]:
                for ended in self._ends.get(token, ()):
                    ended.set()
            case ["forget", str() | None as loader, str() | None as call]:
                for scope in self._hearers:
                    if channel == f"{self._root(scope)}news":
                        self._hear(Invalidation(scope, loader, call))
            case _:
                logger.debug("a message of a newer version on %s: %.60r", channel, data)

    def _hear(self, invalidation: Invalidation) -> None:
        if invalidation.loader is not None:
            self._epochs[invalidation.scope, invalidation.loader] += 1
        if (hear := self._hearers.get(invalidation.scope)) is not None:
            hear(invalidation)

    # -- Redis -------------------------------------------------------------------------------------

    @property
    def _apps(self) -> str:
        return f"{self.prefix}apps"

    def _root(self, scope: str) -> str:
        return f"{self.prefix}{{{scope}}}:"

    def _place(self, key: Key) -> tuple[str, str, str, str]:
        return self._root(key.scope), str(key), key.loader, key.call

    def _held(self, lease: _Lease) -> tuple[str, str, str, str]:
        return self._root(lease.key.scope), str(lease.key), lease.epoch, lease.token

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Seen here, since no caller may be left to raise it.
            task.exception()


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
