"""A clinic's visits by weekday and hour, filtered by department and date."""

from datetime import date

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from dash import Dash, Input, Output, State, ctx, dash_table, dcc, html, no_update

DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
DEPARTMENTS = ["Eyes", "Heart", "Skin"]


def make_visits(count: int = 4_000) -> pd.DataFrame:
    random = np.random.default_rng(7)
    minutes = random.integers(0, 60 * 24 * 90, count)
    return pd.DataFrame(
        {
            "arrived": pd.Timestamp("2026-01-05") + pd.to_timedelta(np.sort(minutes), unit="min"),
            "department": random.choice(DEPARTMENTS, count),
            "wait": random.gamma(2.0, 12.0, count).round(1),
        }
    )


visits = make_visits()
app = Dash(__name__, title="Clinic", update_title=None)
server = app.server
app.layout = html.Div(
    [
        html.H1("Visits"),
        dcc.Dropdown(DEPARTMENTS, DEPARTMENTS[:1], id="departments", multi=True),
        dcc.DatePickerRange(
            id="dates",
            start_date=date(2026, 1, 5),
            end_date=date(2026, 1, 31),
            min_date_allowed=date(2026, 1, 5),
            max_date_allowed=date(2026, 4, 4),
            display_format="YYYY-MM-DD",
        ),
        html.P(id="total"),
        dcc.Graph(id="heatmap", config={"displayModeBar": False}),
        html.H2(id="selected"),
        dash_table.DataTable(
            id="waits",
            columns=[{"name": name, "id": name} for name in ("department", "visits", "mean wait")],
        ),
        html.Button("Clear", id="clear"),
    ]
)


def chosen(departments: list[str], start: str, end: str) -> pd.DataFrame:
    inside = visits["arrived"].between(pd.Timestamp(start), pd.Timestamp(end))
    return visits[inside & visits["department"].isin(departments or [])]


@app.callback(
    Output("heatmap", "figure"),
    Output("total", "children"),
    Input("departments", "value"),
    Input("dates", "start_date"),
    Input("dates", "end_date"),
)
def draw(departments, start, end):
    found = chosen(departments, start, end)
    counts = np.zeros((7, 24), dtype=int)
    np.add.at(counts, (found["arrived"].dt.weekday, found["arrived"].dt.hour), 1)
    figure = go.Figure(go.Heatmap(z=counts, x=list(range(24)), y=DAYS, colorscale="Blues"))
    figure.update_layout(margin={"l": 40, "r": 10, "t": 10, "b": 30}, height=320)
    return figure, f"{len(found):,} visits of {', '.join(departments) or 'nobody'}"


@app.callback(
    Output("selected", "children"),
    Output("waits", "data"),
    Output("heatmap", "clickData"),
    Input("heatmap", "clickData"),
    Input("clear", "n_clicks"),
    State("departments", "value"),
    State("dates", "start_date"),
    State("dates", "end_date"),
    prevent_initial_call=True,
)
def show_hour(click, _clear, departments, start, end):
    if ctx.triggered_id == "clear":
        return "", [], None
    if click is None:
        return no_update
    point = click["points"][0]
    found = chosen(departments, start, end)
    found = found[
        (found["arrived"].dt.hour == point["x"])
        & (found["arrived"].dt.weekday == DAYS.index(point["y"]))
    ]
    means = found.groupby("department")["wait"].agg(["size", "mean"]).round(2).reset_index()
    means.columns = ["department", "visits", "mean wait"]
    return f"{point['y']} at {point['x']}:00", means.to_dict("records"), no_update


if __name__ == "__main__":
    app.run(debug=True)
