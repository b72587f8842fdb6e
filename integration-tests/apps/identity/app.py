"""An app of which the tests look at what identifies pages and users: headers, not addresses."""

import asyncio

import quart
from dash import Input, Output, html

from flash import AsyncManager, Flash
from flash_ws import Live

app = Flash(__name__, background_callback_manager=AsyncManager())
app.server.secret_key = "secret"
app.layout = html.Div(
    [html.Button("Go", id="go"), html.Button("Stop", id="stop"), html.P(id="out"), html.P(id="n")]
)


async def user(opening):
    return opening.cookies.get("user") or True


live = Live(app, authorize=user)


@app.server.get("/login")
async def login():
    quart.session["user"] = "ada"
    return "<p>in</p>"


@app.callback(Output("n", "children"), Input("go", "n_clicks"), prevent_initial_call=True)
async def count(clicks):
    return f"clicked {clicks}"


@app.callback(
    Output("out", "children"),
    Input("go", "n_clicks"),
    background=True,
    interval=50,
    cancel=[Input("stop", "n_clicks")],
    prevent_initial_call=True,
)
async def work(clicks):
    await asyncio.sleep(0.3 if clicks == 1 else 60)
    return f"done {clicks}"
