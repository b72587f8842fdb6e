"""`SystemExit` and `KeyboardInterrupt` in users' code: errors of one call, not the server's end.

A task that ends with either of them ends the event loop. In a server, a function that calls
``sys.exit()`` must fail like any other function that raises.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from types import CodeType, CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

from flash.errors import ExitRaised

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

F = TypeVar("F", bound="Callable[..., Coroutine[Any, Any, Any]]")

EXITS = (SystemExit, KeyboardInterrupt)


def ends_task(error: BaseException) -> bool:
    """Return whether ``error`` ends the running task itself, so that it must be raised again.

    That is so if the task was cancelled, or if its coroutine is closed because the loop has ended.
    A `CancelledError` of another task that a function awaited is an error of that function.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if isinstance(error, asyncio.CancelledError):
        return task is None or bool(task.cancelling())
    return isinstance(error, GeneratorExit) and task is None


def as_exception(source: object, error: BaseException) -> Exception:
    """Return ``error`` if it is an `Exception`, else the `ExitRaised` to raise in its place."""
    return error if isinstance(error, Exception) else exit_error(source, error)


def exit_error(source: object, error: BaseException) -> ExitRaised:
    """Return the error to raise in place of ``error``; ``source`` is the function that raised."""
    name = getattr(source, "__qualname__", None) or repr(source)
    return ExitRaised(name, error)


# Modules of uvicorn whose `RequestResponseCycle.run_asgi`, the coroutine of a request's task,
# catches whatever the app raises.
_UVICORN = ("uvicorn.protocols.http.httptools_impl", "uvicorn.protocols.http.h11_impl")

# The code of coroutines that let no exit out. Their tasks need no guard, which costs 4 µs a task.
_handling: set[CodeType] = set()


def handles_exits(function: F) -> F:
    """Declare that a coroutine function catches every exit, so that its tasks need no guard."""
    _handling.add(function.__code__)
    return function


def _handled_by_servers() -> set[CodeType]:
    """Return the code of servers' coroutines that let no exit out, as far as they are imported.

    However the server was started: by ``flash run``, ``python -m uvicorn`` or gunicorn.
    """
    found: set[CodeType] = set()
    for name in _UVICORN:
        cycle = getattr(sys.modules.get(name), "RequestResponseCycle", None)
        code = getattr(getattr(cycle, "run_asgi", None), "__code__", None)
        if isinstance(code, CodeType):
            found.add(code)
    return found


def guard_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Let tasks created on ``loop`` from now on fail with `ExitRaised`; idempotent.

    Covers the tasks and task groups of users' functions and of servers. A task factory that is set
    already is used as before.
    """
    inner = loop.get_task_factory()
    if isinstance(inner, _GuardedTasks):
        return
    _handling.update(_handled_by_servers())
    loop.set_task_factory(_GuardedTasks(inner))


class _GuardedTasks:
    """A task factory."""

    def __init__(self, inner: Callable[..., Any] | None) -> None:
        self._inner = inner

    def __call__(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        kind = type(coroutine)
        # The usual kind first: `iscoroutine` takes as long as the rest.
        if kind is CoroutineType:
            if coroutine.cr_code not in _handling:
                coroutine = _GuardedCoroutine(coroutine)
        elif kind is not _GuardedCoroutine and asyncio.iscoroutine(coroutine):
            coroutine = _GuardedCoroutine(coroutine)
        if self._inner is None:
            return asyncio.Task(coroutine, loop=loop, **options)
        return self._inner(loop, coroutine, **options)


class _GuardedCoroutine(Coroutine[Any, Any, Any]):
    """Passes everything on to a coroutine, and raises `ExitRaised` for its exits.

    Not an ``async def`` around it: if a task is cancelled before it runs, Python would report that
    the inner coroutine was never awaited.
    """

    __slots__ = ("__weakref__", "_inner")

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def send(self, value: Any, /) -> Any:
        """Run the coroutine to its next wait."""
        try:
            return self._inner.send(value)
        except EXITS as error:
            raise exit_error(self._inner, error) from error

    def throw(self, *raised: Any) -> Any:
        """Raise an exception in the coroutine, and run it to its next wait."""
        try:
            return self._inner.throw(*raised)
        except EXITS as error:
            raise exit_error(self._inner, error) from error

    def close(self) -> None:
        """End the coroutine."""
        self._inner.close()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        # ``__qualname__``, ``cr_frame`` and others, for tracebacks, debuggers and anyio.
        return getattr(self._inner, name)
