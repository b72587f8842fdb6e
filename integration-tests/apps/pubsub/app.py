"""What PubSub offers, on one page: shared controls, a tape, a room, presence."""

import asyncio
import os

from flash import Flash, Input, Output, dcc, html
from flash_pubsub import PubSub, Subscription
from flash_ws import LinkStatus, Live

# One output of a shared callback comes into the page later.
app = Flash(__name__, suppress_callback_exceptions=True)
live = Live(app, resume_window=5)
pubsub = PubSub(app, lease_ttl=1, presence_ttl=3, presence_grace=0.5)


@pubsub.shared_callback(Output("lamp", "style"), Input("brightness", "value"))
async def lamp(brightness):
    await asyncio.sleep(0.002)
    return {"opacity": brightness / 100}


@pubsub.shared_callback(
    Output("greeting", "children"), Input("name", "value"), prevent_initial_call=True
)
def greeting(name):
    if name == "nobody":
        raise ValueError(name)
    return f"hello {name}"


@pubsub.shared_callback(
    Output("later", "children"), Input("brightness", "value"), prevent_initial_call=True
)
def later(brightness):
    return f"later {brightness}"


@app.callback(Output("doubled", "children"), Input("brightness", "value"))
def doubled(brightness):
    return str(2 * brightness)


@pubsub.channel_callback("prices", Output("tape", "extendData"))
async def tape(message):
    return [{"x": [[message["t"]]], "y": [[message["p"]]]}, [0], 500]


@pubsub.channel_callback("room/{room}", Output("board", "children"))
async def board(message, room):
    return f"{room}: {message}"


@pubsub.authorize("room/{room}")
async def may_enter(client, room):
    return room != "secret"


@app.callback(Output("place", "children"), Input("go", "n_clicks"), Input("leave", "n_clicks"))
def place(go, leave):
    if (go or 0) > (leave or 0):
        return [
            Subscription("room/7", id="seven"),
            Subscription("room/secret", id="secret"),
            html.P("not yet", id="later"),
        ]
    return []


@app.callback(Output("people", "children"), Input("ask", "n_clicks"), prevent_initial_call=True)
async def people(clicks):
    return f"{clicks}: {len(await pubsub.who('room/7'))}"


@app.callback(Output("sent", "children"), Input("shout", "n_clicks"), prevent_initial_call=True)
async def shout(clicks):
    await pubsub.publish("prices", {"t": clicks, "p": 2.0})
    await pubsub.publish("room/7", clicks)
    await live.push("banner", {"children": f"from {os.environ.get('WORKER', '')} {clicks}"})
    return clicks


app.layout = html.Div(
    [
        LinkStatus(id="link"),
        html.P(id="status"),
        dcc.Slider(0, 100, 1, value=20, id="brightness", updatemode="drag"),
        html.Div("lamp", id="lamp"),
        html.P(id="doubled"),
        dcc.Input(id="name", value=""),
        html.P(id="greeting"),
        dcc.Graph(id="tape", figure={"data": [{"x": [], "y": []}]}),
        html.Button("go", id="go"),
        html.Button("leave", id="leave"),
        html.Div(id="place"),
        html.P(id="board"),
        html.Button("ask", id="ask"),
        html.P(id="people"),
        html.Button("shout", id="shout"),
        html.P(id="sent"),
        html.P(id="banner"),
    ]
)
app.clientside_callback("s => s", Output("status", "children"), Input("link", "status"))
