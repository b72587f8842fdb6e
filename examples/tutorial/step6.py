"""Step 6: channels, a feeder, and a slider that all browsers share."""

from orders import MONTHS, REGIONS, fetch_customer, fetch_totals, incoming

from flash import Flash, Input, Output, callback, dcc, html, lazy, pubsub
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
        dcc.Graph(id="tape", figure={"data": [{"x": [], "y": [], "mode": "lines"}]}),
        html.P(id="goal"),
        dcc.Slider(0, 500, 10, value=300, id="target", marks=None, updatemode="drag"),
        dcc.Dropdown(REGIONS, "north", id="region", clearable=False),
        dcc.Graph(id="totals"),
        html.Div(id="customers"),
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
