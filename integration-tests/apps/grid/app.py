"""Two grids: one edited and selected in the browser, a long one filtered on the server."""

import dash_ag_grid as dag

from flash import Dash, Input, Output, State, callback, dcc, html, no_update

PRODUCTS = {
    "Fruit": [{"name": "Apple", "price": 2.0}, {"name": "Pear", "price": 3.0}],
    "Bread": [
        {"name": "Rye", "price": 4.0},
        {"name": "Oat", "price": 5.0},
        {"name": "Corn", "price": 6.0},
    ],
}
MEASURED = [
    {"id": number, "sensor": f"sensor-{number % 7}", "value": (number * 37) % 1000}
    for number in range(5_000)
]

app = Dash(__name__, title="Grids")

app.layout = html.Div(
    [
        dcc.Dropdown(list(PRODUCTS), "Fruit", id="kind", clearable=False),
        dag.AgGrid(
            id="products",
            columnDefs=[
                {"field": "name"},
                {
                    "field": "price",
                    "editable": True,
                    "valueFormatter": {"function": "d3.format('.2f')(params.value)"},
                },
            ],
            getRowId="params.data.name",
            dashGridOptions={"rowSelection": {"mode": "multiRow"}, "animateRows": False},
            style={"height": 240},
        ),
        html.P(id="edited"),
        html.P(id="selected"),
        html.P(id="total"),
        dag.AgGrid(
            id="measured",
            columnDefs=[
                {"field": "id", "sortable": True},
                {"field": "sensor", "filter": "agTextColumnFilter", "floatingFilter": True},
                {"field": "value", "filter": "agNumberColumnFilter", "sortable": True},
            ],
            rowModelType="infinite",
            dashGridOptions={"cacheBlockSize": 50, "maxBlocksInCache": 4, "animateRows": False},
            style={"height": 320},
        ),
        html.P(id="asked-for"),
    ]
)


@callback(Output("products", "rowData"), Input("kind", "value"))
def rows(kind):
    return PRODUCTS[kind]


@callback(
    Output("edited", "children"), Input("products", "cellValueChanged"), prevent_initial_call=True
)
def edit(changes):
    change = changes[0]
    return f"{change['rowId']}: {change['oldValue']} became {change['value']}"


@callback(
    Output("total", "children"),
    Input("products", "virtualRowData"),
    Input("products", "cellValueChanged"),
)
def total(products, _changes):
    return f"Total {sum(float(product['price']) for product in products or []):.2f}"


@callback(Output("selected", "children"), Input("products", "selectedRows"))
def select(selected):
    return ", ".join(row["name"] for row in selected or []) or "Nothing selected"


@callback(
    Output("measured", "getRowsResponse"),
    Output("asked-for", "children"),
    Input("measured", "getRowsRequest"),
    State("asked-for", "children"),
)
def block(request, asked):
    if request is None:
        return no_update, no_update
    matching = [row for row in MEASURED if fits(row, request["filterModel"])]
    for order in reversed(request["sortModel"]):
        matching.sort(key=lambda row: row[order["colId"]], reverse=order["sort"] == "desc")
    wanted = matching[request["startRow"] : request["endRow"]]
    blocks = int((asked or "0").split()[0]) + 1
    return (
        {"rowData": wanted, "rowCount": len(matching)},
        f"{blocks} blocks asked for, {len(matching)} rows match",
    )


def fits(row, filters):
    for column, condition in filters.items():
        wanted = condition["filter"]
        if condition["type"] == "contains" and str(wanted) not in row[column]:
            return False
        if condition["type"] == "greaterThan" and not row[column] > wanted:
            return False
    return True


if __name__ == "__main__":
    app.run(debug=True)
