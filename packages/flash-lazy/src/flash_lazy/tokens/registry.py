"""The registry of this process's loaders, which resolves the name in a token.

It holds no state of apps.
"""

from __future__ import annotations

import weakref
from typing import Generic, Protocol, TypeVar


class Named(Protocol):
    """An object with a name, such as a loader."""

    name: str


L = TypeVar("L", bound=Named)


class LoaderRegistry(Generic[L]):
    """Loaders by name, held weakly."""

    def __init__(self) -> None:
        self._by_name: dict[str, weakref.WeakSet[L]] = {}

    def add(self, loader: L) -> None:
        """Register a loader; one defined at module level replaces an older one of the same name."""
        # Loaders defined inside a function are all kept: each call gives them another closure.
        known = self._by_name.setdefault(loader.name, weakref.WeakSet())
        if "<locals>" not in loader.name:
            known.clear()
        known.add(loader)

    def named(self, name: str) -> list[L]:
        """Return the loaders of that name: none, one, or several from calls of one function."""
        return list(self._by_name.get(name, ()))
