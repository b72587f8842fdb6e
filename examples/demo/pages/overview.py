"""The overview: every panel asks its own questions, and all of them are asked at once.

Whoever changes the period or the region is no longer interested in the answers for the old one:
``supersede=True`` cancels the callbacks that work on them, and with them their queries.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import components
import figures
import queries
from amounts import change, compact, money, seconds
from components import chart, chart_id, panel, segmented, spans
from queries import Scope
from resources import database

from flash import ALL, Input, Output, State, callback, dcc, html, register_page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dash.development.base_component import Component
    from database import Answer
    from plotly.graph_objects import Figure
    from sqlalchemy import Executable

register_page(
    __name__, path="/overview", name="Overview", title="Overview · Meridian Trade", icon="overview"
)

PANELS = ("totals", "months", "regions", "countries", "products", "lines", "hours")
Spans = list[dict[str, Any]]


async def layout(**_query: str) -> Component:
    """The page; its figures come from the callbacks below, each as soon as it is ready."""
    return components.page(
        "Overview",
        f"{database.preparation.total:,} orders from 142 countries, 2018 and 2019",
        *[dcc.Store(id={"spans": name}) for name in PANELS],
        html.Div(components.tile_placeholders(5), id="tiles", className="tiles"),
        html.Div(
            [
                panel("Revenue by month", chart("months", "Revenue by month"), width=8),
                panel("Regions", chart("regions", "Revenue by region"), width=4),
                panel(
                    "Countries",
                    chart("countries", "Revenue by country", height=360),
                    width=8,
                    note="Each tile is a country, as large as its revenue",
                ),
                panel("Best sellers", chart("products", "Best sellers", height=360), width=4),
                panel("Product lines", chart("lines", "Revenue by product line"), width=6),
                panel(
                    "When people order",
                    chart("hours", "Orders by weekday and hour"),
                    width=6,
                    note="Orders by weekday and hour",
                ),
                panel(
                    "Asked side by side",
                    chart("spans", "When each query of this page ran", height=320),
                    note=html.Span("Waiting for the answers", id="spans-note", className="waiting"),
                ),
            ],
            className="grid",
        ),
        controls=[
            segmented(
                "period",
                "Period",
                {key: label for key, (label, _) in queries.PERIODS.items()},
                "year",
            ),
            segmented(
                "region", "Region", {"": "World"} | {name: name for name in queries.REGIONS}, ""
            ),
        ],
    )


@callback(
    Output("tiles", "children"),
    Output({"spans": "totals"}, "data"),
    Input("period", "value"),
    Input("region", "value"),
    supersede=True,
)
async def show_totals(period: str, region: str) -> tuple[list[Component], Spans]:
    """The key figures: three queries on three connections, awaited together."""
    scope = Scope.of(period, region=region)
    now, before, months = await asyncio.gather(
        database.fetch(queries.totals(scope)),
        fetch_year_before(queries.totals, scope),
        database.fetch(queries.course(scope)),
    )
    tiles = key_figures(now.rows[0], before.rows[0] if before else None, months.rows)
    return tiles, spans(totals=now, totals_year_before=before, course=months)


@callback(
    Output(chart_id("months"), "figure"),
    Output({"spans": "months"}, "data"),
    Input("period", "value"),
    Input("region", "value"),
    State("theme", "data"),
    supersede=True,
)
async def draw_months(period: str, region: str, theme: str) -> tuple[Figure, Spans]:
    scope = Scope.of(period, region=region)
    now, before = await asyncio.gather(
        database.fetch(queries.by_month(scope)), fetch_year_before(queries.by_month, scope)
    )
    figure = figures.revenue_by_month(now.rows, before.rows if before else [], theme)
    return figure, spans(months=now, months_year_before=before)


@callback(
    Output(chart_id("regions"), "figure"),
    Output({"spans": "regions"}, "data"),
    Input("period", "value"),
    Input("region", "value"),
    State("theme", "data"),
    supersede=True,
)
async def draw_regions(period: str, region: str, theme: str) -> tuple[Figure, Spans]:
    scope = Scope.of(period, region=region)
    now, before = await asyncio.gather(
        database.fetch(queries.by_region(scope)), fetch_year_before(queries.by_region, scope)
    )
    figure = figures.revenue_by_region(now.rows, before.rows if before else [], theme)
    return figure, spans(regions=now, regions_year_before=before)


@callback(
    Output(chart_id("countries"), "figure"),
    Output({"spans": "countries"}, "data"),
    Input("period", "value"),
    Input("region", "value"),
    State("theme", "data"),
    supersede=True,
)
async def draw_countries(period: str, region: str, theme: str) -> tuple[Figure, Spans]:
    answer = await database.fetch(queries.by_country(Scope.of(period, region=region)))
    return figures.revenue_by_country(answer.rows, theme), spans(countries=answer)


@callback(
    Output(chart_id("products"), "figure"),
    Output({"spans": "products"}, "data"),
    Input("period", "value"),
    Input("region", "value"),
    State("theme", "data"),
    supersede=True,
)
async def draw_products(period: str, region: str, theme: str) -> tuple[Figure, Spans]:
    scope = Scope.of(period, region=region)
    answer = await database.fetch(queries.breakdown(scope, "product", limit=9))
    return figures.largest(answer.rows, theme), spans(products=answer)


@callback(
    Output(chart_id("lines"), "figure"),
    Output({"spans": "lines"}, "data"),
    Input("period", "value"),
    Input("region", "value"),
    State("theme", "data"),
    supersede=True,
)
async def draw_lines(period: str, region: str, theme: str) -> tuple[Figure, Spans]:
    answer = await database.fetch(queries.by_line_and_month(Scope.of(period, region=region)))
    return figures.revenue_by_line(answer.rows, theme), spans(lines=answer)


@callback(
    Output(chart_id("hours"), "figure"),
    Output({"spans": "hours"}, "data"),
    Input("period", "value"),
    Input("region", "value"),
    State("theme", "data"),
    supersede=True,
)
async def draw_hours(period: str, region: str, theme: str) -> tuple[Figure, Spans]:
    answer = await database.fetch(queries.by_hour(Scope.of(period, region=region)))
    return figures.orders_by_hour(answer.rows, theme), spans(hours=answer)


@callback(
    Output(chart_id("spans"), "figure"),
    Output("spans-note", "children"),
    Output("spans-note", "className"),
    Input({"spans": ALL}, "data"),
    State("theme", "data"),
)
async def draw_spans(answered: list[Spans | None], theme: str) -> tuple[Figure, str, str]:
    """Called once the last panel has its rows: when each of their queries ran."""
    ran = [span for of_panel in answered for span in of_panel or ()]
    if not ran:
        return figures.blank(theme), "Waiting for the answers", "waiting"
    work = sum(span["ended"] - span["started"] for span in ran)
    waited = max(span["ended"] for span in ran) - min(span["started"] for span in ran)
    note = (
        f"{len(ran)} queries: {seconds(work)} of work for the database, done in {seconds(waited)}"
    )
    return figures.side_by_side(sorted(ran, key=lambda span: span["started"]), theme), note, ""


async def fetch_year_before(query: Callable[[Scope], Executable], scope: Scope) -> Answer | None:
    """The same question a year earlier, or None where the orders do not reach back that far."""
    earlier = scope.a_year_earlier()
    return await database.fetch(query(earlier)) if earlier else None


def key_figures(now: Any, before: Any | None, months: Sequence[Any]) -> list[Component]:
    """The tiles at the head of the page."""

    def figure(
        title: str,
        wording: Callable[[float], str],
        value: Callable[[Any], float],
        *,
        growth_is_good: bool = True,
    ) -> Component:
        growth = change(value(now), value(before)) if before else None
        trend = [value(row) for row in months]
        return components.tile(title, wording(value(now)), growth, trend, growth_is_good)

    return [
        figure("Revenue", money, lambda row: row.cents or 0),
        figure("Orders", compact, lambda row: row.orders),
        figure("Average order", money, lambda row: (row.cents or 0) / max(row.orders, 1)),
        figure("Buying customers", compact, lambda row: row.buyers),
        figure(
            "Returned",
            "{:.2%}".format,
            lambda row: (row.returned or 0) / max(row.orders, 1),
            growth_is_good=False,
        ),
    ]
