"""`FlashSharedStorage`: the shared storage of Dash 4.5 and later, over a broker.

Dash calls a storage from wherever it is, threads and event loops alike, while a broker belongs to
one loop. So a storage has a loop of its own, in a thread of its own, and passes calls on to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import dash

from flash import ConfigurationError
from flash.seams.shared_storage import shared_storage_interface
from flash_pubsub.broker.envelope import Envelope
from flash_pubsub.broker.listeners import Listeners
from flash_pubsub.broker.open import check_workers, open_broker
from flash_pubsub.broker.seam import Publication, Retention
from flash_pubsub.errors import BrokerError, UnsupportedEnvelope
from flash_ws.protocol.position import Position

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from concurrent.futures import Future

    from flash_pubsub.broker.seam import Broker

_interface = shared_storage_interface()
if _interface is None:
    raise ImportError(
        f"FlashSharedStorage needs Dash 4.5 or newer, and this is Dash {dash.__version__}: "
        'pip install "dash>=4.5"'
    )
_Storage: Any = _interface.storage
_Subscription: Any = _interface.subscription
_Error, _Gap = _interface.error, _interface.gap

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Before the names of channels: no channel of users begins so.
_KEY = "live:storage:key:"
_TOPIC = "live:storage:topic:"
# The longest name that becomes part of a channel's as it is, in bytes.
_LONGEST_NAME = 300
# The one value in the state of a key's channel.
_VALUE = "value"

# Bytes of one value or message, and of what a topic keeps for readers who were away.
_MAX_BYTES = 8 << 20
_MAX_TOPIC_BYTES = 4 * _MAX_BYTES

# Seconds.
_SHORTEST_TOPIC_TTL = 1.0
_FOR_EVER = 10 * 365 * 86_400.0
# The broker has a limit of its own for each call; this is for a loop that is stuck.
_PATIENCE = 15.0
# For what is under way when a storage is closed.
_LAST_WORDS = 2.0
# Between two looks whether a subscription was closed, for those who wait without end.
_LOOK_EVERY = 5.0

# Calls on event loops that wait for the store; one more is refused.
_MAX_UNAWAITED = 1_000
# Topics of which it is remembered how far readers have come here.
_MAX_SEEN = 10_000


class FlashSharedStorage(_Storage):
    """Dash's ``shared_storage`` over the broker of an app: ``Flash(shared_storage=…)``.

    - ``broker``: an address as `PubSub` takes it, by default ``FLASH_BROKER_URL``; ``memory://`` is
      this process alone.
    - ``buffer_size``: messages of a topic that a reader who was away can catch up with. One who
      has missed more gets Dash's ``SharedStorageGap``.

    Values and messages are what JSON has, or bytes, 8 MiB at most. What cannot be done raises
    Dash's ``SharedStorageError``. On an event loop await `aget`, `aset`, `adelete` and `apublish`;
    there `set`, `delete` and `publish` do not wait: what they ask for is done in order, and a
    failure logged.

    Topics with a ``ttl`` are forgotten up to a minute later than that in Redis. A topic that has
    begun anew since is known for that, where Dash's own storages go by the numbers alone: by every
    reader that was there, and by one that comes back to the same process.
    """

    def __init__(self, broker: str | None = None, *, buffer_size: int = 1000) -> None:
        if buffer_size < 1:
            raise ConfigurationError(f"buffer_size={buffer_size} is not above 0")
        self._address = broker
        self.buffer_size = buffer_size
        self._lock = threading.Lock()
        self._life: _Life | None = None

    def start(self) -> None:
        """Begin; idempotent. Everything else does it, too."""
        self._started()

    def close(self) -> None:
        """End, with all subscriptions; idempotent. What is used again begins again."""
        with self._lock:
            life, self._life = self._life, None
        if life is not None:
            life.end()

    # -- values ----------------------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, waiting for it wherever that is."""
        life = self._started()
        return life.wait(_get(life.broker, key, default))

    def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Write a value, for ``ttl`` seconds; never waits on an event loop."""
        life = self._started()
        life.do(_set(life.broker, key, _packed(key, value, ttl), ttl))

    def delete(self, key: str) -> None:
        """Forget a key; never waits on an event loop."""
        life = self._started()
        life.do(_delete(life.broker, key))

    async def aget(self, key: str, default: Any = None) -> Any:
        """Return the value of a key."""
        life = self._started()
        return await life.result(_get(life.broker, key, default))

    async def aset(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Write a value, for ``ttl`` seconds."""
        life = self._started()
        await life.result(_set(life.broker, key, _packed(key, value, ttl), ttl))

    async def adelete(self, key: str) -> None:
        """Forget a key."""
        life = self._started()
        await life.result(_delete(life.broker, key))

    # -- topics ----------------------------------------------------------------------------------

    def publish(self, topic: str, message: Any, ttl: float | None = None) -> None:
        """Append a message to a topic; never waits on an event loop."""
        life = self._started()
        life.do(self._publish(life.broker, topic, _message(topic, message, ttl), ttl))

    async def apublish(self, topic: str, message: Any, ttl: float | None = None) -> None:
        """Append a message to a topic."""
        life = self._started()
        await life.result(self._publish(life.broker, topic, _message(topic, message, ttl), ttl))

    async def _publish(self, broker: Broker, topic: str, payload: bytes, ttl: float | None) -> None:
        seconds = _FOR_EVER if ttl is None else ttl
        retention = Retention(
            max_messages=self.buffer_size,
            max_bytes=_MAX_TOPIC_BYTES,
            max_age=seconds,
            max_idle=seconds,
        )
        await broker.publish(_name(_TOPIC, topic), payload, retention=retention)

    def subscribe(self, topic: str, replay_from: int | None = None) -> StorageSubscription:
        """Follow a topic, from its head on or from after ``replay_from``.

        On an event loop it does not wait; should the topic not be there to be followed, reading
        says so.
        """
        life = self._started()
        subscription = StorageSubscription(life, topic, replay_from, self.buffer_size)
        life.do(subscription.open())
        return subscription

    def _started(self) -> _Life:
        life = self._life
        if life is not None:
            return life
        with self._lock:
            if self._life is None:
                broker = open_broker(self._address, max_payload_bytes=2 * _MAX_BYTES)
                check_workers(broker, 'FlashSharedStorage("redis://…")')
                self._life = _Life(broker)
            return self._life


