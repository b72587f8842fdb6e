"""Callbacks of a server that goes away: by itself, or behind a proxy that answers in its place."""

import asyncio
import os
from pathlib import Path

import quart

from flash import AsyncManager, Flash, Input, Output, dcc, html, page_container, register_page

FOLDER = Path(os.environ["FOLDER"])

app = Flash(__name__, use_pages=True, pages_folder="", background_callback_manager=AsyncManager())


def note(line: str) -> None:
    # A whole line at a time; the test reads it.
    with (FOLDER / "runs").open("a") as log:
        log.write(f"{line}\n")


register_page(
    "home",
    path="/",
    layout=html.Div(
        [
            dcc.Input(id="filter", value="world"),
            html.P(id="tile"),
            html.P("never late", id="other"),
            html.Button("Save", id="save"),
            html.P("not saved", id="saved"),
            html.Button("Refresh", id="refresh"),
            html.P("not refreshed", id="refreshed"),
            html.Button("Wait", id="wait"),
            html.P("not waited", id="waited"),
            html.Button("Start", id="start"),
            html.P("not done", id="done"),
            dcc.Link("elsewhere", href="/elsewhere", id="leave"),
        ]
    ),
)
register_page("elsewhere", path="/elsewhere", layout=html.P("elsewhere", id="elsewhere"))
app.layout = html.Div(page_container)


@app.server.before_request
async def answer_as_a_proxy():
    status = FOLDER / "status"
    if await asyncio.to_thread(status.exists) and "_dash-update" in quart.request.path:
        text = await asyncio.to_thread(status.read_text)
        return quart.Response("from a proxy", int(text), {"Retry-After": "1"})
    return None


@app.callback(Output("tile", "children"), Input("filter", "value"))
def show(value):
    note(f"show {value}")
    return f"figures of {value}"


@app.callback(Output("saved", "children"), Input("save", "n_clicks"), prevent_initial_call=True)
def save(clicks):
    note("save")
    return f"saved {clicks}"


@app.callback(
    Output("refreshed", "children"),
    Input("refresh", "n_clicks"),
    prevent_initial_call=True,
    repeat=True,
)
def refresh(clicks):
    note("refresh")
    return f"refreshed {clicks}"


@app.callback(
    Output("waited", "children"),
    Input("wait", "n_clicks"),
    prevent_initial_call=True,
    repeat=True,
    timeout=0.1,
)
async def wait_for_ever(clicks):
    await asyncio.to_thread(note, "wait")
    await asyncio.Event().wait()


@app.callback(
    Output("done", "children"),
    Input("start", "n_clicks"),
    prevent_initial_call=True,
    background=True,
    interval=100,
)
async def job(clicks):
    await asyncio.to_thread(note, "job")
    while not await asyncio.to_thread((FOLDER / "go").exists):  # noqa: ASYNC110  a file
        await asyncio.sleep(0.02)
    return f"job {clicks}"
