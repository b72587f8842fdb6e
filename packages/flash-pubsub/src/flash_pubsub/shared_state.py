"""The state that all pages share, as this worker knows it: what the broker's snapshot holds."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import orjson

from flash.serialize import dumps
from flash_pubsub.backplane import PREFIX
from flash_pubsub.broker import Retention
from flash_pubsub.envelope import Envelope
from flash_pubsub.errors import BrokerError, UnsupportedEnvelope
from flash_pubsub.recent import Recent
from flash_ws.channel import CatchUp
from flash_ws.frames import Frame, reset_frame, snapshot_frame
from flash_ws.history import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flash_pubsub.backplane import BrokerBackplane
    from flash_pubsub.broker import Lease, Publication
    from flash_pubsub.listeners import Listeners
    from flash_pubsub.shared import Key

logger = logging.getLogger(__name__)

# The channel of pages, and its name in the broker.
SHARED = "shared"
CHANNEL = f"{PREFIX}{SHARED}"

KIND = "shared"

# Names in the snapshot that are no property: callbacks that have run begin so.
_RAN = "@ran:"

# Pages whose newest change is remembered; the one that changed something longest ago goes.
_MAX_ORIGINS = 20_000

_RETENTION = Retention(max_messages=5000, max_bytes=8 << 20)


class SharedState:
    """Values by (component, property), in the one order that the broker gave their changes.

    A `Source` of pages' frames. Everything here happens on the loop; reading needs no broker.
    """

    def __init__(self, listeners: Listeners, backplane: BrokerBackplane) -> None:
        self._listeners = listeners
        self._backplane = backplane
        # Values as JSON, the one set last at the end.
        self._values: OrderedDict[Key, bytes] = OrderedDict()
        # Callbacks that have run in this deployment.
        self._ran: set[str] = set()
        # By callback and page, the number of the page's newest change that everybody has seen.
        self._seen: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._recent = Recent(Position("", 0))
        # What came while the state was being fetched; None when it is not.
        self._waiting: list[Publication] | None = []
        # The state as a frame, for the position that it was made at.
        self._snapshot: Frame | None = None
        # Called when somebody has published.
        self.on_change: list[Callable[[], None]] = []

    async def start(self) -> None:
        """Learn the state; what changes from now on is followed."""
        await self._listeners.listen(CHANNEL, self)
        await self._learn()

    async def _learn(self) -> None:
        snapshot = await self._listeners.broker.snapshot(CHANNEL)
        if snapshot.position.epoch != self._recent.position.epoch:
            self._seen.clear()
        self._values.clear()
        self._ran.clear()
        for name, value in snapshot.values.items():
            self._set(name, value)
        self._recent.begin(snapshot.position)
        self._snapshot = None
        waiting, self._waiting = self._waiting or [], None
        for publication in waiting:
            self.deliver(publication)

    # -- reading ---------------------------------------------------------------------------------

    def json(self, key: Key) -> bytes | None:
        """Return a value as JSON; None if it was never set."""
        return self._values.get(key)

    def value(self, key: Key, default: Any = None) -> Any:
        """Return a value; ``default`` if it was never set."""
        found = self._values.get(key)
        return default if found is None else orjson.loads(found)

    def has_run(self, callback: str) -> bool:
        """Tell whether a callback has run in this deployment."""
        return callback in self._ran

    def has_seen(self, callback: str, page: str, number: int) -> bool:
        """Tell whether a callback has answered a page's change, for everybody to see."""
        return self._seen.get((callback, page), 0) >= number

    async def up_to_date(self) -> None:
        """Wait until this worker knows all that was published before the call."""
        position = await self._listeners.broker.position(CHANNEL)
        await self._listeners.reached(CHANNEL, position)

    # -- writing ---------------------------------------------------------------------------------

    async def publish(
        self,
        values: Mapping[Key, Any],
        *,
        additions: Iterable[tuple[Key, Any]] = (),
        origins: Mapping[str, int] | None = None,
        callback: str | None = None,
        fence: Lease | None = None,
    ) -> None:
        """Set values for everybody, in one message.

        ``additions`` are changes that build on a value (``extendData``): pages that are there get
        them, the state does not. ``origins`` are the pages' changes that this answers.
        """
        updates: list[tuple[str, str, bytes]] = []
        changes: dict[str, bytes | None] = {}
        for (component_id, prop), value in values.items():
            encoded = dumps(value)
            updates.append((component_id, prop, encoded))
            changes[f"{component_id}\t{prop}"] = encoded
        added = [(key[0], key[1], dumps(value)) for key, value in additions]
        if callback is not None:
            changes[_RAN + callback] = b"1"
        extras: dict[str, Any] = {"u": updates, "a": added, "o": dict(origins or {})}
        if callback is not None:
            extras["cb"] = callback
        await self._listeners.broker.publish(
            CHANNEL,
            Envelope(KIND, b"", extras=extras).pack(),
            changes=changes,
            fence=fence,
            retention=_RETENTION,
        )

    # -- from the broker -------------------------------------------------------------------------

    def deliver(self, publication: Publication) -> None:
        """Take a change in, and send it to the pages of this worker."""
        if self._waiting is not None:
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
        extras = envelope.extras
        for component_id, prop, value in extras["u"]:
            self._set(f"{component_id}\t{prop}", value)
        if "cb" in extras:
            self._ran.add(extras["cb"])
        origins: dict[str, int] = extras["o"]
        for page, number in origins.items():
            self._seen.pop((extras["cb"], page), None)
            self._seen[extras["cb"], page] = number
        while len(self._seen) > _MAX_ORIGINS:
            self._seen.popitem(last=False)
        return _frame(publication.position.number, extras)

    def _set(self, name: str, value: bytes) -> None:
        component_id, tab, prop = name.partition("\t")
        if tab:
            self._values.pop((component_id, prop), None)
            self._values[component_id, prop] = value
        elif name.startswith(_RAN):
            self._ran.add(name.removeprefix(_RAN))

    def reset(self, channel: str, position: Position) -> None:
        """Fetch the state anew, and tell the pages that something is lost."""
        del channel, position
        if self._waiting is None:
            self._waiting = []
            self._backplane.spawn(self._begin_anew())

    async def _begin_anew(self) -> None:
        await self._backplane.persist(self._learn)
        self._backplane.frame(reset_frame(SHARED, self._recent.position, self._updates()))
        for each in self.on_change:
            each()

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
        return _text((*key, value) for key, value in self._values.items())


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
