"""A live page that an operator watches: endless streams, figures, a check that can fail."""

import asyncio
import os

from flash import Flash, Input, html
from flash_ws import Live, Metric, stream_props

app = Flash(__name__)
live = Live(app, metrics=os.environ.get("METRICS_TOKEN") or False)
faults = []

live.readiness.add("broker", lambda: faults[-1] if faults else None)
live.metrics.add(lambda: [Metric("app_faults", len(faults), "Faults reported", "counter")])


@live.event_callback(Input("go", "n_clicks"))
async def endless(clicks):
    print("stream begun", flush=True)
    try:
        number = 0
        while True:
            yield stream_props("count", {"children": number})
            number += 1
            await asyncio.sleep(0.05)
    finally:
        print("stream closed", flush=True)


@live.on_disconnect
async def left(client):
    print("page let go", flush=True)


@live.websocket("/echo")
async def echo(connection):
    async for message in connection:
        await connection.send(message)


@app.server.post("/fault")
async def fault():
    faults.append("the broker is away")
    return ""


@app.server.post("/repair")
async def repair():
    faults.clear()
    return ""


app.layout = html.Div([html.Button("go", id="go"), html.P(id="count")])
