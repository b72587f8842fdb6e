"""Channels shown in panels that rest while they are out of view, and one shown always."""

import os
from collections import Counter

from flash import Flash, Input, Output, dcc, html
from flash_pubsub import PubSub, Subscription
from flash_ws import CloseCode, LinkStatus, Live
from flash_ws.callbacks.deferred import hub_of

app = Flash(__name__)
live = Live(app)
pubsub = PubSub(app)
SPACE = html.Div(style={"height": "3000px"})

# What the callbacks of each channel were called with.
runs: Counter[str] = Counter()

pubsub.channel("short/{name}", history=2)


@pubsub.channel_callback("tape/{name}", Output("tape", "extendData"))
async def tape(message, name):
    runs[f"tape/{name}"] += 1
    return [{"y": [[message]]}, [0]]


@pubsub.channel_callback("short/{name}", Output("short", "children"))
async def short(message, name):
    runs[f"short/{name}"] += 1
    return f"{name}: {message}"


@pubsub.channel_callback("shown/{name}", Output("shown", "children"))
async def shown(message, name):
    runs[f"shown/{name}"] += 1
    return f"{name}: {message}"


@pubsub.authorize("tape/{name}")
@pubsub.authorize("short/{name}")
@pubsub.authorize("shown/{name}")
async def may_look(client, name):
    return True


def resting(*children, **options):
    """A panel that rests, or the same without flash-lazy."""
    if "LAZY" not in os.environ:
        return html.Div(children)
    from flash_lazy import LazyLoad

    return LazyLoad(children, height=300, suspend=True, **options)


app.layout = html.Div(
    [
        LinkStatus(id="link"),
        html.P(id="status"),
        Subscription("shown/1"),
        html.P(id="shown"),
        resting(
            Subscription("tape/1", id="first"),
            dcc.Graph(id="tape", figure={"data": [{"y": []}]}),
            id="top",
        ),
        SPACE,
        # In the page from the start, and out of view.
        resting(
            Subscription("short/1", id="last"),
            html.P("nothing", id="short"),
            id="end",
            when="mount",
        ),
    ]
)
app.clientside_callback("s => s", Output("status", "children"), Input("link", "status"))


@app.server.post("/publish/<path:channel>/<int:first>/<int:last>")
async def publish(channel, first, last):
    for number in range(first, last + 1):
        await pubsub.publish(channel, number)
    return "", 204


@app.server.get("/figures")
async def figures():
    """What the server does for the channels."""
    return {
        "runs": runs,
        "subscribed": pubsub.status.subscribed,
        "members": {name: len(await pubsub.who(name)) for name in ("tape/1", "short/1", "shown/1")},
    }


@app.server.post("/break")
async def cut():
    """Break every link off, as a network does."""
    for client in hub_of(live.app).clients.values():
        client.close(CloseCode.TOO_SLOW)
    return "", 204
