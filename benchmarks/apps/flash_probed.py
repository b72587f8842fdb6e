"""Flash with a probe on its loop."""

from __future__ import annotations

from apps import loop_probe
from apps.flash_app import app

loop_probe.install(app.server)

__all__ = ["app"]
