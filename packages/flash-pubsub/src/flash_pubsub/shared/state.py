"""The state that all pages share, as this worker knows it: what the broker's snapshot holds."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import orjson

from flash.serialize import dumps
from flash_pubsub.broker.backplane import PREFIX
from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.broker.recent_frames import Recent
from flash_pubsub.broker.seam import Retention
from flash_pubsub.errors import (
    BrokerError,
    BrokerRefused,
    Overtaken,
    PayloadTooLarge,
    UnsupportedEnvelope,
)
from flash_pubsub.shared.change_times import NEVER, ChangeTimes
from flash_pubsub.shared.mirror import MADE, RAN, Known, Mirror, framed, made_name, name_of
from flash_ws.protocol.channel import CatchUp
from flash_ws.protocol.frames import Frame, reset_frame, snapshot_frame
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.broker.seam import Lease, Publication, Snapshot
    from flash_pubsub.shared.change_times import MadeAt
    from flash_pubsub.shared.declaration import Key

logger = logging.getLogger(__name__)

# The channel of pages, and its name in the broker.
SHARED = "shared"
CHANNEL = f"{PREFIX}{SHARED}"

KIND = "shared"

# Pages whose newest change is remembered; the one that changed something longest ago goes.
_MAX_ORIGINS = 20_000

_RETENTION = Retention(max_messages=5000, max_bytes=8 << 20)

# Changes that wait while the state is being fetched; with one more it is fetched again instead.
_MAX_WAITING = 10_000

# Bytes of values that are put back in one publication, about.
_PART = 256 << 10


class SharedState:
    """Values by (component, property), in the one order that the broker gave their changes.

    A `Source` of pages' frames. Everything here happens on the loop; reading needs no broker.

    When the store has lost values, a worker that knows them goes on with them and puts them back,
    but for those that were set since; of several workers the one that had followed furthest counts.
    """

    def __init__(self, listeners: Listeners, backplane: BrokerBackplane) -> None:
        self._listeners = listeners
        self._backplane = backplane
        # Values as JSON, and which callbacks have run in this deployment.
        self._mirror = Mirror(
            max_values=_RETENTION.max_values, max_bytes=_RETENTION.max_snapshot_bytes
        )
        # What the store has lost and is to get back, and where this worker stood when it had it.
        self._lost: dict[str, Known] = {}
        self._lost_at = Position("", 0)
        # By callback and page, the number of the page's newest change that everybody has seen.
        self._seen: OrderedDict[tuple[str, str], int] = OrderedDict()
        # When pages changed what.
        self.times = ChangeTimes()
        # Inputs of shared callbacks.
        self.inputs: set[Key] = set()
        # By callback, the times of the inputs that its newest result was made of.
        self._used: dict[str, dict[Key, MadeAt]] = {}
        self._recent = Recent(Position("", 0))
        # What came while the state was being fetched, _MAX_WAITING at most; None when it is not.
        self._waiting: list[Publication] | None = []
        self._learned = asyncio.Event()
        # How often something was lost, or more came meanwhile than may wait: what is being fetched
        # is then fetched again.
        self._resets = 0
        # The state as a frame, for the position that it was made at.
        self._snapshot: Frame | None = None
        # Called when somebody has published.
        self.on_change: list[Callable[[], None]] = []
        # Called with where the state stands after something was lost.
        self.on_reset: list[Callable[[Position], None]] = []

    async def start(self) -> None:
        """Learn the state; what changes from now on is followed.

        Whatever was known before the app was stopped counts no more.
        """
        self._learned = asyncio.Event()
        self._waiting = []
        self._mirror.clear()
        self._lost.clear()
        self._seen.clear()
        self._used.clear()
        self._recent.begin(Position("", 0))
        await self._listeners.listen(CHANNEL, self)
        await self._learn()
        self._go_on()

    async def _learn(self) -> None:
        snapshot = await self._fetched()
        here = self._recent.position
        if snapshot.position.epoch == here.epoch:
            # What was lost before is still on its way back.
            for name in snapshot.values:
                self._lost.pop(name, None)
        else:
            if self._mirror.is_older(here, snapshot):
                self._seen.clear()
            self._lost, self._lost_at = self._mirror.lost(here, snapshot), here
        self._mirror.begin(snapshot)
        for name, value in snapshot.values.items():
            if name.startswith(MADE):
                self.times.observe(_made_at(orjson.loads(value)))
        self._used.clear()
        for name, known in self._lost.items():
            self._mirror.set(name, known.value, snapshot.position.number)
        self._recent.begin(snapshot.position)
        self._snapshot = None

    async def _fetched(self) -> Snapshot:
        """Fetch the state, again if more is lost meanwhile."""
        while True:
            resets = self._resets
            snapshot = await self._listeners.broker.snapshot(CHANNEL)
            if resets == self._resets:
                return snapshot

    def _go_on(self) -> None:
        """Deliver what has come while the state was being fetched, and whatever comes."""
        self._learned.set()
        waiting, self._waiting = self._waiting or [], None
        for publication in waiting:
            self.deliver(publication)

    # -- reading ---------------------------------------------------------------------------------

    def json(self, key: Key) -> bytes | None:
        """Return a value as JSON; None if it was never set."""
        return self._mirror.get(name_of(key))

    def value(self, key: Key, default: Any = None) -> Any:
        """Return a value; ``default`` if it was never set."""
        found = self.json(key)
        return default if found is None else orjson.loads(found)

    @property
    def epoch(self) -> str:
        """The epoch of the numbers that the state has; changes when something is lost."""
        return self._recent.position.epoch

    def has_run(self, callback: str) -> bool:
        """Tell whether a callback has run in this deployment."""
        return RAN + callback in self._mirror

    def has_seen(self, callback: str, page: str, number: int) -> bool:
        """Tell whether a callback has answered a page's change, for everybody to see."""
        return self._seen.get((callback, page), 0) >= number

    def made_at(self, key: Key) -> MadeAt:
        """Return when the newest change of an input was made."""
        found = self._mirror.get(made_name(key))
        return NEVER if found is None else _made_at(orjson.loads(found))

    def has_used(self, callback: str, key: Key, made: MadeAt) -> bool:
        """Tell whether a callback's newest result was made of this change, or of a newer one.

        False also if this worker does not know.
        """
        return self._used.get(callback, {}).get(key, NEVER) >= made > NEVER

    async def up_to_date(self) -> None:
        """Wait until this worker knows all that was published before the call."""
        await self._caught_up()
        await self._learned.wait()

    async def _caught_up(self) -> bool:
        """Follow to where the channel stands now; False if it has begun anew meanwhile."""
        position = await self._listeners.broker.position(CHANNEL)
        await self._listeners.reached(CHANNEL, position)
        return position.epoch == self._recent.position.epoch

    # -- writing ---------------------------------------------------------------------------------

    async def publish(
        self,
        values: Mapping[Key, Any],
        *,
        additions: Iterable[tuple[Key, Any]] = (),
        origins: Mapping[str, int] | None = None,
        callback: str | None = None,
        made: Mapping[Key, MadeAt] | None = None,
        used: Mapping[Key, MadeAt] | None = None,
        fence: Lease | None = None,
        after: Position | None = None,
    ) -> Position:
        """Set values for everybody, in one message; returns its position.

        ``additions`` are changes that build on a value (``extendData``): pages that are there get
        them, the state does not. ``origins`` are the pages' changes that this answers. ``made``
        says when changed inputs were changed, ``used`` of which changes a result was made. With
        ``after`` it raises `Overtaken` if something was published after that position.
        """
        updates: list[tuple[str, str, bytes]] = []
        changes: dict[str, bytes | None] = {}
        for key, value in values.items():
            encoded = dumps(value)
            updates.append((*key, encoded))
            changes[name_of(key)] = encoded
        added = [(key[0], key[1], dumps(value)) for key, value in additions]
        notes = {made_name(key): dumps(at) for key, at in (made or {}).items()}
        if callback is not None:
            notes[RAN + callback] = b"1"
        changes |= notes
        extras: dict[str, Any] = {"u": updates, "a": added, "o": dict(origins or {})}
        extras["notes"] = notes
        if callback is not None:
            extras["cb"] = callback
            extras["used"] = [[*key, *at] for key, at in (used or {}).items()]
        return await self._listeners.broker.publish(
            CHANNEL,
            Envelope(KIND, b"", extras=extras).pack(),
            changes=changes,
            fence=fence,
            after=after,
            retention=_RETENTION,
        )

    async def set(self, key: Key, value: Any) -> None:
        """Set a value for everybody, newer than all changes that pages have made so far."""
        made = {key: (self.times.now(), "")} if key in self.inputs else None
        await self.publish({key: value}, made=made)

    def repair(self, key: Key) -> None:
        """Publish an input's newest value again: the store has an older one that came after it."""
        self._backplane.spawn(self._repair(key))

    async def _repair(self, key: Key) -> None:
        while True:
            at = self._recent.position
            try:
                await self._publish_newest(key, at)
            except Overtaken:
                logger.debug("somebody was faster; once more")
                await self.up_to_date()
            else:
                return

    async def _publish_newest(self, key: Key, after: Position) -> None:
        await self.publish({key: self.value(key)}, made={key: self.made_at(key)}, after=after)

    async def _put_back(self) -> None:
        """Give the store what it has lost, but for what was set since.

        What it does not take pages still see, as long as this worker lives.
        """
        while self._lost:
            try:
                await self._put_back_part()
            except Overtaken:
                logger.debug("somebody was faster; once more")
            except (BrokerRefused, PayloadTooLarge) as error:
                logger.warning("%d shared values are not put back: %s", len(self._lost), error)
                self._lost.clear()
            if not await self._caught_up():
                # What is to be done then begins with that.
                return

    async def _put_back_part(self) -> None:
        updates: list[tuple[str, str, bytes]] = []
        notes: dict[str, bytes] = {}
        changes: dict[str, bytes] = {}
        size = 0
        for name, known in self._lost.items():
            size += len(name) + len(known.value)
            if changes and size > _PART:
                break
            changes[name] = known.value
            component_id, tab, prop = name.partition("\t")
            if tab:
                updates.append((component_id, prop, known.value))
            else:
                notes[name] = known.value
        at, here = self._lost_at, self._recent.position
        back = {"epoch": at.epoch, "number": at.number}
        extras: dict[str, Any] = {"u": updates, "a": [], "o": {}, "notes": notes, "back": back}
        await self._listeners.broker.publish(
            CHANNEL,
            Envelope(KIND, b"", extras=extras).pack(),
            changes=framed(at, here, changes),
            # Nothing may be overwritten that this worker has not heard of yet.
            after=here,
            retention=_RETENTION,
        )

    # -- from the broker -------------------------------------------------------------------------

    def deliver(self, publication: Publication) -> None:
        """Take a change in, and send it to the pages of this worker."""
        if self._waiting is not None:
            if len(self._waiting) >= _MAX_WAITING:
                self._waiting.clear()
                self._resets += 1
            self._waiting.append(publication)
            return
        position = publication.position
        known = self._recent.position
        if position.epoch != known.epoch or position.number <= known.number:
            return
        try:
            frame = self._take(publication)
        except UnsupportedEnvelope as error:
            logger.warning("channel %r: %s", CHANNEL, error)
            frame = None
        self._recent.advance(position.number, frame)
        self._snapshot = None
        if frame is not None:
            self._backplane.frame(frame)
        for each in self.on_change:
            each()

    def _take(self, publication: Publication) -> Frame | None:
        envelope = Envelope.unpack(publication.payload)
        if envelope.kind != KIND:
            return None
        extras = dict(envelope.extras)
        number = publication.position.number
        back: Mapping[str, Any] | None = extras.get("back")
        extras["u"] = self._without_superseded(extras)
        for component_id, prop, value in extras["u"]:
            name = name_of((component_id, prop))
            self._mirror.set(name, value, number)
            if self._lost:
                self._found(name, value, back)
        for name, value in extras["notes"].items():
            self._mirror.set(name, value, number)
            self._lost.pop(name, None)
        if "cb" in extras:
            self._used[extras["cb"]] = {
                (component_id, prop): _made_at(at) for component_id, prop, *at in extras["used"]
            }
        origins: dict[str, int] = extras["o"]
        for page, change in origins.items():
            self._seen.pop((extras["cb"], page), None)
            self._seen[extras["cb"], page] = change
        while len(self._seen) > _MAX_ORIGINS:
            self._seen.popitem(last=False)
        return _frame(number, extras)

    def _without_superseded(self, extras: dict[str, Any]) -> list[Any]:
        """Return the updates but for inputs that a publication before this one changed later.

        Two callbacks of one input may run at the same time, on two workers.
        """
        notes: dict[str, bytes] = extras["notes"]
        kept: list[Any] = []
        for update in extras["u"]:
            key = (update[0], update[1])
            note = notes.get(made_name(key))
            if note is not None:
                made = _made_at(orjson.loads(note))
                self.times.observe(made)
                if made < self.made_at(key):
                    del notes[made_name(key)]
                    continue
            kept.append(update)
        return kept

    def _found(self, name: str, value: bytes, back: Mapping[str, Any] | None) -> None:
        """Note that the store has a value again, unless it is one that somebody knew before this.

        ``back`` says how far they had followed who put it back; None for a value that is new.
        """
        lost = self._lost.get(name)
        if lost is None:
            return
        is_older = (
            back is not None
            and back["epoch"] == self._lost_at.epoch
            and back["number"] < lost.number
            and value != lost.value
        )
        if not is_older:
            del self._lost[name]

    def reset(self, channel: str, position: Position) -> None:
        """Fetch the state anew, and tell the pages that something is lost."""
        del channel, position
        self._resets += 1
        if self._waiting is None:
            self._waiting = []
            self._learned.clear()
            self._backplane.spawn(self._begin_anew())

    async def _begin_anew(self) -> None:
        await self._backplane.persist(self._learn)
        position = self._recent.position
        self._backplane.frame(reset_frame(SHARED, position, self._updates()))
        self._go_on()
        for each in self.on_reset:
            each(position)
        for each in self.on_change:
            each()
        await self._backplane.persist(self._put_back)

    # -- for pages -------------------------------------------------------------------------------

    async def follow(self, channel: str) -> None:
        """Do nothing: this worker follows the state from its start to its end."""

    async def unfollow(self, channel: str) -> None:
        """Do nothing."""

    async def catch_up(self, channel: str, position: Position | None) -> CatchUp:
        """Return the state for a page that is new, and what it missed for one that is not."""
        del channel
        recent = self._recent
        if position is None:
            return CatchUp(recent.position, (self._state_frame(),), recovered=True)
        if recent.knows(position):
            return CatchUp(recent.position, tuple(recent.after(position.number)), recovered=True)
        missed = await self._missed(position)
        if missed is None:
            return CatchUp(recent.position, (self._state_frame(),), recovered=False)
        return CatchUp(recent.position, (*missed, *recent.after(recent.floor)), recovered=True)

    async def _missed(self, position: Position) -> list[Frame] | None:
        """Return the frames after ``position`` that this worker does not remember."""
        try:
            missed = await self._listeners.broker.since(CHANNEL, position)
        except BrokerError as error:
            logger.warning("%s", error)
            return None
        recent = self._recent
        if missed is None or not missed or position.epoch != recent.position.epoch:
            return None
        if missed[-1].position.number < recent.floor:
            return None
        return [
            _frame(each.position.number, Envelope.unpack(each.payload).extras)
            for each in missed
            if each.position.number <= recent.floor
        ]

    def _state_frame(self) -> Frame:
        if self._snapshot is None:
            number = self._recent.position.number
            self._snapshot = snapshot_frame(SHARED, number, self._updates())
        return self._snapshot

    def _updates(self) -> str:
        return _text(self._mirror.properties())


