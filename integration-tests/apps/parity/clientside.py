"""Callbacks in the browser, below a Content-Security-Policy that allows no other inline script."""

from flash import (
    MATCH,
    ClientsideFunction,
    Flash,
    Input,
    Output,
    State,
    clientside_callback,
    dcc,
    html,
)

app = Flash(__name__, assets_folder="clientside-assets")
app.layout = html.Div(
    [
        dcc.Input(id="number", type="number", value=1),
        html.P(id="inline"),
        html.P(id="doubled"),
        html.P(id="promised"),
        html.P(id="on-server"),
        html.Button("Keep", id="keep"),
        html.P("as it was", id="kept"),
        html.P(id="clicked"),
        html.Button("Set", id="set"),
        html.P(id="told"),
        html.P("not set", id="side"),
        html.Button("Throw", id="throw"),
        html.P("unthrown", id="thrown"),
        *(html.Button(f"B{n}", id={"part": "button", "n": n}) for n in range(2)),
        *(html.P(id={"part": "text", "n": n}, className="matched") for n in range(2)),
    ]
)

clientside_callback(
    "function(value) { return 'inline ' + value; }",
    Output("inline", "children"),
    Input("number", "value"),
)
clientside_callback(
    ClientsideFunction("arithmetic", "double"),
    Output("doubled", "children"),
    Input("number", "value"),
)
clientside_callback(
    ClientsideFunction("arithmetic", "later"),
    Output("promised", "children"),
    Input("number", "value"),
)
clientside_callback(
    "(clicks) => [window.dash_clientside.no_update, `click ${clicks}`]",
    Output("kept", "children"),
    Output("clicked", "children"),
    Input("keep", "n_clicks"),
    prevent_initial_call=True,
)
clientside_callback(
    """
    (clicks, number) => {
        const {callback_context, set_props} = window.dash_clientside;
        set_props('side', {children: `set beside ${number}`});
        return `triggered by ${callback_context.triggered_id} ${clicks}`;
    }
    """,
    Output("told", "children"),
    Input("set", "n_clicks"),
    State("number", "value"),
    prevent_initial_call=True,
)
clientside_callback(
    "() => { throw window.dash_clientside.PreventUpdate; }",
    Output("thrown", "children"),
    Input("throw", "n_clicks"),
    prevent_initial_call=True,
)
app.clientside_callback(
    "(clicks) => `${window.dash_clientside.callback_context.triggered_id.n}: ${clicks}`",
    Output({"part": "text", "n": MATCH}, "children"),
    Input({"part": "button", "n": MATCH}, "n_clicks"),
    prevent_initial_call=True,
)


@app.callback(Output("on-server", "children"), Input("promised", "children"))
async def on_server(promised):
    return f"server saw {promised}"


POLICY = f"script-src 'self' {' '.join(app.csp_hashes())}"


@app.server.after_request
async def restrict(response):
    response.headers["Content-Security-Policy"] = POLICY
    return response
