"""A wall of machines: each hall is a room with readings, a limit and visitors of its own.

On workers: ``FLASH_REDIS_URL=redis://… flash run machines:app --workers 3``.
"""

import asyncio
import random

from flash import Flash, Input, Output, callback, dcc, html, live, pubsub
from flash_pubsub import Present, Room

HALLS = ["north", "south", "harbour"]
MACHINES = [f"{kind} {number}" for kind in ("Press", "Mill", "Oven") for number in range(1, 9)]
LIMIT = 75  # °C, until somebody in the hall sets another.
app = Flash(__name__, title="Machines")

CHOICE = dcc.Dropdown(HALLS, "north", id="hall", clearable=False)
SLIDER = dcc.Slider(60, 90, 1, value=LIMIT, id="limit", marks=None, updatemode="drag")
app.layout = html.Main(
    [
        html.Header([html.H1("Machines"), html.Div(id="place")]),
        html.Section(
            [
                html.Div([html.Label(id="limit-text"), SLIDER]),
                html.Div([html.Label("Hall", htmlFor="hall"), CHOICE]),
            ],
            className="card two",
        ),
        html.Section(id="wall", className="tiles"),
    ]
)


@pubsub.authorize("hall/{hall}")
def may_enter(visitor, hall):
    return hall in HALLS


@pubsub.present_name("hall/{hall}")
def name_of(client, hall):
    return f"Guest {sum(client.id.encode()) % 1000}"


@callback(Output("place", "children"), Input("hall", "value"))
def place(hall):
    return [Room("hall/{hall}", hall=hall), Present("hall/{hall}", "present", hall=hall)]


@pubsub.feeder
async def sensors():
    chance = random.Random(11)
    heat = {hall: {machine: chance.uniform(50, 72) for machine in MACHINES} for hall in HALLS}
    while True:
        for hall, values in heat.items():
            limit = await limit_of(hall)
            for machine, value in values.items():
                values[machine] = now = value + chance.gauss(0, 1.2) + (63 - value) * 0.02
                if value <= limit < now:
                    text = f"{machine} is above {limit} °C."
                    await live.notify(text, kind="warning", to=pubsub.room(f"hall/{hall}"))
            yield f"hall/{hall}", values
        await asyncio.sleep(1)


async def limit_of(hall):
    return await pubsub.shared.room(f"hall/{hall}")["limit", "value"].get(LIMIT)


@pubsub.channel_callback("hall/{hall}", Output("wall", "children"))
async def show(message, hall):
    limit = await limit_of(hall)
    return [
        html.Div(
            [html.H2(machine), html.P(f"{value:.1f} °C", className="number")],
            className="card warm" if value > limit else "card",
        )
        for machine, value in message.items()
    ]


@pubsub.shared_callback(
    Output("limit-text", "children"), Input("limit", "value"), room="hall/{hall}"
)
def set_limit(limit, hall):
    return f"Too warm above {limit} °C, for everybody in hall {hall}"


if __name__ == "__main__":
    app.run()
