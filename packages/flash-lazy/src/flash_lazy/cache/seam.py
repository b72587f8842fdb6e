"""What has been loaded, kept for a while and loaded once for all: the seam, and it in memory."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from flash.callbacks.execution import SharedCalls


@dataclass(frozen=True, slots=True)
class Entry:
    """One loaded panel."""

    # What the page gets, as JSON.
    content: bytes
    # The loader's own clock, `time.time`, for it may be read by another process.
    loaded_at: float


@dataclass(frozen=True, slots=True)
class Key:
    """What a panel was loaded for; equal keys have equal content. Its parts are digests."""

    # The app: none sees what another one keeps.
    scope: str
    loader: str
    # The arguments.
    call: str
    # The visitor, and what else a result depends on.
    variant: str

    def __str__(self) -> str:
        return f"{self.loader}:{self.call}:{self.variant}"


@dataclass(frozen=True, slots=True)
class Invalidation:
    """What was loaded by one loader, for one call or for all, is no longer true.

    Without a loader: news were lost, and anything may be.
    """

    scope: str
    loader: str | None = None
    call: str | None = None

    def covers(self, key: Key) -> bool:
        """Tell whether what is kept under ``key`` is meant."""
        return (
            self.scope == key.scope
            and self.loader in (None, key.loader)
            and self.call in (None, key.call)
        )


Run = Callable[[], Awaitable[Entry]]
Hear = Callable[[Invalidation], None]


class LazyCache(Protocol):
    """Where loaded panels are kept, and where equal loads meet.

    Called on one event loop, which it must not block; may be shared by apps and by processes.
    Losing an entry is allowed at any time; returning one that was forgotten is not. It raises what
    ``run`` raises and nothing else: one that has lost its store runs and keeps nothing.
    """

    async def open(self, scope: str, hear: Hear) -> None:
        """Call ``hear`` with every invalidation in ``scope`` from now on, whoever makes it.

        ``hear`` is called on the loop and returns at once.
        """
        ...

    async def close(self, scope: str) -> None:
        """Call it no more; idempotent."""
        ...

    async def find(self, key: Key) -> Entry | None:
        """Return what is kept under ``key``, however old."""
        ...

    async def load(self, key: Key, run: Run, *, seconds: float = 0, newer_than: float = 0) -> Entry:
        """Run ``run``, once for all that ask for ``key`` meanwhile, and keep it for ``seconds``.

        With ``seconds``, an entry loaded after ``newer_than`` is returned where one was kept
        meanwhile. One caller leaving disturbs no other; when the last one leaves, ``run`` is
        cancelled. A run that began before an invalidation is neither kept nor joined after it.
        """
        ...

    async def forget(self, invalidation: Invalidation, *, seconds: float = 0) -> None:
        """Forget what it covers, at the latest when it is asked for, and let everybody hear.

        ``seconds``: for how long entries of the loader are kept. Idempotent.
        """
        ...


class MemoryCache:
    """Keeps panels in this process, the most recently used ones.

    Beyond ``max_entries`` or ``max_bytes`` of JSON the least recently used go; an entry larger
    than ``max_bytes`` is not kept. Old entries are not looked for: they go when they are the least
    recently used.
    """

    def __init__(self, *, max_entries: int = 1000, max_bytes: int = 64 * 1024 * 1024) -> None:
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        # The bytes of all entries' keys and JSON.
        self.size = 0
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._flights = SharedCalls()
        # Counts the invalidations of each scope's loaders, of which there are as many as code says.
        self._epochs: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._hearers: dict[str, Hear] = {}

    def __len__(self) -> int:
        return len(self._entries)

    async def open(self, scope: str, hear: Hear) -> None:
        """Call ``hear`` with every invalidation in ``scope``."""
        self._hearers[scope] = hear

    async def close(self, scope: str) -> None:
        """Call it no more."""
        self._hearers.pop(scope, None)

    async def find(self, key: Key) -> Entry | None:
        """Return what is kept under ``key``, however old."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    async def load(self, key: Key, run: Run, *, seconds: float = 0, newer_than: float = 0) -> Entry:
        """Run ``run`` once for all; ``seconds`` above 0 keeps the entry, until the reader minds."""
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
        """Forget every entry that it covers."""
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
