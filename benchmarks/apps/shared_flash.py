"""Flash: a slider and a lamp that all pages share, over the Redis of `FLASH_BROKER_URL`."""

from __future__ import annotations

from dash import Input, Output, dcc, html

from flash import Flash
from flash_pubsub import PubSub

app = Flash(__name__)
pubsub = PubSub(app)
app.layout = html.Div(
    [dcc.Slider(0, 1000, 1, value=0, id="brightness", updatemode="drag"), html.Div(id="lamp")]
)


@pubsub.shared_callback(Output("lamp", "style"), Input("brightness", "value"))
async def lamp(brightness: int) -> dict[str, float]:
    return {"opacity": brightness / 1000}
