"""Tables that users upload, kept on the server by session and cached by flask-caching."""

import base64
import io
import tempfile
import uuid

import pandas as pd
import plotly.express as px
from dash import Dash, Input, Output, State, dash_table, dcc, html, no_update
from flask import Response, abort, has_request_context, session
from flask_caching import Cache

app = Dash(__name__, title="Sheets", update_title=None)
server = app.server
server.secret_key = "sheets"
cache = Cache(server, config={"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": tempfile.mkdtemp()})
computed = 0


def layout():
    # Dash calls this once without a request.
    if has_request_context():
        session.setdefault("known", True)
    return html.Div(
        [
            html.H1("Sheets"),
            dcc.Upload(html.Button("Upload"), id="upload"),
            dcc.Store(id="sheet"),
            dcc.Dropdown(id="column", clearable=False),
            html.P(id="summary"),
            html.P(id="computed"),
            dcc.Graph(id="plot"),
            dash_table.DataTable(id="rows", page_size=3),
        ]
    )


app.layout = layout


@cache.memoize(timeout=120)
def describe(key: str, column: str) -> dict:
    """Describe a column; slow, so it is computed once."""
    global computed
    computed += 1
    return cache.get(key)[column].describe().round(2).to_dict()


@app.callback(
    Output("sheet", "data"),
    Output("column", "options"),
    Output("column", "value"),
    Output("rows", "data"),
    Input("upload", "contents"),
    State("upload", "filename"),
    prevent_initial_call=True,
)
def take(contents, filename):
    if contents is None:
        return no_update
    table = pd.read_csv(io.BytesIO(base64.b64decode(contents.partition(",")[2])))
    key = str(uuid.uuid4())
    cache.set(key, table)
    session["sheet"], session["name"] = key, filename
    numbers = list(table.select_dtypes("number"))
    return key, numbers, numbers[0], table.to_dict("records")


@app.callback(
    Output("summary", "children"),
    Output("computed", "children"),
    Output("plot", "figure"),
    Input("column", "value"),
    State("sheet", "data"),
    prevent_initial_call=True,
)
def show(column, key):
    facts = describe(key, column)
    text = f"{column}: {facts['count']:.0f} values, mean {facts['mean']}, to {facts['max']}"
    return (
        f"{session['name']}, {text}",
        f"computed {computed} times",
        px.box(cache.get(key), y=column),
    )


@server.route("/export.csv")
def export():
    table = cache.get(session.get("sheet", ""))
    if table is None:
        abort(404, "upload a sheet first")
    name = session["name"]
    headers = {"Content-Disposition": f"attachment; filename=copy-of-{name}"}
    return Response(table.to_csv(index=False), mimetype="text/csv", headers=headers)


if __name__ == "__main__":
    app.run(debug=True)
