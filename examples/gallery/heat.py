"""A heat map of an island: one hour for all visitors, and strikes of lightning as they come.

On workers: ``FLASH_REDIS_URL=redis://… flash run heat:app --workers 3``.
"""

import asyncio
import math
import random
from itertools import pairwise

from flash import Flash, Input, Output, Patch, callback, dcc, html, pubsub

# The outline is made here, so that no map has to be fetched: longitude, latitude.
TURN = [math.tau * step / 120 for step in range(121)]
OUTLINE = [(1 + 0.18 * math.sin(3 * t + 1) + 0.08 * math.sin(7 * t), t) for t in TURN]
COAST = [(r * 2.1 * math.cos(t) - 24, r * 1.2 * math.sin(t) + 38) for r, t in OUTLINE]
LON, LAT = [-26.6 + 0.1 * i for i in range(53)], [36.4 + 0.08 * j for j in range(41)]
app = Flash(__name__, title="Heat")


def is_land(lon, lat):
    """Says whether the coast is crossed an odd number of times to the east of a point."""
    crossed = [
        (y1 > lat) != (y2 > lat) and lon < x1 + (lat - y1) * (x2 - x1) / (y2 - y1)
        for (x1, y1), (x2, y2) in pairwise(COAST)
    ]
    return sum(crossed) % 2 == 1


GRID = [[(lon, lat, is_land(lon, lat)) for lon in LON] for lat in LAT]


def heat(hour):
    """Temperatures in °C: a day's course, warmer in the south, colder on the hills."""
    noon, hills = 8 * math.sin(math.tau * (hour - 9) / 24), [(-24.8, 38.3, 5), (-23.2, 37.7, 4)]

    def at(lon, lat):
        cold = sum(h * math.exp(-6 * ((lon - x) ** 2 + (lat - y) ** 2)) for x, y, h in hills)
        return round(20 + noon + 2 * (38 - lat) + math.sin(3 * lon + hour / 4) - cold, 1)

    return [[at(x, y) if land else None for x, y, land in row] for row in GRID]


FIELD = {"type": "heatmap", "x": LON, "y": LAT, "z": heat(14), "zmin": 8, "zmax": 32}
FIELD |= {"colorscale": "Portland", "colorbar": {"title": {"text": "°C"}}}
SHORE = {"x": [x for x, _ in COAST], "y": [y for _, y in COAST], "line": {"color": "#8a94a3"}}
MARK = {"symbol": "star", "size": 13, "color": "#fff", "line": {"width": 1}}
STRIKES = {"x": [], "y": [], "mode": "markers", "marker": MARK}
LOOK = {"xaxis": {"visible": False}, "yaxis": {"visible": False}, "showlegend": False}
FIGURE = {"data": [FIELD, SHORE, STRIKES], "layout": {**LOOK, "margin": dict.fromkeys("lrtb", 4)}}
HOUR = dcc.Slider(0, 23, 1, value=14, id="hour", marks=None, updatemode="drag")
app.layout = html.Main(
    [
        html.Header([html.H1("Heat"), html.Span(id="hour-text", className="badge")]),
        html.Section(dcc.Graph(id="map", figure=FIGURE), className="card tall"),
        html.Section(HOUR, className="card"),
    ]
)


@pubsub.shared_callback(Output("hour-text", "children"), Input("hour", "value"))
def tell(hour):
    return f"{hour}:00 for everybody"


@callback(Output("map", "figure"), Input("hour", "value"), coalesce=True)
def show(hour):
    figure = Patch()
    figure["data"][0]["z"] = heat(hour)
    return figure


@pubsub.feeder("strikes")
async def storm():
    chance = random.Random(8)
    while True:
        yield [chance.uniform(-26.6, -21.4), chance.uniform(36.4, 39.6)]
        await asyncio.sleep(chance.expovariate(1.5))


@pubsub.channel_callback("strikes", Output("map", "figure"))
async def strike(message):
    last = [each.data for each in await pubsub.history("strikes", limit=25)]
    figure = Patch()
    figure["data"][2]["x"], figure["data"][2]["y"] = map(list, zip(*last, strict=True))
    return figure


if __name__ == "__main__":
    app.run()
