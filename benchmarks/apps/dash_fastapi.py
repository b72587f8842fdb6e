"""Dash's own FastAPI backend."""

from __future__ import annotations

from dash import Dash

from apps import work

app = Dash(__name__, backend="fastapi")
work.install(app)
server = app.server
