"""How many callbacks a worker has answered, by how each ended, and the time they took."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from dash.exceptions import PreventUpdate

from flash.callbacks.execution import Superseded
from flash.errors import BadRequest, CallbackTimeout, Overloaded

# ``rejected``: the request does not match the app. ``refused``: too many wait for a thread.
# ``error``: an exception that no ``on_error`` has handled. ``cancelled``: the page has gone.
Outcome = Literal["ok", "no_update", "rejected", "refused", "timeout", "error", "cancelled"]


_OUTCOMES: tuple[tuple[tuple[type[BaseException], ...], Outcome], ...] = (
    ((PreventUpdate, Superseded), "no_update"),
    ((asyncio.CancelledError,), "cancelled"),
    ((BadRequest,), "rejected"),
    ((Overloaded,), "refused"),
    ((CallbackTimeout,), "timeout"),
)


def outcome_of(error: BaseException) -> Outcome:
    """Return how a call ended that raised ``error``."""
    for kinds, outcome in _OUTCOMES:
        if isinstance(error, kinds):
            return outcome
    return "error"


class CallbackCounts:
    """Counts the calls of callbacks of one app in one worker, from its start on.

    It is used on the event loop alone.
    """

    __slots__ = ("by_outcome", "running", "seconds")

    def __init__(self) -> None:
        # Calls that run now, those that wait for a thread included.
        self.running = 0
        self.by_outcome: dict[Outcome, int] = {}
        # The time from request to response of all calls; calls at the same time are added up.
        self.seconds = 0.0

    def add(self, outcome: Outcome, began: float) -> None:
        """Count a call that ends now and that began at ``began`` of `time.perf_counter`."""
        self.by_outcome[outcome] = self.by_outcome.get(outcome, 0) + 1
        self.seconds += time.perf_counter() - began
