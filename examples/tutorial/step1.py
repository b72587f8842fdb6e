"""Step 1: a Dash app."""

from dash import Dash, Input, Output, callback, dcc, html
from orders import MONTHS, REGIONS, read_totals

app = Dash(__name__)
app.layout = html.Div(
    [
        html.H1("Orders"),
        dcc.Dropdown(REGIONS, "north", id="region", clearable=False),
        dcc.Graph(id="totals"),
    ]
)


@callback(Output("totals", "figure"), Input("region", "value"))
def draw(region):
    return {"data": [{"type": "bar", "x": MONTHS, "y": read_totals(region)}]}


if __name__ == "__main__":
    app.run()
