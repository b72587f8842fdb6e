"""A callback that ends only when it is cancelled, and counts of what runs."""

import asyncio

from flash import Flash, Input, Output, callback, html

begun = 0
cancelled = 0
# Calls that have begun and not ended.
running = 0

app = Flash(__name__)
app.layout = html.Div(
    [
        html.Button("Search", id="search"),
        html.Button("Share", id="share"),
        html.P(id="found"),
        html.P(id="shared"),
    ]
)


async def for_ever():
    global begun, cancelled, running
    begun += 1
    running += 1
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        cancelled += 1
        raise
    finally:
        running -= 1


@callback(
    Output("found", "children"),
    Input("search", "n_clicks"),
    prevent_initial_call=True,
    supersede=True,
)
async def search(_):
    await for_ever()


@callback(
    Output("shared", "children"),
    Input("share", "n_clicks"),
    prevent_initial_call=True,
    coalesce=True,
)
async def share(_):
    await for_ever()


@app.server.get("/counts")
async def counts():
    return {"begun": begun, "cancelled": cancelled, "running": running}
