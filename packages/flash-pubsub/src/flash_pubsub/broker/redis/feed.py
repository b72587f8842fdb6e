"""One pub/sub connection to one server, over which a worker receives messages.

A feed lives as long as its connection; `flash_pubsub.broker.redis.servers` makes the next one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, RedisError, ResponseError

from flash.redis.address import Node
from flash.redis.connection import send
from flash.redis.errors import reason_of
from flash_pubsub.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redis.asyncio.connection import AbstractConnection

    from flash_pubsub.broker.redis.store import Store

# Channels in one command, and in one write.
_NAMES_AT_ONCE = 500
# Messages handled before other tasks of the loop get a turn.
_MESSAGES_AT_ONCE = 64
# Seconds for which a late probe may still be on its way through a busy loop.
_GRACE = 0.1
# Seconds between two probes until the first one has arrived.
_SAY_AGAIN = 0.02

_MESSAGES = frozenset({b"message", b"smessage"})
_SUBSCRIBED = frozenset({b"subscribe", b"ssubscribe"})
_UNSUBSCRIBED = frozenset({b"unsubscribe", b"sunsubscribe"})


class FeedLost(Exception):
    """The connection of a feed has ended; the text is the reason, in one line."""


class Feed:
    """Receives messages on one connection, and probes that they arrive.

    ``hear`` is called with every message, ``confirm`` with every pub/sub channel that is subscribed
    to from now on, ``evict`` with one that this server does not have any more. They return at once
    and do not raise.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        store: Store,
        probe: bytes,
        *,
        probe_interval: float,
        hear: Callable[[bytes, bytes], None],
        confirm: Callable[[bytes], None],
        evict: Callable[[bytes], None],
    ) -> None:
        self._connection = connection
        self._store = store
        # The pub/sub channel of the probes.
        self._probe = probe
        self._probe_interval = probe_interval
        self._hear = hear
        self._confirm = confirm
        self._evict = evict
        sharded = store.sharded
        self._subscribe_command = b"SSUBSCRIBE" if sharded else b"SUBSCRIBE"
        self._unsubscribe_command = b"SUNSUBSCRIBE" if sharded else b"UNSUBSCRIBE"
        # On a cluster the channels of one command must share a slot: there, one per command.
        self._batch = 1 if sharded else _NAMES_AT_ONCE
        # Changes that are not sent yet: command and channel, latest last.
        self._unsent: deque[tuple[bytes, bytes]] = deque()
        self._wake = asyncio.Event()
        # Commands that are sent and not answered, in order: an error names no channel.
        self._unanswered: deque[tuple[bytes, bytes]] = deque()
        # The number of them, by channel.
        self._pending: dict[bytes, int] = {}
        self._heard_at = 0.0
        self._echo: asyncio.Future[None] | None = None
        self._said = b""
        # Why the probe could not be published; empty if it could.
        self._unsaid = ""
        # Seconds that the last probe took; None before the first has arrived.
        self.lag: float | None = None
        self._echo_at = 0.0
        # Everything that was published before this, by the loop's clock, has arrived.
        self.heard_up_to = 0.0
        self._proven: Callable[[], None] | None = None

    def subscribe(self, topics: Iterable[bytes]) -> None:
        """Subscribe to more channels."""
        self._change(self._subscribe_command, topics)

    def unsubscribe(self, topics: Iterable[bytes]) -> None:
        """Unsubscribe from channels."""
        self._change(self._unsubscribe_command, topics)

    async def run(self, proven: Callable[[], None]) -> None:
        """Receive messages until something fails; always raises `FeedLost`.

        ``proven`` is called once the first probe has arrived: earlier subscriptions then work too.
        """
        self._proven = proven
        self.subscribe([self._probe])
        tasks = [
            asyncio.create_task(self._read(), name="flash-pubsub feed"),
            asyncio.create_task(self._write(), name="flash-pubsub subscriptions"),
            asyncio.create_task(self._prove(), name="flash-pubsub probe"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        except (RedisError, OSError, BrokerError) as error:
            raise FeedLost(reason_of(error)) from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._connection.disconnect(nowait=True)

    def _change(self, command: bytes, topics: Iterable[bytes]) -> None:
        for topic in topics:
            self._unsent.append((command, topic))
            self._pending[topic] = self._pending.get(topic, 0) + 1
        self._wake.set()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._unsent:
                packed: list[bytes] = []
                while self._unsent and len(packed) < _NAMES_AT_ONCE:
                    command, _ = self._unsent[0]
                    names: list[bytes] = []
                    while (
                        self._unsent and self._unsent[0][0] == command and len(names) < self._batch
                    ):
                        change = self._unsent.popleft()
                        self._unanswered.append(change)
                        names.append(change[1])
                    packed += self._connection.pack_command(command, *names)
                await send(self._connection, packed)

    async def _read(self) -> None:
        read, hear = self._connection.read_response, self._hear
        now = asyncio.get_running_loop().time
        turn = 0
        while True:
            try:
                reply: Any = await read()
            except MovedError as error:
                _, topic = self._unanswered.popleft()
                self._store.topology.learn(error.slot_id, Node(error.host, int(error.port)))
                self._answered(topic)
                self._evict_one(topic)
                continue
            except ResponseError as error:
                raise RedisConnectionError(f"subscribing failed: {error}") from error
            self._heard_at = now()
            if reply[0] in _MESSAGES:
                topic = reply[1]
                if topic == self._probe:
                    self._hear_probe(reply[2])
                else:
                    hear(topic, reply[2])
                turn += 1
                if turn == _MESSAGES_AT_ONCE:
                    turn = 0
                    await asyncio.sleep(0)
            else:
                self._answer(reply[0], reply[1])

    def _answer(self, kind: bytes, topic: bytes) -> None:
        """Handle an answer to a subscription, or its end."""
        if self._unanswered and self._unanswered[0][1] == topic:
            command, _ = self._unanswered[0]
            asked = _SUBSCRIBED if command == self._subscribe_command else _UNSUBSCRIBED
            if kind in asked:
                self._unanswered.popleft()
                if self._answered(topic) and kind in _SUBSCRIBED and topic != self._probe:
                    self._confirm(topic)
                return
        if kind in _UNSUBSCRIBED:
            # Not asked for: the slot has moved to another server.
            self._evict_one(topic)

    def _answered(self, topic: bytes) -> bool:
        """Count an answer; returns whether it is the last one about this channel."""
        left = self._pending.get(topic, 1) - 1
        if left:
            self._pending[topic] = left
        else:
            self._pending.pop(topic, None)
        return not left

    def _evict_one(self, topic: bytes) -> None:
        if topic == self._probe:
            raise RedisConnectionError("the slot of the probe has moved")
        self._evict(topic)

    async def _prove(self) -> None:
        """Publish probes, as publications are; a probe that does not arrive ends the feed."""
        loop = asyncio.get_running_loop()
        while True:
            sent_at = loop.time()
            self._echo = loop.create_future()
            self._said = secrets.token_bytes(6)
            saying = asyncio.create_task(self._say(), name="flash-pubsub probe")
            try:
                await asyncio.wait([self._echo], timeout=self._probe_interval)
                if not self._echo.done():
                    # The loop may have been busy, or messages may be queued before it.
                    await asyncio.sleep(_GRACE)
            finally:
                saying.cancel()
                await asyncio.wait([saying])
            if self._echo.done():
                self.lag = self._echo_at - sent_at
                self.heard_up_to = sent_at
                if self._proven:
                    self._proven()
                    self._proven = None
            elif self._heard_at < sent_at:
                silence = f"no probe arrived within {loop.time() - sent_at:.1f} s"
                raise RedisConnectionError(self._unsaid or silence)
            await asyncio.sleep(max(0.0, sent_at + self._probe_interval - loop.time()))

    async def _say(self) -> None:
        """Publish the probe, again and again until the first one arrives."""
        self._unsaid = ""
        while True:
            try:
                await self._store.probe(self._probe, self._said)
            except BrokerError as error:
                self._unsaid = reason_of(error)
            if self._proven is None:
                return
            await asyncio.sleep(_SAY_AGAIN)

    def _hear_probe(self, said: bytes) -> None:
        if said == self._said and self._echo and not self._echo.done():
            self._echo_at = asyncio.get_running_loop().time()
            self._echo.set_result(None)
