"""The subscriptions of a worker: one feed per server, each replaced when it fails."""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from flash.exits import ends_task
from flash.redis.backoff import Backoff
from flash.redis.errors import reason_of
from flash_pubsub.broker.redis.feed import Feed, FeedLost
from flash_pubsub.broker.redis.keys import slot_of
from flash_pubsub.broker.redis.sequence import Entry, Sequence, Verdict
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
class _Subscription:
    """A pub/sub channel that this worker subscribes to."""

    topic: bytes
    slot: int
    # The server whose feed receives it; None until that is known.
    node: Node | None = None


@dataclass(eq=False, slots=True, kw_only=True)
class _Signal(_Subscription):
    """A pub/sub channel without numbers, whose messages may be lost."""

    hear: Callable[[bytes], None]


@dataclass(eq=False, slots=True, kw_only=True)
class _Following(_Subscription):
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


@dataclass(eq=False, slots=True)
class _Supervised:
    """The feed of one server, and the task that replaces it when it fails."""

    task: asyncio.Task[None]
    feed: Feed | None = None
    ready: bool = False
    reason: str = "not connected yet"
    # Whether a feed has failed since one was ready.
    lost: bool = False


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
        self._probe_interval = probe_interval
        self._deliver_to = deliver
        self._reset_to = reset
        # Called when `ready` may have changed.
        self._on_change = on_change
        self._id = secrets.token_urlsafe(9)
        self._followings: dict[bytes, _Following] = {}
        self._signals: dict[bytes, _Signal] = {}
        self._supervised: dict[Node, _Supervised] = {}
        self._questions = asyncio.Semaphore(_QUESTIONS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        # Servers without slots, whose channels are moving to others.
        self._abandoned = 0
        self._seek_reason = "not connected yet"

    @property
    def reason(self) -> str:
        """Why some messages may not arrive; empty if all do."""
        if not self._supervised:
            return self._seek_reason
        for node, supervised in self._supervised.items():
            if not supervised.ready:
                return f"{node}: {supervised.reason}"
        return ""

    @property
    def lag(self) -> float | None:
        """Seconds that the slowest of the last probes took."""
        feeds = [supervised.feed for supervised in self._supervised.values()]
        lags = [feed.lag for feed in feeds if feed and feed.lag is not None]
        return max(lags, default=None)

    @property
    def channels(self) -> list[str]:
        """The channels that this worker subscribes to."""
        return [following.sequence.channel for following in self._followings.values()]

    def start(self) -> None:
        """Start."""
        self._spawn(self._seek())

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
        self._supervised.clear()

    async def follow(self, channel: str) -> Position:
        """Deliver a channel from now on; returns the position after which nothing is missing."""
        names = self._store.names(channel)
        following = self._followings.get(names.topic)
        if following is None:
            following = _Following(sequence=Sequence(channel), topic=names.topic, slot=names.slot)
            self._followings[names.topic] = following
            self._spawn(self._place(following))
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
        self._spawn(self._place(signal))

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
            if before <= sequence.number or self._heard_up_to(following) <= at:
                return
        if sequence.epoch == asked_at.epoch:
            sequence.suspect()
            self._ask(following)

    # Channels and the servers that have them.

    async def _seek(self) -> None:
        """Find a first server to subscribe on."""
        backoff = Backoff()
        logged = False
        while True:
            try:
                async with asyncio.timeout(self._store.timeout):
                    node = await self._store.topology.owner(slot_of(self._probe_name(0)))
            except (RedisError, OSError) as error:
                self._seek_reason = reason_of(error)
                self._on_change()
                if not logged:
                    logged = True
                    _logger.warning("no server to subscribe on: %s", self._seek_reason)
                await asyncio.sleep(backoff.wait())
            except BaseException as error:
                # Whatever it is, the worker must receive messages.
                if ends_task(error):
                    raise
                self._seek_reason = reason_of(error)
                self._on_change()
                _logger.exception("finding a server to subscribe on failed")
                await asyncio.sleep(backoff.wait())
            else:
                self._listen_to(node)
                return

    async def _place(self, wanted: _Subscription) -> None:
        """Subscribe to a channel on the server that has it."""
        backoff = Backoff()
        while self._is_wanted(wanted):
            try:
                async with asyncio.timeout(self._store.timeout):
                    node = await self._store.topology.owner(wanted.slot)
            except (RedisError, OSError):
                await asyncio.sleep(backoff.wait())
                continue
            except BaseException as error:
                # Whatever it is, the channel must be subscribed to.
                if ends_task(error):
                    raise
                _logger.exception("finding the server of %r failed", wanted.topic)
                await asyncio.sleep(backoff.wait())
                continue
            if self._is_wanted(wanted):
                wanted.node = node
                if isinstance(wanted, _Following):
                    wanted.confirmed = False
                supervised = self._listen_to(node)
                if supervised.feed:
                    supervised.feed.subscribe([wanted.topic])
            return

    def _is_wanted(self, subscription: _Subscription) -> bool:
        topic = subscription.topic
        return subscription in (self._followings.get(topic), self._signals.get(topic))

    def _drop(self, following: _Following) -> None:
        if self._followings.get(following.topic) is not following:
            return
        del self._followings[following.topic]
        if following.asker:
            following.asker.cancel()
        following.begun.cancel()
        supervised = self._supervised.get(following.node) if following.node else None
        if supervised and supervised.feed:
            supervised.feed.unsubscribe([following.topic])

    def _listen_to(self, node: Node) -> _Supervised:
        supervised = self._supervised.get(node)
        if supervised is None:
            supervised = _Supervised(self._spawn(self._supervise(node)))
            self._supervised[node] = supervised
            self._on_change()
        return supervised

    async def _supervise(self, node: Node) -> None:
        """Receive from one server while it has slots, with one feed after the other."""
        backoff = Backoff()
        while True:
            supervised = self._supervised[node]
            try:
                await self._listen(node, supervised, backoff)
                reason = "it ended"
            except (FeedLost, RedisError, OSError, BrokerError) as error:
                reason = reason_of(error)
            except BaseException as error:
                # Whatever it is, the worker must receive messages.
                if ends_task(error):
                    raise
                _logger.exception("receiving from %s failed", node)
                reason = reason_of(error)
            supervised.feed = None
            supervised.ready = False
            supervised.reason = reason
            if not supervised.lost:
                supervised.lost = True
                _logger.warning(
                    "no messages arrive from %s until it answers again: %s", node, reason
                )
            for following in self._heard_from(node):
                following.confirmed = False
                following.sequence.suspect()
            self._on_change()
            self._store.topology.forget()
            await asyncio.sleep(backoff.wait())
            if await self._moved_away(node):
                del self._supervised[node]
                self._on_change()
                return

    async def _listen(self, node: Node, supervised: _Supervised, backoff: Backoff) -> None:
        """Connect, subscribe to all channels of this server, and receive until that fails."""
        probe = await self._probe_on(node)
        feed = Feed(
            await self._store.connect(node),
            self._store,
            probe,
            probe_interval=self._probe_interval,
            hear=self._hear,
            confirm=self._confirm,
            evict=self._evict,
        )
        supervised.feed = feed
        feed.subscribe(each.topic for each in self._placed_on(node))

        def prove() -> None:
            backoff.reset()
            supervised.ready = True
            if supervised.lost or self._abandoned:
                if not supervised.lost:
                    self._abandoned -= 1
                supervised.lost = False
                self._counters.reconnects += 1
                _logger.warning("messages arrive from %s again", node)
            self._on_change()

        await feed.run(prove)

    async def _moved_away(self, node: Node) -> bool:
        """Move the channels of a lost server; returns whether it has no slots left."""
        try:
            async with asyncio.timeout(self._store.timeout):
                owners = await self._store.topology.owners()
        except (RedisError, OSError):
            return False
        except BaseException as error:
            if ends_task(error):
                raise
            _logger.exception("finding out which server has the slots of %s failed", node)
            return False
        if node in owners:
            return False
        self._abandoned += 1
        for each in self._placed_on(node):
            each.node = None
            self._spawn(self._place(each))
        if not any(other in owners for other in self._supervised):
            self._listen_to(owners[0])
        return True

    async def _probe_on(self, node: Node) -> bytes:
        """Return a pub/sub channel of this worker alone that this server has."""
        async with asyncio.timeout(self._store.timeout):
            for number in range(10_000):
                name = self._probe_name(number)
                if await self._store.topology.owner(slot_of(name)) == node:
                    return name
        raise FeedLost("it has no slots")

    def _probe_name(self, number: int) -> bytes:
        return self._store.keys.probe(self._id, number)

    def _heard_from(self, node: Node) -> list[_Following]:
        return [following for following in self._followings.values() if following.node == node]

    def _placed_on(self, node: Node) -> list[_Subscription]:
        signals = [signal for signal in self._signals.values() if signal.node == node]
        return [*self._heard_from(node), *signals]

    def _heard_up_to(self, following: _Following) -> float:
        supervised = self._supervised.get(following.node) if following.node else None
        return supervised.feed.heard_up_to if supervised and supervised.feed else 0.0

    # Messages and confirmations.

    def _confirm(self, topic: bytes) -> None:
        following = self._followings.get(topic)
        if following is not None:
            following.confirmed = True
            following.confirmations += 1
            following.sequence.suspect()
            self._ask(following)

    def _evict(self, topic: bytes) -> None:
        """The server does not have this channel any more."""
        following = self._followings.get(topic)
        if following is not None:
            following.node, following.confirmed = None, False
            following.sequence.suspect()
            self._store.topology.forget()
            self._spawn(self._place(following))
        elif signal := self._signals.get(topic):
            signal.node = None
            self._store.topology.forget()
            self._spawn(self._place(signal))

    def _hear(self, topic: bytes, data: bytes) -> None:
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
