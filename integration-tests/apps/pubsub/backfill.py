"""Graphs of earlier messages: by backfill, and drawn from the history of their channels."""

import asyncio

from flash import Flash, Input, Output, dcc, html
from flash_pubsub import PubSub, Subscription
from flash_ws import CloseCode, LinkStatus, Live
from flash_ws.callbacks.deferred import hub_of

# Messages that each graph begins with.
SIZE = 500

app = Flash(__name__, suppress_callback_exceptions=True)
live = Live(app)
pubsub = PubSub(app)

for channel in ("prices", "ticks", "late", "desk/{desk}"):
    # A worker that has no processor for two seconds skips nothing: that is not what is tested.
    pubsub.channel(channel, history=5000, max_waiting=100_000)

# How often the callback of `prices` has run.
runs = 0
# What the layout waits for.
drawable = asyncio.Event()
drawable.set()
publishing: set[asyncio.Task[None]] = set()
# Whether publishing at a rate goes on.
goes_on = True
# The last number that was published to each channel.
last_numbers: dict[str, int] = {}


def points(message):
    # All points stay, so that none can be there twice without being seen.
    return [{"x": [[message]], "y": [[message]]}, [0]]


def graph(name, messages=()):
    values = [each.data for each in messages]
    return dcc.Graph(id=name, figure={"data": [{"x": values, "y": values}]}, animate=False)


@pubsub.channel_callback("prices", Output("tape", "extendData"), backfill=SIZE)
async def tape(message):
    global runs
    runs += 1
    return points(message)


@pubsub.channel_callback("ticks", Output("drawn", "extendData"))
async def drawn(message):
    return points(message)


@pubsub.channel_callback("late", Output("later", "extendData"), backfill=SIZE)
async def later(message):
    return points(message)


@pubsub.channel_callback("desk/{desk}", Output("desk", "extendData"), backfill=SIZE)
def desk(message, desk):
    return points(message)


@pubsub.authorize("desk/{desk}")
async def may_look(client, desk):
    return True


async def layout():
    await drawable.wait()
    ticks = await pubsub.history("ticks", limit=SIZE)
    return html.Div(
        [
            LinkStatus(id="link"),
            html.P(id="status"),
            html.P(id="recovered"),
            Subscription("ticks", id="of_ticks", since=ticks.position),
            html.Button("desk", id="enter"),
            html.Button("later", id="show"),
            graph("tape"),
            graph("drawn", ticks),
            html.Div(id="room"),
            html.Div(id="place"),
        ]
    )


app.layout = layout
app.clientside_callback("s => s", Output("status", "children"), Input("link", "status"))
app.clientside_callback(
    "r => `${r}`", Output("recovered", "children"), Input("of_ticks", "recovered")
)


@app.callback(Output("room", "children"), Input("enter", "n_clicks"), prevent_initial_call=True)
def enter(clicks):
    # Every second click leaves.
    return [graph("desk"), Subscription("desk/1", id="of_desk")] if clicks % 2 else []


@app.callback(Output("place", "children"), Input("show", "n_clicks"), prevent_initial_call=True)
async def show(clicks):
    messages = await pubsub.history("late", limit=SIZE)
    # The same components each time, with another figure and another position.
    return [graph("later", messages), Subscription("late", id="of_late", since=messages.position)]


@app.server.post("/publish/<path:channel>/<int:first>/<int:last>/<int:rate>")
async def publish(channel, first, last, rate):
    """Publish numbers; with a rate so many a second after the answer, to the last or `stop`."""

    global goes_on
    goes_on = True

    async def run():
        clock = asyncio.get_running_loop()
        begin = clock.time()
        for number in range(first, last + 1):
            await pubsub.publish(channel, number)
            last_numbers[channel] = number
            if rate and not goes_on:
                return
            if rate:
                await asyncio.sleep(max(0.0, begin + (number - first) / rate - clock.time()))

    task = asyncio.ensure_future(run())
    if not rate:
        await task
        return "", 204
    publishing.add(task)
    task.add_done_callback(publishing.discard)
    return "", 204


@app.server.get("/runs")
async def count():
    return {"runs": runs}


@app.server.post("/stop")
async def stop():
    """End what is published at a rate, and return the last number of each channel."""
    global goes_on
    goes_on = False
    await asyncio.gather(*publishing)
    return last_numbers


@app.server.post("/hold")
async def hold():
    """Let layouts wait."""
    drawable.clear()
    return "", 204


@app.server.post("/draw")
async def draw():
    """Let layouts be drawn."""
    drawable.set()
    return "", 204


@app.server.post("/break")
async def cut():
    """Break every link off, as a network does."""
    for client in hub_of(app).clients.values():
        client.close(CloseCode.TOO_SLOW)
    return "", 204


@app.server.post("/forget")
async def forget():
    """Break every link off and forget the pages, as after the resume window."""
    for client in list(hub_of(app).clients.values()):
        client.close(CloseCode.TOO_SLOW)
        await hub_of(app)._remove_client(client)
    return "", 204
