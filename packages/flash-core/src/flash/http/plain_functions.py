"""Threads for the plain functions of a server: routes, functions around requests, sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

from flash.callbacks.execution import WorkerPool
from flash.seams.flask_globals import waiting_threads

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class PlainFunctions:
    """Runs plain functions in threads, apart from those of callbacks.

    Such a function may wait for a coroutine that needs a thread itself. That thread comes from
    another pool, or functions that all wait could occupy the last one for ever.
    """

    def __init__(self) -> None:
        # By the number of threads that wait for the caller.
        self._pools: list[WorkerPool] = []

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in a thread, in a copy of the context; raises `Overloaded`."""
        depth = waiting_threads.get()
        while len(self._pools) <= depth:
            self._pools.append(WorkerPool())
        return await self._pools[depth].run(function, *args, **kwargs)