def _made_at(value: Any) -> MadeAt:
    milliseconds, page = value
    return milliseconds, page


def _text(updates: Iterable[tuple[str, str, bytes]]) -> str:
    """Return updates as the ``u`` of a frame."""
    entries = (
        f"[{_id_json(component_id)},{{{dumps(prop).decode()}:{value.decode()}}}]"
        for component_id, prop, value in updates
    )
    return f"[{','.join(entries)}]"


def _id_json(component_id: str) -> str:
    # Dash writes an id that is an object as its JSON.
    return component_id if component_id.startswith("{") else dumps(component_id).decode()


def _frame(number: int, extras: Mapping[str, Any]) -> Frame:
    updates: list[Any] = extras["u"]
    added: list[Any] = extras["a"]
    origins: dict[str, int] = extras["o"]
    text = (
        f'{{"c":"{SHARED}","n":{number},"t":"props",'
        f'"cb":{dumps(extras.get("cb")).decode()},"o":{dumps(origins).decode()},'
        f'"u":{_text((*updates, *added))}}}'
    )
    keys = frozenset((component_id, prop) for component_id, prop, _ in updates)
    if added:
        touched = keys | {(component_id, prop) for component_id, prop, _ in added}
        return Frame(text, len(text.encode()), SHARED, number, touches=touched)
    # It may stand in for an earlier one only if it answers the same pages.
    answered = frozenset((f"@{extras['cb']}", page) for page in origins)
    return Frame(text, len(text.encode()), SHARED, number, sets=keys | answered)
