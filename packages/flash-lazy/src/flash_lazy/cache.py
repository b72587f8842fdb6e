"""What has been loaded, kept for a while: the seam, and the cache in memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """One loaded panel."""

    # What the page gets, as JSON.
    content: bytes
    # The loader's own clock, `time.time`, for it may be read by another process.
    loaded_at: float


class LazyCache(Protocol):
    """Where loaded panels are kept.

    Called on the app's loop and must not block it; may be shared by apps and by processes. Losing
    an entry is allowed at any time, returning one that was dropped is not. What it raises fails
    the load that asked. Keys are text; all keys of one loader begin with the same prefix.
    """

    async def get(self, key: str) -> Entry | None:
        """Return what is kept under ``key``, however old."""
        ...

    async def put(self, key: str, entry: Entry, seconds: float) -> None:
        """Keep ``entry`` for at most ``seconds``, in place of an older one."""
        ...

    async def drop(self, prefix: str) -> None:
        """Forget every entry whose key begins with ``prefix``; idempotent."""
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
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: str) -> Entry | None:
        """Return what is kept under ``key``, however old."""
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    async def put(self, key: str, entry: Entry, seconds: float) -> None:
        """Keep ``entry``; ``seconds`` is left to the reader, who compares ``loaded_at``."""
        del seconds
        self._forget(key)
        if _size(key, entry) > self.max_bytes:
            return
        self._entries[key] = entry
        self.size += _size(key, entry)
        while len(self._entries) > self.max_entries or self.size > self.max_bytes:
            self._forget(next(iter(self._entries)))

    async def drop(self, prefix: str) -> None:
        """Forget every entry whose key begins with ``prefix``."""
        for key in [key for key in self._entries if key.startswith(prefix)]:
            self._forget(key)

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size -= _size(key, entry)


def _size(key: str, entry: Entry) -> int:
    return len(key) + len(entry.content)
