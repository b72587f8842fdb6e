"""The names of the add-on packages that `flash` offers: ``from flash import live, pubsub, lazy``.

`flash` imports no add-on. A package is imported when an app imports its name. `addons.pyi` has the
types for type checkers.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash.current import importing_module, modules_of_apps

if TYPE_CHECKING:
    from flash.seams.dash_app import DashApp


@dataclass(frozen=True, slots=True)
class AddOn:
    """Where a name comes from."""

    package: str
    module: str
    attribute: str
    # The extra of flash-core that installs it.
    extra: str


ADD_ONS = {
    "live": AddOn("flash_ws", "flash_ws.current", "live", "ws"),
    "pubsub": AddOn("flash_pubsub", "flash_pubsub.current", "pubsub", "pubsub"),
    "lazy": AddOn("flash_lazy", "flash_lazy", "lazy", "lazy"),
}

# By name: the modules that have imported it from `flash`.
_importers: dict[str, set[str]] = {}


def load(name: str) -> object:
    """Return what ``flash.<name>`` is; raises ``ImportError`` with the remedy if not installed."""
    found = ADD_ONS[name]
    _importers.setdefault(name, set()).add(importing_module())
    try:
        importlib.import_module(found.package)
        module = importlib.import_module(found.module)
    except ModuleNotFoundError as error:
        if error.name != found.package:
            raise
        distribution = found.package.replace("_", "-")
        raise ImportError(
            f'flash.{name} needs {distribution}: pip install "flash-core[{found.extra}]"'
        ) from None
    return getattr(module, found.attribute)


def installed() -> list[str]:
    """Return the names whose packages are installed."""
    return [name for name, each in ADD_ONS.items() if importlib.util.find_spec(each.package)]


def attach_used(app: object) -> None:
    """Give an app the add-on parts that its start would give it, without starting anything."""
    for each in ADD_ONS.values():
        attach = getattr(sys.modules.get(each.module), "attach", None)
        if attach is not None:
            attach(app)


def is_used_by(name: str, app: DashApp) -> bool:
    """Tell whether an app may use ``flash.<name>``.

    It may, if a module has imported the name from `flash`, unless that module made another app.
    """
    apps = modules_of_apps()
    others = {module for each, module in apps.items() if each is not app}
    others.discard(apps.get(app, ""))
    return bool(_importers.get(name, set()) - others)
