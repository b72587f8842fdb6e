"""Running shared callbacks: each by one worker of the deployment at a time, for all changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dash.exceptions import PreventUpdate

from flash import NoUpdate, Patch, stringify_id
from flash.access.admission import AUTHORIZE_TIMEOUT
from flash.callbacks.context import EventContext
from flash.callbacks.execution import time_limit
from flash.callbacks.traced import call_in_span
from flash.errors import CallbackTimeout
from flash.exits import ends_task
from flash.log_limit import limited_logger
from flash_pubsub.errors import BrokerError, Fenced
from flash_pubsub.shared.declaration import Change, PendingChanges, key_of
from flash_pubsub.shared.patch import apply_patch
from flash_pubsub.shared.picks import items_of, merged
from flash_ws.clients.context import current_client
from flash_ws.clients.visiting import visiting
from flash_ws.protocol.frames import INCREMENTAL, connection_frame

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from flash import Flash
    from flash_pubsub.broker.seam import Broker, Lease
    from flash_pubsub.shared.change_times import MadeAt
    from flash_pubsub.shared.declaration import Key, SharedCallback
    from flash_pubsub.shared.state import SharedState
    from flash_ws.clients.client import LinkedClient as Client
    from flash_ws.protocol.frames import Frame
    from flash_ws.protocol.position import Position

logger = limited_logger(__name__)

# Seconds after which a worker releases a callback's lease, even if more of its pages' changes wait.
_TURN_SECONDS = 0.1

# Seconds between two attempts to take a lease that another worker holds. A publication ends the
# wait.
_LEASE_RETRY_INTERVAL = 0.02

# Why a change of a page is refused whose room is another one.
NOT_IN_ROOM = "this page is not in the room"

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})

# The values to set, and the additions to values, such as ``extendData``.
_RunResult = tuple[dict["Key", Any], list[tuple["Key", Any]]]


def _always(_: object) -> bool:
    return True


@dataclass(slots=True)
class RunCounters:
    """Counters of all shared callbacks of a worker, in all rooms."""

    # Runs whose result was refused because another worker held the lease by then.
    fenced: int = 0
    # Runs that took longer than the ``timeout`` of their callback.
    timeouts: int = 0
    # Changes of pages that were refused, and the callbacks for which that has been logged.
    refused: int = 0
    logged: set[str] = field(default_factory=set[str])

    def count_refusal(self, callback: SharedCallback, reason: str) -> None:
        """Count a refused change; it is logged once for each callback.

        A page can cause it as often as it likes.
        """
        self.refused += 1
        level = logging.DEBUG if callback.name in self.logged else logging.WARNING
        self.logged.add(callback.name)
        logger.log(level, "refused a change of the shared callback %r: %s", callback.label, reason)


def refusal_frame(callback: SharedCallback, number: int, reason: str) -> Frame:
    """Return the frame for one page whose change counts for nothing."""
    failure = {"cb": callback.name, "label": callback.label, "failed": reason}
    return connection_frame("shared", k=number, **failure)


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
        self._layout_value = layout_value
        self._variables = variables
        self._has_page = has_page
        self._callbacks: dict[str, SharedCallback] = {}
        # By callback: the changes that wait, and the task that runs the callback.
        self._waiting: dict[str, PendingChanges] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # By callback: the position at which a result was published, and its changes, until the
        # publication arrives.
        self._unconfirmed: dict[str, tuple[Position, PendingChanges]] = {}
        # By page and callback: the changes that wait for the application's `authorize`.
        self._asking: dict[tuple[str, str], list[tuple[Change, dict[int, MadeAt]]]] = {}
        self._asking_tasks: set[asyncio.Task[None]] = set()
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
        return not (self._tasks or self._waiting or self._unconfirmed or self._asking)

    async def close(self) -> None:
        """Cancel all runs; pages send again the changes that were not answered."""
        tasks = [*self._tasks.values(), *self._asking_tasks]
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
        change = Change.parse(frame, callback)
        made: dict[int, MadeAt] = {}
        # Read now: the clocks are compared by when the frame came.
        if change.number:
            made = self._times_of(callback, client, change)
        elif change.sent is not None:
            self._state.times.observe_page(client.id, change.sent)
        if callback.accepts.authorize is None:
            self._accept(callback, client, change, made)
            return
        # In a task: nothing else that the page sends waits for the application's answer.
        key = client.id, callback.name
        asking = self._asking.get(key)
        if asking is not None:
            asking.append((change, made))
            return
        self._asking[key] = [(change, made)]
        task = asyncio.ensure_future(self._ask(callback, client, key))
        self._asking_tasks.add(task)
        task.add_done_callback(self._asking_tasks.discard)

    async def _ask(self, callback: SharedCallback, client: Client, key: tuple[str, str]) -> None:
        """Ask the application about a page's changes, and process them in order.

        Bounded by the page's rate limit and by ``AUTHORIZE_TIMEOUT``.
        """
        try:
            while changes := self._asking[key]:
                self._asking[key] = []
                refusal = ""
                try:
                    await self._check_permission(callback, client)
                except ValueError as error:
                    refusal = str(error)
                for change, made in changes:
                    if refusal:
                        self._refuse(callback, client, change, refusal)
                    else:
                        self._accept(callback, client, change, made)
        finally:
            del self._asking[key]

    def _accept(
        self,
        callback: SharedCallback,
        client: Client,
        change: Change,
        made: Mapping[int, MadeAt],
    ) -> None:
        if not self._has_page(client):
            # It has left the room while the application was asked.
            self._refuse(callback, client, change, NOT_IN_ROOM)
            return
        try:
            change = callback.accepts.check(change)
        except ValueError as error:
            self._refuse(callback, client, change, str(error))
            return
        except BaseException as error:
            # A validator of the application's schema failed: the page must hear of it.
            if ends_task(error):
                raise
            logger.exception("schema= of the shared callback %r failed", callback.label)
            self._refuse(callback, client, change, "its values could not be checked")
            return
        if not change.number:
            if not callback.runs_initially or self._state.has_run(callback.name):
                return
        elif self._state.has_answered(callback.name, client.id, change.number):
            client.deliver(connection_frame("shared", cb=callback.name, k=change.number))
            return
        self._waiting.setdefault(callback.name, PendingChanges()).add(client, change, made)
        self._start(callback)

    async def _check_permission(self, callback: SharedCallback, client: Client) -> None:
        """Raise ``ValueError`` unless a page may change the inputs of a callback."""
        authorize = callback.accepts.authorize
        if authorize is None:
            return
        try:
            what = f"authorize of {callback.label}"
            async with visiting(client, what, AUTHORIZE_TIMEOUT) as visitor:
                answer = await self._app.pool.call(authorize, visitor)
            # True or a user's name, so that one function may serve everywhere.
            is_allowed = answer is True or (isinstance(answer, str) and answer != "")
        except BaseException as error:
            # An application's function: a failure refuses the change.
            if ends_task(error):
                raise
            logger.exception("authorize of the shared callback %r failed", callback.label)
            is_allowed = False
        if not is_allowed:
            raise ValueError("this page may not change it")

    def _refuse(
        self, callback: SharedCallback, client: Client, change: Change, reason: str
    ) -> None:
        """Drop a change and tell its page, which then shows what the others show."""
        self._counters.count_refusal(callback, reason)
        if change.number:
            client.deliver(refusal_frame(callback, change.number, reason))

    def _times_of(
        self, callback: SharedCallback, client: Client, change: Change
    ) -> dict[int, MadeAt]:
        """Return the times of the changes by input index."""
        times = self._state.times
        keys = callback.input_keys
        if change.sent is None:
            return {index: (times.now(), client.id) for index in change.changed}
        return {
            index: times.made_at(client.id, keys[index], made, change.sent)
            for index, made in change.made.items()
        }

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
            values, additions = await self._call_traced(callback, pending, list(inputs.values()))
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

    def _call_traced(
        self, callback: SharedCallback, pending: PendingChanges, values: list[Any]
    ) -> Awaitable[_RunResult]:
        """Call the function, in a span if the app is traced."""
        tracing = self._app.tracing
        if tracing is None:
            return self._call(callback, pending, values)
        attributes = {
            "flash.callback.id": callback.label,
            "flash.shared.pages": len(pending.origins),
        }
        span = tracing.span(f"shared {callback.label}", attributes)
        return call_in_span(span, lambda: self._call(callback, pending, values))

    async def _call(
        self, callback: SharedCallback, pending: PendingChanges, values: list[Any]
    ) -> _RunResult:
        client = pending.client
        assert client is not None
        context = EventContext(
            _slots(callback.inputs, values),
            _slots(callback.states, pending.states),
            [_property_name(callback.inputs[index]) for index in pending.changed],
        )
        variables = {name: self._variables[name] for name in callback.room_arguments}
        token = current_client.set(client)
        try:
            async with client.handshake.active():
                with context.active():
                    try:
                        async with time_limit(callback.label, callback.timeout):
                            result = await self._app.pool.call(
                                callback.function, *values, *pending.states, **variables
                            )
                    except PreventUpdate:
                        result = NoUpdate()
                updates = [
                    *callback.outputs.updates(result, callback.label),
                    *context.take_updates(),
                ]
                return await self._resolve_updates(updates)
        finally:
            current_client.reset(token)

    async def _resolve_updates(
        self, updates: Sequence[tuple[Any, Mapping[str, Any]]]
    ) -> _RunResult:
        """Separate values to set from additions to values; apply patches."""
        values: dict[Key, Any] = {}
        additions: list[tuple[Key, Any]] = []
        for component_id, props in updates:
            for prop, value in props.items():
                key = key_of(component_id, prop)
                if isinstance(value, Patch):
                    if key in values:
                        before = values[key]
                    elif self._state.json(key) is not None:
                        before = self._state.value(key)
                    else:
                        before = await self._layout_value(key)
                    values[key] = apply_patch(before, value, ".".join(key))
                elif prop in INCREMENTAL:
                    additions.append((key, value))
                else:
                    values[key] = value
        return values, additions


def _slots(dependencies: Any, values: Any) -> list[dict[str, Any]]:
    return [
        {"id": each.component_id, "property": each.component_property, "value": value}
        for each, value in zip(dependencies, values, strict=True)
    ]


def _property_name(dependency: Any) -> str:
    return f"{stringify_id(dependency.component_id)}.{dependency.component_property}"
