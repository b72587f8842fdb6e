"""Every callback goes over Dash's socket, without saying so itself."""

from flash import Flash, Input, Output, ctx, dcc, html

app = Flash(__name__, websocket_callbacks=True)
app.layout = html.Div([dcc.Input(id="in", value="a"), html.P(id="out")])


@app.callback(Output("out", "children"), Input("in", "value"))
def over_the_socket(value):
    return f"{value} {ctx.websocket is not None}"
