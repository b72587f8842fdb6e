"""Delivering to pages what the callbacks of channels make of messages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING

from flash.supervision import SupervisedTask
from flash_pubsub.broker.recent_frames import RecentFrames
from flash_pubsub.channels.backfill import Backfill
from flash_pubsub.channels.declaration import EVERY_WORKER
from flash_pubsub.channels.history import BrokerReader
from flash_pubsub.channels.once import OnceConsumer
from flash_pubsub.channels.results import combined
from flash_pubsub.channels.runner import MESSAGES_PER_SLICE, CallbackRunner
from flash_pubsub.errors import BrokerError
from flash_ws.callbacks.deferred import hub_of
from flash_ws.protocol.channel import CatchUp, State
from flash_ws.protocol.frames import reset_frame, snapshot_frame
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash import Flash
    from flash.tracing import Tracing, Value
    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.broker.seam import Publication
    from flash_pubsub.channels.declaration import Declarations
    from flash_pubsub.channels.results import CallbackResult
    from flash_ws.protocol.frames import Frame

logger = logging.getLogger(__name__)

# Seconds that a page waits until this worker has come to a position that another one has reached.
_PROCESSED_WITHIN = 1.0


class ChannelDeliveries:
    """The channels whose callbacks this worker runs; the `FrameSource` of their page channels."""

    def __init__(
        self,
        app: Flash,
        declarations: Declarations,
        listeners: Listeners,
        backplane: BrokerBackplane,
        *,
        lease_ttl: float,
    ) -> None:
        self._app = app
        self.declarations = declarations
        self.listeners = listeners
        self.backplane = backplane
        self.lease_ttl = lease_ttl
        self.runner = CallbackRunner(app)
        self.counters = self.runner.counters
        self._deliveries: dict[str, ChannelDelivery] = {}
        # By channel: the calls of `acquire` without a `release`. The pages of this worker count as
        # one, and the worker itself as another.
        self._reference_counts: dict[str, int] = {}
        self._lock = asyncio.Lock()

    async def acquire(self, channel: str) -> None:
        """Run the callbacks of a channel from now on, until `release` is called as often."""
        self._reference_counts[channel] = self._reference_counts.get(channel, 0) + 1
        async with self._lock:
            if channel not in self._deliveries:
                delivery = ChannelDelivery(self, channel)
                await delivery.start()
                self._deliveries[channel] = delivery

    async def release(self, channel: str) -> None:
        """Undo one `acquire`."""
        self._reference_counts[channel] -= 1
        async with self._lock:
            if self._reference_counts.get(channel) == 0:
                del self._reference_counts[channel]
                await self._deliveries.pop(channel).stop()

    async def close(self) -> None:
        """Stop the callbacks of all channels."""
        for delivery in list(self._deliveries.values()):
            await delivery.stop()
        self._deliveries.clear()
        self._reference_counts.clear()
        # The next start may be on another event loop.
        self._lock = asyncio.Lock()

    async def follow(self, channel: str) -> None:
        """Deliver the results of a channel's callbacks."""
        await self.acquire(channel.partition(":")[2])

    async def unfollow(self, channel: str) -> None:
        """Stop delivering them: no page of this worker follows the channel any more."""
        await self.release(channel.partition(":")[2])

    async def catch_up(self, channel: str, position: Position | None) -> CatchUp:
        """Return the frames that a page at ``position`` missed."""
        return await self._deliveries[channel.partition(":")[2]].catch_up(position)

    def deliver(self, frame: Frame, results: Sequence[CallbackResult]) -> None:
        """Queue what callbacks have set for the pages of this worker."""
        tracing, context = self._app.tracing, results[-1].context
        if tracing is None or context is None:
            self.backplane.deliver_frame(frame)
        else:
            context.run(self._deliver_traced, tracing, frame)

    def _deliver_traced(self, tracing: Tracing, frame: Frame) -> None:
        pages = hub_of(self._app).followers.count(frame.channel or "")
        attributes: dict[str, Value] = {
            "flash.push.channel": EVERY_WORKER,
            "flash.push.bytes": frame.size,
            "flash.push.pages": pages,
        }
        with tracing.span("push", attributes):
            self.backplane.deliver_frame(frame)


