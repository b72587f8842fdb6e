"""Each kind of hook, plain functions; the async ones are in the promises' tests."""

from flash import Flash, Input, Output, ctx, hooks, html, set_props

set_up = []


@hooks.setup()
def note_app(app):
    set_up.append(app.config.name)


@hooks.layout(priority=1)
def second(layout):
    return html.Div([layout, html.P("outer", className="by-hook")])


@hooks.layout(priority=2)
def first(layout):
    return html.Div([layout, html.P("inner", className="by-hook")])


@hooks.index()
def mark(index):
    return index.replace("<body>", '<body data-hook="index">')


@hooks.route("hooked/where", methods=("GET",))
def where():
    return f"set up {len(set_up)}"


@hooks.error()
def tell(error):
    set_props("told", {"children": f"hook saw {error}"})


@hooks.custom_data("shop")
def shop(context):
    return f"shop of {len(context['inputs_list'])} inputs"


@hooks.callback(Output("hooked", "children"), Input("click", "n_clicks"), prevent_initial_call=True)
def hooked(clicks):
    return f"{clicks} in {ctx.custom_data['shop']}"


hooks.clientside_callback(
    "(clicks) => `browser ${clicks}`",
    Output("clientside", "children"),
    Input("click", "n_clicks"),
    prevent_initial_call=True,
)
hooks.script([{"external_url": "/hook.js", "external_only": True, "namespace": "hooked"}])
hooks.stylesheet([{"external_url": "/hook.css", "external_only": True, "namespace": "hooked"}])
hooks.devtool("dash_html_components", "I", {"children": "a tool", "id": "tool"})

app = Flash(__name__)
app.layout = html.Div(
    [
        html.Button("Click", id="click"),
        html.Button("Fail", id="fail"),
        html.P(id="hooked"),
        html.P(id="clientside"),
        html.P(id="told"),
        html.P("unchanged", id="failed"),
    ]
)


@app.callback(Output("failed", "children"), Input("fail", "n_clicks"), prevent_initial_call=True)
def fail(_):
    raise ValueError("told to")


@app.server.get("/hook.js")
async def script():
    return "window.hooked = 'script';", {"Content-Type": "text/javascript"}


@app.server.get("/hook.css")
async def style():
    return "#told { color: rgb(7, 8, 9); }", {"Content-Type": "text/css"}


app.enable_dev_tools(debug=True, dev_tools_hot_reload=False, dev_tools_disable_version_check=True)
