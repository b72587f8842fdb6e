"""Running shared callbacks: each by one worker of the deployment at a time, for all changes."""

from __future__ import annotations

import asyncio
import contextlib
import random
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from flash.errors import CallbackTimeout
from flash.exits import ends_task
from flash.log_limit import limited_logger
from flash_pubsub.errors import BrokerError, Fenced
from flash_pubsub.shared.calls import SharedCalls
from flash_pubsub.shared.checks import ChangeChecks, refusal_frame
from flash_pubsub.shared.declaration import Change, PendingChanges
from flash_pubsub.shared.picks import items_of, merged
from flash_ws.protocol.frames import connection_frame

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from flash import Flash
    from flash_pubsub.broker.seam import Broker, Lease
    from flash_pubsub.shared.change_times import MadeAt
    from flash_pubsub.shared.checks import RunCounters
    from flash_pubsub.shared.declaration import Key, SharedCallback
    from flash_pubsub.shared.state import SharedState
    from flash_ws.clients.client import LinkedClient as Client
    from flash_ws.protocol.position import Position

logger = limited_logger(__name__)

# Seconds after which a worker releases a callback's lease, even if more of its pages' changes wait.
_TURN_SECONDS = 0.1

# Seconds between two attempts to take a lease that another worker holds. A publication ends the
# wait.
_LEASE_RETRY_INTERVAL = 0.02

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


def _always(_: object) -> bool:
    return True


