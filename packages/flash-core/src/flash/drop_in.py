"""`install`: `dash.Dash` becomes `Flash`, for apps and frameworks that are not to be changed."""

from __future__ import annotations

import sys
import warnings

from flash.app import Flash
from flash.seams.dash_app import StockDash, replace_dash


def install() -> None:
    """Make `dash.Dash` be `Flash` from now on, for this process; idempotent.

    Every app that is made afterwards by ``dash.Dash(…)`` is served by Flash, whoever makes it. A
    module that has run ``from dash import Dash`` before keeps Dash's class, and so does a subclass
    that exists already: a `RuntimeWarning` names them.
    """
    if not replace_dash(Flash):
        return
    early = sorted({*_importers(), *_subclasses()})
    if early:
        warnings.warn(
            f"{', '.join(early)} took dash.Dash before flash.install() and will make apps that "
            "Flash does not serve; call flash.install() before the import",
            RuntimeWarning,
            stacklevel=2,
        )


def _importers() -> list[str]:
    """Return the names, with their modules, under which Dash's class was imported."""
    return [
        f"{module_name}.{name}"
        for module_name, module in list(sys.modules.items())
        if not _is_ours_or_dashs(module_name)
        for name, value in list(vars(module).items())
        if value is StockDash
    ]


def _subclasses() -> list[str]:
    return [
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in StockDash.__subclasses__()
        if not _is_ours_or_dashs(kind.__module__)
    ]


def _is_ours_or_dashs(module: str) -> bool:
    return module.partition(".")[0] in ("dash", "flash")
