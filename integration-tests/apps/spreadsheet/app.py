"""A table that is uploaded, kept in the browser, filtered there, counted up live and downloaded."""

import base64
import csv
import io

from flash import (
    ClientsideFunction,
    Dash,
    Input,
    Output,
    State,
    callback,
    clientside_callback,
    ctx,
    dash_table,
    dcc,
    html,
    no_update,
)

app = Dash(__name__, title="Spreadsheet")

app.layout = html.Div(
    [
        dcc.Store(id="rows", storage_type="session"),
        dcc.Interval(id="second", interval=100, max_intervals=30),
        dcc.Download(id="saved"),
        dcc.Upload(html.Button("Choose a file"), id="upload"),
        html.P("No file yet", id="about"),
        dcc.Input(id="filter", placeholder="Show rows with …"),
        dash_table.DataTable(id="table"),
        html.P(id="shown"),
        dcc.Graph(id="chart", style={"height": 260}),
        html.Button("Download", id="download"),
        html.Button("Forget", id="forget"),
        html.P(id="ticks"),
        html.P(id="halves"),
    ]
)


@callback(
    Output("rows", "data"),
    Output("about", "children"),
    Input("upload", "contents"),
    Input("forget", "n_clicks"),
    State("upload", "filename"),
    prevent_initial_call=True,
)
def read(contents, _clicks, filename):
    if ctx.triggered_id == "forget":
        return None, "No file yet"
    try:
        text = base64.b64decode(contents.partition(",")[2]).decode()
    except UnicodeDecodeError:
        return no_update, f"{filename} is no text"
    rows = list(csv.DictReader(io.StringIO(text)))
    return rows, f"{filename}: {len(rows)} rows"


# In the browser: which rows are shown, and how the count is put into words.
clientside_callback(
    """
    function (rows, wanted) {
        const all = rows || [];
        const shown = all.filter((row) => Object.values(row).join(" ").includes(wanted || ""));
        const columns = all.length ? Object.keys(all[0]).map((id) => ({id, name: id})) : [];
        return [shown, columns];
    }
    """,
    Output("table", "data"),
    Output("table", "columns"),
    Input("rows", "data"),
    Input("filter", "value"),
)
clientside_callback(
    ClientsideFunction("spreadsheet", "count"),
    Output("shown", "children"),
    Input("table", "data"),
    State("rows", "data"),
)
clientside_callback(
    "function (tick) { return `${tick || 0} ticks in the browser`; }",
    Output("ticks", "children"),
    Input("second", "n_intervals"),
)


@callback(Output("halves", "children"), Input("second", "n_intervals"))
def halve(tick):
    return f"{(tick or 0) // 2} halves on the server"


@callback(Output("chart", "figure"), Input("table", "data"))
def draw(rows):
    rows = rows or []
    names = list(rows[0]) if rows else ["", ""]
    bars = {
        "type": "bar",
        "x": [row[names[0]] for row in rows],
        "y": [float(row[names[1]]) for row in rows],
    }
    return {"data": [bars], "layout": {"margin": {"t": 10, "b": 30}}}


@callback(
    Output("saved", "data"),
    Input("download", "n_clicks"),
    State("table", "data"),
    prevent_initial_call=True,
)
def save(_clicks, rows):
    if not rows:
        return no_update
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return dcc.send_string(out.getvalue(), "shown.csv")


if __name__ == "__main__":
    app.run(debug=True)
