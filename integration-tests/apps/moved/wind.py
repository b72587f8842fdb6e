"""Wind measurements that are read from a database whenever the interval ticks."""

import sqlite3
import tempfile
from contextlib import closing
from math import sin
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from dash import Dash, Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate

DATABASE = Path(tempfile.mkdtemp()) / "wind.db"
TICKS = 4
WINDOW = 60


def fill() -> None:
    rows = [
        (second, 12 + 8 * sin(second / 9) + 3 * sin(second / 2.3), (second * 7) % 360)
        for second in range(WINDOW + TICKS + 1)
    ]
    with closing(sqlite3.connect(DATABASE)) as database, database:
        database.execute("create table wind (second integer, speed real, direction real)")
        database.executemany("insert into wind values (?, ?, ?)", rows)


def read(start: int, end: int) -> list[tuple[int, float, float]]:
    with closing(sqlite3.connect(DATABASE)) as database:
        query = "select * from wind where second between ? and ? order by second"
        return database.execute(query, (start, end)).fetchall()


fill()
app = Dash(__name__, title="Wind", update_title=None)
server = app.server
app.layout = html.Div(
    [
        html.H1("Wind"),
        dcc.Interval(id="tick", interval=300, max_intervals=TICKS),
        html.P(id="now"),
        dcc.Graph(id="speed"),
        dcc.Checklist(["auto"], ["auto"], id="auto"),
        dcc.Slider(2, 30, 2, value=10, id="bins", marks=None),
        html.P(id="bins-text"),
        dcc.Graph(id="histogram"),
        dcc.Graph(id="direction"),
    ]
)


@app.callback(
    Output("speed", "figure"),
    Output("direction", "figure"),
    Output("now", "children"),
    Input("tick", "n_intervals"),
)
def measure(ticks):
    ticks = ticks or 0
    rows = read(ticks, ticks + WINDOW)
    speed = [row[1] for row in rows]
    line = go.Scatter(y=speed, mode="lines", line={"color": "#42c4f7"}, hoverinfo="skip")
    figure = go.Figure(line, {"height": 240, "yaxis": {"range": [0, 30]}, "uirevision": "wind"})
    last = rows[-1]
    compass = go.Figure(
        go.Barpolar(r=[last[1]], theta=[last[2]], width=[20]), {"height": 240, "showlegend": False}
    )
    return figure, compass, f"reading {ticks} of {TICKS}: {last[1]:.2f} m/s from {last[2]:.0f}°"


@app.callback(
    Output("histogram", "figure"),
    Input("speed", "figure"),
    Input("bins", "value"),
    Input("auto", "value"),
)
def count(figure, bins, auto):
    if figure is None:
        raise PreventUpdate
    speed = figure["data"][0]["y"]
    heights, edges = np.histogram(speed, bins=10 if auto else bins)
    bars = go.Bar(x=edges[:-1], y=heights, width=np.diff(edges), offset=0)
    drawn = go.Figure(bars, {"height": 240, "bargap": 0.01})
    drawn.add_vline(x=float(np.median(speed)), line_dash="dot")
    return drawn


@app.callback(Output("bins-text", "children"), Input("auto", "value"), Input("bins", "value"))
def tell(auto, bins):
    return "bins: auto" if auto else f"bins: {bins}"


@app.callback(
    Output("auto", "value"),
    Input("bins", "value"),
    State("auto", "value"),
    prevent_initial_call=True,
)
def leave_auto(_bins, _auto):
    return []


if __name__ == "__main__":
    app.run(debug=True)
