"""Checks of the changes that pages report of shared inputs, before they count."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flash.access.admission import AUTHORIZE_TIMEOUT
from flash.exits import ends_task
from flash.log_limit import limited_logger
from flash_ws.clients.visiting import visiting
from flash_ws.protocol.frames import connection_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from flash import Flash
    from flash_pubsub.shared.change_times import MadeAt
    from flash_pubsub.shared.declaration import Change, SharedCallback
    from flash_pubsub.shared.state import SharedState
    from flash_ws.clients.client import LinkedClient as Client
    from flash_ws.protocol.frames import Frame

    # Takes a change that counts, with the times of its inputs.
    Accept: TypeAlias = Callable[[SharedCallback, Client, Change, Mapping[int, MadeAt]], None]

logger = limited_logger(__name__)

# Why a change of a page is refused whose room is another one.
NOT_IN_ROOM = "this page is not in the room"


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


class ChangeChecks:
    """Asks the application whether a page may change shared inputs, and checks the values.

    - ``has_page``: whether a page may still change the state of the room.
    - ``accept``: called with each change that counts, those of one page in their order.
    """

    def __init__(
        self,
        app: Flash,
        state: SharedState,
        counters: RunCounters,
        *,
        has_page: Callable[[Client], bool],
        accept: Accept,
    ) -> None:
        self._app = app
        self._state = state
        self._counters = counters
        self._has_page = has_page
        self._accept = accept
        # By page and callback: the changes that wait for the application's `authorize`.
        self._asking: dict[tuple[str, str], list[tuple[Change, dict[int, MadeAt]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_idle(self) -> bool:
        """Whether no change waits for the application."""
        return not self._asking

    async def close(self) -> None:
        """Stop asking; pages send again the changes that were not answered."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def receive(self, callback: SharedCallback, client: Client, change: Change) -> None:
        """Check a change; one that is refused is answered."""
        made: dict[int, MadeAt] = {}
        # Read now: the clocks are compared by when the frame came.
        if change.number:
            made = self._times_of(callback, client, change)
        elif change.sent is not None:
            self._state.times.observe_page(client.id, change.sent)
        if callback.accepts.authorize is None:
            self._check(callback, client, change, made)
            return
        # In a task: nothing else that the page sends waits for the application's answer.
        key = client.id, callback.name
        asking = self._asking.get(key)
        if asking is not None:
            asking.append((change, made))
            return
        self._asking[key] = [(change, made)]
        task = asyncio.ensure_future(self._ask(callback, client, key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
                        self._check(callback, client, change, made)
        finally:
            del self._asking[key]

    def _check(
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
        self._accept(callback, client, change, made)

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
