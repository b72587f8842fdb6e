"""The cache of loaded panels: its Protocol, and its implementation in memory."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from flash.callbacks.execution import SharedCalls
from flash.settings import AMOUNT, check


@dataclass(frozen=True, slots=True)
class Entry:
    """One loaded panel."""

    # The JSON that the page gets.
    content: bytes
    # By `time.time` of the process that loaded it, since another process may read it.
    loaded_at: float


@dataclass(frozen=True, slots=True)
class Key:
    """The key of a panel; equal keys have equal content. Its parts are digests.

    `loader_digest` and `call_digest` make two of them.
    """

    # The app: apps do not see each other's entries.
    scope: str
    loader: str
    # The arguments.
    call: str
    # The visitor, and everything else that a result depends on.
    variant: str

    def __str__(self) -> str:
        return f"{self.loader}:{self.call}:{self.variant}"


@dataclass(frozen=True, slots=True)
class Invalidation:
    """The results of one loader, for one call or for all, are out of date.

    Without a loader: messages were lost, and every result may be out of date.
    """

    scope: str
    loader: str | None = None
    call: str | None = None

    def covers(self, key: Key) -> bool:
        """Tell whether the entry under ``key`` is out of date."""
        return (
            self.scope == key.scope
            and self.loader in (None, key.loader)
            and self.call in (None, key.call)
        )


def loader_digest(scope: str, name: str) -> str:
    """Return the digest of a loader's name in the app ``scope``."""
    return _digest(scope, "loader", name)


def call_digest(scope: str, arguments: str) -> str:
    """Return the digest of a call's arguments, which are canonical JSON, in the app ``scope``."""
    return _digest(scope, "call", arguments)


def _digest(scope: str, *parts: str) -> str:
    # Keyed with the scope: pages, which get these digests as the topics of live panels, do not know
    # it, and whoever reads the cache in Redis needs no signing secret to invalidate.
    return hmac.digest(scope.encode(), json.dumps(parts).encode(), hashlib.sha256)[:12].hex()


Run = Callable[[], Awaitable[Entry]]
Hear = Callable[[Invalidation], None]


class LazyCache(Protocol):
    """Keeps loaded panels, and runs equal loads once.

    Called on one event loop, which it must not block; apps and processes may share it. It may lose
    an entry at any time, and must not return one that was invalidated. It raises what ``run``
    raises and nothing else: a cache that has lost its store runs the load and keeps nothing.
    """

    async def open(self, scope: str, hear: Hear) -> None:
        """Call ``hear`` with every invalidation in ``scope`` from now on, by any worker.

        ``hear`` is called on the loop and returns at once.
        """
        ...

    async def close(self, scope: str) -> None:
        """Stop calling ``hear``; idempotent."""
        ...

    async def find(self, key: Key) -> Entry | None:
        """Return the entry under ``key``, however old."""
        ...

    async def load(self, key: Key, run: Run, *, seconds: float = 0, newer_than: float = 0) -> Entry:
        """Run ``run`` once for all concurrent calls of ``key``; keep its entry for ``seconds``.

        With ``seconds``, an entry loaded after ``newer_than`` is returned in place of a run. A
        caller that is cancelled does not affect the others; with the last one ``run`` is
        cancelled. A run that began before an invalidation is neither kept nor joined after it.
        """
        ...

    async def forget(self, invalidation: Invalidation, *, seconds: float = 0) -> None:
        """Drop the entries that it covers, and call every ``hear``; idempotent.

        They may be dropped as late as at the next `find`. ``seconds``: how long entries of the
        loader are kept.
        """
        ...


class MemoryCache:
    """Keeps the most recently used panels, in this process.

    Beyond ``max_entries`` or ``max_bytes`` of JSON the least recently used are dropped; an entry
    larger than ``max_bytes`` is not kept. Expired entries are dropped only when they are the least
    recently used.
    """

    def __init__(self, *, max_entries: int = 1000, max_bytes: int = 64 * 1024 * 1024) -> None:
        check(max_entries=(max_entries, AMOUNT), max_bytes=(max_bytes, AMOUNT))
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        # The bytes of all entries' keys and JSON.
        self.size = 0
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._flights = SharedCalls()
        # The number of invalidations, by scope and loader; bounded by the loaders of the app.
        self._epochs: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._hearers: dict[str, Hear] = {}

    def __len__(self) -> int:
        return len(self._entries)

    async def open(self, scope: str, hear: Hear) -> None:
        """Call ``hear`` with every invalidation in ``scope``."""
        self._hearers[scope] = hear

    async def close(self, scope: str) -> None:
        """Stop calling ``hear``."""
        self._hearers.pop(scope, None)

    async def find(self, key: Key) -> Entry | None:
        """Return the entry under ``key``, however old."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    async def load(self, key: Key, run: Run, *, seconds: float = 0, newer_than: float = 0) -> Entry:
        """Run ``run`` once for all; ``seconds`` above 0 keeps the entry."""
        kept = self._entries.get(key)
        if seconds and kept is not None and kept.loaded_at > newer_than:
            return kept
        epoch = self._epochs[key.scope, key.loader]

        async def fly() -> Entry:
            entry = await run()
            if seconds and epoch == self._epochs[key.scope, key.loader]:
                self._keep(key, entry)
            return entry

        return await self._flights.run((key, epoch), fly)

    async def forget(self, invalidation: Invalidation, *, seconds: float = 0) -> None:
        """Drop every entry that it covers."""
        del seconds
        if invalidation.loader is not None:
            self._epochs[invalidation.scope, invalidation.loader] += 1
        for key in [key for key in self._entries if invalidation.covers(key)]:
            self._drop(key)
        if invalidation.scope in self._hearers:
            self._hearers[invalidation.scope](invalidation)

    def _keep(self, key: Key, entry: Entry) -> None:
        self._drop(key)
        if _size(key, entry) > self.max_bytes:
            return
        self._entries[key] = entry
        self.size += _size(key, entry)
        while len(self._entries) > self.max_entries or self.size > self.max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size -= _size(key, entry)


def _size(key: Key, entry: Entry) -> int:
    return len(str(key)) + len(entry.content)
