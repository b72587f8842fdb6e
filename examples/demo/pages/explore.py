"""All orders: filters, a ranking to drill into, a table paged by the server, one order in full."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import components
import figures
import queries
from amounts import exact_money
from catalogue import CHANNELS, LINES, STATUSES
from components import aria, chart, chart_id, panel, segmented, select
from queries import Scope
from resources import database

from flash import (
    ALL,
    ClientsideFunction,
    Input,
    Output,
    State,
    callback,
    clientside_callback,
    ctx,
    dcc,
    html,
    no_update,
    register_page,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dash.development.base_component import Component
    from plotly.graph_objects import Figure

register_page(
    __name__, path="/explore", name="Explore", title="Explore · Meridian Trade", icon="table"
)

PAGE_SIZE = 12
FILTERS = {
    "period": Input("explore-period", "value"),
    "region": Input("filter-region", "value"),
    "country": Input("filter-country", "value"),
    "line": Input("filter-line", "value"),
    "channel": Input("filter-channel", "value"),
    "status": Input("filter-status", "value"),
}
# What to break revenue down by next, after a bar was clicked.
DEEPER = {"country": "line", "line": "product", "channel": "line", "status": "line"}


async def layout(**_query: str) -> Component:
    """The page; the countries to choose from are read while it is made."""
    countries = await database.fetch(queries.countries())
    return components.page(
        "Explore",
        "Filter, drill down, open an order: every view of the table is a query of its own",
        dcc.Store(id="view"),
        html.Section(
            [
                select("filter-region", "Region", queries.REGIONS, "All regions"),
                select(
                    "filter-country", "Country", country_options(countries.rows), "All countries"
                ),
                select("filter-line", "Product line", LINES, "All lines"),
                select("filter-channel", "Channel", CHANNELS, "All channels"),
                select("filter-status", "Status", STATUSES, "Any status"),
                html.Button("Reset", id="reset", type="button"),
            ],
            className="panel filters",
            **aria(label="Filters"),
        ),
        html.Div(
            [
                panel(
                    "Revenue",
                    segmented(
                        "by",
                        "Break revenue down by",
                        {
                            "country": "Country",
                            "line": "Line",
                            "product": "Product",
                            "channel": "Channel",
                            "status": "Status",
                        },
                        "country",
                    ),
                    chart("breakdown", "Revenue, broken down", height=330),
                    note="Click a bar to look inside",
                ),
                panel(
                    "Orders",
                    segmented(
                        "sort",
                        "Sort the orders",
                        {
                            "newest": "Newest",
                            "oldest": "Oldest",
                            "largest": "Largest",
                            "smallest": "Smallest",
                        },
                        "newest",
                    ),
                    html.Div(html.Div(className="skeleton table-skeleton"), id="table"),
                    html.Div(
                        [
                            html.Button("Previous", id="previous", type="button", disabled=True),
                            html.Span(id="page-number"),
                            html.Button("Next", id="next", type="button", disabled=True),
                        ],
                        className="pager",
                    ),
                    note=html.Span("Counting", id="found"),
                    width=8,
                ),
                panel(
                    "One order",
                    html.Div(
                        components.empty("Choose an order to see it and the customer behind it."),
                        id="order",
                        **aria(live="polite"),
                    ),
                    width=4,
                ),
            ],
            className="grid",
        ),
        controls=[
            segmented(
                "explore-period",
                "Period",
                {key: label for key, (label, _) in queries.PERIODS.items()},
                "all",
            )
        ],
    )


@callback(
    Output("filter-country", "options"),
    Output("filter-country", "value"),
    Input("filter-region", "value"),
    prevent_initial_call=True,
)
async def offer_countries(region: str | None) -> tuple[list[dict[str, Any]], None]:
    """A region narrows the countries to choose from."""
    answer = await database.fetch(queries.countries(region))
    return country_options(answer.rows), None


@callback(
    Output("by", "value"),
    Output("filter-country", "value", allow_duplicate=True),
    Output("filter-line", "value"),
    Output("filter-channel", "value"),
    Output("filter-status", "value"),
    Input(chart_id("breakdown"), "clickData"),
    State("by", "value"),
    prevent_initial_call=True,
)
async def drill_down(click: dict[str, Any] | None, by: str) -> tuple[Any, ...]:
    """A click on a bar filters by it, and breaks it down further."""
    if not click or by not in DEEPER:
        return (no_update,) * 5
    chosen: Any = click["points"][0]["label"]
    if by == "country":
        chosen = (await database.fetch(queries.country_named(chosen))).rows[0].id
    sides = ("country", "line", "channel", "status")
    return DEEPER[by], *(chosen if side == by else no_update for side in sides)


@callback(
    Output("filter-region", "value"),
    Output("filter-country", "value", allow_duplicate=True),
    Output("filter-line", "value", allow_duplicate=True),
    Output("filter-channel", "value", allow_duplicate=True),
    Output("filter-status", "value", allow_duplicate=True),
    Output("explore-period", "value"),
    Output("by", "value", allow_duplicate=True),
    Input("reset", "n_clicks"),
    prevent_initial_call=True,
)
async def reset(_clicks: int) -> tuple[Any, ...]:
    """Back to all orders."""
    return None, None, None, None, None, "all", "country"


@callback(
    Output(chart_id("breakdown"), "figure"),
    inputs={"filters": FILTERS, "by": Input("by", "value"), "theme": State("theme", "data")},
    supersede=True,
)
async def draw_breakdown(filters: dict[str, Any], by: str, theme: str) -> Figure:
    """The ranking; a newer choice ends the query of an older one."""
    answer = await database.fetch(queries.breakdown(Scope.of(**filters), by, limit=10))
    if not answer.rows:
        return figures.empty("No orders match these filters", theme)
    return figures.largest(answer.rows, theme)


@callback(
    Output("view", "data"),
    inputs={
        "filters": FILTERS,
        "sort": Input("sort", "value"),
        "turns": {"previous": Input("previous", "n_clicks"), "next": Input("next", "n_clicks")},
        "view": State("view", "data"),
    },
)
async def turn_page(
    filters: dict[str, Any], sort: str, turns: dict[str, int], view: dict[str, Any] | None
) -> dict[str, Any]:
    """What the table shows: another filter or order starts at the first page."""
    page = 0
    if view and ctx.triggered_id in turns:
        page = max(0, view["page"] + (1 if ctx.triggered_id == "next" else -1))
    return {"filters": filters, "sort": sort, "page": page}


@callback(
    Output("table", "children"),
    Output("found", "children"),
    Output("page-number", "children"),
    Output("previous", "disabled"),
    Output("next", "disabled"),
    Input("view", "data"),
    supersede=True,
    prevent_initial_call=True,
)
async def show_orders(view: dict[str, Any]) -> tuple[Component, str, str, bool, bool]:
    """One page of the table, and how many orders there are: asked together."""
    scope, page = Scope.of(**view["filters"]), view["page"]
    found, answer = await asyncio.gather(
        database.fetch(queries.count(scope)),
        database.fetch(queries.page_of_orders(scope, view["sort"], page, PAGE_SIZE)),
    )
    count = found.rows[0].orders
    if not count:
        message = "No orders match these filters. Loosen one of them, or reset them all."
        return components.empty(message), "0 orders", "", True, True
    pages = -(-count // PAGE_SIZE)
    return (
        order_table(answer.rows),
        f"{count:,} orders",
        f"Page {page + 1:,} of {pages:,}",
        page == 0,
        page + 1 >= pages,
    )


@callback(
    Output("order", "children"),
    Input({"order": ALL}, "n_clicks"),
    State("theme", "data"),
    State("order", "children"),
    prevent_initial_call=True,
)
async def show_order(clicks: list[int | None], theme: str, shown: Any) -> Any:
    """One order, its customer, and what that customer bought over two years."""
    chosen = ctx.triggered_id
    if not any(clicks):  # the table was turned, nothing was chosen
        if not clicks or isinstance(shown, list):
            return no_update
        # The first order of all, before anybody has chosen one.
        chosen = ctx.inputs_list[0][0]["id"]
    order = (await database.fetch(queries.order_with_customer(chosen["order"]))).rows[0]
    history = (await database.fetch(queries.customer_by_month(order.customer_id))).rows
    spent = sum(row.cents for row in history)
    bought = sum(row.orders for row in history)
    return [
        html.Div(f"Order {order.id:,}", className="order-title"),
        facts(
            {
                "Placed": f"{order.day:%d %b %Y}, {order.hour:02}:00",
                "Product": f"{order.quantity} × {order.product}",
                "Line": order.line,
                "Channel": order.channel,
                "Status": order.status,
                "Amount": exact_money(order.cents),
            }
        ),
        html.Div(order.customer, className="order-title"),
        facts(
            {
                "Segment": order.segment,
                "Country": order.country,
                "Orders": f"{bought:,}",
                "Spent": exact_money(spent),
            }
        ),
        chart(
            "customer",
            f"What {order.customer} spent each month",
            height=170,
            figure=figures.customer_history(history, theme),
        ),
    ]


# Below the table on a phone, where a choice would otherwise seem to do nothing.
clientside_callback(
    ClientsideFunction("demo", "bringIntoView"),
    Input("order", "children"),
    State("order", "id"),
    prevent_initial_call=True,
)


def country_options(rows: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"label": row.name, "value": row.id} for row in rows]


def facts(values: dict[str, str]) -> Component:
    return html.Dl(
        [html.Div([html.Dt(name), html.Dd(value)]) for name, value in values.items()],
        className="facts",
    )


def order_table(rows: Sequence[Any]) -> Component:
    """The table: two lines in each cell, so that it fits a phone as well."""
    return html.Table(
        [
            html.Thead(
                html.Tr(
                    [
                        html.Th("Order", scope="col"),
                        html.Th("Customer", scope="col"),
                        html.Th("Product", scope="col"),
                        html.Th("Status", scope="col"),
                        html.Th("Amount", scope="col", className="number"),
                    ]
                )
            ),
            html.Tbody([order_row(row) for row in rows]),
        ]
    )


def order_row(row: Any) -> Component:
    return html.Tr(
        [
            html.Td(
                [
                    html.Button(
                        f"{row.id:,}",
                        id={"order": row.id},
                        className="link",
                        type="button",
                        **aria(label=f"Show order {row.id:,}"),
                    ),
                    html.Small(f"{row.day:%d %b %Y}"),
                ]
            ),
            html.Td([html.Span(row.customer), html.Small(row.country)]),
            html.Td([html.Span(row.product), html.Small(row.channel)]),
            html.Td(
                html.Span(row.status, className=f"badge {row.status.lower().replace(' ', '-')}")
            ),
            html.Td(
                [
                    html.Span(exact_money(row.cents)),
                    html.Small(f"{row.quantity} item{'s' * (row.quantity > 1)}"),
                ],
                className="number",
            ),
        ]
    )
