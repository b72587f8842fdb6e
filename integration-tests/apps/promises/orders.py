"""A Dash app as its users write it; moving it to Flash changes its import line."""

from dash import ALL, Dash, Input, Output, Patch, State, ctx, dcc, html, no_update

PRICES = {"apples": 2, "pears": 3}

app = Dash(__name__, title="Orders")
app.layout = html.Div(
    [
        dcc.Dropdown(list(PRICES), "apples", id="fruit", clearable=False),
        dcc.Input(id="quantity", type="number", value=1, min=1),
        html.Button("Add", id="add"),
        html.Ul([], id="lines"),
        html.P(id="last"),
        html.P(id="total"),
        dcc.Graph(id="chart"),
        dcc.Store(id="basket", data={}),
    ]
)


@app.callback(
    Output("basket", "data"),
    Output("lines", "children"),
    Output("last", "children"),
    Input("add", "n_clicks"),
    Input({"remove": ALL}, "n_clicks"),
    State("fruit", "value"),
    State("quantity", "value"),
    State("basket", "data"),
    prevent_initial_call=True,
)
def change(clicks, removals, fruit, quantity, basket):
    if ctx.triggered_id != "add":
        if not ctx.triggered[0]["value"]:
            return no_update, no_update, no_update
        fruit = ctx.triggered_id["remove"]
        del basket[fruit]
        lines = [line(*each) for each in basket.items()]
        return basket, lines, f"no more {fruit}"
    if fruit in basket:
        return no_update, no_update, "there already"
    lines = Patch()
    lines.append(line(fruit, quantity))
    return {**basket, fruit: quantity}, lines, f"{quantity} {fruit}"


def line(fruit, quantity):
    return html.Li([f"{fruit} {quantity} ", html.Button("x", id={"remove": fruit})])


@app.callback(Output("total", "children"), Output("chart", "figure"), Input("basket", "data"))
def total(basket):
    costs = {fruit: PRICES[fruit] * quantity for fruit, quantity in basket.items()}
    figure = {"data": [{"type": "bar", "x": list(costs), "y": list(costs.values())}]}
    return f"{sum(costs.values())} euros", figure


if __name__ == "__main__":
    app.run(debug=True)
