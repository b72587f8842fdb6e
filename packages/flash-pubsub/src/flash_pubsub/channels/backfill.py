"""What a worker's callbacks made of a channel's last messages, for pages that come later."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from typing import TYPE_CHECKING

from flash.log_limit import limited_logger
from flash_pubsub.channels.history import BrokerReader
from flash_pubsub.channels.joining import changes_of, entries_of, joined
from flash_pubsub.channels.runner import MESSAGES_PER_SLICE
from flash_pubsub.errors import BrokerError, BrokerUnavailable
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.channels.declaration import MatchedCallback
    from flash_pubsub.channels.joining import Change, Key
    from flash_pubsub.channels.results import CallbackResult
    from flash_pubsub.channels.runner import CallbackRunner

logger = limited_logger(__name__)

# Bytes that the callbacks of one channel made of its last messages, as JSON; beyond it the oldest
# are dropped.
MAX_BYTES = 1 << 20

# Seconds for which pages wait for a backfill that is being made; counted from its beginning, so
# that a page with several channels waits for them together. A page that comes too early goes on
# without it and is told; the callbacks run on for later pages.
WAIT = 5.0

# Seconds that a function of the application has to end after it was cancelled.
_CANCEL_WITHIN = 1.0

# Messages whose results are joined once and for all: so the next frame costs little.
_CHUNK = 32


class _Entry:
    """What the callbacks made of one message."""

    __slots__ = ("_changes", "_made", "least", "number", "size")

    def __init__(self, number: int, results: Sequence[CallbackResult]) -> None:
        self.number = number
        # By backfill: what was set, serialised. The results themselves may hold anything.
        self._made = [(each.matched.callback.backfill, each.message.members) for each in results]
        # Bytes of JSON.
        self.size = sum(len(members) for _, members in self._made)
        # The smallest backfill of the callbacks that made something.
        self.least = min(backfill for backfill, _ in self._made)
        # The same as `_made`, decoded; None until a page needs it.
        self._changes: list[tuple[int, tuple[Change, ...]]] | None = None

    def changes(self, newest: int) -> Iterator[Change]:
        """Return what a page gets of it if ``newest`` is the channel's last message."""
        if self._changes is None:
            self._changes = [(backfill, changes_of(members)) for backfill, members in self._made]
            self._made = []
        for backfill, changes in self._changes:
            if self.number > newest - backfill:
                yield from changes


class _Chunk:
    """What the callbacks made of some messages in a row."""

    __slots__ = ("_joined", "_least", "entries")

    def __init__(self) -> None:
        # The smallest backfill of the callbacks that made something.
        self._least = sys.maxsize
        # At most `_CHUNK`.
        self.entries: deque[_Entry] = deque()
        # All of it, joined; None until it is asked for.
        self._joined: list[Change] | None = None

    def add(self, entry: _Entry) -> None:
        """Add what was made of the next message."""
        self.entries.append(entry)
        self._least = min(self._least, entry.least)
        self._joined = None

    def take_first(self) -> _Entry:
        """Remove what was made of the first message."""
        self._joined = None
        return self.entries.popleft()

    def changes(self, newest: int, after: int) -> Iterable[Change]:
        """Return what a page gets of it.

        ``newest`` is the number of the channel's last message; only messages after ``after`` count.
        """
        first = self.entries[0].number
        is_all = first > after and first > newest - self._least
        if not is_all or len(self.entries) < _CHUNK:
            return self._some(newest, after)
        if self._joined is None:
            self._joined = joined(self._some(newest, after))
        return self._joined

    def _some(self, newest: int, after: int) -> Iterator[Change]:
        for entry in self.entries:
            if entry.number > after:
                yield from entry.changes(newest)


