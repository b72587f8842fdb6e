"""An app in development: errors of every kind for Dash's panel. Run as a script."""

from flash import Flash, Input, Output, ctx, dcc, html

app = Flash(__name__, assets_folder="document-assets")
app.layout = html.Div(
    [
        html.H1("Shares"),
        html.Button("Divide", id="divide"),
        html.P(id="share"),
        html.Button("Wrong", id="wrong"),
        dcc.Interval(id="ticks", disabled=True),
        html.Button("Unwritable", id="unwritable"),
        html.P(id="unwritten"),
        html.Button("Time", id="time"),
        html.P(id="timed"),
    ]
)


def share(total, people):
    return total / people


@app.callback(Output("share", "children"), Input("divide", "n_clicks"), prevent_initial_call=True)
def divide(_):
    return share(12, 0)


@app.callback(Output("ticks", "interval"), Input("wrong", "n_clicks"), prevent_initial_call=True)
async def wrong(_):
    return "soon"


@app.callback(
    Output("unwritten", "children"), Input("unwritable", "n_clicks"), prevent_initial_call=True
)
async def unwritable(_):
    return {1, 2, object()}


@app.callback(Output("timed", "children"), Input("time", "n_clicks"), prevent_initial_call=True)
async def timed(_):
    ctx.record_timing("query", 0.012, "the query")
    return "timed"


# A callback for a component that is not there: the panel says so at once.
@app.callback(Output("nobody", "children"), Input("divide", "n_clicks"))
def missing(_):
    return ""


if __name__ == "__main__":
    app.run(debug=True, dev_tools_hot_reload=False, dev_tools_disable_version_check=True)
