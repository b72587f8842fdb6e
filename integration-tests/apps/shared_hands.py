"""Controls into which several people type and pick at once."""

import asyncio
import os

from flash import Flash, Input, Output, dcc, html
from flash_pubsub import PubSub

# While this file is there, neither hand sees what the other picks.
HOLD = os.environ["HOLD"]
app = Flash(__name__)
pubsub = PubSub(app)


def is_held() -> bool:
    return os.path.exists(HOLD)


async def released() -> None:
    while is_held():  # noqa: ASYNC110  another process' doing
        await asyncio.sleep(0.02)


app.layout = html.Div(
    [
        dcc.Input(id="title", value="hello", type="text"),
        html.P(id="titled"),
        dcc.Textarea(id="notes", value=""),
        html.P(id="noted"),
        dcc.Input(id="late", value="", debounce=True),
        html.P(id="lately"),
        dcc.Dropdown(["a", "b", "c", "d"], ["a"], multi=True, id="picks"),
        html.P(id="picked"),
        dcc.RangeSlider(0, 10, 1, value=[2, 8], id="range"),
        html.P(id="ranged"),
    ]
)


@pubsub.shared_callback(Output("titled", "children"), Input("title", "value"))
async def show_title(value):
    return f"title {value}"


@pubsub.shared_callback(Output("noted", "children"), Input("notes", "value"))
async def show_notes(value):
    return f"notes {value}"


@pubsub.shared_callback(Output("lately", "children"), Input("late", "value"))
async def show_late(value):
    return f"late {value}"


@pubsub.shared_callback(Output("picked", "children"), Input("picks", "value"))
async def show_picks(value):
    await released()
    return " ".join(value or ["nothing"])


@pubsub.shared_callback(Output("ranged", "children"), Input("range", "value"))
async def show_range(value):
    await released()
    return " ".join(map(str, value))