class Backfill:
    """The results of the callbacks with a ``backfill``, for the last messages of one channel.

    They are made once: of new messages as they are processed, of earlier ones from the history.
    """

    def __init__(
        self,
        runner: CallbackRunner,
        listeners: Listeners,
        channel: str,
        callbacks: Sequence[MatchedCallback],
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        self._runner = runner
        self._listeners = listeners
        self._spawn = spawn
        self._channel = channel
        self._callbacks = callbacks
        # Messages of which results are kept.
        self._size = max(each.callback.backfill for each in callbacks)
        self._is_over_reported = False
        self._building: asyncio.Task[Any] | None = None
        # The time of the loop's clock at which pages no longer wait for it.
        self._wait_until = 0.0
        # Why the history could not be read; None once it could.
        self._failure: BrokerError | None = None
        # Grows with every change of the results.
        self.version = 0
        self.begin(Position("", 0))

    def begin(self, position: Position) -> None:
        """Drop everything: the messages up to ``position`` are made from the history again."""
        self._position = position
        # The results of all messages with higher numbers are here.
        self._floor = position.number
        self._chunks: deque[_Chunk] = deque()
        self._bytes = 0
        self.version += 1

    def advance(self, number: int, made: Sequence[CallbackResult]) -> None:
        """Add what the callbacks made of the message that comes next."""
        self._position = Position(self._position.epoch, number)
        self.version += 1
        entry = _entry_of(number, made)
        if entry is not None:
            _append(self._chunks, entry)
            self._bytes += entry.size
        self._trim()

    @property
    def _first(self) -> int:
        """The number before the first of the last messages."""
        return max(0, self._position.number - self._size)

    @property
    def is_whole(self) -> bool:
        """Whether the results of all last messages that are kept are here."""
        return self._floor <= self._first

    def prepare(self) -> None:
        """Begin to make the results of earlier messages, if some are missing; returns at once."""
        if not self.is_whole and self._building is None:
            self._wait_until = asyncio.get_running_loop().time() + WAIT
            self._building = self._spawn(self._build())

    async def wait(self) -> bool:
        """Wait until the results are whole; False if they are not `WAIT` s after they were begun.

        Raises `BrokerUnavailable` if the history cannot be read: the page comes again.
        """
        self.prepare()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._wait_until):
                while not self.is_whole:
                    self.prepare()
                    assert self._building is not None
                    await asyncio.wait({self._building})
                    if isinstance(self._failure, BrokerUnavailable):
                        raise self._failure
                    if self._failure is not None:
                        return False
        if not self.is_whole:
            logger.warning(
                "channel %r: a page gets no backfill, since %s have not been run with the last %d "
                "messages %g s after that was begun: make them faster, or backfill= smaller",
                self._channel,
                ", ".join(each.callback.name for each in self._callbacks),
                self._size,
                WAIT,
            )
        return self.is_whole

    async def stop(self) -> None:
        """Stop making results of earlier messages."""
        building = self._building
        if building is not None:
            building.cancel()
            await asyncio.wait({building}, timeout=_CANCEL_WITHIN)

    def updates(self, latest: Mapping[Key, str], after: int = 0) -> tuple[list[str], set[Key]]:
        """Return the entries of one frame for the last messages with numbers above ``after``.

        See `flash_pubsub.channels.joining.entries_of` for ``latest`` and the second result.
        """
        newest = self._position.number
        changes = (change for chunk in self._chunks for change in chunk.changes(newest, after))
        return entries_of(joined(changes), latest)

    async def _build(self) -> None:
        try:
            self._failure = None
            await self._build_from_history()
        except BrokerError as error:
            self._failure = error
            logger.warning("channel %r: no backfill yet: %s", self._channel, error)
        finally:
            self._building = None

    async def _build_from_history(self) -> None:
        epoch, floor, first = self._position.epoch, self._floor, self._first
        kept = await BrokerReader(self._listeners.broker).kept(
            self._channel, Position(epoch, first)
        )
        errors: list[tuple[MatchedCallback, BaseException]] = []
        counts: dict[str, int] = {}

        def report(matched: MatchedCallback, error: BaseException) -> None:
            name = matched.callback.name
            counts[name] = counts.get(name, 0) + 1
            if counts[name] == 1:
                errors.append((matched, error))

        # The oldest are dropped while the rest is made, since results may be larger than messages.
        entries: deque[_Entry] = deque()
        size = 0
        for turn, publication in enumerate(kept.publications, start=1):
            position = publication.position
            if position.epoch != epoch or position.number > floor:
                break
            if turn % MESSAGES_PER_SLICE == 0:
                await asyncio.sleep(0)
            if position.number <= self._first:
                # It is none of the last messages any more.
                continue
            callbacks = self._callbacks_for(position.number)
            entry = _entry_of(
                position.number, await self._runner.run_each(callbacks, publication, report)
            )
            if entry is not None:
                entries.append(entry)
                size += entry.size
                while size > MAX_BYTES and len(entries) > 1:
                    size -= entries.popleft().size
                    self._report_too_large()
            if self._position.epoch != epoch or self._floor != floor:
                # The channel was reset meanwhile.
                return
        if self._position.epoch != epoch or self._floor != floor:
            return
        for matched, error in errors:
            name = matched.callback.name
            logger.error(
                "channel callback %r failed for %d earlier messages of channel %r, which are left "
                "out of its backfill; for the first of them:",
                name,
                counts[name],
                self._channel,
                exc_info=error,
            )
        earlier: deque[_Chunk] = deque()
        for each in entries:
            _append(earlier, each)
        self._chunks = earlier + self._chunks
        self._bytes += size
        self._floor = first
        self.version += 1
        self._trim()

    def _callbacks_for(self, number: int) -> list[MatchedCallback]:
        """Return the callbacks whose backfill a message is part of."""
        newest = self._position.number
        return [each for each in self._callbacks if number > newest - each.callback.backfill]

    def _trim(self) -> None:
        chunks, first = self._chunks, self._first
        while chunks and (
            chunks[0].entries[0].number <= first
            # The newest is kept, however large.
            or (self._bytes > MAX_BYTES and (len(chunks) > 1 or len(chunks[0].entries) > 1))
        ):
            oldest = chunks[0].take_first()
            self._bytes -= oldest.size
            if not chunks[0].entries:
                chunks.popleft()
            if oldest.number > first:
                self._report_too_large()

    def _report_too_large(self) -> None:
        """Log, once, that results were dropped for their size."""
        if not self._is_over_reported:
            self._is_over_reported = True
            logger.warning(
                "channel %r: what its callbacks make of the last %d messages is more than "
                "%d bytes; pages get the newest of it",
                self._channel,
                self._size,
                MAX_BYTES,
            )


def _append(chunks: deque[_Chunk], entry: _Entry) -> None:
    """Add an entry behind the others."""
    if not chunks or len(chunks[-1].entries) >= _CHUNK:
        chunks.append(_Chunk())
    chunks[-1].add(entry)


def _entry_of(number: int, made: Sequence[CallbackResult]) -> _Entry | None:
    """Return what the callbacks with a backfill made of one message; None if nothing."""
    kept = [each for each in made if each.matched.callback.backfill]
    return _Entry(number, kept) if kept else None
