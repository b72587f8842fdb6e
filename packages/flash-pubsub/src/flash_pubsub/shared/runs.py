"""Running shared callbacks: one at a time in the whole deployment, each change answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from dash.exceptions import PreventUpdate

from flash import NoUpdate, Patch, stringify_id
from flash.callbacks.context import EventContext
from flash_pubsub.errors import BrokerError, Fenced
from flash_pubsub.shared.declaration import Batch, Change, key_of
from flash_pubsub.shared.patch import apply_patch
from flash_pubsub.shared.state import CHANNEL
from flash_ws.clients.context import current_client
from flash_ws.protocol.frames import INCREMENTAL, connection_frame

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from flash import Flash
    from flash_pubsub.broker.seam import Broker, Lease
    from flash_pubsub.shared.change_times import MadeAt
    from flash_pubsub.shared.declaration import Key, SharedCallback
    from flash_pubsub.shared.state import SharedState
    from flash_ws import Client
    from flash_ws.protocol.position import Position

logger = logging.getLogger(__name__)

# Seconds for which a worker may go on with changes of its own pages before others have a turn.
_TURN = 0.1

# Seconds between two attempts at a lease that another worker has, unless something is published.
_ASK_EVERY = 0.02

# What was to be set, and what builds on a value.
_Result = tuple[dict["Key", Any], list[tuple["Key", Any]]]


class SharedRuns:
    """The shared callbacks of one app, on one worker.

    - ``lease_ttl``: seconds after which another worker goes on when one dies in a callback.
    - ``layout_value``: asked for a value that was never set but that the layout gives.
    """

    def __init__(
        self,
        app: Flash,
        broker: Broker,
        state: SharedState,
        *,
        lease_ttl: float,
        layout_value: Callable[[Key], Awaitable[Any]],
    ) -> None:
        self._app = app
        self._broker = broker
        self._state = state
        self._lease_ttl = lease_ttl
        self._layout_value = layout_value
        self._callbacks: dict[str, SharedCallback] = {}
        # By callback: what waits, and the task that is at it.
        self._waiting: dict[str, Batch] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # By callback: changes whose result is published and has not come back yet, and where.
        self._unheard: dict[str, tuple[Position, Batch]] = {}
        self._changed = asyncio.Event()
        # Runs that were for nothing, since the lease had gone when they ended.
        self.fenced = 0
        state.on_change.append(self._heard)
        state.on_reset.append(self._reset)

    def add(self, callback: SharedCallback) -> None:
        """Take a callback in."""
        self._callbacks[callback.name] = callback
        self._state.inputs.update(callback.input_keys)

    async def close(self) -> None:
        """End what runs; pages send again what was not answered."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._waiting.clear()
        self._unheard.clear()
        # The next one may belong to another event loop.
        self._changed = asyncio.Event()

    # -- from pages ------------------------------------------------------------------------------

    async def receive(self, client: Client, frame: dict[str, Any]) -> None:
        """Take a page's ``share`` frame; raises `ProtocolError`."""
        name = str(frame.get("cb"))
        callback = self._callbacks.get(name)
        if callback is None:
            # The page may be older than this deployment; it is not to wait for an answer.
            logger.info("no shared callback %.40r", name)
            client.deliver(connection_frame("shared", cb=name[:40], k=frame.get("k")))
            return
        change = Change.read(frame, callback)
        if not change.number:
            if change.sent is not None:
                self._state.times.heard(client.id, change.sent)
            if not callback.runs_first or self._state.has_run(callback.name):
                return
        elif self._state.has_seen(callback.name, client.id, change.number):
            client.deliver(connection_frame("shared", cb=callback.name, k=change.number))
            return
        made = self._made_at(callback, client, change)
        self._waiting.setdefault(callback.name, Batch()).add(client, change, made)
        self._start(callback)

    def _made_at(
        self, callback: SharedCallback, client: Client, change: Change
    ) -> dict[int, MadeAt]:
        """Return when the changed inputs were changed, by place."""
        times = self._state.times
        keys = callback.input_keys
        if change.sent is None:
            return {place: (times.now(), client.id) for place in change.changed}
        return {
            place: times.made_at(client.id, keys[place], made, change.sent)
            for place, made in change.made.items()
        }

    def _start(self, callback: SharedCallback) -> None:
        if callback.name not in self._tasks:
            self._tasks[callback.name] = asyncio.ensure_future(self._work(callback))

    # -- from the state --------------------------------------------------------------------------

    def _heard(self) -> None:
        """Note that somebody has published."""
        self._changed.set()
        for name, (_, batch) in list(self._unheard.items()):
            if all(
                self._state.has_seen(name, page, number)
                for page, (_, number) in batch.origins.items()
            ):
                del self._unheard[name]
                self._repair(self._callbacks[name], batch)

    def _repair(self, callback: SharedCallback, batch: Batch) -> None:
        """Put right what a run of another callback has overtaken between its start and its end."""
        keys = callback.input_keys
        for place, made in batch.made.items():
            if self._state.made_at(keys[place]) > made:
                self._state.repair(keys[place])

    def _reset(self, position: Position) -> None:
        """See to changes whose answer will not come any more: something is lost.

        What is part of the state at ``position`` is answered, the rest runs again.
        """
        unheard, self._unheard = self._unheard, {}
        for name, (published, batch) in unheard.items():
            callback = self._callbacks[name]
            if published.epoch == position.epoch and published.number <= position.number:
                self._answer(callback, batch)
            else:
                self._run_again(callback, batch)

    def _answer(self, callback: SharedCallback, batch: Batch) -> None:
        for client, number in batch.origins.values():
            client.deliver(connection_frame("shared", cb=callback.name, k=number))

    # -- one callback ----------------------------------------------------------------------------

    async def _work(self, callback: SharedCallback) -> None:
        """Run a callback until nothing waits for it."""
        try:
            while callback.name in self._waiting:
                try:
                    async with self._turn(callback) as lease:
                        await self._state.up_to_date()
                        await self._take_turn(callback, lease)
                except (BrokerError, TimeoutError) as error:
                    logger.warning("shared callback %r waits: %s", callback.label, error)
                    await asyncio.sleep(random.uniform(0.1, 0.5))
        finally:
            self._tasks.pop(callback.name, None)

    @asynccontextmanager
    async def _turn(self, callback: SharedCallback) -> AsyncGenerator[Lease]:
        """Wait until no other worker runs the callback, and keep others out meanwhile."""
        while True:
            self._changed.clear()
            lease = await self._broker.lease(callback.name, self._lease_ttl, channel=CHANNEL)
            if lease is not None:
                break
            with contextlib.suppress(TimeoutError):
                # Who has it gives it back soon after it has published.
                async with asyncio.timeout(_ASK_EVERY * random.uniform(0.5, 1.5)):
                    await self._changed.wait()
        renewing = asyncio.ensure_future(self._renew(lease))
        try:
            yield lease
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with contextlib.suppress(BrokerError):
                # It ends by itself.
                await self._broker.release(lease)

    async def _renew(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(self._lease_ttl / 3)
            # Whether it is still ours shows when the result is published.
            with contextlib.suppress(BrokerError):
                await self._broker.renew(lease, self._lease_ttl)

    async def _take_turn(self, callback: SharedCallback, lease: Lease) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _TURN
        while callback.name in self._waiting:
            batch = self._waiting.pop(callback.name)
            self._answer_what_is_known(callback, batch)
            if self._is_superseded(callback, batch):
                self._answer(callback, batch)
                continue
            is_first = not self._state.has_run(callback.name)
            if not batch.origins and not (is_first and callback.runs_first):
                continue
            try:
                await self._run(callback, batch, lease)
            except (BrokerError, Fenced) as error:
                self.fenced += isinstance(error, Fenced)
                # Perhaps it was published all the same; then it is known when it is its turn again.
                self._waiting.setdefault(callback.name, Batch()).put_back(batch)
                logger.warning("shared callback %r runs again: %s", callback.label, error)
                if isinstance(error, BrokerError):
                    raise
                return
            if loop.time() > until:
                return

    def _answer_what_is_known(self, callback: SharedCallback, batch: Batch) -> None:
        """Leave out what an earlier run has done, for a page that has sent it again since."""
        for page, (client, number) in list(batch.origins.items()):
            if self._state.has_seen(callback.name, page, number):
                del batch.origins[page]
                client.deliver(connection_frame("shared", cb=callback.name, k=number))

    def _is_superseded(self, callback: SharedCallback, batch: Batch) -> bool:
        """Replace changes by newer ones of the same inputs that others have made.

        True if nothing is left to do: the callback has run with all of them.
        """
        keys = callback.input_keys
        for place, made in batch.made.items():
            newest = self._state.made_at(keys[place])
            if newest > made:
                batch.changed[place] = self._state.value(keys[place])
                batch.made[place] = newest
        return bool(batch.made) and all(
            self._state.has_used(callback.name, keys[place], made)
            for place, made in batch.made.items()
        )

    async def _run(self, callback: SharedCallback, batch: Batch, lease: Lease) -> None:
        inputs = {
            key: self._input(key, place, batch) for place, key in enumerate(callback.input_keys)
        }
        changed = {key: inputs[key] for key in self._in_order(callback, batch)}
        unknown = {key: each for key, each in inputs.items() if self._state.json(key) is None}
        origins = {page: number for page, (_, number) in batch.origins.items()}
        keys = callback.input_keys
        made = {keys[place]: at for place, at in batch.made.items()}
        used = {key: made.get(key) or self._state.made_at(key) for key in keys}
        epoch = self._state.epoch
        try:
            values, additions = await self._call(callback, batch, list(inputs.values()))
            position = await self._state.publish(
                {**unknown, **changed, **values},
                additions=additions,
                origins=origins,
                callback=callback.name,
                made=made,
                used=used,
                fence=lease,
            )
            self._note_published(callback, batch, position, epoch)
        except (BrokerError, Fenced):
            raise
        except Exception as error:  # an application's function: logged, and told to who caused it
            logger.exception("shared callback %r failed", callback.label)
            reason = f"{type(error).__name__}: {error}" if self._app.is_developing else "it failed"
            for client, number in batch.origins.values():
                told = {"cb": callback.name, "label": callback.label, "failed": reason}
                client.deliver(connection_frame("shared", k=number, **told))

    def _note_published(
        self, callback: SharedCallback, batch: Batch, position: Position, epoch: str
    ) -> None:
        """Wait for what is published to come back; ``epoch`` is the state's when this began."""
        if self._state.epoch not in (epoch, position.epoch):
            # All was lost between the store's answer and now.
            self._run_again(callback, batch)
            return
        earlier = self._unheard.get(callback.name)
        if earlier is not None:
            batch.put_back(earlier[1])
        self._unheard[callback.name] = position, batch
        self._heard()

    def _run_again(self, callback: SharedCallback, batch: Batch) -> None:
        logger.warning("shared callback %r runs again: the store lost it", callback.label)
        self._waiting.setdefault(callback.name, Batch()).put_back(batch)
        self._start(callback)

    def _input(self, key: Key, place: int, batch: Batch) -> Any:
        if place in batch.changed:
            return batch.changed[place]
        return self._state.value(key, batch.values[place])

    def _in_order(self, callback: SharedCallback, batch: Batch) -> list[Key]:
        keys = callback.input_keys
        return [keys[place] for place in batch.changed]

    async def _call(self, callback: SharedCallback, batch: Batch, values: list[Any]) -> _Result:
        client = batch.client
        assert client is not None
        context = EventContext(
            _slots(callback.inputs, values),
            _slots(callback.states, batch.states),
            [_property(callback.inputs[place]) for place in batch.changed],
        )
        token = current_client.set(client)
        try:
            async with client.handshake.active():
                with context.active():
                    try:
                        result = await self._app.pool.call(
                            callback.function, *values, *batch.states
                        )
                    except PreventUpdate:
                        result = NoUpdate()
                updates = [
                    *callback.outputs.updates(result, callback.label),
                    *context.take_updates(),
                ]
                return await self._resolved(updates)
        finally:
            current_client.reset(token)

    async def _resolved(self, updates: Sequence[tuple[Any, Mapping[str, Any]]]) -> _Result:
        """Tell values to set from those that build on one; patches are applied here."""
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
                    values[key] = apply_patch(before, value)
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


def _property(dependency: Any) -> str:
    return f"{stringify_id(dependency.component_id)}.{dependency.component_property}"
