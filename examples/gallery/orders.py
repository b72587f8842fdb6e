"""Live orders in AG Grid: sorted, filtered and selected while rows come, change and go.

On workers: ``FLASH_REDIS_URL=redis://… flash run orders:app --workers 3``.
"""

import asyncio
import random
from datetime import datetime

import dash_ag_grid as dag

from flash import Flash, Input, Output, State, callback, dcc, html, live, pubsub
from flash_pubsub import TableFeed

SYMBOLS = {"FLAX": 84.0, "IRON": 101.0, "SALT": 92.0, "WOOL": 77.0}
app = Flash(__name__, title="Orders")
TYPES = {"id": str, "at": str, "symbol": str, "side": str, "count": int, "price": float}
orders = pubsub.table("orders", key="id", columns={**TYPES, "state": str}, max_rows=2000)
STATES = {"good": "params.value == 'filled'", "warn": "params.value == 'open'"}
TIME = {"function": "params.value.slice(11, 19)"}
COLUMNS = [
    {"field": "at", "sort": "desc", "valueFormatter": TIME},
    {"field": "symbol", "filter": True},
    {"field": "side"},
    {"field": "count", "type": "rightAligned"},
    {"field": "price", "type": "rightAligned"},
    {"field": "state", "cellClassRules": STATES},
]
LOOK = {"margin": {"l": 44, "r": 8, "t": 8, "b": 28}, "legend": {"orientation": "h", "y": 1.2}}

GRID = dag.AgGrid(
    id="grid",
    className="grid",
    columnDefs=COLUMNS,
    columnSize="responsiveSizeToFit",
    getRowId="params.data.id",
    dashGridOptions={"rowSelection": {"mode": "multiRow"}},
)
CHART = dcc.Graph(id="chart", figure={"data": [{"mode": "markers"}], "layout": LOOK})
app.layout = html.Main(
    [
        html.Header([html.H1("Orders"), html.Span(id="count", className="badge")]),
        html.Section([GRID, html.P(html.Button("Cancel the selected orders", id="cancel"))]),
        html.Section(CHART, className="card"),
        TableFeed(orders, grid="grid"),
        TableFeed(orders, graph="chart", x="at", y="price", trace="symbol", max_points=400),
    ]
)


@pubsub.feeder("totals")
async def exchange():
    chance, prices = random.Random(4), dict(SYMBOLS)
    while True:
        symbol, now = chance.choice(list(prices)), datetime.now()
        prices[symbol] = round(prices[symbol] + chance.gauss(0, 0.5), 2)
        row = {"id": f"o{now.timestamp():.3f}", "at": now.isoformat(" ", "milliseconds")}
        row |= {"symbol": symbol, "side": chance.choice(["buy", "sell"]), "state": "open"}
        await orders.upsert({**row, "count": chance.randint(1, 900), "price": prices[symbol]})
        rows = await orders.rows()
        if waiting := [row for row in rows if row["state"] == "open"][:-5]:
            await orders.upsert({**chance.choice(waiting), "state": "filled"})
        await orders.remove([row["id"] for row in rows[:-500]])
        yield len(rows)
        await asyncio.sleep(0.4)


@pubsub.channel_callback("totals", Output("count", "children"))
def count(number):
    return f"{number} orders"


@callback(Input("cancel", "n_clicks"), State("grid", "selectedRows"), prevent_initial_call=True)
async def cancel(clicks, selected):
    keys = [row["id"] for row in selected or []]
    await orders.remove(keys)
    live.notify(f"{len(keys)} orders are cancelled." if keys else "Select orders first.")


if __name__ == "__main__":
    app.run()
