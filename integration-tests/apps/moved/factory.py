"""Control limits of a production line: tabs, rows by pattern, an editable table, patches."""

import numpy as np
import plotly.graph_objects as go
from dash import (
    ALL,
    MATCH,
    Dash,
    Input,
    Output,
    Patch,
    State,
    callback,
    clientside_callback,
    ctx,
    dash_table,
    dcc,
    html,
    set_props,
)

SENSORS = ["pressure", "speed", "warmth"]
BATCHES = 120
random = np.random.default_rng(3)
measured = {name: random.normal(50 + 10 * n, 2 + n, BATCHES) for n, name in enumerate(SENSORS)}


def default_limits() -> list[dict]:
    return [
        {
            "sensor": name,
            "low": round(float(values.mean() - 2 * values.std()), 2),
            "high": round(float(values.mean() + 2 * values.std()), 2),
        }
        for name, values in measured.items()
    ]


def row(name: str) -> html.Tr:
    return html.Tr(
        [
            html.Td(html.Button(name, id={"type": "show", "sensor": name})),
            html.Td(id={"type": "outside", "sensor": name}),
            html.Td(dcc.Input(id={"type": "note", "sensor": name}, debounce=True)),
            html.Td(id={"type": "noted", "sensor": name}),
        ]
    )


app = Dash(__name__, title="Factory", suppress_callback_exceptions=True, update_title=None)
server = app.server
app.layout = html.Div(
    [
        html.H1("Line 4"),
        dcc.Store(id="limits", data=default_limits(), storage_type="session"),
        dcc.Tabs(
            [dcc.Tab(label="Charts", value="charts"), dcc.Tab(label="Limits", value="limits")],
            value="charts",
            id="tabs",
        ),
        html.Div(id="content"),
        html.P(id="message"),
        html.P(id="letters"),
    ]
)


@callback(Output("content", "children"), Input("tabs", "value"), State("limits", "data"))
def render(tab, limits):
    if tab == "limits":
        names = ["sensor", "low", "high"]
        return [
            dash_table.DataTable(
                limits, [{"name": n, "id": n, "editable": n != "sensor"} for n in names], id="table"
            ),
            html.Button("Save", id="save"),
        ]
    return [
        html.Table(html.Tbody([row(name) for name in SENSORS])),
        dcc.Graph(id="chart", figure=go.Figure(layout={"height": 300})),
        html.Button("Next batches", id="more"),
    ]


@callback(
    Output("limits", "data"),
    Input("save", "n_clicks"),
    State("table", "data"),
    prevent_initial_call=True,
)
def save(_clicks, rows):
    set_props("message", {"children": "limits saved"})
    return [{**row, "low": float(row["low"]), "high": float(row["high"])} for row in rows]


@callback(
    Output({"type": "outside", "sensor": ALL}, "children"),
    Input("limits", "data"),
    Input({"type": "outside", "sensor": ALL}, "id"),
)
def judge(limits, ids):
    by_name = {row["sensor"]: row for row in limits}
    shown = []
    for each in ids:
        values, limit = measured[each["sensor"]], by_name[each["sensor"]]
        outside = int(((values < limit["low"]) | (values > limit["high"])).sum())
        shown.append(f"{outside / BATCHES:.1%}")
    return shown


@callback(
    Output({"type": "noted", "sensor": MATCH}, "children"),
    Input({"type": "note", "sensor": MATCH}, "value"),
    prevent_initial_call=True,
)
def note(text):
    return f"{ctx.triggered_id['sensor']}: {text}"


@callback(
    Output("chart", "figure"),
    Input({"type": "show", "sensor": ALL}, "n_clicks"),
    State("limits", "data"),
    prevent_initial_call=True,
)
def draw(clicks, limits):
    if not any(clicks):
        return go.Figure(layout={"height": 300})
    name = ctx.triggered_id["sensor"]
    limit = next(row for row in limits if row["sensor"] == name)
    figure = go.Figure(go.Scatter(y=measured[name][:40], mode="lines+markers", name=name))
    for value in (limit["low"], limit["high"]):
        figure.add_hline(y=value, line_dash="dash")
    return figure.update_layout(height=300, title=name)


@callback(
    Output("chart", "figure", allow_duplicate=True),
    Input("more", "n_clicks"),
    State("chart", "figure"),
    prevent_initial_call=True,
)
def extend(clicks, figure):
    name = figure["data"][0]["name"]
    changed = Patch()
    changed["data"][0]["y"] = measured[name][: 40 + 20 * clicks]
    changed["layout"]["title"]["text"] = f"{name}, {40 + 20 * clicks} batches"
    return changed


clientside_callback(
    "notes => `${notes.join('').length} letters of notes`",
    Output("letters", "children"),
    Input({"type": "note", "sensor": ALL}, "value"),
)


if __name__ == "__main__":
    app.run(debug=True)
