"""The servers that a worker receives from: one feed for each, replaced when it fails."""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from redis.exceptions import RedisError

from flash.exits import ends_task
from flash.redis.backoff import Backoff
from flash.redis.errors import reason_of
from flash_pubsub.broker.redis.feed import Feed, FeedLost
from flash_pubsub.broker.redis.keys import slot_of
from flash_pubsub.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from flash.redis.address import Node
    from flash_pubsub.broker.redis.store import Store
    from flash_pubsub.broker.seam import Counters

_logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True, kw_only=True)
class Subscription:
    """A pub/sub channel that this worker subscribes to."""

    topic: bytes
    slot: int
    # The server whose feed receives it; None until that is known.
    node: Node | None = None

    def move(self) -> None:
        """Note that another server is asked for it."""

    def lose(self) -> None:
        """Note that messages may be missing."""


class Subscriber(Protocol):
    """What a worker is subscribed to; implemented by `Listener`. Its methods return at once."""

    def is_wanted(self, subscription: Subscription) -> bool:
        """Tell whether a subscription has not been dropped."""
        ...

    def placed_on(self, node: Node) -> Iterable[Subscription]:
        """Return the subscriptions that a server has."""
        ...

    def hear(self, topic: bytes, data: bytes) -> None:
        """Take a message."""
        ...

    def confirm(self, topic: bytes) -> None:
        """Note that a server has confirmed a subscription."""
        ...

    def evict(self, topic: bytes) -> None:
        """Note that a server does not have a channel any more."""
        ...


@dataclass(eq=False, slots=True)
class _Supervised:
    """The feed of one server, and the task that replaces it when it fails."""

    task: asyncio.Task[None]
    feed: Feed | None = None
    ready: bool = False
    reason: str = "not connected yet"
    # Whether a feed has failed since one was ready.
    lost: bool = False


class Servers:
    """Finds the server that has each channel, and receives from it as long as it has any.

    ``on_change`` is called when `reason` may have changed. Tasks run by ``spawn``.
    """

    def __init__(
        self,
        store: Store,
        counters: Counters,
        subscriber: Subscriber,
        *,
        probe_interval: float,
        on_change: Callable[[], None],
        spawn: Callable[[Coroutine[None, None, None]], asyncio.Task[None]],
    ) -> None:
        self._store = store
        self._counters = counters
        self._subscriber = subscriber
        self._probe_interval = probe_interval
        self._on_change = on_change
        self._spawn = spawn
        self._id = secrets.token_urlsafe(9)
        self._supervised: dict[Node, _Supervised] = {}
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

    def start(self) -> None:
        """Begin to look for a server."""
        self._spawn(self._seek())

    def clear(self) -> None:
        """Forget all servers, whose tasks have ended."""
        self._supervised.clear()

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

    def place(self, subscription: Subscription) -> None:
        """Subscribe on the server that has the channel, from soon on."""
        self._spawn(self._place(subscription))

    def drop(self, subscription: Subscription) -> None:
        """Unsubscribe."""
        supervised = self._supervised.get(subscription.node) if subscription.node else None
        if supervised and supervised.feed:
            supervised.feed.unsubscribe([subscription.topic])

    async def _place(self, wanted: Subscription) -> None:
        """Subscribe to a channel on the server that has it."""
        backoff = Backoff()
        while self._subscriber.is_wanted(wanted):
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
            if self._subscriber.is_wanted(wanted):
                wanted.node = node
                wanted.move()
                supervised = self._listen_to(node)
                if supervised.feed:
                    supervised.feed.subscribe([wanted.topic])
            return

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
            for each in self._subscriber.placed_on(node):
                each.lose()
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
            hear=self._subscriber.hear,
            confirm=self._subscriber.confirm,
            evict=self._subscriber.evict,
        )
        supervised.feed = feed
        feed.subscribe(each.topic for each in self._subscriber.placed_on(node))

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
        for each in self._subscriber.placed_on(node):
            each.node = None
            self.place(each)
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

    def heard_up_to(self, subscription: Subscription) -> float:
        """Return the time up to which messages of a subscription have arrived; 0 if unknown."""
        supervised = self._supervised.get(subscription.node) if subscription.node else None
        return supervised.feed.heard_up_to if supervised and supervised.feed else 0.0
