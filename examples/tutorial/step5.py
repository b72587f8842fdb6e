"""Step 5: the server tells the pages."""

import asyncio

from orders import MONTHS, REGIONS, fetch_customer, fetch_totals, incoming

from flash import Flash, Input, Output, callback, dcc, html, lazy, live
from flash_lazy import Skeleton
from flash_ws import LinkStatus

app = Flash(__name__)


@lazy(fallback=Skeleton(height=220), cache=60)
async def customer_panel(region: str, customer: int):
    totals = await fetch_customer(region, customer)
    title = {"title": {"text": f"Customer {customer}"}}
    return dcc.Graph(figure={"data": [{"x": MONTHS, "y": totals}], "layout": title})


app.layout = html.Div(
    [
        LinkStatus(id="link"),
        html.H1("Orders"),
        html.P(["The page is ", html.Span(id="status"), ". Last order: ", html.B(id="last")]),
        dcc.Dropdown(REGIONS, "north", id="region", clearable=False),
        dcc.Graph(id="totals"),
        html.Div(id="customers"),
    ]
)
app.clientside_callback("status => status", Output("status", "children"), Input("link", "status"))


async def tell():
    async for order in incoming():
        text = f"no. {order['number']} from the {order['region']}"
        live.push("last", {"children": text})


@app.server.before_serving
async def begin():
    app.server.extensions["orders"] = asyncio.create_task(tell())


@app.server.after_serving
async def end():
    app.server.extensions["orders"].cancel()


@callback(Output("totals", "figure"), Input("region", "value"), supersede=True, timeout=10)
async def draw(region):
    return {"data": [{"type": "bar", "x": MONTHS, "y": await fetch_totals(region)}]}


@callback(Output("customers", "children"), Input("region", "value"))
def list_customers(region):
    return [customer_panel(region, number) for number in range(1, 51)]


if __name__ == "__main__":
    app.run()
