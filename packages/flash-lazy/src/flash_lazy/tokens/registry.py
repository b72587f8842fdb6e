"""The registry that resolves the name in a token to the loaders defined in this process.

Python defines loaders by importing modules; what apps do with them is not kept here.
"""

from __future__ import annotations

import weakref
from typing import Generic, Protocol, TypeVar


class Named(Protocol):
    """A loader, as far as its name goes."""

    name: str


L = TypeVar("L", bound=Named)


class LoaderRegistry(Generic[L]):
    """Loaders by name, as long as they live."""

    def __init__(self) -> None:
        self._by_name: dict[str, weakref.WeakSet[L]] = {}

    def add(self, loader: L) -> None:
        """Note a loader; one defined in a module takes the place of an older one of its name."""
        # Loaders made by calling one function several times differ: each has a closure of its own.
        known = self._by_name.setdefault(loader.name, weakref.WeakSet())
        if "<locals>" not in loader.name:
            known.clear()
        known.add(loader)

    def named(self, name: str) -> list[L]:
        """Return the loaders of that name: one, none, or several made by one function."""
        return list(self._by_name.get(name, ()))
