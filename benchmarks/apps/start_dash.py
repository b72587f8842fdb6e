"""Two thousand callbacks on Dash's own Quart backend."""

from __future__ import annotations

from dash import Dash

from apps import start_work

app = Dash(__name__, backend="quart")
start_work.install(app)
server = app.server
