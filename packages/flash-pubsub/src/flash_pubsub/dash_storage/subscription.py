"""Reading the messages of a topic."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.dash_storage.background_loop import CALL_TIMEOUT
from flash_pubsub.dash_storage.encoding import topic_channel
from flash_pubsub.dash_storage.interface import BaseSubscription, StorageError, StorageGap
from flash_pubsub.errors import BrokerError, UnsupportedEnvelope
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from flash_pubsub.broker.seam import Publication
    from flash_pubsub.dash_storage.background_loop import BrokerLoop

# Seconds after which an iterator that waits for a message looks whether it was closed.
_CLOSED_CHECK_INTERVAL = 5.0


class StorageSubscription(BaseSubscription):
    """A reader of one topic: Dash's ``Subscription``, in any thread and on any event loop.

    It receives messages as they are published. At most ``max_waiting`` messages wait to be read.
    When one more arrives, or when the topic has begun anew, the reader gets ``SharedStorageGap``.
    """

    def __init__(
        self, broker_loop: BrokerLoop, topic: str, replay_from: int | None, max_waiting: int
    ) -> None:
        self._broker_loop = broker_loop
        self._topic = topic
        self._channel = topic_channel(topic)
        self._replay_from = replay_from
        self._max_waiting = max_waiting
        self._closed = threading.Event()
        # The attributes below are used on the broker's loop only.
        self._epoch = ""
        # The number of the newest message received; None until `open` knows where to begin.
        self._newest: int | None = None
        # Messages that arrived before that.
        self._early: list[Publication] = []
        self._waiting: deque[tuple[int, Any]] = deque()
        self._failure: Exception | None = None
        self._changed = asyncio.Event()

    # -- on the broker's loop --------------------------------------------------------------------

    async def open(self) -> None:
        """Subscribe to the topic and fetch what was published since ``replay_from``."""
        self._broker_loop.subscriptions.add(self)
        try:
            position = await self._broker_loop.listeners.listen(self._channel, self)
            self._epoch = position.epoch
            missed: list[Publication] | None = []
            if self._replay_from is None:
                # Messages that arrived while this subscribed are new.
                begin = self._early[0].position.number - 1 if self._early else position.number
            else:
                begin = self._replay_from
                here = Position(position.epoch, begin)
                missed = None
                if self._broker_loop.epochs.may_have_read(self._topic, here):
                    missed = await self._broker_loop.broker.since(self._channel, here)
            if missed is None:
                self._fail(self._gap())
            else:
                self._broker_loop.epochs.record(self._topic, self._epoch, begin)
            self._newest = begin
            for publication in (*(missed or ()), *self._early):
                self._receive(publication)
        except BrokerError as error:
            self._fail(StorageError(str(error)))
            raise
        finally:
            self._early.clear()
            if self._closed.is_set():
                await self._unsubscribe()

    async def _unsubscribe(self) -> None:
        """Stop listening and wake whoever waits; idempotent."""
        self._changed.set()
        self._broker_loop.subscriptions.discard(self)
        await self._broker_loop.listeners.unlisten(self._channel, self)

    def deliver(self, publication: Publication) -> None:
        """Receive the next message of the topic."""
        if self._newest is None:
            self._early.append(publication)
            if len(self._early) > self._max_waiting:
                self._fail(self._gap())
        else:
            self._receive(publication)

    def reset(self, channel: str, position: Position) -> None:
        """Fail with a gap, because messages are lost."""
        del channel
        self._broker_loop.epochs.record(self._topic, position.epoch, 0)
        self._fail(self._gap())

    def _receive(self, publication: Publication) -> None:
        number = publication.position.number
        if self._newest is None or number <= self._newest or self._failure is not None:
            return
        if number != self._newest + 1 or len(self._waiting) >= self._max_waiting:
            self._fail(self._gap())
            return
        try:
            message = Envelope.unpack(publication.payload).data
        except UnsupportedEnvelope as error:
            self._fail(StorageError(f"topic {self._topic!r}: {error}"))
            return
        self._newest = number
        self._broker_loop.epochs.record(self._topic, self._epoch, number)
        self._waiting.append((number, message))
        self._changed.set()

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._changed.set()

    def _gap(self) -> Exception:
        return StorageGap(f"messages of topic {self._topic!r} were lost before they were read")

    def _take_waiting(self) -> list[tuple[int, Any]]:
        pairs = list(self._waiting)
        self._waiting.clear()
        if not pairs and self._failure is not None and not self._closed.is_set():
            raise self._failure
        return pairs

    async def _next(self, seconds: float) -> list[tuple[int, Any]]:
        """Return the messages that wait; without any, wait ``seconds`` for one."""
        if not self._waiting and self._failure is None and not self._closed.is_set():
            self._changed.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                pass
        return self._take_waiting()

    async def _poll(self, seconds: float) -> list[tuple[int, Any]]:
        """Return all messages published so far, those that have not arrived here included."""
        if self._newest is not None and self._failure is None:
            here = Position(self._epoch, self._newest)
            missed = await self._broker_loop.broker.since(self._channel, here)
            if missed is None:
                self._fail(self._gap())
            for publication in missed or ():
                self._receive(publication)
        return await self._next(seconds) if seconds > 0 else self._take_waiting()

    # -- from anywhere ---------------------------------------------------------------------------

    def poll(self, timeout: float = 0.0) -> list[tuple[int, Any]]:
        """Return what was published since the last call; waits ``timeout`` seconds for something.

        Blocks the calling thread.
        """
        if self._closed.is_set():
            return []
        return self._broker_loop.wait(self._poll(timeout), timeout + CALL_TIMEOUT)

    def iter_with_seq(self) -> Iterator[tuple[int, Any]]:
        """Yield numbers and messages until the subscription is closed; blocks the thread."""
        interval = _CLOSED_CHECK_INTERVAL
        try:
            while not self._closed.is_set():
                yield from self._broker_loop.wait(self._next(interval), interval + CALL_TIMEOUT)
        finally:
            self.close()

    async def aiter_with_seq(self) -> AsyncIterator[tuple[int, Any]]:
        """Yield numbers and messages until the subscription is closed; on any event loop."""
        try:
            while not self._closed.is_set():
                for pair in await self._broker_loop.result(self._next(_CLOSED_CHECK_INTERVAL)):
                    yield pair
        finally:
            self.close()

    def close(self) -> None:
        """End the subscription and its iterators; idempotent, may be called from any thread."""
        if not self._closed.is_set():
            self._closed.set()
            self._broker_loop.run_later(self._unsubscribe())
