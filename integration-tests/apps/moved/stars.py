"""Stars in a figure of some megabytes, filtered by brightness on the server."""

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from dash import Dash, Input, Output, dcc, html

COUNT = 150_000

random = np.random.default_rng(11)
stars = pd.DataFrame(
    {
        "temperature": random.lognormal(8.6, 0.35, COUNT),
        "magnitude": random.normal(4.5, 2.5, COUNT),
        "kind": pd.Categorical.from_codes(random.integers(0, 3, COUNT), ["giant", "main", "white"]),
    }
)

app = Dash(__name__, title="Stars", compress=True, update_title=None)
server = app.server
app.layout = html.Div(
    [
        html.H1("Stars"),
        dcc.RangeSlider(-6, 16, 1, value=[-6, 16], id="range", marks=None),
        dcc.RadioItems(["density", "kinds"], "density", id="view", inline=True),
        dcc.Loading(dcc.Graph(id="plot"), delay_show=10_000),
        dcc.Markdown(id="summary"),
    ]
)


def within(limits: list[float]) -> pd.DataFrame:
    return stars[stars["magnitude"].between(*limits)]


@app.callback(Output("plot", "figure"), Input("range", "value"), Input("view", "value"))
def draw(limits, view):
    found = within(limits)
    if view == "kinds":
        counts = found.groupby("kind", observed=True).size().reset_index(name="stars")
        return px.bar(counts, x="kind", y="stars", color="kind", height=400)
    figure = go.Figure(
        go.Histogram2d(x=found["temperature"], y=found["magnitude"], nbinsx=80, nbinsy=60)
    )
    return figure.update_layout(height=400, yaxis={"autorange": "reversed"})


@app.callback(Output("summary", "children"), Input("range", "value"))
def summarize(limits):
    found = within(limits)
    means = found.groupby("kind", observed=True)["temperature"].mean()
    lines = [f"- *{kind}*: {mean:,.0f} K" for kind, mean in means.items()]
    return "\n".join([f"**{len(found):,}** stars", "", *lines])


if __name__ == "__main__":
    app.run(debug=True)
