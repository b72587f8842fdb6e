"""What `Live` offers, on one page: pushes, events, an event callback, endpoints, status."""

import asyncio
import os

from dash_extensions import SSE, WebSocket
from dash_extensions.streaming import sse_options

from flash import Flash, Input, Output, html
from flash_ws import LinkStatus, Live, stream_props

app = Flash(__name__)
live = Live(app)


@live.websocket("/ticker")
async def ticker(connection):
    async for message in connection:
        await connection.send(message.upper())


@live.sse("/answer")
async def answer(request):
    prompt = (await request.get_json())["prompt"]
    for token in ("You", " said ", prompt):
        yield token


@live.event_callback(
    Input("go", "n_clicks"),
    reset_props=[("go", {"disabled": False})],
    on_error=lambda error: stream_props("toast", {"children": str(error)}),
)
async def report(clicks):
    yield stream_props("go", {"disabled": True})
    for share in (10, 50, 100):
        # Longer than a batch waits, so that each is seen.
        await asyncio.sleep(0.02)
        yield stream_props([("bar", {"title": str(share)}), ("share", {"children": f"{share} %"})])
    if clicks == 2:
        raise ValueError("no second report")


@app.callback(Output("sent", "children"), Input("all", "n_clicks"), prevent_initial_call=True)
async def shout(clicks):
    await live.push("banner", {"children": f"everybody {clicks}"})
    await live.push("mine", {"children": f"just you {clicks}"}, to=live.client)
    for number in range(100):
        await live.send_event("price", number, to=live.group("desk"))
    return clicks


@live.on_connect
async def joined(client):
    client.join("desk")


@live.on_event("ask")
async def asked(data):
    await live.send_event("told", data[::-1], to=live.client)


@live.on_event("note")
def noted(data):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"{data}\n")


app.layout = html.Div(
    [
        LinkStatus(id="link"),
        html.P(id="status"),
        html.Button("go", id="go"),
        html.P(id="bar"),
        html.P(id="share"),
        html.P(id="toast"),
        html.Button("all", id="all"),
        html.P(id="sent"),
        html.P(id="banner"),
        html.P(id="mine"),
        WebSocket(url="/ticker", id="ws"),
        html.P(id="echo"),
        SSE(id="sse", url="/answer", options=sse_options('{"prompt": "hello"}'), concat=True),
        html.P(id="spoken"),
    ]
)
app.clientside_callback("s => s", Output("status", "children"), Input("link", "status"))
app.clientside_callback("m => m ? m.data : ''", Output("echo", "children"), Input("ws", "message"))
app.clientside_callback(
    "s => s && s.readyState === 1 ? 'hello' : window.dash_clientside.no_update",
    Output("ws", "send"),
    Input("ws", "state"),
)
app.clientside_callback("v => v", Output("spoken", "children"), Input("sse", "value"))
