"""A to-do list of pattern-matching callbacks and partial updates."""

import uuid

from flash import ALL, MATCH, Dash, Input, Output, Patch, State, callback, ctx, dcc, html

app = Dash(__name__, title="To do")

app.layout = html.Div(
    [
        html.H1("To do"),
        dcc.Input(id="what", placeholder="What next?", n_submit=0),
        html.Button("Add", id="add"),
        html.Button("Clear what is done", id="clear"),
        html.Ul([], id="items"),
        html.P(id="summary"),
    ]
)


def item(text):
    key = uuid.uuid4().hex
    return html.Li(
        [
            dcc.Checklist(
                [{"label": "", "value": "done"}], [], id={"part": "check", "item": key}, inline=True
            ),
            html.Span(text, id={"part": "text", "item": key}),
            html.Button("Remove", id={"part": "remove", "item": key}),
        ],
        id={"part": "row", "item": key},
    )


@callback(
    Output("items", "children", allow_duplicate=True),
    Output("what", "value"),
    Input("add", "n_clicks"),
    Input("what", "n_submit"),
    State("what", "value"),
    prevent_initial_call=True,
)
def add(_clicks, _submits, text):
    items = Patch()
    if text:
        items.append(item(text))
    return items, ""


@callback(
    Output("items", "children", allow_duplicate=True),
    Input({"part": "remove", "item": ALL}, "n_clicks"),
    State({"part": "row", "item": ALL}, "id"),
    prevent_initial_call=True,
)
def remove(clicks, ids):
    items = Patch()
    if any(clicks):
        del items[[each["item"] for each in ids].index(ctx.triggered_id["item"])]
    return items


@callback(
    Output("items", "children", allow_duplicate=True),
    Input("clear", "n_clicks"),
    State({"part": "check", "item": ALL}, "value"),
    prevent_initial_call=True,
)
def clear(_clicks, checks):
    items = Patch()
    # From the end, so that what is left keeps its place until it is its turn.
    for place in reversed(range(len(checks))):
        if checks[place]:
            del items[place]
    return items


@callback(
    Output({"part": "text", "item": MATCH}, "style"),
    Input({"part": "check", "item": MATCH}, "value"),
)
def strike(check):
    return {"textDecoration": "line-through" if check else "none"}


@callback(Output("summary", "children"), Input({"part": "check", "item": ALL}, "value"))
def summary(checks):
    if not checks:
        return "Nothing to do"
    return f"{sum(map(bool, checks))} of {len(checks)} done"


if __name__ == "__main__":
    app.run(debug=True)
