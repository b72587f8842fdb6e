"""Fifty panels of 300 ms queries, and a hundred graphs: what every lazy contender builds."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import plotly.graph_objects as go

PANELS = 50
GRAPHS = 100
HEIGHT = 320
QUERY_SECONDS = float(os.environ.get("QUERY_SECONDS", "0.3"))
CACHE_SECONDS = float(os.environ.get("CACHE_SECONDS", "0"))

# Every query that ran in this process.
queries: list[int] = []


def query(panel: int) -> str:
    """A query that blocks its thread."""
    queries.append(panel)
    time.sleep(QUERY_SECONDS)
    return f"panel {panel}"


async def query_async(panel: int) -> str:
    """The same query through an async driver."""
    queries.append(panel)
    await asyncio.sleep(QUERY_SECONDS)
    return f"panel {panel}"


def frame(children: Any, html: Any, **props: Any) -> Any:
    """The room of one panel, the same in every contender."""
    return html.Div(children, className="panel", style={"height": HEIGHT}, **props)


def figure(number: int) -> go.Figure:
    values = [(number * step * 7919) % 1000 for step in range(500)]
    return go.Figure(
        [go.Scatter(y=values, mode="lines+markers"), go.Scatter(y=sorted(values))],
        go.Layout(height=HEIGHT, uirevision=number),
    )
