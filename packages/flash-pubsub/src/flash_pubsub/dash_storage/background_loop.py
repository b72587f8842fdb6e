"""A broker on an event loop of its own, which runs in a thread of its own.

Dash calls a storage from threads and from event loops, while a broker belongs to one event loop.
`BrokerLoop` passes calls from anywhere to that loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from flash_pubsub.broker.listeners import Listeners
from flash_pubsub.dash_storage.epochs import TopicEpochs
from flash_pubsub.dash_storage.interface import StorageError
from flash_pubsub.errors import BrokerError, UnsupportedEnvelope

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

    from flash_pubsub.broker.seam import Broker

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Seconds that a thread waits for a result. The broker limits each call itself; this one is for a
# loop that is blocked.
CALL_TIMEOUT = 15.0
# Seconds that unfinished calls have when the loop is closed.
_CLOSE_TIMEOUT = 2.0
# Calls made on event loops that wait for the store; one more is refused.
_MAX_UNAWAITED = 1_000


class Closable(Protocol):
    """What is closed together with the loop: a subscription."""

    def close(self) -> None:
        """Close it; idempotent, may be called from any thread."""
        ...


class BrokerLoop:
    """Runs coroutines on the broker's event loop for callers in any thread and on any loop.

    Calls that were made without waiting run one after the other, in the order of the calls. Calls
    that wait run after those made before them. `BrokerError` and `UnsupportedEnvelope` become
    Dash's ``SharedStorageError``.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.listeners = Listeners(broker)
        self.epochs = TopicEpochs()
        # Open subscriptions, closed by `close`.
        self.subscriptions: set[Closable] = set()
        self._loop = asyncio.new_event_loop()
        # The newest call that nobody waits for.
        self._unawaited: asyncio.Task[None] | None = None
        self._unawaited_count = 0
        self._count_lock = threading.Lock()
        self._closed = False
        self._loop.call_soon(self._queue, self.listeners.start())
        self._thread = threading.Thread(target=self._run, name="flash-pubsub storage", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def wait(self, work: Coroutine[Any, Any, T], timeout: float = CALL_TIMEOUT) -> T:
        """Run ``work`` and return its result; blocks this thread for ``timeout`` s at most."""
        future = self._submit(work)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise StorageError(f"the shared storage did not answer within {timeout:g} s") from None

    async def result(self, work: Coroutine[Any, Any, T]) -> T:
        """Run ``work`` and return its result; may be awaited on any event loop."""
        return await asyncio.wrap_future(self._submit(work))

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run ``work``; waits for it in a thread, but not on an event loop.

        On an event loop a failure of ``work`` is logged.
        """
        if not _is_on_event_loop():
            self.wait(work)
            return
        with self._count_lock:
            count = self._unawaited_count
            if not self._closed and count < _MAX_UNAWAITED:
                self._unawaited_count += 1
                self._loop.call_soon_threadsafe(self._queue, self._counted(work))
                return
        work.close()
        if self._closed:
            raise StorageError("the shared storage is closed")
        raise StorageError(
            f"{count} calls wait for the shared storage already; await aset, adelete and apublish"
        )

    def run_later(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run ``work`` without waiting, from any thread; does nothing once the loop has ended."""
        try:
            self._loop.call_soon_threadsafe(self._queue, work)
        except RuntimeError:
            # The loop is closed.
            work.close()

    def close(self) -> None:
        """Close subscriptions and broker, and end the thread.

        Waits for the end of the thread, but not on an event loop.
        """
        for subscription in list(self.subscriptions):
            subscription.close()
        self._closed = True
        asyncio.run_coroutine_threadsafe(self._close(), self._loop)
        if not _is_on_event_loop():
            self._thread.join(CALL_TIMEOUT)

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        if self._closed:
            work.close()
            raise StorageError("the shared storage is closed")
        return asyncio.run_coroutine_threadsafe(self._run_after_unawaited(work), self._loop)

    async def _run_after_unawaited(self, work: Coroutine[Any, Any, T]) -> T:
        return await self._run_after(self._unawaited, work)

    async def _run_after(
        self, before: asyncio.Task[None] | None, work: Coroutine[Any, Any, T]
    ) -> T:
        try:
            if before is not None and not before.done():
                await asyncio.wait({before})
            return await work
        except (BrokerError, UnsupportedEnvelope) as error:
            raise StorageError(str(error)) from error
        finally:
            work.close()

    async def _counted(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        finally:
            work.close()
            with self._count_lock:
                self._unawaited_count -= 1

    def _queue(self, work: Coroutine[Any, Any, Any]) -> None:
        before = self._unawaited
        self._unawaited = self._loop.create_task(self._log_failure(self._run_after(before, work)))

    async def _log_failure(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except Exception:  # a boundary: nobody waits for the result
            logger.exception("a call to the shared storage failed that nobody waited for")

    async def _close(self) -> None:
        try:
            if self._unawaited is not None:
                await asyncio.wait({self._unawaited}, timeout=_CLOSE_TIMEOUT)
            await self.listeners.close()
        finally:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if others:
                # Readers end because their subscription is closed, calls because the broker is.
                await asyncio.wait(others, timeout=_CLOSE_TIMEOUT)
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            self._loop.call_soon(self._loop.stop)


def _is_on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
