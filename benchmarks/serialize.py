"""Writing JSON: ``flash.serialize.dumps`` against the ``to_json`` that Dash writes everything with.

Alone: ``uv run python benchmarks/serialize.py``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from dash import dcc, html
from plotly.io.json import to_json_plotly
from report import Row, Spread, Target, render
from rounds import FULL, Effort

from flash.serialize import dumps

if TYPE_CHECKING:
    from collections.abc import Callable

# How long the calls that are timed together take.
_BATCH_SECONDS = 0.001


def layout() -> html.Div:
    """A page of 100 components, as a form with headings has them."""
    sections = [
        html.Section(
            [
                html.H2(f"Region {number}", className="heading"),
                html.P("Orders by month", style={"margin": "0 1rem", "color": "#444"}),
                html.Label(["Year", dcc.Input(type="number", value=2026, id=f"year-{number}")]),
                dcc.Dropdown(["north", "south", "west"], "north", id=f"region-{number}"),
                dcc.Graph(id={"type": "chart", "index": number}, config={"displaylogo": False}),
                html.Button("Reload", id=f"reload-{number}", n_clicks=0, **{"data-row": number}),
                html.Div(id=f"out-{number}"),
                html.Hr(),
            ],
            id=f"section-{number}",
        )
        for number in range(9)
    ]
    links = [
        html.A(name, href=f"/{name}") for name in ("overview", "orders", "stock", "team", "help")
    ]
    header = html.Header([html.H1("Sales", id="title"), html.Nav(links)])
    return html.Div([header, *sections, html.Footer("Flash")], id="page")


def table() -> html.Table:
    """2,000 cells in 100 rows."""
    return html.Table(
        html.Tbody(
            [html.Tr([html.Td(f"{row} – {column}") for column in range(20)]) for row in range(100)]
        )
    )


def figure() -> go.Figure:
    """A scatter plot of 2,000 points, each with its label."""
    points = range(2000)
    return go.Figure(
        go.Scatter(
            x=[point * 0.5 for point in points],
            y=[point % 97 for point in points],
            text=[f"Order {point}" for point in points],
            mode="markers+text",
        )
    )


def records() -> list[dict[str, object]]:
    """5,000 rows as ``DataFrame.to_dict("records")`` gives them."""
    return [
        {"id": row, "name": f"Order {row}", "price": row * 1.25, "paid": True, "day": "2026-11-20"}
        for row in range(5000)
    ]


def reply(children: object) -> dict[str, object]:
    """What a callback with one output answers."""
    return {"multi": True, "response": {"output": {"children": children}}}


# The work, what is written, and how many times faster than Dash it is to be.
_WORK: tuple[tuple[str, object, float], ...] = (
    ("JSON: layout of 100 components", layout(), 5),
    ("JSON: table of 2,000 cells", table(), 5),
    ("JSON: figure with 2,000 labels", figure(), 3),
    ("JSON: the same in a reply", reply(dcc.Graph(figure=figure())), 3),
    ("JSON: 5,000 records", records(), 1),
    ("JSON: small reply, text", reply("12 orders"), 5),
    ("JSON: small reply, a component", reply(html.B("12 orders")), 5),
)


async def measure(effort: Effort) -> list[Row]:
    """One row per piece of work, in seconds of one call.

    The ratio is that of the best rounds: what the work costs by itself.
    """
    return [
        await asyncio.to_thread(_measure, work, value, target, effort)
        for work, value, target in _WORK
    ]


def _measure(work: str, value: object, target: float, effort: Effort) -> Row:
    if json.loads(dumps(value)) != json.loads(str(to_json_plotly(value))):
        raise AssertionError(f"{work}: Flash and Dash wrote different JSON")
    best_of_rounds = [_best_seconds(value, effort.seconds / 2) for _ in range(effort.rounds)]
    flash, dash = (Spread.of(seconds, "s") for seconds in zip(*best_of_rounds, strict=True))
    return Row(work, "Dash to_json", flash, dash, dash.low / flash.low, Target(target))


def _best_seconds(value: object, seconds: float) -> tuple[float, float]:
    """The time of one call by Flash and by Dash: the best of many batches, taken by turns.

    A batch is shorter than the time that the system gives a process at once, so that the best one
    was not interrupted.
    """
    contenders: tuple[Callable[[object], object], ...] = (dumps, to_json_plotly)
    calls = [_calls_per_batch(write, value) for write in contenders]
    best = [float("inf")] * len(contenders)
    gc.collect()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for index, write in enumerate(contenders):
            best[index] = min(best[index], _batch(write, value, calls[index]))
    return best[0], best[1]


def _calls_per_batch(write: Callable[[object], object], value: object) -> int:
    _batch(write, value, 2)
    return max(1, int(_BATCH_SECONDS / _batch(write, value, 2)))


def _batch(write: Callable[[object], object], value: object, calls: int) -> float:
    """The seconds of one call, over as many calls as there are in the batch."""
    start = time.perf_counter()
    for _ in range(calls):
        write(value)
    return (time.perf_counter() - start) / calls


if __name__ == "__main__":
    print(render(asyncio.run(measure(FULL))))
