"""The values that all pages share: a worker's copy of the broker's snapshot."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from flash.log_limit import limited_logger
from flash.serialize import dumps
from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.broker.page_frames import PREFIX
from flash_pubsub.broker.recent_frames import RecentFrames
from flash_pubsub.broker.replica import ChannelReplica
from flash_pubsub.broker.seam import Retention
from flash_pubsub.errors import BrokerError, Overtaken, UnsupportedEnvelope
from flash_pubsub.shared.change_times import NEVER, ChangeTimes
from flash_pubsub.shared.mirror import (
    MADE_PREFIX,
    RAN_PREFIX,
    MirroredValue,
    StateMirror,
    change_time_name,
    name_of,
    with_restore_marks,
)
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

logger = limited_logger(__name__)

# The page channel of the state that all pages share. That of a room has the room's name after it.
SHARED = "shared"

KIND = "shared"

# Pairs of callback and page whose last answered change is remembered; the oldest are dropped.
_MAX_ANSWERED = 20_000


@dataclass(frozen=True, slots=True)
class StateLimits:
    """How much of a state is kept; beyond it the oldest is dropped first."""

    retention: Retention
    # The frames in the memory of a worker, for pages that reconnect to it.
    max_frames: int
    max_frame_bytes: int


# Of the one state of all pages, and of that of a room, of which there are many.
EVERYBODYS_LIMITS = StateLimits(Retention(max_messages=5000, max_bytes=8 << 20), 1000, 1 << 20)
ROOM_LIMITS = StateLimits(
    Retention(max_messages=1000, max_bytes=1 << 20, max_values=1000, max_snapshot_bytes=1 << 20),
    200,
    128 << 10,
)

# Approximate bytes of values that are restored in one publication.
_RESTORE_PART_BYTES = 256 << 10


class SharedState(ChannelReplica):
    """Values by component and property; every worker applies changes in the broker's order.

    There is one for all pages, and one for each room. It makes the frames of the page channel
    ``name``. Reading a value does not use the broker. ``times`` and ``inputs`` may belong to
    several states.

    When the store has lost values, the workers keep them and restore them in the store, except
    values that were set since the loss. Of several workers, the values of the one that had received
    most publications win.
    """

    def __init__(
        self,
        listeners: Listeners,
        backplane: BrokerBackplane,
        name: str = SHARED,
        *,
        limits: StateLimits = EVERYBODYS_LIMITS,
        times: ChangeTimes | None = None,
        inputs: set[Key] | None = None,
    ) -> None:
        # The channel in the broker also has the leases of the callbacks.
        super().__init__(f"{PREFIX}{name}", listeners, backplane)
        self._name = name
        self._retention = limits.retention
        # The values as JSON, and the notes about callbacks and inputs.
        self._mirror = StateMirror(
            max_values=self._retention.max_values, max_bytes=self._retention.max_snapshot_bytes
        )
        # The values to restore in the store, and the last position received before the loss.
        self._lost: dict[str, MirroredValue] = {}
        self._lost_at = Position("", 0)
        # By callback and page: the number of the page's newest change whose result was published.
        self._answered: OrderedDict[tuple[str, str], int] = OrderedDict()
        # The times of pages' changes.
        self.times = times or ChangeTimes()
        # The inputs of the shared callbacks.
        self.inputs: set[Key] = set() if inputs is None else inputs
        # By callback: the times of the input changes that its newest result is based on.
        self._used: dict[str, dict[Key, MadeAt]] = {}
        self._recent = RecentFrames(
            Position("", 0), max_frames=limits.max_frames, max_bytes=limits.max_frame_bytes
        )
        # The state as a frame for pages; None if it has changed since.
        self._snapshot: Frame | None = None
        # Called after every publication.
        self.on_change: list[Callable[[], None]] = []
        # Called with the new position after publications were lost.
        self.on_reset: list[Callable[[Position], None]] = []

    async def start(self) -> None:
        """Fetch the state and receive all changes from now on.

        The state from before the app was stopped is discarded.
        """
        self._mirror.clear()
        self._lost.clear()
        self._answered.clear()
        self._used.clear()
        self._recent.begin(Position("", 0))
        await super().start()

    @property
    def position(self) -> Position:
        """The position up to which the state has all publications."""
        return self._recent.position

    async def _prepare(self, snapshot: Snapshot) -> Callable[[], None]:
        return partial(self._begin, snapshot)

    def _begin(self, snapshot: Snapshot) -> None:
        here = self._recent.position
        if snapshot.position.epoch == here.epoch:
            # Values that the store has again need not be restored.
            for name in snapshot.values:
                self._lost.pop(name, None)
        else:
            if self._mirror.is_older(here, snapshot):
                self._answered.clear()
            self._lost, self._lost_at = self._mirror.lost(here, snapshot), here
        self._mirror.load(snapshot)
        for name, value in snapshot.values.items():
            if name.startswith(MADE_PREFIX):
                self.times.observe(_made_at(orjson.loads(value)))
        self._used.clear()
        for name, known in self._lost.items():
            self._mirror.set(name, known.value, snapshot.position.number)
        self._recent.begin(snapshot.position)
        self._snapshot = None

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
        """The epoch of the state's position; it changes when the store has lost data."""
        return self._recent.position.epoch

    def has_run(self, callback: str) -> bool:
        """Tell whether a callback has run in this deployment."""
        return RAN_PREFIX + callback in self._mirror

    def has_answered(self, callback: str, page: str, number: int) -> bool:
        """Tell whether the result of a page's change is published and part of this state."""
        return self._answered.get((callback, page), 0) >= number

    def made_at(self, key: Key) -> MadeAt:
        """Return the time of an input's newest change; `NEVER` if it was not changed."""
        found = self._mirror.get(change_time_name(key))
        return NEVER if found is None else _made_at(orjson.loads(found))

    def has_used(self, callback: str, key: Key, made: MadeAt) -> bool:
        """Tell whether a callback's newest result is based on this change or on a newer one.

        Returns False if this worker does not know.
        """
        return self._used.get(callback, {}).get(key, NEVER) >= made > NEVER

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
        """Set values on all pages in one message; returns its position.

        - ``additions``: changes that add to a value, such as ``extendData``. Connected pages get
          them; they do not become part of the state.
        - ``origins``: by page, the number of the newest change that this message answers.
        - ``callback``: the callback whose result this is.
        - ``made``: the times of the changes of inputs.
        - ``used``: the times of the input changes that the result is based on.
        - ``fence``: raises `Fenced` if this lease is not the newest.
        - ``after``: raises `Overtaken` if something was published after this position.
        """
        updates: list[tuple[str, str, bytes]] = []
        changes: dict[str, bytes | None] = {}
        for key, value in values.items():
            encoded = dumps(value)
            updates.append((*key, encoded))
            changes[name_of(key)] = encoded
        added = [(key[0], key[1], dumps(value)) for key, value in additions]
        notes = {change_time_name(key): dumps(at) for key, at in (made or {}).items()}
        if callback is not None:
            notes[RAN_PREFIX + callback] = b"1"
        changes |= notes
        extras: dict[str, Any] = {"u": updates, "a": added, "o": dict(origins or {})}
        extras["notes"] = notes
        if callback is not None:
            extras["cb"] = callback
            extras["used"] = [[*key, *at] for key, at in (used or {}).items()]
        return await self._listeners.broker.publish(
            self.channel,
            Envelope(KIND, b"", extras=extras).pack(),
            changes=changes,
            fence=fence,
            after=after,
            retention=self._retention,
        )

    async def set(self, key: Key, value: Any) -> None:
        """Set a value on all pages; it counts as newer than all changes that pages have made."""
        made = {key: (self.times.now(), "")} if key in self.inputs else None
        await self.publish({key: value}, made=made)

    def republish_newest(self, key: Key) -> None:
        """Publish an input's newest value again, because an older one was published after it."""
        self._backplane.spawn(self._republish_newest(key))

    async def _republish_newest(self, key: Key) -> None:
        while not self._is_stopped:
            at = self._recent.position
            try:
                await self._publish_newest(key, at)
            except Overtaken:
                logger.debug("another worker published first; trying again")
                await self.up_to_date()
            else:
                return

    async def _publish_newest(self, key: Key, after: Position) -> None:
        await self.publish({key: self.value(key)}, made={key: self.made_at(key)}, after=after)

    @property
    def _lost_count(self) -> int:
        return len(self._lost)

    def _give_up(self, error: Exception) -> None:
        # Pages keep the values for as long as this worker runs.
        logger.warning("%d shared values are not restored: %s", len(self._lost), error)
        self._lost.clear()

    async def _restore_part(self) -> None:
        updates: list[tuple[str, str, bytes]] = []
        notes: dict[str, bytes] = {}
        changes: dict[str, bytes] = {}
        size = 0
        for name, known in self._lost.items():
            size += len(name) + len(known.value)
            if changes and size > _RESTORE_PART_BYTES:
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
            self.channel,
            Envelope(KIND, b"", extras=extras).pack(),
            changes=with_restore_marks(at, here, changes),
            # A publication that this worker has not received yet must not be overwritten.
            after=here,
            retention=self._retention,
        )

    # -- from the broker -------------------------------------------------------------------------

    def _apply(self, publication: Publication) -> None:
        """Apply a publication to the state and send it to the pages of this worker."""
        try:
            frame = self._frame_of(publication)
        except UnsupportedEnvelope as error:
            logger.warning("channel %r: %s", self.channel, error)
            frame = None
        self._recent.advance(publication.position.number, frame)
        self._snapshot = None
        if frame is not None:
            self._backplane.deliver_frame(frame)
        for each in self.on_change:
            each()

    def _frame_of(self, publication: Publication) -> Frame | None:
        """Change the values as a publication says; return its frame for pages, if it has one."""
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
                self._forget_lost(name, value, back)
        for name, value in extras["notes"].items():
            self._mirror.set(name, value, number)
            self._lost.pop(name, None)
        if "cb" in extras:
            self._used[extras["cb"]] = {
                (component_id, prop): _made_at(at) for component_id, prop, *at in extras["used"]
            }
        origins: dict[str, int] = extras["o"]
        for page, change in origins.items():
            self._answered.pop((extras["cb"], page), None)
            self._answered[extras["cb"], page] = change
        while len(self._answered) > _MAX_ANSWERED:
            self._answered.popitem(last=False)
        return _frame(self._name, number, extras)

    def _without_superseded(self, extras: dict[str, Any]) -> list[Any]:
        """Return the updates without inputs for which an earlier publication had a newer change.

        Two callbacks with the same input may run at the same time on two workers.
        """
        notes: dict[str, bytes] = extras["notes"]
        kept: list[Any] = []
        for update in extras["u"]:
            key = (update[0], update[1])
            note = notes.get(change_time_name(key))
            if note is not None:
                made = _made_at(orjson.loads(note))
                self.times.observe(made)
                if made < self.made_at(key):
                    del notes[change_time_name(key)]
                    continue
            kept.append(update)
        return kept

    def _forget_lost(self, name: str, value: bytes, back: Mapping[str, Any] | None) -> None:
        """Drop a value from those to restore, unless the store has an older value of it.

        ``back`` has the last position that the restoring worker had received; None for a new value.
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

    def _reloaded(self) -> None:
        """Tell the pages that publications are lost, and what the values are."""
        self._backplane.deliver_frame(reset_frame(self._name, self.position, self._updates()))

    def _resumed(self, position: Position) -> None:
        for each in self.on_reset:
            each(position)
        for each in self.on_change:
            each()

    # -- for pages -------------------------------------------------------------------------------

    async def catch_up(self, position: Position | None) -> CatchUp:
        """Return the whole state for a new page, and the missed frames for a returning one."""
        recent = self._recent
        if position is None:
            return CatchUp(recent.position, (self._state_frame(),), recovered=True)
        if recent.covers(position):
            return CatchUp(recent.position, tuple(recent.after(position.number)), recovered=True)
        missed = await self._fetch_missed(position)
        if missed is None:
            return CatchUp(recent.position, (self._state_frame(),), recovered=False)
        return CatchUp(recent.position, (*missed, *recent.after(recent.floor)), recovered=True)

    async def _fetch_missed(self, position: Position) -> list[Frame] | None:
        """Return the frames after ``position`` that are not in memory; None if any is unknown."""
        try:
            missed = await self._listeners.broker.since(self.channel, position)
        except BrokerError as error:
            logger.warning("%s", error)
            return None
        recent = self._recent
        if missed is None or not missed or position.epoch != recent.position.epoch:
            return None
        if missed[-1].position.number < recent.floor:
            return None
        return [
            _frame(self._name, each.position.number, Envelope.unpack(each.payload).extras)
            for each in missed
            if each.position.number <= recent.floor
        ]

    def _state_frame(self) -> Frame:
        if self._snapshot is None:
            number = self._recent.position.number
            self._snapshot = snapshot_frame(self._name, number, self._updates())
        return self._snapshot

    def _updates(self) -> str:
        return _encode_updates(self._mirror.properties())


def _made_at(value: Any) -> MadeAt:
    milliseconds, page = value
    return milliseconds, page


def _encode_updates(updates: Iterable[tuple[str, str, bytes]]) -> str:
    """Encode updates as the member ``u`` of a frame."""
    entries = (
        f"[{_id_json(component_id)},{{{dumps(prop).decode()}:{value.decode()}}}]"
        for component_id, prop, value in updates
    )
    return f"[{','.join(entries)}]"


def _id_json(component_id: str) -> str:
    # Dash writes an id that is an object as JSON.
    return component_id if component_id.startswith("{") else dumps(component_id).decode()


def _frame(channel: str, number: int, extras: Mapping[str, Any]) -> Frame:
    updates: list[Any] = extras["u"]
    added: list[Any] = extras["a"]
    origins: dict[str, int] = extras["o"]
    text = (
        f'{{"c":{dumps(channel).decode()},"n":{number},"t":"props",'
        f'"cb":{dumps(extras.get("cb")).decode()},"o":{dumps(origins).decode()},'
        f'"u":{_encode_updates((*updates, *added))}}}'
    )
    keys = frozenset((component_id, prop) for component_id, prop, _ in updates)
    if added:
        touched = keys | {(component_id, prop) for component_id, prop, _ in added}
        return Frame(text, len(text.encode()), channel, number, touches=touched)
    # Conflation may replace an earlier frame by this one only if both answer the same pages.
    answered = frozenset((f"@{extras['cb']}", page) for page in origins)
    return Frame(text, len(text.encode()), channel, number, sets=keys | answered)
