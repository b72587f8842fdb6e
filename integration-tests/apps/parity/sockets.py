"""Dash's own WebSocket callbacks: values sent while a callback runs, questions to the page."""

import asyncio
import time

from quart import request

from flash import Flash, Input, Output, ctx, hooks, html, set_props

app = Flash(__name__)
app.layout = html.Div(
    [
        html.Button("Count", id="count"),
        html.P(id="step"),
        html.P(id="counted"),
        html.Button("Plain", id="plain"),
        html.P(id="plain-step"),
        html.P(id="plain-done"),
        html.Button("Ask", id="ask"),
        html.P("what the page shows", id="asked", title="a title"),
        html.P(id="answer"),
        html.P(id="clock"),
    ]
)
released = asyncio.Event()


@hooks.websocket_connect()
async def may_connect(socket):
    return (4003, "not you") if socket.cookies.get("banned") else True


@hooks.websocket_message()
def may_speak(socket, message):
    return not (socket.cookies.get("mute") and message["type"] == "callback_request")


@app.callback(
    Output("counted", "children"),
    Input("count", "n_clicks"),
    websocket=True,
    prevent_initial_call=True,
)
async def count(_):
    # Another test may have asked for the release.
    released.clear()
    set_props("step", {"children": "half way"})
    await released.wait()
    return f"counted, shut down {ctx.websocket.is_shutdown}"


@app.callback(
    Output("plain-done", "children"),
    Input("plain", "n_clicks"),
    websocket=True,
    prevent_initial_call=True,
)
def plain(clicks):
    for step in range(3):
        set_props("plain-step", {"children": f"step {step}"})
        time.sleep(0.05)
    return f"plain {clicks}"


@app.callback(
    Output("answer", "children"),
    Input("ask", "n_clicks"),
    websocket=True,
    prevent_initial_call=True,
)
async def ask(_):
    return f"it says {await ctx.websocket.get_prop('asked', 'title')}"


@app.callback(websocket=True, persistent=True)
async def tick():
    ticks = 0
    while not ctx.websocket.is_shutdown:
        ticks += 1
        set_props("clock", {"children": f"tick {ticks}"})
        await asyncio.sleep(0.05)


@app.server.get("/release")
async def release():
    released.set()
    return request.args.get("say", "released")
