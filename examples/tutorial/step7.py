"""Step 7: three workers, and what an operator asks for."""

import os

from orders import MONTHS, REGIONS, fetch_customer, fetch_totals, incoming

from flash import Flash, Input, Output, callback, dcc, html, pubsub
from flash_lazy import Skeleton, lazy
from flash_ws import LinkStatus, Live

app = Flash(__name__, title="Orders")
app.server.secret_key = os.environ.get("SECRET_KEY")
live = Live(app, metrics=os.environ.get("METRICS_TOKEN", False))


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
        dcc.Graph(id="tape", figure={"data": [{"x": [], "y": [], "mode": "lines"}]}),
        html.P(id="goal"),
        dcc.Slider(0, 500, 10, value=300, id="target", marks=None, updatemode="drag"),
        dcc.Dropdown(REGIONS, "north", id="region", clearable=False),
        dcc.Graph(id="totals"),
        html.Div(id="customers"),
        html.P(f"Loaded from worker {os.getpid()}", id="worker"),
    ]
)
app.clientside_callback("status => status", Output("status", "children"), Input("link", "status"))


@pubsub.feeder("orders")
async def feed():
    async for order in incoming():
        yield order


@pubsub.channel_callback("orders", Output("last", "children"), Output("tape", "extendData"))
def show(order):
    point = {"x": [[order["number"]]], "y": [[order["amount"]]]}
    return f"no. {order['number']} from the {order['region']}", [point, [0], 200]


@pubsub.shared_callback(Output("goal", "children"), Input("target", "value"))
def set_goal(target):
    return f"The goal of all of us: {target}"


@callback(Output("totals", "figure"), Input("region", "value"), supersede=True, timeout=10)
async def draw(region):
    return {"data": [{"type": "bar", "x": MONTHS, "y": await fetch_totals(region)}]}


@callback(Output("customers", "children"), Input("region", "value"))
def list_customers(region):
    return [customer_panel(region, number) for number in range(1, 51)]


if __name__ == "__main__":
    app.run()
