"""A background callback on `AsyncManager`: no broker, no disk, no second process."""

import asyncio
import os

from flash import Flash, Input, Output, State, html, set_props
from flash.background import AsyncManager

written = 0
running = 0
# What `write` waits for in each chapter, so that a page can be seen while it writes.
go_on = asyncio.Event()

app = Flash(__name__, background_callback_manager=AsyncManager(cache_by=[lambda: "edition 1"]))
app.layout = html.Div(
    [
        html.Button("Write", id="write"),
        html.Button("Write for ever", id="forever"),
        html.Button("Stop", id="stop"),
        html.Progress(id="bar", value="0", max="1"),
        html.P("idle", id="state"),
        html.P(id="note"),
        html.P(id="report"),
        html.P(id="endless"),
        html.P("3", id="chapters"),
    ]
)

OPTIONS = {
    "background": True,
    "interval": 50,
    "prevent_initial_call": True,
    "progress": [Output("bar", "value"), Output("bar", "max")],
    "progress_default": ["0", "1"],
}


@app.callback(
    Output("report", "children"),
    Input("write", "n_clicks"),
    State("chapters", "children"),
    cache_args_to_ignore=[0],
    running=[(Output("state", "children"), "writing", "idle")],
    **OPTIONS,
)
async def write(set_progress, clicks, chapters):
    global written
    written += 1
    for chapter in range(int(chapters)):
        await set_progress([str(chapter + 1), chapters])
        set_props("note", {"children": f"click {clicks}, chapter {chapter + 1}"})
        await asyncio.sleep(0.15)
        await go_on.wait()
    return f"report {written} by {os.getpid()}"


@app.callback(
    Output("endless", "children"),
    Input("forever", "n_clicks"),
    running=[(Output("state", "children"), "writing", "idle")],
    cancel=[Input("stop", "n_clicks")],
    **OPTIONS,
)
async def write_for_ever(set_progress, _):
    global running
    running += 1
    await set_progress(["1", "1000000"])
    try:
        await asyncio.Event().wait()
    finally:
        running -= 1
        set_props("note", {"children": "this comes too late"})


@app.server.get("/pid")
async def pid():
    return str(os.getpid())


@app.server.get("/go-on")
async def let_go():
    go_on.set()
    return "gone on"


@app.server.get("/running")
async def count():
    return str(running)
