"""One pub/sub connection to one server: what a worker hears.

A feed lives as long as its connection. `flash_pubsub.broker.redis.listener` makes the next one.
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
from flash_pubsub.broker.redis.store import Store, reason_of
from flash_pubsub.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redis.asyncio.connection import Connection

# Names in one command; names that wait to be sent are batched to this.
_NAMES_AT_ONCE = 500
# Messages handled before others on the loop have their turn.
_MESSAGES_AT_ONCE = 64
# Seconds for which messages of the probe that are late may still be on their way through the loop.
_GRACE = 0.1
# Seconds between two attempts at hearing oneself for the first time.
_SAY_AGAIN = 0.02

_MESSAGES = frozenset({b"message", b"smessage"})
_SUBSCRIBED = frozenset({b"subscribe", b"ssubscribe"})
_UNSUBSCRIBED = frozenset({b"unsubscribe", b"sunsubscribe"})


class FeedLost(Exception):
    """The connection of a feed has ended; the text says why, in one line."""


class Feed:
    """Listens on one connection, and makes sure that it does hear.

    ``hear`` is called with every message, ``confirm`` with the name of every pub/sub channel that
    is heard from now on, ``evict`` with the name of one that this server does not have any more.
    All of them return at once and do not raise.
    """

    def __init__(
        self,
        connection: Connection,
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
        # The pub/sub channel on which the feed hears itself.
        self._probe = probe
        self._probe_interval = probe_interval
        self._hear = hear
        self._confirm = confirm
        self._evict = evict
        sharded = store.topology.sharded
        self._subscribe = b"SSUBSCRIBE" if sharded else b"SUBSCRIBE"
        self._unsubscribe = b"SUNSUBSCRIBE" if sharded else b"UNSUBSCRIBE"
        # Sharded names of one command must share a slot: there, one name a command.
        self._batch = 1 if sharded else _NAMES_AT_ONCE
        # Changes not sent yet: subscribe or unsubscribe, latest last.
        self._unsent: deque[tuple[bytes, bytes]] = deque()
        self._wake = asyncio.Event()
        # Commands sent and not answered, in order: an answer with an error names no channel.
        self._unanswered: deque[tuple[bytes, bytes]] = deque()
        # How many of them are about each name.
        self._pending: dict[bytes, int] = {}
        self._heard_at = 0.0
        self._echo: asyncio.Future[None] | None = None
        self._said = b""
        # Why it could not be published; empty if it could.
        self._unsaid = ""
        # Seconds that the last probe took; None before the first.
        self.lag: float | None = None
        self._echo_at = 0.0
        # Everything published before this, by the loop's clock, has been heard.
        self.heard_up_to = 0.0
        self._proven: Callable[[], None] | None = None

    def want(self, wires: Iterable[bytes]) -> None:
        """Listen to these, too."""
        self._change(self._subscribe, wires)

    def spare(self, wires: Iterable[bytes]) -> None:
        """Listen to these no more."""
        self._change(self._unsubscribe, wires)

    async def run(self, proven: Callable[[], None]) -> None:
        """Listen until something goes wrong; raises `FeedLost`, always.

        ``proven`` is called once the feed has heard itself, and so hears all it was told to before.
        """
        self._proven = proven
        self.want([self._probe])
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

    def _change(self, command: bytes, wires: Iterable[bytes]) -> None:
        for wire in wires:
            self._unsent.append((command, wire))
            self._pending[wire] = self._pending.get(wire, 0) + 1
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
                _, wire = self._unanswered.popleft()
                self._store.topology.learn(error.slot_id, Node(error.host, int(error.port)))
                self._answered(wire)
                self._evict_one(wire)
                continue
            except ResponseError as error:
                raise RedisConnectionError(f"subscribing failed: {error}") from error
            self._heard_at = now()
            if reply[0] in _MESSAGES:
                wire = reply[1]
                if wire == self._probe:
                    self._hear_probe(reply[2])
                else:
                    hear(wire, reply[2])
                turn += 1
                if turn == _MESSAGES_AT_ONCE:
                    turn = 0
                    await asyncio.sleep(0)
            else:
                self._answer(reply[0], reply[1])

    def _answer(self, kind: bytes, wire: bytes) -> None:
        """Take note of what the server says about a subscription."""
        if self._unanswered and self._unanswered[0][1] == wire:
            command, _ = self._unanswered[0]
            asked = _SUBSCRIBED if command == self._subscribe else _UNSUBSCRIBED
            if kind in asked:
                self._unanswered.popleft()
                if self._answered(wire) and kind in _SUBSCRIBED and wire != self._probe:
                    self._confirm(wire)
                return
        if kind in _UNSUBSCRIBED:
            # Unasked: the slot has gone to another server.
            self._evict_one(wire)

    def _answered(self, wire: bytes) -> bool:
        """Count an answer; returns whether it is the last one about this name."""
        left = self._pending.get(wire, 1) - 1
        if left:
            self._pending[wire] = left
        else:
            self._pending.pop(wire, None)
        return not left

    def _evict_one(self, wire: bytes) -> None:
        if wire == self._probe:
            raise RedisConnectionError("the slot of the probe has moved")
        self._evict(wire)

    async def _prove(self) -> None:
        """Publish to oneself, again and again, the way others do; silence ends the feed."""
        loop = asyncio.get_running_loop()
        while True:
            sent_at = loop.time()
            self._echo = loop.create_future()
            self._said = secrets.token_bytes(6)
            saying = asyncio.create_task(self._say(), name="flash-pubsub probe")
            try:
                await asyncio.wait([self._echo], timeout=self._probe_interval)
                if not self._echo.done():
                    # It may be this loop that was busy, or messages before it in the queue.
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
                silence = f"nothing came back within {loop.time() - sent_at:.1f} s"
                raise RedisConnectionError(self._unsaid or silence)
            await asyncio.sleep(max(0.0, sent_at + self._probe_interval - loop.time()))

    async def _say(self) -> None:
        """Publish the probe; until it is heard, if it may not be subscribed to yet."""
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
