"""A page whose callback streams, for Dash 4.5: what it yields goes through the shared storage."""

import asyncio
import os

from flash import Flash, Input, Output, html
from flash_pubsub import FlashSharedStorage

app = Flash(__name__, shared_storage=FlashSharedStorage())
app.server.secret_key = "the same for all workers"
app.layout = html.Div([html.Button("count", id="count"), html.P(id="counted")])


@app.callback(Output("counted", "children"), Input("count", "n_clicks"), prevent_initial_call=True)
async def count(clicks):
    for number in range(20):
        yield f"{clicks}: {number}"
        await asyncio.sleep(0.01)
    yield f"{clicks}: done by {os.getpid()}"
