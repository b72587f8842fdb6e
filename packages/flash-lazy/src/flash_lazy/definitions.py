"""Which function a name in a token means: the loaders defined in this process.

Definitions, as Python has them by importing modules; what apps do with them is not kept here.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from flash import ConfigurationError

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

    def find(self, name: str) -> Loader[...] | None:
        """Return the loader of that name, None where there is none.

        Raises `ConfigurationError` where several go by it: guessing could show one customer's
        figures to another.
        """
        found = list(self._by_name.get(name, ()))
        if len(found) > 1:
            raise ConfigurationError(
                f"{len(found)} loaders are called {name!r}; give each its own: @lazy(name=…)"
            )
        return found[0] if found else None


DEFINITIONS = Definitions()