async def _get(broker: Broker, key: str, default: Any) -> Any:
    packed = await broker.value(_name(_KEY, key), _VALUE)
    if packed is None:
        return default
    envelope = Envelope.unpack(packed)
    until = envelope.extras.get("until")
    return default if until is not None and until <= time.time() else envelope.data


async def _set(broker: Broker, key: str, packed: bytes, ttl: float | None) -> None:
    await _write(broker, key, packed, _FOR_EVER if ttl is None else max(ttl, 0.001))


async def _delete(broker: Broker, key: str) -> None:
    if await broker.value(_name(_KEY, key), _VALUE) is not None:
        await _write(broker, key, None, 1.0)


async def _write(broker: Broker, key: str, packed: bytes | None, seconds: float) -> None:
    # Only the value is of interest, not that it was set.
    retention = Retention(
        max_messages=0, max_age=0.001, max_idle=seconds, max_snapshot_bytes=2 * _MAX_BYTES
    )
    await broker.publish(_name(_KEY, key), b"", changes={_VALUE: packed}, retention=retention)


@dataclass(slots=True)
class _Seen:
    """What readers have seen of a topic in this process."""

    epoch: str
    number: int
    # Whether they have seen an earlier life of it, too.
    has_changed: bool


class _Life:
    """A storage between start and end: a broker on a loop in a thread."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.listeners = Listeners(broker)
        # By topic; those that were read longest ago go first.
        self.seen: OrderedDict[str, _Seen] = OrderedDict()
        self.subscriptions: set[StorageSubscription] = set()
        self._loop = asyncio.new_event_loop()
        # What nobody waits for; later calls do, so that the order is that of the calls.
        self._unawaited: asyncio.Task[None] | None = None
        self._count = 0
        self._counting = threading.Lock()
        self._ended = False
        self._loop.call_soon(self._begin, self.listeners.start())
        self._thread = threading.Thread(target=self._run, name="flash-pubsub storage", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def ask(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Do something on the loop, after what was asked for before without waiting."""
        if self._ended:
            work.close()
            raise _Error("the shared storage is closed")
        return asyncio.run_coroutine_threadsafe(self._next(work), self._loop)

    async def _next(self, work: Coroutine[Any, Any, T]) -> T:
        return await self._after(self._unawaited, work)

    async def _after(self, before: asyncio.Task[None] | None, work: Coroutine[Any, Any, T]) -> T:
        try:
            if before is not None and not before.done():
                await asyncio.wait({before})
            return await work
        except (BrokerError, UnsupportedEnvelope) as error:
            raise _Error(str(error)) from error
        finally:
            work.close()

    def wait(self, work: Coroutine[Any, Any, T], seconds: float = _PATIENCE) -> T:
        """Do something and return its result; blocks this thread, for so long at most."""
        asked = self.ask(work)
        try:
            return asked.result(seconds)
        except TimeoutError:
            asked.cancel()
            raise _Error(f"the shared storage did not answer within {seconds:g} s") from None

    async def result(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something and return its result, on whichever loop this is awaited."""
        return await asyncio.wrap_future(self.ask(work))

    def do(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something: wait for it in a thread, but not on an event loop."""
        if not _is_on_loop():
            self.wait(work)
            return
        with self._counting:
            count = self._count
            if not self._ended and count < _MAX_UNAWAITED:
                self._count += 1
                self._loop.call_soon_threadsafe(self._begin, self._counted(work))
                return
        work.close()
        if self._ended:
            raise _Error("the shared storage is closed")
        raise _Error(
            f"{count} calls wait for the shared storage already; await aset, adelete and apublish"
        )

    async def _counted(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        finally:
            work.close()
            with self._counting:
                self._count -= 1

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        before = self._unawaited
        self._unawaited = self._loop.create_task(self._logged(self._after(before, work)))

    async def _logged(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except Exception:  # a boundary: nobody waits for it
            logger.exception("the shared storage could not do what it was asked for")

    def note(self, topic: str, epoch: str, number: int) -> None:
        """Remember how far readers of a topic have come here, in this life of its numbering."""
        seen = self.seen.get(topic)
        if seen is None or seen.epoch != epoch:
            self.seen[topic] = _Seen(epoch, number, has_changed=seen is not None)
        else:
            seen.number = max(seen.number, number)
        self.seen.move_to_end(topic)
        if len(self.seen) > _MAX_SEEN:
            self.seen.popitem(last=False)

    def is_current(self, topic: str, position: Position) -> bool:
        """Tell whether a reader may have got this number in this life of the topic's numbering."""
        seen = self.seen.get(topic)
        if seen is None or position.number == 0:
            return True
        if seen.epoch != position.epoch:
            return False
        return not seen.has_changed or position.number <= seen.number

    def forget(self, subscription: StorageSubscription) -> None:
        """Let go of a subscription that is closed; from any thread."""
        with contextlib.suppress(RuntimeError):
            # The loop may have ended.
            self._loop.call_soon_threadsafe(self._begin, subscription.leave())

    def end(self) -> None:
        """Close everything and stop the thread; waits for that, but not on an event loop."""
        for subscription in list(self.subscriptions):
            subscription.close()
        self._ended = True
        asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        if not _is_on_loop():
            self._thread.join(_PATIENCE)

    async def _close(self) -> None:
        try:
            if self._unawaited is not None:
                await asyncio.wait({self._unawaited}, timeout=_LAST_WORDS)
            await self.listeners.close()
        finally:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if others:
                # Readers see that they are closed, calls that the broker is.
                await asyncio.wait(others, timeout=_LAST_WORDS)
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            self._loop.call_soon(self._loop.stop)


class StorageSubscription(_Subscription):
    """A reader of one topic: Dash's ``Subscription``, in any thread and on any loop.

    Messages come to it as they are published. At most ``max_waiting`` wait to be read; one more,
    and the reader gets ``SharedStorageGap``, as it does when the topic has begun anew.
    """

    def __init__(self, life: _Life, topic: str, replay_from: int | None, max_waiting: int) -> None:
        self._life = life
        self._topic = topic
        self._channel = _name(_TOPIC, topic)
        self._replay_from = replay_from
        self._max_waiting = max_waiting
        # All below belongs to the storage's loop, but for the flag.
        self._closed = threading.Event()
        self._epoch = ""
        # The number of the newest message that was taken in; None until that is settled.
        self._newest: int | None = None
        self._early: list[Publication] = []
        self._waiting: deque[tuple[int, Any]] = deque()
        self._failure: Exception | None = None
        self._news = asyncio.Event()

    # -- on the storage's loop -------------------------------------------------------------------

    async def open(self) -> None:
        """Begin to listen, and settle from where."""
        self._life.subscriptions.add(self)
        try:
            position = await self._life.listeners.listen(self._channel, self)
            self._epoch = position.epoch
            missed: list[Publication] | None = []
            if self._replay_from is None:
                # What came while this began to listen is new.
                begin = self._early[0].position.number - 1 if self._early else position.number
            else:
                begin = self._replay_from
                here = Position(position.epoch, begin)
                missed = None
                if self._life.is_current(self._topic, here):
                    missed = await self._life.broker.since(self._channel, here)
            if missed is None:
                self._fail(self._gap())
            else:
                self._life.note(self._topic, self._epoch, begin)
            self._newest = begin
            for publication in (*(missed or ()), *self._early):
                self._take(publication)
        except BrokerError as error:
            self._fail(_Error(str(error)))
            raise
        finally:
            self._early.clear()
            if self._closed.is_set():
                await self.leave()

    async def leave(self) -> None:
        """Listen no more; idempotent."""
        self._news.set()
        self._life.subscriptions.discard(self)
        await self._life.listeners.unlisten(self._channel, self)

    def deliver(self, publication: Publication) -> None:
        """Take the next message of the topic."""
        if self._newest is None:
            self._early.append(publication)
            if len(self._early) > self._max_waiting:
                self._fail(self._gap())
        else:
            self._take(publication)

    def reset(self, channel: str, position: Position) -> None:
        """Learn that messages are lost."""
        del channel
        self._life.note(self._topic, position.epoch, 0)
        self._fail(self._gap())

    def _take(self, publication: Publication) -> None:
        number = publication.position.number
        if self._newest is None or number <= self._newest or self._failure is not None:
            return
        if number != self._newest + 1 or len(self._waiting) >= self._max_waiting:
            self._fail(self._gap())
            return
        try:
            message = Envelope.unpack(publication.payload).data
        except UnsupportedEnvelope as error:
            self._fail(_Error(f"topic {self._topic!r}: {error}"))
            return
        self._newest = number
        self._life.note(self._topic, self._epoch, number)
        self._waiting.append((number, message))
        self._news.set()

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._news.set()

    def _gap(self) -> Exception:
        return _Gap(f"messages of topic {self._topic!r} were lost before they were read")

    def _taken(self) -> list[tuple[int, Any]]:
        pairs = list(self._waiting)
        self._waiting.clear()
        if not pairs and self._failure is not None and not self._closed.is_set():
            raise self._failure
        return pairs

    async def _next(self, seconds: float) -> list[tuple[int, Any]]:
        """Return what has come, waiting for it for a while."""
        if not self._waiting and self._failure is None and not self._closed.is_set():
            self._news.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                pass
        return self._taken()

    async def _poll(self, seconds: float) -> list[tuple[int, Any]]:
        """Return everything that was published, also what is still on its way here."""
        if self._newest is not None and self._failure is None:
            here = Position(self._epoch, self._newest)
            missed = await self._life.broker.since(self._channel, here)
            if missed is None:
                self._fail(self._gap())
            for publication in missed or ():
                self._take(publication)
        return await self._next(seconds) if seconds > 0 else self._taken()

    # -- from anywhere ---------------------------------------------------------------------------

    def poll(self, timeout: float = 0.0) -> list[tuple[int, Any]]:
        """Return what was published since, waiting up to ``timeout`` seconds for something."""
        if self._closed.is_set():
            return []
        return self._life.wait(self._poll(timeout), timeout + _PATIENCE)

    def iter_with_seq(self) -> Iterator[tuple[int, Any]]:
        """Yield numbers and messages until the subscription is closed; in a thread."""
        try:
            while not self._closed.is_set():
                yield from self._life.wait(self._next(_LOOK_EVERY), _LOOK_EVERY + _PATIENCE)
        finally:
            self.close()

    async def aiter_with_seq(self) -> AsyncIterator[tuple[int, Any]]:
        """Yield numbers and messages until the subscription is closed; on any event loop."""
        try:
            while not self._closed.is_set():
                for pair in await self._life.result(self._next(_LOOK_EVERY)):
                    yield pair
        finally:
            self.close()

    def close(self) -> None:
        """End; from any thread, idempotent. Whoever waits is let go."""
        if not self._closed.is_set():
            self._closed.set()
            self._life.forget(self)


def _is_on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _envelope(what: str, data: Any) -> Envelope:
    """Return what a value or a message travels in; raises ``TypeError`` for what is no JSON."""
    envelope = Envelope.of(data)
    size = len(envelope.body)
    if size > _MAX_BYTES:
        raise _Error(f"{what}: {size} bytes are more than {_MAX_BYTES}; keep them elsewhere")
    return envelope


def _packed(key: str, value: Any, ttl: float | None) -> bytes:
    envelope = _envelope(f"key {key!r}", value)
    until = {} if ttl is None else {"until": time.time() + ttl}
    return Envelope(envelope.kind, envelope.body, extras=until).pack()


def _name(prefix: str, name: str) -> str:
    """Return the channel of a key or a topic; names of any length have one."""
    encoded = name.encode()
    if len(encoded) <= _LONGEST_NAME and not name.startswith("#"):
        return prefix + name
    return f"{prefix}#{hashlib.sha256(encoded).hexdigest()}"


def _message(topic: str, message: Any, ttl: float | None) -> bytes:
    if ttl is not None and not (math.isfinite(ttl) and ttl >= _SHORTEST_TOPIC_TTL):
        raise _Error(f"ttl={ttl!r}: a topic is kept for {_SHORTEST_TOPIC_TTL:g} s or longer")
    return _envelope(f"topic {topic!r}", message).pack()
