"""From rows to figures: pure functions without a colour of their own.

Colours come from the template alone, so that a change of theme changes nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from amounts import change, money, seconds
from catalogue import LINES
from theme import template

if TYPE_CHECKING:
    from collections.abc import Sequence

    Rows = Sequence[Any]

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def blank(theme: str | None = None) -> go.Figure:
    """What stands in a chart's place until its rows have come."""
    return go.Figure(
        layout={
            "template": template(theme),
            "xaxis": {"visible": False},
            "yaxis": {"visible": False},
        }
    )


def empty(message: str, theme: str | None) -> go.Figure:
    """What a chart shows when there is nothing to draw."""
    figure = blank(theme)
    figure.add_annotation(
        text=message, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, opacity=0.7
    )
    return figure


def revenue_by_month(rows: Rows, earlier: Rows, theme: str | None) -> go.Figure:
    """This period as bars, and the same months of the year before as a line."""
    figure = go.Figure(layout={"template": template(theme), "hovermode": "x unified"})
    months = [row.month for row in rows]
    figure.add_bar(
        x=months,
        y=[row.cents / 100 for row in rows],
        name="Revenue",
        hovertemplate="%{y:$.3s}",
    )
    if earlier:
        figure.add_scatter(
            x=[row.month.replace(year=row.month.year + 1) for row in earlier],
            y=[row.cents / 100 for row in earlier],
            name="A year earlier",
            mode="lines+markers",
            hovertemplate="%{y:$.3s}",
        )
    figure.update_xaxes(
        tickformat="%b\n%Y", tickvals=months if len(months) < 4 else None, hoverformat="%B %Y"
    )
    figure.update_yaxes(tickformat="$~s", rangemode="tozero")
    return figure


def revenue_by_region(rows: Rows, earlier: Rows, theme: str | None) -> go.Figure:
    """One bar for each region, with its growth beside it."""
    before = {row.name: row.cents for row in earlier}
    growth = [change(row.cents, before.get(row.name)) for row in rows]
    figure = go.Figure(layout={"template": template(theme)})
    figure.add_bar(
        x=[row.cents / 100 for row in rows],
        y=[row.name for row in rows],
        orientation="h",
        text=[
            money(row.cents) + ("" if share is None else f"  {share:+.0%}")
            for row, share in zip(rows, growth, strict=True)
        ],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:$.3s}<extra></extra>",
    )
    most = max((row.cents for row in rows), default=0) / 100
    # Room for the text beside the longest bar.
    figure.update_xaxes(visible=False, range=[0, most * 1.55])
    figure.update_yaxes(autorange="reversed", ticklabelstandoff=6)
    return figure


def revenue_by_line(rows: Rows, theme: str | None) -> go.Figure:
    """The product lines stacked over time."""
    figure = go.Figure(layout={"template": template(theme), "barmode": "stack"})
    for line in LINES:
        of_line = [row for row in rows if row.line == line]
        figure.add_bar(
            x=[row.month for row in of_line],
            y=[row.cents / 100 for row in of_line],
            name=line,
            hovertemplate="%{x|%B %Y}: %{y:$.3s}",
        )
    months = sorted({row.month for row in rows})
    figure.update_layout(barcornerradius=0, legend={"traceorder": "normal"})
    figure.update_xaxes(tickformat="%b\n%Y", tickvals=months if len(months) < 4 else None)
    figure.update_yaxes(tickformat="$~s")
    return figure


def revenue_by_country(rows: Rows, theme: str | None) -> go.Figure:
    """A tile for each country inside its region."""
    regions = sorted({row.region for row in rows})
    totals = {region: sum(row.cents for row in rows if row.region == region) for region in regions}
    figure = go.Figure(layout={"template": template(theme)})
    # Names that would not fit their tile are left to the pointer.
    figure.update_layout(uniformtext={"minsize": 12, "mode": "hide"})
    figure.add_treemap(
        labels=["", *regions, *(row.name for row in rows)],
        ids=["World", *regions, *(f"{row.region}/{row.name}" for row in rows)],
        parents=["", *["World"] * len(regions), *(row.region for row in rows)],
        values=[
            sum(totals.values()) / 100,
            *(totals[region] / 100 for region in regions),
            *(row.cents / 100 for row in rows),
        ],
        branchvalues="total",
        texttemplate="%{label}<br>%{value:$.3s}",
        hovertemplate="%{label}<br>%{value:$,.0f}<br>%{percentRoot:.1%} of all<extra></extra>",
        pathbar={"visible": False},
        tiling={"pad": 1},
        marker={"pad": {"t": 20, "l": 2, "r": 2, "b": 2}},
    )
    return figure


def largest(rows: Rows, theme: str | None) -> go.Figure:
    """A ranking: one bar for each row's name."""
    figure = go.Figure(layout={"template": template(theme)})
    figure.add_bar(
        x=[row.cents / 100 for row in rows],
        y=[row.name for row in rows],
        customdata=[row.orders for row in rows],
        orientation="h",
        text=[money(row.cents) for row in rows],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}<br>%{x:$,.0f}<br>%{customdata:,} orders<extra></extra>",
    )
    most = max((row.cents for row in rows), default=0) / 100
    figure.update_xaxes(visible=False, range=[0, most * 1.25])
    figure.update_yaxes(autorange="reversed", ticklabelstandoff=6)
    return figure


