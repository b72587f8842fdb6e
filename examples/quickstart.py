"""The smallest Flash app: an async layout and an async callback."""

from __future__ import annotations

import asyncio

from flash import Flash, Input, Output, callback, dcc, html

SALES = {"Africa": [3, 4, 6, 7], "Asia": [8, 9, 9, 12], "Europe": [6, 5, 7, 8]}

app = Flash(__name__)


async def fetch_regions() -> list[str]:
    """Stands for a query."""
    await asyncio.sleep(0.1)
    return list(SALES)


async def layout() -> html.Div:
    regions = await fetch_regions()
    return html.Div([dcc.Dropdown(regions, regions[0], id="region"), dcc.Graph(id="sales")])


app.layout = layout


@callback(Output("sales", "figure"), Input("region", "value"))
async def draw(region: str) -> dict[str, object]:
    await asyncio.sleep(0.1)
    return {
        "data": [{"type": "bar", "x": ["Q1", "Q2", "Q3", "Q4"], "y": SALES.get(region, [])}],
        "layout": {"title": {"text": f"Sales in {region}, in millions"}},
    }


if __name__ == "__main__":
    app.run(debug=True)
