"""A map with moving vehicles: one position feed for all pages, and the way of the chosen one.

On workers: ``FLASH_REDIS_URL=redis://… flash run vehicles:app --workers 3``.
"""

import asyncio
import random

from flash import Flash, Input, Output, Patch, callback, dcc, html, live, pubsub
from flash_ws import LinkStatus

NAMES = [f"Van {number}" for number in range(1, 15)]
SIZE = 12  # A town of 12 by 12 blocks.
app = Flash(__name__, title="Vehicles")
pubsub.channel("positions", history=240, conflate=True)


STREETS = {"x": [], "y": [], "mode": "lines", "line": {"color": "rgba(128,140,155,.4)", "width": 5}}
for at in range(SIZE + 1):
    STREETS["x"] += [at, at, None, 0, SIZE, None]
    STREETS["y"] += [0, SIZE, None, at, at, None]
RIVER = {"x": [-0.5, 2, 4, 6, 8.5, 10.5, 12.5], "y": [2.2, 3.1, 5.4, 6.2, 6.6, 8.9, 9.3]}
RIVER |= {"mode": "lines", "line": {"color": "#7db8e8", "width": 22, "shape": "spline"}}
WAY = {"x": [], "y": [], "mode": "lines", "line": {"color": "#e4892b", "width": 5}}
MARK = {"size": 15, "color": "#2f6fd6", "line": {"color": "white", "width": 2}}
VANS = {"x": [0] * len(NAMES), "y": [0] * len(NAMES), "text": NAMES, "customdata": NAMES}
VANS |= {"mode": "markers", "hoverinfo": "text", "marker": MARK}
AXIS = {"visible": False, "fixedrange": True, "range": [-0.5, SIZE + 0.5]}
LOOK = {"xaxis": AXIS, "yaxis": AXIS, "showlegend": False, "margin": dict.fromkeys("lrtb", 4)}
FIGURE = {"data": [RIVER, STREETS, WAY, VANS], "layout": LOOK}
CHOICE = [
    html.Label("Follow", htmlFor="chosen"),
    dcc.Dropdown(NAMES, NAMES[0], id="chosen", clearable=False),
    html.P("Or click a van on the map.", className="quiet"),
    html.P(id="where", className="number"),
]
MAP = html.Div(dcc.Graph(id="map", figure=FIGURE), className="card tall")
app.layout = html.Main(
    [
        LinkStatus(id="link"),
        html.Header([html.H1("Vehicles"), html.Span(id="moving", className="badge")]),
        html.Section([MAP, html.Div(CHOICE, className="card")], className="two"),
    ]
)


@pubsub.feeder("positions")
async def drive():
    chance = random.Random(9)
    vans = {name: [chance.randint(0, SIZE), chance.randint(0, SIZE), 1, 0] for name in NAMES}
    for step in range(10**9):
        for van in vans.values():
            if step % 5 == 0:  # At a crossing: go on, or turn; never out of the town.
                turns = [(1, 0), (-1, 0), (0, 1), (0, -1)] + [(van[2], van[3])] * 3
                inside = [
                    t for t in turns if all(0 <= round(van[i] + t[i]) <= SIZE for i in (0, 1))
                ]
                van[2:] = chance.choice(inside)
            van[:2] = [round(van[0] + van[2] / 5, 1), round(van[1] + van[3] / 5, 1)]
        yield {name: van[:2] for name, van in vans.items()}
        await asyncio.sleep(0.3)


@pubsub.channel_callback("positions", Output("map", "figure"), Output("moving", "children"))
def move(message):
    figure = Patch()
    figure["data"][3]["x"], figure["data"][3]["y"] = map(list, zip(*message.values(), strict=True))
    return figure, f"{len(message)} on the road"


@callback(Output("chosen", "value"), Input("map", "clickData"), prevent_initial_call=True)
def choose(click):
    return click["points"][0].get("customdata") or NAMES[0]


@live.event_callback(Input("link", "status"), Input("chosen", "value"))
async def follow(status, name):
    while status == "open":
        past = [each.data[name] for each in await pubsub.history("positions", limit=100)]
        way = Patch()
        way["data"][2]["x"], way["data"][2]["y"] = [x for x, _ in past], [y for _, y in past]
        x, y = past[-1] if past else (0, 0)
        yield {"map.figure": way, "where.children": f"{name}: street {x:.0f}, avenue {y:.0f}"}
        await asyncio.sleep(0.6)


if __name__ == "__main__":
    app.run()
