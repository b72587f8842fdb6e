"""The subscriptions of a worker: each channel is delivered without a gap."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flash.exits import ends_task
from flash.redis.backoff import Backoff
from flash_pubsub.broker.redis.keys import slot_of
from flash_pubsub.broker.redis.sequence import Entry, Sequence, Verdict
from flash_pubsub.broker.redis.servers import Servers, Subscription
from flash_pubsub.errors import BrokerClosed, BrokerError, BrokerUnavailable, UnsupportedEnvelope

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from flash.redis.address import Node
    from flash_pubsub.broker.redis.store import Store
    from flash_pubsub.broker.seam import Counters, Deliver, Publication, Reset
    from flash_ws.protocol.position import Position

_logger = logging.getLogger(__name__)

# Concurrent questions to the store.
_QUESTIONS_AT_ONCE = 32
# One unreadable message out of so many is logged.
_LOG_EVERY = 1_000


@dataclass(eq=False, slots=True, kw_only=True)
class _Signal(Subscription):
    """A pub/sub channel without numbers, whose messages may be lost."""

    hear: Callable[[bytes], None]


@dataclass(eq=False, slots=True, kw_only=True)
class _Following(Subscription):
    """A channel of the broker that this worker subscribes to."""

    sequence: Sequence
    # Whether that server has confirmed the subscription, and how often any has.
    confirmed: bool = False
    confirmations: int = 0
    # Set once delivery has begun.
    begun: asyncio.Future[Position] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    # The task that asks the store while the sequence waits for it.
    asker: asyncio.Task[None] | None = None
    # The number that the store had reached at the last audit, and when, by the loop's clock.
    ahead: tuple[int, float] = (0, 0.0)

    def move(self) -> None:
        """Wait for the confirmation of another server."""
        self.confirmed = False

    def lose(self) -> None:
        """Note that messages may be missing until the server has confirmed it again."""
        self.confirmed = False
        self.sequence.suspect()


class Listener:
    """Subscribes to channels and delivers their messages, as the `Broker` Protocol promises."""

    def __init__(
        self,
        store: Store,
        counters: Counters,
        *,
        probe_interval: float,
        deliver: Deliver,
        reset: Reset,
        on_change: Callable[[], None],
    ) -> None:
        self._store = store
        self._counters = counters
        self._deliver_to = deliver
        self._reset_to = reset
        self._followings: dict[bytes, _Following] = {}
        self._signals: dict[bytes, _Signal] = {}
        self._questions = asyncio.Semaphore(_QUESTIONS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers = Servers(
            store,
            counters,
            self,
            probe_interval=probe_interval,
            on_change=on_change,
            spawn=self._spawn,
        )

    @property
    def reason(self) -> str:
        """Why some messages may not arrive; empty if all do."""
        return self._servers.reason

    @property
    def lag(self) -> float | None:
        """Seconds that the slowest of the last probes took."""
        return self._servers.lag

    @property
    def channels(self) -> list[str]:
        """The channels that this worker subscribes to."""
        return [following.sequence.channel for following in self._followings.values()]

    def start(self) -> None:
        """Start."""
        self._servers.start()

    async def close(self) -> None:
        """Stop, and end calls that wait with `BrokerClosed`."""
        followings = list(self._followings.values())
        self._followings.clear()
        self._signals.clear()
        for following in followings:
            if not following.begun.done():
                following.begun.set_exception(BrokerClosed())
                following.begun.exception()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._servers.clear()

    async def follow(self, channel: str) -> Position:
        """Deliver a channel from now on; returns the position after which nothing is missing."""
        names = self._store.names(channel)
        following = self._followings.get(names.topic)
        if following is None:
            following = _Following(sequence=Sequence(channel), topic=names.topic, slot=names.slot)
            self._followings[names.topic] = following
            self._servers.place(following)
        begun = following.begun
        if not begun.done():
            await asyncio.wait([begun], timeout=self._store.timeout)
        if not begun.done():
            self._drop(following)
            limit = f"within {self._store.timeout:g} s"
            cause = self.reason or "the subscription was not confirmed"
            raise BrokerUnavailable(
                f"subscribe {channel!r}",
                f"Redis at {self._store.address} did not answer {limit}: {cause}",
            )
        if begun.cancelled():
            # Unsubscribed meanwhile.
            return (await self._store.touch(channel)).position
        return begun.result() and following.sequence.position

    def unfollow(self, channel: str) -> None:
        """Stop delivering a channel."""
        following = self._followings.get(self._store.names(channel).topic)
        if following is not None:
            self._drop(following)

    def listen_for(self, topic: bytes, hear: Callable[[bytes], None]) -> None:
        """Call ``hear`` with each message of a pub/sub channel, from soon on.

        What is published without a connection is lost. ``hear`` returns at once and does not raise.
        """
        signal = self._signals[topic] = _Signal(topic=topic, slot=slot_of(topic), hear=hear)
        self._servers.place(signal)

    async def audit(self, channel: str) -> None:
        """Compare a channel with the store, which may have lost it without an error."""
        following = self._followings.get(self._store.names(channel).topic)
        if following is None or following.sequence.asking:
            return
        sequence = following.sequence
        asked_at, asked_id = sequence.position, sequence.id
        head = await self._store.touch(channel)
        if sequence.asking:
            return
        same_epoch = head.position.epoch == asked_at.epoch == sequence.epoch
        number = head.position.number
        went_back = number < asked_at.number or (number == asked_at.number and head.id != asked_id)
        if same_epoch and not went_back:
            # Publications ahead are on their way, unless the feed has received later ones since.
            (before, at), now = following.ahead, asyncio.get_running_loop().time()
            following.ahead = number, now
            if before <= sequence.number or self._servers.heard_up_to(following) <= at:
                return
        if sequence.epoch == asked_at.epoch:
            sequence.suspect()
            self._ask(following)

    def _drop(self, following: _Following) -> None:
        if self._followings.get(following.topic) is not following:
            return
        del self._followings[following.topic]
        if following.asker:
            following.asker.cancel()
        following.begun.cancel()
        self._servers.drop(following)

    # For the servers.

    def is_wanted(self, subscription: Subscription) -> bool:
        """Tell whether a subscription has not been dropped."""
        topic = subscription.topic
        return subscription in (self._followings.get(topic), self._signals.get(topic))

    def placed_on(self, node: Node) -> list[Subscription]:
        """Return the subscriptions that a server has."""
        followings = [each for each in self._followings.values() if each.node == node]
        signals = [signal for signal in self._signals.values() if signal.node == node]
        return [*followings, *signals]

    # Messages and confirmations.

    def confirm(self, topic: bytes) -> None:
        """Ask the store for what is missing, since the server has confirmed a subscription."""
        following = self._followings.get(topic)
        if following is not None:
            following.confirmed = True
            following.confirmations += 1
            following.sequence.suspect()
            self._ask(following)

    def evict(self, topic: bytes) -> None:
        """Move a channel that the server does not have any more."""
        following = self._followings.get(topic)
        if following is not None:
            following.node = None
            following.lose()
            self._store.topology.forget()
            self._servers.place(following)
        elif signal := self._signals.get(topic):
            signal.node = None
            self._store.topology.forget()
            self._servers.place(signal)

    def hear(self, topic: bytes, data: bytes) -> None:
        """Deliver a message, in the order of its channel."""
        following = self._followings.get(topic)
        if following is None:
            if signal := self._signals.get(topic):
                signal.hear(data)
            return
        sequence = following.sequence
        try:
            entry = Entry.read(data)
        except UnsupportedEnvelope as error:
            self._unreadable(sequence.channel, error)
            # The store is asked, and answers that publications may be missing.
            sequence.suspect()
            self._ask(following)
            return
        verdict = sequence.take(entry)
        if verdict is Verdict.DELIVER:
            self._deliver(sequence.publication(entry))
        elif verdict is Verdict.ASK:
            self._ask(following)

    def _ask(self, following: _Following) -> None:
        if following.confirmed and (following.asker is None or following.asker.done()):
            following.asker = self._spawn(self._ask_store(following))

    async def _ask_store(self, following: _Following) -> None:
        """Ask the store what is missing until nothing is."""
        backoff = Backoff()
        while following.confirmed and following.sequence.asking:
            try:
                async with self._questions:
                    await self._ask_once(following)
            except BrokerClosed:
                return
            except BrokerError:
                await asyncio.sleep(backoff.wait())
            except BaseException as error:
                # Whatever it is, the channel must be delivered.
                if ends_task(error):
                    raise
                _logger.exception("resuming %r failed", following.sequence.channel)
                await asyncio.sleep(backoff.wait())

    async def _ask_once(self, following: _Following) -> None:
        sequence, confirmations = following.sequence, following.confirmations
        if sequence.epoch is None:
            sequence.begin(await self._store.touch(sequence.channel))
            if not following.begun.done():
                following.begun.set_result(sequence.position)
        else:
            recovery = await self._store.resume(
                sequence.channel, sequence.epoch, sequence.number, sequence.id
            )
            if recovery.entries is None:
                sequence.begin(recovery.head)
                self._reset(sequence.channel, recovery.head.position)
            else:
                missed = sequence.fill(recovery.entries)
                if missed:
                    self._counters.gaps += 1
                    self._counters.refilled += len(missed)
                for publication in missed:
                    self._deliver(publication)
        following.ahead = 0, 0.0
        # An answer from before the last confirmation does not cover the time between the two.
        if following.confirmed and following.confirmations == confirmations:
            for publication in sequence.settle():
                self._deliver(publication)

    def _deliver(self, publication: Publication) -> None:
        self._counters.delivered += 1
        try:
            self._deliver_to(publication)
        except BaseException as error:
            # An error of the worker's own code, which the log shows.
            if ends_task(error):
                raise
            _logger.exception("delivering a message of %r failed", publication.channel)

    def _reset(self, channel: str, position: Position) -> None:
        self._counters.resets += 1
        _logger.warning(
            "channel %r begins a new epoch at %d: earlier publications may be lost",
            channel,
            position.number,
        )
        try:
            self._reset_to(channel, position)
        except BaseException as error:
            if ends_task(error):
                raise
            _logger.exception("resetting %r failed", channel)

    def _unreadable(self, channel: str, error: UnsupportedEnvelope) -> None:
        if self._counters.unreadable % _LOG_EVERY == 0:
            _logger.error("a message of %r is unreadable: %s", channel, error)
        self._counters.unreadable += 1

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _logger.error("a task of the listener failed; this is a bug", exc_info=error)
