"""An app whose plain functions take as long as a test wants."""

import threading

from dash import Input, Output, html

from flash import Flash, dcc
from flash_ws import Live

app = Flash(__name__, max_threads=4, max_waiting=40)
go = threading.Event()


def layout():
    return html.Div([dcc.Input(id="in"), html.P(id="out")])


app.layout = layout
live = Live(app)


@app.server.get("/go")
async def release():
    go.set()
    return "gone"


@app.callback(Output("out", "children"), Input("in", "value"))
def wait(value):
    if value != "quick":
        go.wait(60)
    return value
