"""Old names of modules and exports, which work for one release with a `DeprecationWarning`."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

# Modules that add-on packages may import: old name to new name.
MOVED = {
    "flash.context": "flash.callbacks.context",
    "flash.execution": "flash.callbacks.execution",
    "flash.gateway": "flash.http.gateway",
    "flash.handshake": "flash.http.handshake",
    "flash.hook_registry": "flash.callbacks.hook_registry",
    "flash.shared_storage": "flash.seams.shared_storage",
}


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import hook that resolves an old module name to the module itself, not to a copy."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for an old name, with a `DeprecationWarning`; None for any other name."""
        del path, target
        if fullname not in MOVED:
            return None
        _warn(fullname, MOVED[fullname])
        return importlib.util.spec_from_loader(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        """Replace the empty ``module`` by the module under its new name."""
        sys.modules[module.__name__] = importlib.import_module(MOVED[module.__name__])


def install_moved_modules() -> None:
    """Make the old module names importable; idempotent."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())


def renamed_exports(
    module: str, renamed: Mapping[str, str], late: Callable[[str], object] | None = None
) -> Callable[[str], object]:
    """Return a ``__getattr__`` for ``module`` that resolves old names to new ones, with a warning.

    ``renamed`` maps an old name to the new one in the same module. ``late`` resolves other names
    or raises `AttributeError`.
    """

    def resolve(name: str) -> object:
        new = renamed.get(name)
        if new is None and late is not None:
            return late(name)
        if new is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _warn(f"{module}.{name}", f"{module}.{new}")
        return getattr(sys.modules[module], new)

    return resolve


def _warn(old: str, new: str) -> None:
    # Level 3: the import statement or attribute access that used the old name.
    text = f"{old} is now {new}; the old name goes with the next release"
    warnings.warn(text, DeprecationWarning, stacklevel=3)