def orders_by_hour(rows: Rows, theme: str | None) -> go.Figure:
    """When people order: weekdays by hours."""
    counts = {(row.weekday, row.hour): row.orders for row in rows}
    figure = go.Figure(layout={"template": template(theme)})
    figure.add_heatmap(
        z=[[counts.get((day, hour), 0) for hour in range(24)] for day in range(7)],
        x=[f"{hour:02}" for hour in range(24)],
        y=WEEKDAYS,
        xgap=2,
        ygap=2,
        showscale=False,
        hovertemplate="%{y}, %{x}:00<br>%{z:,} orders<extra></extra>",
    )
    figure.update_xaxes(type="category", dtick=3)
    figure.update_yaxes(autorange="reversed", ticklabelstandoff=6, showgrid=False)
    return figure


def customer_history(rows: Rows, theme: str | None) -> go.Figure:
    """What one customer spent each month."""
    figure = go.Figure(layout={"template": template(theme)})
    figure.add_bar(
        x=[row.month for row in rows],
        y=[row.cents / 100 for row in rows],
        customdata=[row.orders for row in rows],
        hovertemplate="%{x|%B %Y}<br>%{y:$,.0f}<br>%{customdata} orders<extra></extra>",
    )
    figure.update_xaxes(range=["2017-12-15", "2019-12-15"], tickformat="%Y", dtick="M12")
    figure.update_yaxes(tickformat="$~s", nticks=4)
    return figure


def side_by_side(spans: Sequence[dict[str, Any]], theme: str | None) -> go.Figure:
    """When each query ran, on one clock."""
    first = min((span["started"] for span in spans), default=0)
    figure = go.Figure(layout={"template": template(theme)})
    figure.add_bar(
        base=[span["started"] - first for span in spans],
        x=[span["ended"] - span["started"] for span in spans],
        y=[span["name"] for span in spans],
        orientation="h",
        text=[seconds(span["ended"] - span["started"]) for span in spans],
        hovertemplate="%{y}: %{text}<extra></extra>",
    )
    figure.update_xaxes(ticksuffix=" s", rangemode="tozero", showgrid=True)
    figure.update_yaxes(autorange="reversed", ticklabelstandoff=6, showgrid=False)
    return figure


def waits(theme: str | None) -> go.Figure:
    """The empty chart of waits between answers; the browser fills it."""
    figure = go.Figure(layout={"template": template(theme), "barmode": "overlay", "bargap": 0.1})
    # In milliseconds: as wide as most of the time between two answers.
    figure.add_bar(x=[], y=[], width=200, name="Nothing slow runs")
    figure.add_bar(x=[], y=[], width=200, name="The slow function runs")
    figure.update_traces(hovertemplate="%{y:.0f} ms<extra></extra>")
    figure.update_xaxes(type="date", tickformat="%H:%M:%S", nticks=5, tickangle=0)
    figure.update_yaxes(ticksuffix=" ms", rangemode="tozero")
    return figure


def machine_course(samples: Sequence[Any], theme: str | None) -> go.Figure:
    """The load of the processor and the memory in use; further samples extend it."""
    figure = go.Figure(layout={"template": template(theme), "hovermode": "x unified"})
    for name, shares in (
        ("Processor", [sample.cpu for sample in samples]),
        ("Memory", [sample.memory for sample in samples]),
    ):
        figure.add_scatter(
            x=[sample.at.isoformat() for sample in samples],
            y=shares,
            name=name,
            mode="lines",
            line={"width": 2, "shape": "spline", "smoothing": 0.4},
            fill="tozeroy" if name == "Processor" else None,
            hovertemplate="%{y:.0%}",
        )
    figure.update_xaxes(type="date", tickformat="%H:%M:%S", nticks=4, tickangle=0)
    figure.update_yaxes(tickformat=".0%", range=[0, 1.02], nticks=5)
    return figure


def cores(sample: Any, theme: str | None) -> go.Figure:
    """How busy each core is at this moment."""
    figure = go.Figure(layout={"template": template(theme)})
    figure.add_bar(
        x=[str(number) for number in range(1, len(sample.cores) + 1)],
        y=list(sample.cores),
        hovertemplate="Core %{x}: %{y:.0%}<extra></extra>",
    )
    figure.update_xaxes(type="category", title={"text": "Core"})
    figure.update_yaxes(tickformat=".0%", range=[0, 1.02], nticks=5)
    return figure


def tape(prices: Sequence[Any], theme: str | None) -> go.Figure:
    """The course of a price; further prices extend it."""
    figure = go.Figure(layout={"template": template(theme), "hovermode": "x unified"})
    figure.add_scatter(
        x=[price.time for price in prices],
        y=[price.value for price in prices],
        mode="lines",
        line={"width": 2},
        name="Price",
        hovertemplate="%{y:.2f}<extra></extra>",
    )
    figure.update_xaxes(type="date", tickformat="%H:%M:%S", nticks=4, tickangle=0)
    figure.update_yaxes(tickformat=".2f", nticks=6)
    return figure


def processor(theme: str | None) -> go.Figure:
    """The empty chart of this machine's load; the browser fills it."""
    figure = go.Figure(layout={"template": template(theme)})
    figure.add_scatter(x=[], y=[], fill="tozeroy", line={"width": 2}, name="Processor")
    figure.update_traces(hovertemplate="%{y:.0%}<extra></extra>")
    figure.update_xaxes(type="date", tickformat="%H:%M:%S", nticks=5, tickangle=0)
    figure.update_yaxes(tickformat=".0%", range=[0, 1.02])
    return figure
