"""Running the callbacks of channels for each message and delivering the results to pages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, cast

import msgpack
from dash.exceptions import PreventUpdate

from flash.callbacks.context import EventContext
from flash.callbacks.execution import time_limit
from flash.callbacks.traced import call_in_span
from flash.errors import CallbackTimeout
from flash.exits import ends_task
from flash.supervision import SupervisedTask
from flash_pubsub.broker.backplane import FRAME, PREFIX, envelope_extras
from flash_pubsub.broker.envelope import BYTES, JSON, Envelope
from flash_pubsub.broker.leases import run_while_leading
from flash_pubsub.broker.recent_frames import RecentFrames
from flash_pubsub.broker.spans import channel_span
from flash_pubsub.channels.backfill import Backfill
from flash_pubsub.channels.history import BrokerReader
from flash_pubsub.channels.results import CallbackResult, combined
from flash_pubsub.errors import BrokerError, PayloadTooLarge, UnsupportedEnvelope
from flash_ws.callbacks.deferred import hub_of
from flash_ws.protocol.channel import CatchUp, State
from flash_ws.protocol.frames import props_message, reset_frame, snapshot_frame
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextvars import Context

    from flash import Flash
    from flash.tracing import Tracing, Value
    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.broker.seam import Kept, Lease, Publication
    from flash_pubsub.channels.declaration import Declarations, MatchedCallback
    from flash_ws.protocol.frames import Frame, Message

logger = logging.getLogger(__name__)

# The kinds of page channels that carry the results of a channel's callbacks: of those that every
# worker runs for its own pages, and of those that one worker runs for all pages.
EVERY_WORKER = "channel"
ONE_WORKER = "once"

# Messages processed in a row before other tasks on the event loop run, such as writers of pages.
_MESSAGES_PER_SLICE = 16

# The value in the snapshot of a `ONE_WORKER` channel: the position of the last message processed.
_PROCESSED_UP_TO = "@upto"

# Seconds that a page waits until this worker has come to a position that another one has reached.
_PROCESSED_WITHIN = 1.0


def page_channels_of(declarations: Declarations, channel: str) -> list[str]:
    """Return the page channels that a page follows to get the results of a channel's callbacks."""
    matched = declarations.matching(channel)
    kinds = [EVERY_WORKER]
    if any(each.callback.once for each in matched):
        kinds.append(ONE_WORKER)
    return [f"{kind}:{channel}" for kind in kinds]


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
        self.app = app
        self.declarations = declarations
        self.listeners = listeners
        self.backplane = backplane
        self.lease_ttl = lease_ttl
        # Messages that were skipped because callbacks were too slow.
        self.skipped = 0
        # Messages that were no longer kept when callbacks came to them.
        self.lost = 0
        # Calls that took longer than the ``timeout`` of their callback.
        self.timeouts = 0
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

    async def kept(self, channel: str, position: Position) -> Kept:
        """Return what the history still has after ``position``."""
        return await BrokerReader(self.listeners.broker).kept(channel, position)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine in a task that ends with the app."""
        return self.backplane.spawn(work)

    async def report_lost(
        self, channel: str, callbacks: Sequence[MatchedCallback], count: int, reason: str
    ) -> None:
        """Log that ``count`` messages cannot be run, and call the ``on_lost`` of the callbacks."""
        logger.warning("channel %r: %d messages are lost to callbacks: %s", channel, count, reason)
        for matched in callbacks:
            callback = matched.callback
            if callback.on_lost is None:
                continue
            try:
                await self.app.pool.call(callback.on_lost, channel, count)
            except Exception:  # an application's function: logged, and the rest run
                logger.exception("on_lost of the channel callback %r failed", callback.name)

    async def run(
        self, callbacks: Sequence[MatchedCallback], publication: Publication
    ) -> Message | None:
        """Run callbacks with a message and return what they set; a failed callback is logged."""
        return combined(await self.run_each(callbacks, publication))

    async def run_each(
        self,
        callbacks: Sequence[MatchedCallback],
        publication: Publication,
        report: Callable[[MatchedCallback, BaseException], object] | None = None,
    ) -> list[CallbackResult]:
        """Run callbacks with a message and return what each has set, if anything.

        ``report`` gets their errors; without it these are logged.
        """
        channel = publication.channel
        try:
            envelope = Envelope.unpack(publication.payload)
            if envelope.kind not in (JSON, BYTES):
                return []
            data = envelope.data
        except UnsupportedEnvelope as error:
            logger.warning("channel %r: %s", channel, error)
            return []
        tracing = self.app.tracing
        traced: Context | None = None
        results: list[CallbackResult] = []
        for matched in callbacks:
            callback = matched.callback
            own: list[Any] = []
            context = EventContext([], [], [])
            try:
                with context.active():
                    if tracing is None:
                        result = await self._call(matched, data)
                    else:
                        result, traced = await self._call_traced(
                            tracing, matched, data, channel, envelope
                        )
                own.extend(callback.outputs.updates(result, callback.name))
                own.extend(context.take_updates())
                # Raises an error for what cannot be sent, which is this callback's alone.
                message = props_message(own)
            except PreventUpdate:
                continue
            except BaseException as error:
                # An application's function: logged, and the next message is handled.
                if ends_task(error):
                    raise
                self.timeouts += (
                    isinstance(error, CallbackTimeout) and error.callback_id == callback.name
                )
                if report is None:
                    logger.exception("channel callback %r failed", callback.name)
                else:
                    report(matched, error)
                continue
            if own:
                results.append(CallbackResult(matched, own, message, traced))
        return results

    async def _call(self, matched: MatchedCallback, data: Any) -> Any:
        callback = matched.callback
        async with time_limit(callback.name, callback.timeout):
            return await self.app.pool.call(callback.function, data, **matched.variables)

    async def _call_traced(
        self,
        tracing: Tracing,
        matched: MatchedCallback,
        data: Any,
        channel: str,
        envelope: Envelope,
    ) -> tuple[Any, Context]:
        """Call in a span; return the result, and the context in which the span is current."""
        callback = matched.callback
        pattern = callback.pattern.text
        span = channel_span(tracing, channel, pattern, callback.name, envelope)

        async def call() -> tuple[Any, Context]:
            return await self._call(matched, data), copy_context()

        return await call_in_span(span, call)

    def deliver(self, frame: Frame, results: Sequence[CallbackResult]) -> None:
        """Queue what callbacks have set for the pages of this worker."""
        tracing, context = self.app.tracing, results[-1].context
        if tracing is None or context is None:
            self.backplane.deliver_frame(frame)
        else:
            context.run(self._deliver_traced, tracing, frame)

    def _deliver_traced(self, tracing: Tracing, frame: Frame) -> None:
        pages = hub_of(self.app).followers.count(frame.channel or "")
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
        self._channel = channel
        self._name = f"{EVERY_WORKER}:{channel}"
        self._settings = deliveries.declarations.settings(channel)
        matched = deliveries.declarations.matching(channel)
        self._callbacks = [each for each in matched if not each.callback.once]
        once = [each for each in matched if each.callback.once]
        self._once_consumer = OnceConsumer(deliveries, channel, once) if once else None
        self._waiting: deque[Publication | _ResetMarker] = deque()
        self._wake = asyncio.Event()
        self._state = State()
        self._recent = RecentFrames(Position("", 0))
        with_backfill = [each for each in self._callbacks if each.callback.backfill]
        self._backfill = Backfill(deliveries, channel, with_backfill) if with_backfill else None
        # The frame for pages that come now, and what it was made of.
        self._first_frame: tuple[tuple[Position, int], tuple[Frame, ...]] | None = None
        # Done when a message was processed; exist only while a page waits for that.
        self._waiting_for_progress: list[asyncio.Future[None]] = []
        self._tasks: list[SupervisedTask] = []

    async def start(self) -> None:
        """Listen to the channel, and run the callbacks once with its last message."""
        position = await self._deliveries.listeners.listen(self._channel, self)
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
            await self._deliveries.listeners.unlisten(self._channel, self)
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
        self._deliveries.skipped += skipped
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
        delivered = self._deliveries.listeners.position(self._channel)
        if delivered is None or delivered.epoch != position.epoch:
            return
        if delivered.number < position.number:
            newest = await self._deliveries.listeners.broker.position(self._channel)
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
        missed = await self._deliveries.listeners.broker.since(self._channel, position)
        if missed is None:
            return None
        frames: list[Frame] = []
        done = position.number
        for turn, publication in enumerate(missed, start=1):
            if publication.position.number > recent.floor:
                break
            if turn % _MESSAGES_PER_SLICE == 0:
                await asyncio.sleep(0)
            message = await self._deliveries.run(self._callbacks, publication)
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
        last = await self._deliveries.listeners.broker.since(self._channel, before)
        if last:
            message = await self._deliveries.run(self._callbacks, last[0])
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
            if turn > _MESSAGES_PER_SLICE:
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
        results = await self._deliveries.run_each(self._callbacks, publication)
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
            await self._deliveries.report_lost(
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
        kept = await self._deliveries.kept(self._channel, done)
        publications = [
            each for each in kept.publications if each.position.number <= position.number
        ]
        begin = min(kept.position.number, position.number)
        lost = begin - done.number if kept.position.epoch == position.epoch else 0
        if lost > 0:
            self._deliveries.lost += lost
            await self._deliveries.report_lost(
                self._channel, self._callbacks, lost, "the history no longer has them"
            )
        if self._settings.conflate:
            publications = publications[-1:]
        for turn, publication in enumerate(publications, start=1):
            if turn % _MESSAGES_PER_SLICE == 0:
                await asyncio.sleep(0)
            message = await self._deliveries.run(self._callbacks, publication)
            if message is not None:
                self._state.apply(message)


class OnceConsumer:
    """Runs callbacks on one worker of the deployment, for every message in order.

    The result and the position of the message are published in one step. When a worker dies during
    a callback, another worker runs the callback again with the same message.
    """

    def __init__(
        self, deliveries: ChannelDeliveries, channel: str, callbacks: list[MatchedCallback]
    ) -> None:
        self._deliveries = deliveries
        self._channel = channel
        self._callbacks = callbacks
        self._results_channel = f"{PREFIX}{ONE_WORKER}:{channel}"
        # Where to begin if no worker has run the callbacks yet.
        self.start_position = Position("", 0)
        # Set when a message arrives; None while another worker runs the callbacks.
        self._new_message: asyncio.Event | None = None

    def deliver(self, publication: Publication) -> None:
        """Wake the consumer, if it runs on this worker."""
        del publication
        if self._new_message is not None:
            self._new_message.set()

    async def lead(self) -> None:
        """Run the callbacks while this worker holds the lease; never returns."""
        broker = self._deliveries.listeners.broker
        await run_while_leading(
            broker,
            ONE_WORKER,
            self._deliveries.lease_ttl,
            self._consume,
            channel=self._results_channel,
        )

    async def _consume(self, lease: Lease) -> None:
        done = await self._load_position(lease)
        new_message = self._new_message = asyncio.Event()
        try:
            while True:
                done, missed = await self._read_after(done)
                for publication in missed:
                    await self._run(publication, lease)
                    done = publication.position
                await new_message.wait()
                new_message.clear()
        finally:
            self._new_message = None

    async def _read_after(self, done: Position) -> tuple[Position, Sequence[Publication]]:
        """Return the messages after ``done`` that are kept, and the position before the first.

        Counts and reports those that the history no longer has.
        """
        missed = await self._deliveries.listeners.broker.since(self._channel, done)
        if missed is not None:
            return done, missed
        kept = await self._deliveries.kept(self._channel, done)
        # In another epoch the numbering has begun anew, and none of its messages has been run.
        before = done.number if done.epoch == kept.position.epoch else 0
        lost = kept.position.number - before
        if lost > 0:
            self._deliveries.lost += lost
            await self._deliveries.report_lost(
                self._channel,
                self._callbacks,
                lost,
                "the history no longer has them; those with once=True continue with message "
                f"{kept.position.number + 1}",
            )
        return kept.position, kept.publications

    async def _load_position(self, lease: Lease) -> Position:
        values = (await self._deliveries.listeners.broker.snapshot(self._results_channel)).values
        written = values.get(_PROCESSED_UP_TO)
        if written is None:
            await self._write_position(self.start_position, lease)
            return self.start_position
        epoch, number = msgpack.unpackb(written)
        return Position(epoch, number)

    async def _run(self, publication: Publication, lease: Lease) -> None:
        message = await self._deliveries.run(self._callbacks, publication)
        envelope = Envelope("done", b"")
        if message is not None:
            envelope = Envelope(FRAME, message.members.encode(), extras=envelope_extras(message))
        try:
            await self._write_position(publication.position, lease, envelope)
        except PayloadTooLarge as error:
            # To run the message again would give the same, and no other message would be run.
            names = ", ".join(each.callback.name for each in self._callbacks)
            logger.error("channel %r: what %s set is not shown: %s", self._channel, names, error)
            await self._write_position(publication.position, lease)

    async def _write_position(
        self, position: Position, lease: Lease, envelope: Envelope | None = None
    ) -> None:
        """Publish a result together with the position up to which all messages are processed."""
        processed_up_to = cast("bytes", msgpack.packb([position.epoch, position.number]))
        await self._deliveries.listeners.broker.publish(
            self._results_channel,
            (envelope or Envelope("done", b"")).pack(),
            changes={_PROCESSED_UP_TO: processed_up_to},
            fence=lease,
        )