class SharedRuns:
    """Runs the shared callbacks of one app, or of one room, for the pages of one worker.

    - ``lease_ttl``: seconds after which another worker takes over when this one dies in a callback.
    - ``layout_value``: returns the value that the layout gives to a property.
    - ``variables``: the variables of the room's name, for functions that take them.
    - ``has_page``: whether a page may still change the state of the room.
    """

    def __init__(
        self,
        app: Flash,
        broker: Broker,
        state: SharedState,
        *,
        lease_ttl: float,
        layout_value: Callable[[Key], Awaitable[Any]],
        counters: RunCounters,
        variables: Mapping[str, str] = NO_VARIABLES,
        has_page: Callable[[Client], bool] = _always,
    ) -> None:
        self._app = app
        self._broker = broker
        self._state = state
        self._lease_ttl = lease_ttl
        self._checks = ChangeChecks(app, state, counters, has_page=has_page, accept=self._accept)
        self._calls = SharedCalls(app, state, layout_value, variables)
        self._callbacks: dict[str, SharedCallback] = {}
        # By callback: the changes that wait, and the task that runs the callback.
        self._waiting: dict[str, PendingChanges] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # By callback: the position at which a result was published, and its changes, until the
        # publication arrives.
        self._unconfirmed: dict[str, tuple[Position, PendingChanges]] = {}
        self._changed = asyncio.Event()
        self._counters = counters
        state.on_change.append(self._handle_publication)
        state.on_reset.append(self._handle_reset)

    def add(self, callback: SharedCallback) -> None:
        """Add a callback."""
        self._callbacks[callback.name] = callback
        self._state.inputs.update(callback.input_keys)

    @property
    def is_idle(self) -> bool:
        """Whether no change waits, and no result is to arrive."""
        return self._checks.is_idle and not (self._tasks or self._waiting or self._unconfirmed)

    async def close(self) -> None:
        """Cancel all runs; pages send again the changes that were not answered."""
        await self._checks.close()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._waiting.clear()
        self._unconfirmed.clear()
        # The next start may be on another event loop.
        self._changed = asyncio.Event()

    # -- from pages ------------------------------------------------------------------------------

    async def receive(self, client: Client, frame: dict[str, Any]) -> None:
        """Handle a page's ``share`` frame; raises `ProtocolError`."""
        name = str(frame.get("cb"))
        callback = self._callbacks.get(name)
        if callback is None:
            # The page may come from an earlier deployment. The answer ends its waiting.
            logger.info("a page names the unknown shared callback %.40r", name)
            client.deliver(connection_frame("shared", cb=name[:40], k=frame.get("k")))
            return
        self._checks.receive(callback, client, Change.parse(frame, callback))

    def _accept(
        self,
        callback: SharedCallback,
        client: Client,
        change: Change,
        made: Mapping[int, MadeAt],
    ) -> None:
        """Let the callback run for a change that counts."""
        if not change.number:
            if not callback.runs_initially or self._state.has_run(callback.name):
                return
        elif self._state.has_answered(callback.name, client.id, change.number):
            client.deliver(connection_frame("shared", cb=callback.name, k=change.number))
            return
        self._waiting.setdefault(callback.name, PendingChanges()).add(client, change, made)
        self._start(callback)

    def _start(self, callback: SharedCallback) -> None:
        if callback.name not in self._tasks:
            self._tasks[callback.name] = asyncio.ensure_future(self._run_until_idle(callback))

    # -- from the state --------------------------------------------------------------------------

    def _handle_publication(self) -> None:
        """Wake runs that wait, and drop changes whose result has arrived."""
        self._changed.set()
        for name, (_, pending) in list(self._unconfirmed.items()):
            if all(
                self._state.has_answered(name, page, number)
                for page, (_, number) in pending.origins.items()
            ):
                del self._unconfirmed[name]
                self._restore_newest(self._callbacks[name], pending)

    def _restore_newest(self, callback: SharedCallback, pending: PendingChanges) -> None:
        """Publish newer values again that this run's older ones have replaced in the store.

        A run of another callback with the same input may have published them meanwhile.
        """
        keys = callback.input_keys
        for index, made in pending.made.items():
            if self._state.made_at(keys[index]) > made:
                self._state.republish_newest(keys[index])

    def _handle_reset(self, position: Position) -> None:
        """Answer or repeat the changes whose publication may be lost.

        Changes that are part of the state at ``position`` are answered; for the others the callback
        runs again.
        """
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        for name, (published, pending) in unconfirmed.items():
            callback = self._callbacks[name]
            if published.epoch == position.epoch and published.number <= position.number:
                self._answer(callback, pending)
            else:
                self._run_again(callback, pending)

    def _answer(self, callback: SharedCallback, pending: PendingChanges) -> None:
        for client, number in pending.origins.values():
            client.deliver(connection_frame("shared", cb=callback.name, k=number))

    # -- one callback ----------------------------------------------------------------------------

    async def _run_until_idle(self, callback: SharedCallback) -> None:
        """Run a callback until no changes wait for it."""
        try:
            while callback.name in self._waiting:
                try:
                    async with self._hold_lease(callback) as lease:
                        await self._state.up_to_date()
                        await self._run_pending(callback, lease)
                except (BrokerError, TimeoutError) as error:
                    logger.warning("shared callback %r has to wait: %s", callback.label, error)
                    await asyncio.sleep(random.uniform(0.1, 0.5))
        finally:
            self._tasks.pop(callback.name, None)

    @asynccontextmanager
    async def _hold_lease(self, callback: SharedCallback) -> AsyncGenerator[Lease]:
        """Wait for the callback's lease and hold it during the ``async with`` block."""
        while True:
            self._changed.clear()
            lease = await self._broker.lease(
                callback.name, self._lease_ttl, channel=self._state.channel
            )
            if lease is not None:
                break
            with contextlib.suppress(TimeoutError):
                # The holder releases the lease soon after it has published.
                async with asyncio.timeout(_LEASE_RETRY_INTERVAL * random.uniform(0.5, 1.5)):
                    await self._changed.wait()
        renewing = asyncio.ensure_future(self._renew(lease))
        try:
            yield lease
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with contextlib.suppress(BrokerError):
                # An unreleased lease expires.
                await self._broker.release(lease)

    async def _renew(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(self._lease_ttl / 3)
            # A lost lease is detected when the result is published.
            with contextlib.suppress(BrokerError):
                await self._broker.renew(lease, self._lease_ttl)

    async def _run_pending(self, callback: SharedCallback, lease: Lease) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _TURN_SECONDS
        while callback.name in self._waiting:
            pending = self._waiting.pop(callback.name)
            self._drop_answered(callback, pending)
            if self._is_superseded(callback, pending):
                self._answer(callback, pending)
                continue
            is_first_run = not self._state.has_run(callback.name)
            if not pending.origins and not (is_first_run and callback.runs_initially):
                continue
            try:
                await self._run(callback, pending, lease)
            except (BrokerError, Fenced) as error:
                self._counters.fenced += isinstance(error, Fenced)
                # The result may be published all the same; the next run finds that out.
                self._waiting.setdefault(callback.name, PendingChanges()).add_earlier(pending)
                logger.warning("shared callback %r runs again: %s", callback.label, error)
                if isinstance(error, BrokerError):
                    raise
                return
            if loop.time() > until:
                return

    def _drop_answered(self, callback: SharedCallback, pending: PendingChanges) -> None:
        """Answer and drop changes that an earlier run has used; pages may send a change twice."""
        for page, (client, number) in list(pending.origins.items()):
            if self._state.has_answered(callback.name, page, number):
                del pending.origins[page]
                client.deliver(connection_frame("shared", cb=callback.name, k=number))

    def _is_superseded(self, callback: SharedCallback, pending: PendingChanges) -> bool:
        """Replace changes by newer changes of the same inputs from other pages.

        Returns True if the callback has run with all of them already.
        """
        keys = callback.input_keys
        for index, made in list(pending.made.items()):
            newest = self._state.made_at(keys[index])
            if self._merge_picks(callback, pending, index, newest):
                continue
            if newest > made:
                pending.changed[index] = self._state.value(keys[index])
                pending.made[index] = newest
        return bool(pending.made) and all(
            self._state.has_used(callback.name, keys[index], made)
            for index, made in pending.made.items()
        )

    def _merge_picks(
        self, callback: SharedCallback, pending: PendingChanges, index: int, newest: MadeAt
    ) -> bool:
        """Let all picks in a list count, those that another run has published too.

        Returns False if the input is no such list, or the callback does not accept the result.
        ``newest`` is the time of the value that the state has.
        """
        picks = pending.picks.get(index)
        if not picks:
            return False
        key = callback.input_keys[index]
        known = self._state.json(key) is not None
        current = items_of(self._state.value(key)) if known else next(iter(picks.values())).before
        if current is None:
            return False
        value = merged(current, picks.values())
        if not callback.accepts.allows(index, value):
            return False
        pending.changed[index] = value
        if known and value == list(current):
            pending.made[index] = max(pending.made[index], newest)
        elif newest > pending.made[index]:
            # Newer than the value that it builds on, which all workers then replace.
            pending.made[index] = newest[0] + 1, pending.made[index][1]
        return True

    async def _run(self, callback: SharedCallback, pending: PendingChanges, lease: Lease) -> None:
        inputs = {
            key: self._input(key, index, pending) for index, key in enumerate(callback.input_keys)
        }
        changed = {key: inputs[key] for key in self._changed_keys(callback, pending)}
        unknown = {key: each for key, each in inputs.items() if self._state.json(key) is None}
        origins = {page: number for page, (_, number) in pending.origins.items()}
        keys = callback.input_keys
        made = {keys[index]: at for index, at in pending.made.items()}
        used = {key: made.get(key) or self._state.made_at(key) for key in keys}
        epoch = self._state.epoch
        try:
            values, additions = await self._calls.call(callback, pending, list(inputs.values()))
            position = await self._state.publish(
                {**unknown, **changed, **values},
                additions=additions,
                origins=origins,
                callback=callback.name,
                made=made,
                used=used,
                fence=lease,
            )
            self._expect_confirmation(callback, pending, position, epoch)
        except (BrokerError, Fenced):
            raise
        except BaseException as error:
            # An application's function: logged, and reported to the pages.
            if ends_task(error):
                raise
            logger.exception("shared callback %r failed", callback.label)
            reason = f"{type(error).__name__}: {error}" if self._app.is_developing else "it failed"
            if isinstance(error, CallbackTimeout) and error.callback_id == callback.label:
                self._counters.timeouts += 1
                reason = f"it took longer than {error.seconds:g} s"
            for client, number in pending.origins.values():
                client.deliver(refusal_frame(callback, number, reason))

    def _expect_confirmation(
        self, callback: SharedCallback, pending: PendingChanges, position: Position, epoch: str
    ) -> None:
        """Remember the changes of a publication until it arrives.

        ``epoch`` is the epoch of the state when the run began.
        """
        if self._state.epoch not in (epoch, position.epoch):
            # The store lost its data after it had acknowledged the publication.
            self._run_again(callback, pending)
            return
        earlier = self._unconfirmed.get(callback.name)
        if earlier is not None:
            pending.add_earlier(earlier[1])
        self._unconfirmed[callback.name] = position, pending
        self._handle_publication()

    def _run_again(self, callback: SharedCallback, pending: PendingChanges) -> None:
        logger.warning("shared callback %r runs again: the store lost its result", callback.label)
        self._waiting.setdefault(callback.name, PendingChanges()).add_earlier(pending)
        self._start(callback)

    def _input(self, key: Key, index: int, pending: PendingChanges) -> Any:
        if index in pending.changed:
            return pending.changed[index]
        return self._state.value(key, pending.values[index])

    def _changed_keys(self, callback: SharedCallback, pending: PendingChanges) -> list[Key]:
        keys = callback.input_keys
        return [keys[index] for index in pending.changed]
