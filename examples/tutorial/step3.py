"""Step 3: what waits is async."""

from orders import MONTHS, REGIONS, fetch_totals

from flash import Flash, Input, Output, callback, dcc, html

app = Flash(__name__)
app.layout = html.Div(
    [
        html.H1("Orders"),
        dcc.Dropdown(REGIONS, "north", id="region", clearable=False),
        dcc.Graph(id="totals"),
    ]
)


@callback(Output("totals", "figure"), Input("region", "value"), supersede=True, timeout=10)
async def draw(region):
    return {"data": [{"type": "bar", "x": MONTHS, "y": await fetch_totals(region)}]}


if __name__ == "__main__":
    app.run()
