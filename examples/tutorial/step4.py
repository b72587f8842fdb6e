"""Step 4: panels that load when they are seen."""

from orders import MONTHS, REGIONS, fetch_customer, fetch_totals

from flash import Flash, Input, Output, callback, dcc, html, lazy
from flash_lazy import Skeleton

app = Flash(__name__)


@lazy(fallback=Skeleton(height=220), cache=60)
async def customer_panel(region: str, customer: int):
    totals = await fetch_customer(region, customer)
    title = {"title": {"text": f"Customer {customer}"}}
    return dcc.Graph(figure={"data": [{"x": MONTHS, "y": totals}], "layout": title})


app.layout = html.Div(
    [
        html.H1("Orders"),
        dcc.Dropdown(REGIONS, "north", id="region", clearable=False),
        dcc.Graph(id="totals"),
        html.Div(id="customers"),
    ]
)


@callback(Output("totals", "figure"), Input("region", "value"), supersede=True, timeout=10)
async def draw(region):
    return {"data": [{"type": "bar", "x": MONTHS, "y": await fetch_totals(region)}]}


@callback(Output("customers", "children"), Input("region", "value"))
def list_customers(region):
    return [customer_panel(region, number) for number in range(1, 51)]


if __name__ == "__main__":
    app.run()
