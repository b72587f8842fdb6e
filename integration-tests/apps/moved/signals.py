"""A signal of a million samples, of which the page gets what its width can show."""

import numpy as np
import plotly.graph_objects as go
from dash import Dash, Input, Output, Patch, dcc, html

SAMPLES = 1_000_000
BUCKETS = 1_000

random = np.random.default_rng(1)
signal = (random.normal(0, 0.3, SAMPLES).cumsum() + 50).astype("float32")
signal[random.choice(SAMPLES, 20, replace=False)] *= 1.5


def reduced(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest sample of each bucket, so that no peak is lost."""
    part = signal[start:end]
    if len(part) <= 2 * BUCKETS:
        return np.arange(start, end), part
    size = len(part) // BUCKETS
    buckets = part[: size * BUCKETS].reshape(BUCKETS, size)
    lows, highs = buckets.argmin(axis=1), buckets.argmax(axis=1)
    firsts = np.arange(BUCKETS) * size
    at = np.sort(np.concatenate([firsts + lows, firsts + highs]))
    return at + start, part[at]


def overview() -> go.Figure:
    x, y = reduced(0, SAMPLES)
    figure = go.Figure(go.Scatter(x=x, y=y, mode="lines", line={"width": 1}))
    return figure.update_layout(height=320, dragmode="zoom", margin={"t": 10, "b": 30})


app = Dash(__name__, title="Signals", update_title=None)
server = app.server
app.layout = html.Div(
    [
        html.H1("A million samples"),
        dcc.Graph(id="signal", figure=overview()),
        html.P(id="window"),
        dcc.Graph(id="spread"),
    ]
)


def window_of(relayout: dict | None) -> tuple[int, int]:
    if relayout and "xaxis.range[0]" in relayout:
        start, end = relayout["xaxis.range[0]"], relayout["xaxis.range[1]"]
        return max(0, int(start)), min(SAMPLES, int(end))
    return 0, SAMPLES


@app.callback(
    Output("signal", "figure"), Input("signal", "relayoutData"), prevent_initial_call=True
)
def refine(relayout):
    x, y = reduced(*window_of(relayout))
    changed = Patch()
    changed["data"][0]["x"] = x
    changed["data"][0]["y"] = y
    return changed


@app.callback(
    Output("window", "children"), Output("spread", "figure"), Input("signal", "relayoutData")
)
def describe(relayout):
    start, end = window_of(relayout)
    part = signal[start:end]
    heights, edges = np.histogram(part, bins=40)
    figure = go.Figure(go.Bar(x=edges[:-1], y=heights), {"height": 260, "margin": {"t": 10}})
    return f"{len(part):,} samples, {part.min():.2f} to {part.max():.2f}", figure


if __name__ == "__main__":
    app.run(debug=True)
