"""The registry of this process's loaders, which resolves the name in a token.

It holds no state of apps.
"""

from __future__ import annotations

import gc
import sys
import weakref
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from flash import ConfigurationError, Flash, get_app
from flash.callbacks.functions import place_of, same_function

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType


class Named(Protocol):
    """An object with a name, such as a loader."""

    name: str

    @property
    def function(self) -> Callable[..., Any]:
        """The function that runs for calls of that name."""
        ...

    def is_same_as(self, other: Any) -> bool:
        """Tell whether a call of this name gives the same with either."""
        ...

    def subscribe(self, listener: Any) -> None:
        """Notify ``listener`` of what becomes of the object; idempotent, held weakly."""
        ...

    def unsubscribe(self, listener: Any) -> None:
        """End what `subscribe` began; idempotent."""
        ...


L = TypeVar("L", bound=Named)


@dataclass(slots=True)
class _Entry(Generic[L]):
    loader: weakref.ref[L]
    # The app that was current when the loader was made; None if there was none.
    app: weakref.ref[Flash] | None
    # The code of the module that was being executed then; None after its import.
    module: CodeType | None

    def is_for(self, app: Flash | None) -> bool:
        """Tell whether the loader may be placed in ``app``; one without an app may be in any."""
        own = None if self.app is None else self.app()
        return own is None or app is None or own is app


class LoaderRegistry(Generic[L]):
    """Loaders by name, held weakly.

    A name stands for one function: a token says the name, and so another function of that name
    could show one customer's data to another. Two apps of one process, such as those of a function
    that makes apps, may each have a loader of a name.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, list[_Entry[L]]] = {}
        # Who is subscribed to every loader.
        self._followers: dict[int, weakref.ref[Any]] = {}

    def add(self, loader: L) -> None:
        """Register a loader; raises `ConfigurationError` if its name is another function's.

        A loader replaces one that does the same, and one of a module that is imported anew.
        """
        app = _current_app()
        entry = _Entry(
            weakref.ref(loader),
            None if app is None else weakref.ref(app),
            _module_in_execution(loader.function),
        )
        other = self._conflict(loader, entry, app)
        if other is not None:
            # What nobody holds may wait for the garbage collector.
            del other
            gc.collect()
            other = self._conflict(loader, entry, app)
        if other is not None:
            raise ambiguous(loader, other)
        kept = [
            each
            for each in self._by_name.get(loader.name, ())
            if each.loader() is not None and not each.is_for(app)
        ]
        self._by_name[loader.name] = [*kept, entry]
        for reference in list(self._followers.values()):
            if (follower := reference()) is not None:
                loader.subscribe(follower)

    def follow(self, listener: Any) -> None:
        """Subscribe ``listener`` to every loader of the process, now and from now on.

        Also to loaders that were made for another app: any app may place them. Idempotent; the
        listener is held weakly.
        """
        key = id(listener)
        self._followers[key] = weakref.ref(listener, partial(self._followers.pop, key))
        for entry in self._entries():
            if (loader := entry.loader()) is not None:
                loader.subscribe(listener)

    def unfollow(self, listener: Any) -> None:
        """End all subscriptions of ``listener``; idempotent."""
        self._followers.pop(id(listener), None)
        for entry in self._entries():
            if (loader := entry.loader()) is not None:
                loader.unsubscribe(listener)

    def _entries(self) -> list[_Entry[L]]:
        return [entry for entries in list(self._by_name.values()) for entry in entries]

    def _conflict(self, loader: L, entry: _Entry[L], app: Flash | None) -> L | None:
        for each in self._by_name.get(loader.name, ()):
            other = each.loader()
            if (
                other is not None
                and each.is_for(app)
                and not _is_replaced(each, entry, loader)
                and not loader.is_same_as(other)
            ):
                return other
        return None

    def named(self, name: str, app: Flash | None = None) -> list[L]:
        """Return the loaders of that name that ``app`` may have placed; mostly one or none."""
        entries = [each for each in self._by_name.get(name, ()) if each.loader() is not None]
        if len(entries) > 1:
            entries = [each for each in entries if each.is_for(app)]
        return [found for each in entries if (found := each.loader()) is not None]


def ambiguous(one: Named, other: Named) -> ConfigurationError:
    """Return the error for two loaders of one name."""
    first, second = place_of(other.function), place_of(one.function)
    return ConfigurationError(
        f"two functions would be the loader {one.name!r}: the one at {first} and the one at "
        f"{second}; a panel's token says only the name, so give each its own: @lazy(name=…)"
    )


def same(one: Any, other: Any) -> bool:
    """Return whether two options of a loader, which may be functions, are the same."""
    if callable(one) and callable(other):
        return same_function(one, other)
    return one == other


def _is_replaced(old: _Entry[L], new: _Entry[L], loader: L) -> bool:
    """Tell whether ``new`` comes from another execution of the module: a reload, or a notebook."""
    is_nested = "<locals>" in getattr(loader.function, "__qualname__", "")
    return not is_nested and None not in (old.module, new.module) and old.module is not new.module


def _current_app() -> Flash | None:
    try:
        app = get_app()
    except Exception:  # noqa: BLE001  Dash raises it where there is no app
        return None
    return app if isinstance(app, Flash) else None


def _module_in_execution(function: Callable[..., Any]) -> CodeType | None:
    """Return the code of the function's module if that is being executed, else None."""
    names = getattr(function, "__globals__", None)
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is names:
            return frame.f_code
        frame = frame.f_back
    return None
