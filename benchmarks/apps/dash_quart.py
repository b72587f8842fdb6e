"""Dash's own Quart backend."""

from __future__ import annotations

from dash import Dash

from apps import work

app = Dash(__name__, backend="quart")
work.install(app)
server = app.server
