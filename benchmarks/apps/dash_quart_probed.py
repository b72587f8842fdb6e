"""Dash's Quart backend with a probe on its loop."""

from __future__ import annotations

from apps import loop_probe
from apps.dash_quart import server

loop_probe.install(server)

__all__ = ["server"]
