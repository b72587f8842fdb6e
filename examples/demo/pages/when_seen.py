"""Sixty panels, each with a query of its own over a million rows, that load when they are seen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import components
import figures
import queries
from components import aria, chart, panel, segmented
from queries import Scope
from resources import database

from flash import Input, Output, callback, dcc, html, register_page
from flash_lazy import Skeleton, lazy

if TYPE_CHECKING:
    from dash.development.base_component import Component

register_page(
    __name__,
    path="/when-seen",
    name="When seen",
    short_name="Seen",
    title="When seen · Meridian Trade",
    icon="layers",
)

PANELS = 60
HEIGHT = 220
LOADING = {"seen": "When seen", "once": "All at once"}


async def course(country: int, name: str, theme: str) -> Component:
    """The orders of one country by month: a query over the whole table, and its chart."""
    answer = await database.fetch(queries.by_month(Scope(country=country)))
    figure = figures.revenue_by_month(answer.rows, [], theme)
    return chart(f"course-{country}", f"Revenue by month, {name}", height=HEIGHT, figure=figure)


# All that it takes: a panel in place of what the function returns, which is called when it is near.
course_when_seen = lazy(fallback=Skeleton(height=HEIGHT), timeout=60)(course)


async def layout(**_query: str) -> Component:
    return components.page(
        "When seen",
        f"{PANELS} panels, and a query over a million rows for each that somebody looks at",
        dcc.Interval(id="every-half-second", interval=500),
        dcc.Store(id="asked-before"),
        html.Div(id="courses", className="grid", **aria(live="off")),
        controls=[
            html.P(["Queries run: ", html.Strong("0", id="asked")], className="note"),
            segmented("loading", "Load the panels", LOADING, "seen"),
        ],
    )


@callback(
    Output("courses", "children"),
    Output("asked-before", "data"),
    Input("loading", "value"),
    Input("theme", "data"),
    supersede=True,
)
async def place(loading: str, theme: str) -> tuple[list[Component], int]:
    """Place the panels; all at once means that the page waits for every query."""
    countries = (await database.fetch(queries.countries())).rows[:PANELS]
    before = database.asked
    charts: list[Any]
    if loading == "seen":
        charts = [course_when_seen(row.id, row.name, theme) for row in countries]
    else:
        charts = await asyncio.gather(*(course(row.id, row.name, theme) for row in countries))
    panels = [panel(row.name, one, width=4) for row, one in zip(countries, charts, strict=True)]
    return panels, before


@callback(
    Output("asked", "children"),
    Input("every-half-second", "n_intervals"),
    Input("asked-before", "data"),
)
async def show_asked(_ticks: int, before: int | None) -> str:
    """How many queries the database was asked since the panels were placed, by every visitor."""
    return str(database.asked - before) if before is not None else "…"
