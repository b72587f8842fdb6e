"""What every contender over Redis shows, and what comes to it."""

from __future__ import annotations

from typing import Any

from dash import Input, Output, dcc, html

# Channels: of numbers for a graph, none of which may be left out, and of stamped lines of text.
TICKS = "ticks"
LINES = "lines"

# Notes in the browser when the callback that depends on a line ran, by the clock that all share.
_NOTE = """
function(text) {
    (window.came = window.came || []).push([performance.timeOrigin + performance.now(), text]);
    return window.dash_clientside.no_update;
}
"""


def layout() -> Any:
    """What a page has; no graph, whose drawing would take the browser longer than all the rest."""
    return html.Div(
        [
            html.Button("go", id="go", n_clicks=1),
            html.P(id="out"),
            dcc.Store(id="sink"),
        ]
    )


def watch(app: Any) -> None:
    """Have a callback in the browser depend on what comes."""
    app.clientside_callback(
        _NOTE, Output("sink", "data"), Input("out", "children"), prevent_initial_call=True
    )
