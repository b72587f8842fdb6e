"""Panels that several workers share, that pages hear of, that rest, and that have thumbnails."""

import os
from pathlib import Path

import plotly.graph_objects as go
import quart

from flash import Flash, Input, Output, dcc, html
from flash_lazy import LazyLoad, Picture, Skeleton, configure, lazy
from flash_ws import Live

# What all workers write down; the database, as it were.
LOADS = Path(os.environ["LOADS"])
SPACE = html.Div(style={"height": "3000px"})

app = Flash(__name__)
app.server.secret_key = os.environ.get("SECRET", "the same for all workers")
Live(app)


def draw(figure: dict, width: int, height: int) -> Picture:
    """A picture of a figure's bars."""
    values = figure["data"][0]["y"]
    bars = "".join(
        f'<rect x="{10 * at}" y="0" width="8" height="{value}"/>' for at, value in enumerate(values)
    )
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{bars}</svg>'
    return Picture(svg.encode(), "image/svg+xml")


configure(
    app,
    cache=os.environ.get("REDIS_URL"),
    thumbnails=draw if "RENDERER" in os.environ else None,
)


def loads(item: str) -> int:
    """Count how often any worker has loaded an item."""
    return LOADS.read_text().splitlines().count(item) if LOADS.exists() else 0


@lazy(fallback=Skeleton(height=60), cache=600, live=True)
def stock(item: str):
    # A whole line at a time, so that workers do not write into each other's.
    with LOADS.open("a") as log:
        log.write(f"{item}\n")
    return html.P(f"{item} {loads(item)}", id=f"stock-{item}")


@lazy(height=60, suspend=True)
async def resting():
    return html.P("resting", id="rest")


def graph(name: str):
    return dcc.Graph(id=name, figure=go.Figure(go.Bar(y=[30, 10, 20])))


def layout():
    return html.Div(
        [
            stock("a"),
            stock("b"),
            resting(),
            LazyLoad(html.P("watching", id="watching"), id="panel", height=50, suspend=True),
            html.P(id="said"),
            SPACE,
            stock("far"),
            SPACE,
            LazyLoad(graph("drawn"), id="chart", height=300, placeholder="thumbnail"),
        ]
    )


app.layout = layout


@app.callback(Output("said", "children"), Input("panel", "suspended"))
async def say(suspended):
    return f"suspended: {suspended}"


@app.server.get("/loads/<item>")
async def count(item: str):
    return {"loads": loads(item)}


@app.server.post("/invalidate/<item>")
async def invalidate(item: str):
    if item == "all":
        stock.invalidate()
    else:
        stock.invalidate(item)
    return quart.Response(status=204)
