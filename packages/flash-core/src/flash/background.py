"""Background callbacks: start, poll, cancel. (The managers and the exchange with the page.)"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from flash.execution import WorkerPool
from flash.plan import CallbackPlan


@dataclass(frozen=True, slots=True)
class BackgroundCall:
    """One request of a background callback: the one that starts it, or one that asks how it goes."""

    plan: CallbackPlan
    # What `dash.ctx` sees; its "args" are the query arguments (cacheKey, job, oldJob, endId).
    ctx: dict[str, Any]
    args: list[Any]
    kwargs: dict[str, Any]
    # Gives the key that handles are signed with; may read the manager's store, so it may block.
    secret: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Pending:
    """An answer that is not the callback's result: handles, progress, side updates."""

    body: dict[str, Any]


async def respond(
    call: BackgroundCall,
    pool: WorkerPool,
    handle_error: Callable[[Exception], Awaitable[Any]] | None,
) -> Any:
    """Start a job, or tell how it goes: a `Pending`, or the result the callback returned."""
    raise NotImplementedError
