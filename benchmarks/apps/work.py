"""The work that every Dash app under test does, whatever class and backend it is made with."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from dash import Input, Output, dcc, html

if TYPE_CHECKING:
    from dash import Dash
    from dash.development.base_component import Component

# What a plain callback sleeps, as if it waited for a database.
QUERY_SECONDS = 0.1

# NumPy, as in most Dash apps. Where nothing imports it at the start, Plotly does in the first
# request, and a second request at that moment meets a half-imported NumPy and fails.
_MONTHS = np.arange(1, 25)

# Made once: building it would cost more than all else a layout request does, and only measure
# Plotly. Without a template, as the default one would be half of the layout's bytes.
_FIGURE = go.Figure(
    [go.Scatter(x=_MONTHS, y=_MONTHS * factor) for factor in (1, 2, 3)],
    layout={"template": None},
)


def install(app: Dash) -> None:
    """Give ``app`` its layout and its three callbacks."""
    app.layout = layout

    @app.callback(Output("async-answer", "children"), Input("word", "value"))
    async def _answer(word: str) -> str:
        return f"async {word}"

    @app.callback(Output("plain-answer", "children"), Input("word", "value"))
    def _plain_answer(word: str) -> str:
        return f"plain {word}"

    @app.callback(Output("slow-answer", "children"), Input("word", "value"))
    def _slow_answer(word: str) -> str:
        time.sleep(QUERY_SECONDS)
        return f"slow {word}"


def layout() -> Component:
    """A hundred components, about 12 kB as JSON: controls, a graph, a table of figures."""
    controls = html.Div(
        [
            html.Label("Region", htmlFor="region"),
            dcc.Dropdown(["north", "south", "east", "west"], "north", id="region"),
            dcc.Input("benchmark", id="word"),
        ],
        className="controls",
    )
    answers = html.Div([html.P(id=f"{kind}-answer") for kind in ("async", "plain", "slow")])
    # 16 rows of 5 make 96 components; with those above a little over a hundred.
    table = html.Table([_row(number) for number in range(16)], className="figures")
    return html.Div([html.H1("Sales"), controls, answers, dcc.Graph(figure=_FIGURE), table])


def _row(number: int) -> Component:
    cells = [html.Td(f"{number * column:,}") for column in range(1, 6)]
    return html.Tr(cells, id=f"row-{number}")
