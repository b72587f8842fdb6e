"""The old names of modules that have moved: they still import for one release, with a warning."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

# The modules that add-on packages were allowed to build on, by their old names.
MOVED = {
    "flash.context": "flash.callbacks.context",
    "flash.execution": "flash.callbacks.execution",
    "flash.gateway": "flash.http.gateway",
    "flash.handshake": "flash.http.handshake",
    "flash.hook_registry": "flash.callbacks.hook_registry",
    "flash.shared_storage": "flash.seams.shared_storage",
}


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module under its old name and returns the module itself, not a copy."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load ``fullname`` if that is an old name, with a `DeprecationWarning`."""
        del path, target
        if fullname not in MOVED:
            return None
        text = f"{fullname} is now {MOVED[fullname]}; the old name goes with the next release"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return importlib.util.spec_from_loader(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        """Put the module under its new name in the place of the empty ``module``."""
        sys.modules[module.__name__] = importlib.import_module(MOVED[module.__name__])


def answer_to_old_names() -> None:
    """Let the old names be imported from now on; idempotent."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
