"""The cache of static files and of their compressed forms."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from flash.static.codings import ENCODERS, QUICKEST, Coding, encode_small
from flash.static.disk import Version, read
from flash.static.response import FileRequest, StaticResponse, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from flash.static.file import StaticFile

T = TypeVar("T")

# Bytes up to which a file's smallest form is made at once.
SMALL = 16 * 1024

# The file's path, and the folder that it must not leave.
_Key: TypeAlias = "tuple[str, Path | None]"


@dataclass(slots=True)
class _Entry:
    version: Version
    # The version's file, with the compressed forms made since.
    file: StaticFile
    # The time of the last check for changes, on the loop's clock.
    checked_at: float
    # The number of complete responses (status 200).
    sent: int = 0


class StaticCache:
    """Keeps files and their compressed forms in memory and evicts the least recently used.

    An instance belongs to one event loop at a time. It reads, checks and compresses files in its
    own threads. Requests for the same file share one such operation, which continues when a waiting
    request is cancelled.

    - ``max_bytes``: the limit for all bodies and forms; beyond it the least recently used files are
      evicted.
    - ``max_file_bytes``: a larger file raises `OversizedFile`.
    - ``max_compressed_file_bytes``: a larger file is sent uncompressed, so that no client waits.
    - ``check_interval``: seconds after a check in which a file counts as unchanged.
    - ``brotli_after``: the number of complete responses after which a file's brotli form is made,
      for clients that were sent zstd until then.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 256 * 2**20,
        max_file_bytes: int = 64 * 2**20,
        max_compressed_file_bytes: int = 16 * 2**20,
        check_interval: float = 0.25,
        brotli_after: int = 100,
        max_threads: int = 2,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_file_bytes = max_file_bytes
        self._max_compressed_file_bytes = max_compressed_file_bytes
        self._check_interval = check_interval
        self._brotli_after = brotli_after
        self._max_threads = max_threads
        # Least recently used first.
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._bytes_held = 0
        # Running operations; the future's own callback removes each entry.
        self._reading: dict[_Key, asyncio.Future[Version | None]] = {}
        self._encoding: dict[tuple[_Key, Coding], asyncio.Future[bytes]] = {}
        # Created by the first operation, so that a closed cache can be used again.
        self._threads: ThreadPoolExecutor | None = None

    @property
    def bytes_held(self) -> int:
        """The size of all bodies and forms in memory, in bytes."""
        return self._bytes_held

    async def answer(
        self,
        path: Path,
        *,
        method: str,
        headers: Iterable[tuple[bytes, bytes]],
        immutable: bool,
        revalidate: bool,
        root: Path | None = None,
    ) -> StaticResponse | None:
        """Return the response to a request for a file; may make a compressed form first.

        Returns None if there is no such file. The arguments are those of `respond` and `load`.
        """
        file = await self.load(path, revalidate=revalidate, root=root)
        if file is None:
            return None
        request = FileRequest.parse(method, headers)
        response = answer(file, request, immutable=immutable)
        entry = self._entries.get(_key(path, root))
        # The entry may be missing: the file is larger than the cache, or was evicted meanwhile.
        if response.status != 200 or entry is None:
            return response
        entry.sent += 1
        if coding := self._next_form(entry, request):
            encoding = self._encode(_key(path, root), entry, coding)
            if not any(best in entry.file.forms for best in request.best_codings()):
                form = await asyncio.shield(encoding)
                response = answer(file.with_form(coding, form), request, immutable=immutable)
        return response

    async def load(
        self, path: Path, *, revalidate: bool, root: Path | None = None
    ) -> StaticFile | None:
        """Return the file, from memory if possible; None if it is missing or not a regular file.

        With ``revalidate``, a file that has changed on disk is read again. With ``root``, a file
        outside that folder, symbolic links resolved, counts as missing. Raises `OversizedFile`.
        """
        key = _key(path, root)
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
            if not revalidate or self._checked_lately(entry):
                return entry.file
        version = await asyncio.shield(self._reading.get(key) or self._read(path, root, entry))
        if version is None:
            return None
        entry = self._entries.get(key)
        return version.file if entry is None else entry.file

    async def close(self) -> None:
        """Wait for running operations and end the threads; the files stay and may be used again."""
        await asyncio.gather(
            *self._reading.values(), *self._encoding.values(), return_exceptions=True
        )
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)

    def _checked_lately(self, entry: _Entry) -> bool:
        return asyncio.get_running_loop().time() - entry.checked_at < self._check_interval

    def _next_form(self, entry: _Entry, request: FileRequest) -> Coding | None:
        """Return the form to make now, or None: first the quickest one, later the smallest one."""
        file = entry.file
        best = request.best_codings()
        if not best or not file.compressible or file.size > self._max_compressed_file_bytes:
            return None
        if not any(coding in file.forms for coding in best):
            return QUICKEST if QUICKEST in best and file.size > SMALL else best[0]
        if best[0] not in file.forms and entry.sent > self._brotli_after:
            return best[0]
        return None

    def _read(
        self, path: Path, root: Path | None, entry: _Entry | None
    ) -> asyncio.Future[Version | None]:
        known = None if entry is None else entry.version
        reading = self._run(partial(read, path, root, known, self._max_file_bytes))
        key = _key(path, root)
        self._reading[key] = reading
        # Added before the first waiter, so it runs before any waiter continues.
        reading.add_done_callback(partial(self._keep, key))
        return reading

    def _encode(self, key: _Key, entry: _Entry, coding: Coding) -> asyncio.Future[bytes]:
        running = self._encoding.get((key, coding))
        if running is not None:
            return running
        file = entry.file
        encode = ENCODERS[coding] if file.size > SMALL else partial(encode_small, coding)
        encoding = self._run(partial(encode, file.body))
        self._encoding[key, coding] = encoding
        encoding.add_done_callback(partial(self._keep_form, key, file, coding))
        return encoding

    def _run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._max_threads, "flash-static")
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _keep(self, key: _Key, reading: asyncio.Future[Version | None]) -> None:
        del self._reading[key]
        # `exception()` marks the error as retrieved, in case all waiters were cancelled.
        version = None if reading.cancelled() or reading.exception() else reading.result()
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes_held -= entry.file.bytes_held
        if version is None:
            return
        now = reading.get_loop().time()
        if entry is None or entry.file.digest != version.file.digest:
            entry = _Entry(version, version.file, now)
        else:
            entry.version, entry.checked_at = version, now
            entry.file = replace(entry.file, last_modified=version.file.last_modified)
        self._entries[key] = entry
        self._bytes_held += entry.file.bytes_held
        self._evict()

    def _keep_form(
        self, key: _Key, file: StaticFile, coding: Coding, encoding: asyncio.Future[bytes]
    ) -> None:
        del self._encoding[key, coding]
        entry = self._entries.get(key)
        failed = encoding.cancelled() or encoding.exception() is not None
        # The file may have changed or been evicted while its form was being made.
        if failed or entry is None or entry.file.digest != file.digest:
            return
        self._bytes_held -= entry.file.bytes_held
        entry.file = entry.file.with_form(coding, encoding.result())
        self._bytes_held += entry.file.bytes_held
        self._evict()

    def _evict(self) -> None:
        while self._bytes_held > self._max_bytes:
            _, entry = self._entries.popitem(last=False)
            self._bytes_held -= entry.file.bytes_held


def _key(path: Path, root: Path | None) -> _Key:
    return os.fspath(path), root
