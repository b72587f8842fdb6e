"""The example of the package's documentation, with a lamp, a login and something to publish."""

import os

import quart

from flash import Flash, Input, Output, dcc, html
from flash_pubsub import PubSub, Subscription


class Device:
    """Notes what it was set to."""

    brightness = None

    async def set(self, brightness):
        self.brightness = brightness


device = Device()
app = Flash(__name__)
app.server.secret_key = "shared by all workers"
pubsub = PubSub(app, broker=os.environ["BROKER"])


@pubsub.shared_callback(Output("lamp", "style"), Input("brightness", "value"))
async def lamp(brightness):  # once per change, for everybody, in one order
    await device.set(brightness)
    return {"opacity": brightness / 100}


@pubsub.channel_callback("prices", Output("tape", "extendData"))
async def tape(message):  # once per message per worker, to every page
    return [{"x": [[message["t"]]], "y": [[message["p"]]]}, [0], 500]


@pubsub.channel_callback("room/{room}", Output("board", "children"))
async def board(message, room):
    return f"{room}: {message}"


@pubsub.authorize("room/{room}")
async def may_enter(client, room):
    return room in client.session["rooms"]


app.layout = html.Div(
    [
        dcc.Slider(0, 100, id="brightness", value=50),
        html.Div("lamp", id="lamp"),
        # Plotly extends traces that are there.
        dcc.Graph(id="tape", figure={"data": [{"x": [], "y": []}]}),
        html.Div(id="board"),
        Subscription("room/7", id="room"),
    ]
)


@app.server.get("/login/<room>")
async def login(room):
    quart.session["rooms"] = [room]
    return "welcome"


@app.server.get("/publish")
async def publish():
    await pubsub.publish("prices", {"t": 1, "p": 2.0})
    return "done"