class _ResetMarker:
    """A place in the queue where messages are missing: those up to ``position``.

    ``skipped`` of them were dropped from the queue because the callbacks were too slow; if it is 0,
    the broker has lost messages, and the history may still have some of them.
    """

    def __init__(self, position: Position, skipped: int = 0) -> None:
        self.position = position
        self.skipped = skipped


class ChannelDelivery:
    """Runs the callbacks of one channel for this worker's pages: one message after the other."""

    def __init__(self, deliveries: ChannelDeliveries, channel: str) -> None:
        self._deliveries = deliveries
        self._runner = deliveries.runner
        self._listeners = deliveries.listeners
        self._channel = channel
        self._name = f"{EVERY_WORKER}:{channel}"
        self._settings = deliveries.declarations.settings(channel)
        matched = deliveries.declarations.matching(channel)
        self._callbacks = [each for each in matched if not each.callback.once]
        once = [each for each in matched if each.callback.once]
        self._once_consumer = (
            OnceConsumer(
                self._runner, self._listeners, channel, once, lease_ttl=deliveries.lease_ttl
            )
            if once
            else None
        )
        self._waiting: deque[Publication | _ResetMarker] = deque()
        self._wake = asyncio.Event()
        self._state = State()
        self._recent = RecentFrames(Position("", 0))
        with_backfill = [each for each in self._callbacks if each.callback.backfill]
        self._backfill = (
            Backfill(
                self._runner, self._listeners, channel, with_backfill, deliveries.backplane.spawn
            )
            if with_backfill
            else None
        )
        # The frame for pages that come now, and what it was made of.
        self._first_frame: tuple[tuple[Position, int], tuple[Frame, ...]] | None = None
        # Done when a message was processed; exist only while a page waits for that.
        self._waiting_for_progress: list[asyncio.Future[None]] = []
        self._tasks: list[SupervisedTask] = []

    async def start(self) -> None:
        """Listen to the channel, and run the callbacks once with its last message."""
        position = await self._listeners.listen(self._channel, self)
        for each in self._waiting:
            if not isinstance(each, _ResetMarker):
                # This message was delivered meanwhile.
                position = Position(each.position.epoch, each.position.number - 1)
                break
        self._recent.begin(position)
        await self._load_last_message(position)
        if self._backfill is not None:
            self._backfill.begin(position)
            self._backfill.prepare()
        self._tasks = [SupervisedTask(f"callbacks of channel {self._channel!r}", self._consume)]
        if self._once_consumer is not None:
            self._once_consumer.start_position = position
            name = f"once=True callbacks of channel {self._channel!r}"
            self._tasks.append(SupervisedTask(name, self._once_consumer.lead))
        for task in self._tasks:
            task.start()

    async def stop(self) -> None:
        """Stop listening and end the callbacks' tasks."""
        with contextlib.suppress(BrokerError):
            await self._listeners.unlisten(self._channel, self)
        for task in self._tasks:
            await task.stop()
        if self._backfill is not None:
            await self._backfill.stop()

    def deliver(self, publication: Publication) -> None:
        """Queue a message; if too many wait, skip all but this one and reset the pages."""
        self._waiting.append(publication)
        if len(self._waiting) > self._settings.max_waiting:
            self._skip_all_but(publication)
        self._wake.set()
        if self._once_consumer is not None:
            self._once_consumer.deliver(publication)

    def _skip_all_but(self, newest: Publication) -> None:
        resets = [each for each in self._waiting if isinstance(each, _ResetMarker)]
        if not self._callbacks:
            # Only the position matters, and the newest message has it.
            self._waiting = deque([*resets, newest])
            return
        skipped = len(self._waiting) - len(resets) - 1
        self._runner.counters.skipped += skipped
        before = Position(newest.position.epoch, newest.position.number - 1)
        skipped += sum(each.skipped for each in resets)
        self._waiting = deque([_ResetMarker(before, skipped), newest] if skipped else [newest])

    def reset(self, channel: str, position: Position) -> None:
        """Queue a reset of the pages, behind the messages that wait."""
        del channel
        self._waiting.append(_ResetMarker(position))
        self._wake.set()

    async def catch_up(self, position: Position | None) -> CatchUp:
        """Return the frames after ``position``, exactly up to the one that is delivered next.

        A page that comes first gets the backfill, one that has missed more than is kept what the
        backfill has of it. Both come with the present values, in one frame.
        """
        recent = self._recent
        if position is None:
            is_whole = self._backfill is None or await self._backfill.wait()
            if is_whole:
                return CatchUp(recent.position, self._frame_for_new_page(), recovered=True)
            updates = self._updates(has_values=self._settings.replay_last)
            frame = snapshot_frame(self._name, recent.position.number, updates, recovered=False)
            return CatchUp(recent.position, (frame,), recovered=False)
        await self._wait_until_processed(position)
        if recent.covers(position):
            return CatchUp(recent.position, tuple(recent.after(position.number)), recovered=True)
        earlier = await self._render_missed(position)
        if earlier is not None:
            floor = max(recent.floor, position.number)
            return CatchUp(recent.position, (*earlier, *recent.after(floor)), recovered=True)
        if self._backfill is not None:
            await self._backfill.wait()
        # What the page has of another epoch is none of the messages of this one.
        after = position.number if position.epoch == recent.position.epoch else 0
        updates = self._updates(has_values=True, after=after)
        return CatchUp(recent.position, self._as_frames(updates), recovered=False)

    def _frame_for_new_page(self) -> tuple[Frame, ...]:
        """Return the frame for a page that comes now, if any; it is made once for each message."""
        made_of = (self._recent.position, 0 if self._backfill is None else self._backfill.version)
        if self._first_frame is None or self._first_frame[0] != made_of:
            updates = self._updates(has_values=self._settings.replay_last)
            self._first_frame = (made_of, self._as_frames(updates))
        return self._first_frame[1]

    def _as_frames(self, updates: str) -> tuple[Frame, ...]:
        """Return a snapshot with these updates as of now; nothing without updates."""
        if updates == "[]":
            return ()
        return (snapshot_frame(self._name, self._recent.position.number, updates),)

    async def _wait_until_processed(self, position: Position) -> None:
        """Wait until the messages up to ``position`` are processed here, if there are such."""
        here = self._recent.position
        if position.epoch == here.epoch and position.number <= here.number:
            return
        delivered = self._listeners.position(self._channel)
        if delivered is None or delivered.epoch != position.epoch:
            return
        if delivered.number < position.number:
            newest = await self._listeners.broker.position(self._channel)
            if newest.epoch != position.epoch or newest.number < position.number:
                return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PROCESSED_WITHIN):
                while (
                    self._recent.position.epoch != position.epoch
                    or self._recent.position.number < position.number
                ):
                    progress: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiting_for_progress.append(progress)
                    await progress

    def _note_progress(self) -> None:
        """Resume the pages that wait for a message that was processed."""
        waiting, self._waiting_for_progress = self._waiting_for_progress, []
        for each in waiting:
            if not each.done():
                each.set_result(None)

    async def _render_missed(self, position: Position) -> list[Frame] | None:
        """Return the frames after ``position`` that this worker has not stored; None if unknown.

        A page that comes from another worker needs them. The callbacks run again here.
        """
        recent = self._recent
        if position.epoch != recent.position.epoch or position.number > recent.position.number:
            return None
        missed = await self._listeners.broker.since(self._channel, position)
        if missed is None:
            return None
        frames: list[Frame] = []
        done = position.number
        for turn, publication in enumerate(missed, start=1):
            if publication.position.number > recent.floor:
                break
            if turn % MESSAGES_PER_SLICE == 0:
                await asyncio.sleep(0)
            message = await self._runner.run(self._callbacks, publication)
            done = publication.position.number
            if message is not None:
                frames.append(message.numbered(self._name, done))
        # ``recent`` may have dropped more frames, or have been reset, meanwhile.
        is_whole = position.epoch == recent.position.epoch and done >= recent.floor
        return frames if is_whole or done == position.number >= recent.floor else None

    def _updates(self, *, has_values: bool, after: int = 0) -> str:
        """Return the present values, and the backfill of the messages after ``after``, as JSON."""
        values = self._state.values if has_values else {}
        entries: list[str] = []
        keys: set[tuple[str, str]] = set()
        if self._backfill is not None:
            entries, keys = self._backfill.updates(values, after)
        present = (
            f"[{component_id},{{{prop}:{value}}}]"
            for (component_id, prop), value in values.items()
            if (component_id, prop) not in keys
        )
        return f"[{','.join((*present, *entries))}]"

    async def _load_last_message(self, position: Position) -> None:
        """Run the callbacks with the last message, so that later pages show the result."""
        if not (self._settings.replay_last and self._callbacks and position.number):
            return
        before = Position(position.epoch, position.number - 1)
        last = await self._listeners.broker.since(self._channel, before)
        if last:
            message = await self._runner.run(self._callbacks, last[0])
            if message is not None:
                self._state.apply(message)

    async def _consume(self) -> None:
        turn = 0
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                turn = 0
            turn += 1
            if turn > MESSAGES_PER_SLICE:
                # A callback may never wait; without this, its results would not be written.
                turn = 1
                await asyncio.sleep(0)
            each = self._waiting.popleft()
            try:
                if isinstance(each, _ResetMarker):
                    await self._apply_reset(each)
                elif not self._is_superseded():
                    await self._process(each)
            except BrokerError as error:
                logger.warning("channel %r: %s", self._channel, error)

    def _is_superseded(self) -> bool:
        """Tell whether conflation drops the message because a newer one waits."""
        return (
            self._settings.conflate
            and bool(self._waiting)
            and not isinstance(self._waiting[0], _ResetMarker)
        )

    async def _process(self, publication: Publication) -> None:
        number = publication.position.number
        if number <= self._recent.position.number:
            return
        results = await self._runner.run_each(self._callbacks, publication)
        message = combined(results)
        frame = None if message is None else message.numbered(self._name, number)
        self._recent.advance(number, frame)
        if self._backfill is not None:
            self._backfill.advance(number, results)
        if self._waiting_for_progress:
            self._note_progress()
        if message is not None and frame is not None:
            self._state.apply(message)
            self._deliveries.deliver(frame, results)

    async def _apply_reset(self, marker: _ResetMarker) -> None:
        position = marker.position
        if position.epoch != self._recent.position.epoch:
            self._state = State()
        if not self._callbacks:
            pass
        elif marker.skipped:
            await self._runner.report_lost(
                self._channel,
                self._callbacks,
                marker.skipped,
                "the callbacks are too slow, and more than "
                f"max_waiting={self._settings.max_waiting} messages waited",
            )
            await self._load_last_message(position)
        else:
            await self._run_kept(position)
        self._recent.begin(position)
        if self._backfill is not None:
            self._backfill.begin(position)
        self._note_progress()
        self._deliveries.backplane.deliver_frame(
            reset_frame(self._name, position, self._state.updates())
        )

    async def _run_kept(self, position: Position) -> None:
        """Run the callbacks with the messages up to ``position`` that the history still has."""
        done = self._recent.position
        if done.epoch != position.epoch:
            done = Position(position.epoch, 0)
        kept = await BrokerReader(self._listeners.broker).kept(self._channel, done)
        publications = [
            each for each in kept.publications if each.position.number <= position.number
        ]
        begin = min(kept.position.number, position.number)
        lost = begin - done.number if kept.position.epoch == position.epoch else 0
        if lost > 0:
            self._runner.counters.lost += lost
            await self._runner.report_lost(
                self._channel, self._callbacks, lost, "the history no longer has them"
            )
        if self._settings.conflate:
            publications = publications[-1:]
        for turn, publication in enumerate(publications, start=1):
            if turn % MESSAGES_PER_SLICE == 0:
                await asyncio.sleep(0)
            message = await self._runner.run(self._callbacks, publication)
            if message is not None:
                self._state.apply(message)
