"""What runs for a panel that is out of view: event callbacks and endpoints that stop, and go on."""

import asyncio

from dash_extensions import WebSocket

from flash import Flash, Input, html, live
from flash_lazy import LazyLoad

app = Flash(__name__)
app.layout = html.Div(
    [
        html.Div("top", id="top", style={"height": "3000px"}),
        LazyLoad(html.P(id="clock"), id="panel", height=100, offset=0, suspend=True),
        LazyLoad(
            WebSocket(url="/count", id="socket"), height=100, offset=0, unmount_if_invisible=True
        ),
    ]
)
# Calls and connections that are open now, and all there have been.
running = {"calls": 0, "sockets": 0, "all calls": 0, "all sockets": 0}


@live.event_callback(Input("panel", "visible"))
async def tick(visible):
    if not visible:
        return
    running["calls"] += 1
    running["all calls"] += 1
    try:
        number = 0
        while True:
            number += 1
            yield {"clock.children": f"tick {number}"}
            await asyncio.sleep(0.05)
    finally:
        running["calls"] -= 1


@live.websocket("/count")
async def count(connection):
    running["sockets"] += 1
    running["all sockets"] += 1
    try:
        async for _ in connection:
            pass
    finally:
        running["sockets"] -= 1


@app.server.get("/running")
async def tell():
    return running


if __name__ == "__main__":
    app.run()
