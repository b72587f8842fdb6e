"""An app that says what a test asks it to say, and what goes on in it."""

import asyncio
import itertools
import json
import os
from pathlib import Path

from flash import ALL, Flash, Input, Output, Patch, ctx, dcc, html
from flash_ws import LinkStatus, Live, stream_props

STREAMS = 20

app = Flash(__name__, title="Live")
live = Live(app, resume_window=float(os.environ.get("RESUME_WINDOW", "30")))
# Where events of pages are written down; a restart keeps it.
notes = Path(os.environ["NOTES"]) if "NOTES" in os.environ else None
ended = 0


@live.on_connect
async def joined(client):
    client.join("desk")


@live.on_event("note")
def note(data):
    if notes is not None:
        with notes.open("a") as file:
            file.write(f"{json.dumps(data)}\n")


@live.event_callback(
    Input({"start": ALL}, "n_clicks"),
    mode="parallel",
    cancel=[Input("stop", "n_clicks")],
    reset_props=[("running", {"children": "reset"})],
)
async def endless(clicks):
    global ended
    number = ctx.triggered_id["start"]
    yield stream_props("running", {"children": "running"})
    try:
        for count in itertools.count():
            yield stream_props({"stream": number}, {"children": str(count)})
            await asyncio.sleep(0.02)
    finally:
        ended += 1


@app.callback(Output("answer", "children"), Input("ask", "n_clicks"), prevent_initial_call=True)
async def answer(clicks):
    return f"answer {clicks}"


@app.server.post("/say/<int:first>/<int:count>")
async def say(first, count):
    """Send numbered events to every page, to a group, and give the event loop its turns."""
    for number in range(first, first + count):
        audience = live.group("desk") if number % 2 else live.everybody
        await live.send_event("n", number, to=audience)
        if number % 10 == 0:
            await asyncio.sleep(0)
    return ""


@app.server.post("/show/<text>")
async def show(text):
    await live.push("shown", {"children": text})
    return ""


@app.server.post("/add/<int:count>")
async def add(count):
    """Change by values that build on those before, as fast as can be."""
    for number in range(count):
        patch = Patch()
        patch.append(f"{number} ")
        points = [{"x": [[number]], "y": [[number]]}, [0]]
        await live.push([("list", {"children": patch}), ("graph", {"extendData": points})])
    return ""


@app.server.get("/figures")
async def figures():
    statistics = live.statistics()
    running = [repr(task) for task in asyncio.all_tasks() if "flash_ws" in repr(task)]
    return {
        "connected": statistics.connected,
        "clients": len(await live.clients()),
        "ended": ended,
        "tasks": running,
    }


@app.server.after_request
async def strict(response):
    hashes = " ".join(app.csp_hashes())
    response.headers["Content-Security-Policy"] = (
        f"default-src 'self'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:"
    )
    return response


app.layout = html.Div(
    [
        LinkStatus(id="link"),
        html.P(id="status"),
        html.P(id="shown"),
        html.Button("ask", id="ask"),
        html.P(id="answer"),
        html.Div([html.Button(str(n), id={"start": n}) for n in range(STREAMS)], id="starts"),
        html.Button("stop", id="stop"),
        html.P(id="running"),
        html.Div([html.P(id={"stream": n}, className="stream") for n in range(STREAMS)]),
        html.P([], id="list"),
        dcc.Graph(id="graph", figure={"data": [{"x": [], "y": []}], "layout": {"height": 200}}),
    ]
)
app.clientside_callback("s => s", Output("status", "children"), Input("link", "status"))
