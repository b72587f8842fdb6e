"""Which function a name in a token means: the loaders defined in this process.

Definitions, as Python has them by importing modules; what apps do with them is not kept here.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flash_lazy.loader import Loader


class Definitions:
    """Loaders by name, as long as they live."""

    def __init__(self) -> None:
        self._by_name: dict[str, weakref.WeakSet[Loader[...]]] = {}

    def add(self, loader: Loader[...]) -> None:
        """Note a loader; one defined in a module takes the place of an older one of its name."""
        # Those made by calling a function again are different ones, each with its own closure.
        known = self._by_name.setdefault(loader.name, weakref.WeakSet())
        if "<locals>" not in loader.name:
            known.clear()
        known.add(loader)

    def named(self, name: str) -> list[Loader[...]]:
        """Return the loaders of that name: one, none, or several made by one function."""
        return list(self._by_name.get(name, ()))


DEFINITIONS = Definitions()
