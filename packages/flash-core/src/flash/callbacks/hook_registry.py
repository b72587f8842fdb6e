"""Dash's hooks, with Flash rather than Dash calling those that users may write as ``async def``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from flash.seams import dash as dash_seam

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from flash.callbacks.execution import WorkerPool


F = TypeVar("F", bound=Callable[..., Any])


class Hook(Protocol):
    """One registered hook."""

    func: Callable[..., Any]
    # What the hook was registered with: a namespace, a route.
    data: Any

    def __call__(self, *args: Any) -> Any:
        """Call the hook's function as Dash would."""
        ...


# Kinds that Flash calls itself, awaiting them, plain ones in a thread.
_OURS = frozenset({"layout", "index", "custom_data", "error"})

# Kinds whose result Dash's socket handler awaits if it can be awaited.
_AWAITED_BY_DASH = frozenset({"websocket_connect", "websocket_message"})


class _ThreadedHook:
    """A hook that Dash calls on the event loop and awaits: a plain function runs in a thread."""

    def __init__(self, hook: Hook, pool: WorkerPool) -> None:
        self.func = hook.func
        self.data = hook.data
        self._pool = pool

    def __call__(self, *args: Any) -> Awaitable[Any]:
        return self._pool.call(self.func, *args)


class Hooks:
    """Stands where a Dash app keeps its hook registry.

    `get_hooks` is what Dash's code sees: nothing of the kinds Flash calls itself. `of` is the whole
    registry, which all apps of the process share, as in Dash.
    """

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(dash_seam.HooksManager, name)

    def of(self, kind: str) -> Sequence[Hook]:
        """Return the hooks of ``kind``, in the order they run."""
        return dash_seam.HooksManager.get_hooks(kind)

    def get_hooks(self, kind: str) -> list[Any]:
        """Return the hooks of ``kind`` that Dash may call."""
        if kind in _OURS:
            return []
        hooks = self.of(kind)
        if kind == "setup":
            # Called in the constructor, which cannot await; `Flash` awaits them at start-up.
            return [hook for hook in hooks if not _waits(hook.func)]
        if kind in _AWAITED_BY_DASH:
            return [_ThreadedHook(hook, self._pool) for hook in hooks]
        return list(hooks)

    async def setup(self, app: Any) -> None:
        """Call the setup hooks that `get_hooks` kept from Dash, and await them."""
        for hook in self.of("setup"):
            if _waits(hook.func):
                result = hook.func(app)
                if inspect.isawaitable(result):
                    await result


def at_start(function: F) -> F:
    """Mark a setup hook that Flash is to call when an app starts instead of when it is made.

    By then every page has been imported. The hook may return an awaitable; since other Dash apps of
    the process call it, too, in their constructors, it must return nothing there.
    """
    function.flash_at_start = True  # type: ignore[attr-defined]
    return function


def _waits(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or getattr(function, "flash_at_start", False)
