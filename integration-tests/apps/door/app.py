"""An app whose every way in is guarded: a cookie for the guard, another for `authorize`."""

import quart
from dash import Input, Output, html

from flash import Flash, dcc
from flash_ws import Live

app = Flash(__name__, websocket_callbacks=True, allowed_hosts=["127.0.0.1"])
app.server.secret_key = "secret"
app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])
live = Live(app, authorize=lambda opening: opening.cookies.get("user"), recheck_interval=0.2)
# Users whose permission is withdrawn.
withdrawn: set[str] = set()


@app.server.before_request
async def guard():
    if quart.request.path == "/open":
        return "open"
    if quart.request.cookies.get("login") != "yes":
        quart.abort(401)
    if quart.request.cookies.get("user") in withdrawn:
        quart.abort(403)
    return None


@app.server.get("/withdraw/<user>")
async def withdraw(user):
    withdrawn.add(user)
    return "withdrawn"


@live.websocket("/socket")
async def socket(connection):
    async for message in connection:
        await connection.send(message)


@live.sse("/stream")
async def stream(request):
    yield "x"


@app.callback(Output("out", "children"), Input("in", "value"))
async def echo(value):
    if value == "fail":
        raise LookupError("password hunter2")
    return value
