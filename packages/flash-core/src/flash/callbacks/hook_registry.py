"""Dash's hooks. Flash calls the kinds that may be ``async def``; Dash calls the others."""

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
    # The argument of the registration, such as a namespace or a route.
    data: Any

    def __call__(self, *args: Any) -> Any:
        """Call the hook's function as Dash would."""
        ...


# Kinds that Flash calls: async functions are awaited, plain ones run in a thread.
_CALLED_BY_FLASH = frozenset({"layout", "index", "custom_data", "error"})

# Kinds whose result Dash's socket handler awaits if it is awaitable.
_AWAITED_BY_DASH = frozenset({"websocket_connect", "websocket_message"})


class _ThreadedHook:
    """A hook that Dash calls and awaits on the event loop; a plain function runs in a thread."""

    def __init__(self, hook: Hook, pool: WorkerPool) -> None:
        self.func = hook.func
        self.data = hook.data
        self._pool = pool

    def __call__(self, *args: Any) -> Awaitable[Any]:
        return self._pool.call(self.func, *args)


class Hooks:
    """Replaces the hook registry of a Dash app.

    Dash's code uses `get_hooks`, which hides the kinds that Flash calls. Flash uses `of`, which
    reads the whole registry. All apps of the process share that registry, as in Dash.
    """

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(dash_seam.HooksManager, name)

    def of(self, kind: str) -> Sequence[Hook]:
        """Return the hooks of ``kind``, in the order in which they run."""
        return dash_seam.registered_hooks(kind)

    def get_hooks(self, kind: str) -> list[Any]:
        """Return the hooks of ``kind`` that Dash may call."""
        if kind in _CALLED_BY_FLASH:
            return []
        hooks = self.of(kind)
        if kind == "setup":
            # Dash calls these in its constructor, which cannot await. `Flash` calls the others at
            # start-up.
            return [hook for hook in hooks if not _is_deferred(hook.func)]
        if kind in _AWAITED_BY_DASH:
            return [_ThreadedHook(hook, self._pool) for hook in hooks]
        return list(hooks)

    async def setup(self, app: Any) -> None:
        """Call and await the setup hooks that `get_hooks` hides from Dash."""
        for hook in self.of("setup"):
            if _is_deferred(hook.func):
                result = hook.func(app)
                if inspect.isawaitable(result):
                    await result


def at_start(function: F) -> F:
    """Mark a setup hook: Flash calls it when the app starts, not when the app is constructed.

    All pages have been imported by then. The hook may return an awaitable for a Flash app. Other
    Dash apps of the process call it in their constructors, and for those it must return None.
    """
    function.flash_at_start = True  # type: ignore[attr-defined]
    return function


def _is_deferred(function: Callable[..., Any]) -> bool:
    """Return whether a setup hook is called at start-up."""
    return inspect.iscoroutinefunction(function) or getattr(function, "flash_at_start", False)
