"""Every form of a server callback, each beside the text that shows what it did."""

import asyncio

from flash import (
    ALL,
    ALLSMALLER,
    MATCH,
    Flash,
    Input,
    Output,
    Patch,
    State,
    ctx,
    dcc,
    exceptions,
    html,
    no_update,
    set_props,
)

app = Flash(__name__, prevent_initial_callbacks=True)

name = dcc.Input(id="name", value="Alma")
# Without an id: passed to callbacks itself.
nameless = html.Button("nameless")
seen_by_nameless = html.P()


def button(which):
    return html.Button(which, id=which)


def text(which, **more):
    return html.P(id=which, **more)


app.layout = html.Div(
    [
        name,
        dcc.Input(id="surname", value="Rosé"),
        text("initial"),
        text("greeting"),
        text("length"),
        text("doubled"),
        button("chain"),
        button("prevented"),
        text("kept", children="as it was"),
        text("changed"),
        button("left"),
        button("right"),
        text("side"),
        button("shapes"),
        text("shape-a"),
        text("shape-b"),
        button("context"),
        text("seen"),
        nameless,
        seen_by_nameless,
        button("silent"),
        text("set"),
        html.Div(id={"kind": "set", "by": "dictionary"}),
        button("slow"),
        text("state", children="idle"),
        text("slow-done"),
        button("fail"),
        text("failed"),
        button("patch"),
        dcc.Store(id="patched", data={"list": [1, 2, 3], "deep": {"kept": 1, "gone": 2}}),
        text("patched-shown"),
        button("optional"),
        text("optional-seen"),
        dcc.Input(id="celsius", type="number", value=0),
        dcc.Input(id="fahrenheit", type="number", value=32),
        button("cookie"),
        text("cookie-seen"),
        button("more"),
        html.Div([], id="items"),
        text("all"),
        button("nested"),
        html.Div(id="later"),
        text("before"),
    ],
)


@app.callback(Output("initial", "children"), Input("name", "value"), prevent_initial_call=False)
def at_first(value):
    return f"at first {value}, triggered {bool(ctx.triggered)} {ctx.triggered_id}"


@app.callback(
    Output("greeting", "children"),
    Output("length", "children"),
    Input("chain", "n_clicks"),
    State("name", "value"),
    State("surname", "value"),
)
def several(clicks, first, last):
    return f"{first} {last} {clicks}", len(first + last)


@app.callback(Output("doubled", "children"), Input("length", "children"))
async def chained(length):
    return length * 2


@app.callback(
    Output("kept", "children"), Output("changed", "children"), Input("prevented", "n_clicks")
)
def some_outputs(clicks):
    if clicks == 2:
        raise exceptions.PreventUpdate
    return no_update, f"click {clicks}"


@app.callback(Output("side", "children"), Input("left", "n_clicks"))
def left(_):
    return "left"


@app.callback(
    Output("side", "children", allow_duplicate=True),
    Input("right", "n_clicks"),
    prevent_initial_call="initial_duplicate",
)
def right(clicks):
    return f"right {clicks}"


@app.callback(
    output={"a": Output("shape-a", "children"), "b": [Output("shape-b", "children")]},
    inputs={
        "click": Input("shapes", "n_clicks"),
        "who": (State("name", "value"), State("surname", "value")),
    },
)
def shapes(click, who):
    group = ctx.args_grouping
    return {
        "a": f"{who[0]} {who[1]} {click}",
        "b": [
            f"{group.click.triggered} {group['who'][0]['value']} {ctx.outputs_grouping['a']['id']}"
        ],
    }


@app.callback(
    Output("seen", "children"),
    Input("context", "n_clicks"),
    Input("name", "n_submit"),
    State("surname", "value"),
)
def context(*_):
    return "; ".join(
        [
            f"id {ctx.triggered_id}",
            f"triggered {ctx.triggered}",
            f"ids {dict(ctx.triggered_prop_ids)}",
            f"inputs {ctx.inputs}",
            f"states {ctx.states}",
            f"lists {ctx.inputs_list[0]['id']} {ctx.states_list[0]['id']} {ctx.outputs_list['id']}",
            f"path {ctx.path.split('?')[0]}",
            f"origin {ctx.origin.startswith('http://127')}",
            f"address {ctx.remote}",
        ]
    )


@app.callback(Output(seen_by_nameless, "children"), Input(nameless, "n_clicks"))
def of_components(clicks):
    return f"nameless {clicks}"


@app.callback(Input("silent", "n_clicks"))
def silent(clicks):
    set_props("set", {"children": f"set {clicks}", "title": "a title"})
    set_props({"kind": "set", "by": "dictionary"}, {"children": "set by a dictionary"})


@app.callback(
    Output("slow-done", "children"),
    Input("slow", "n_clicks"),
    running=[
        (Output("state", "children"), "running", "idle"),
        (Output("slow", "disabled"), True, False),
    ],
)
async def slow(clicks):
    await asyncio.sleep(0.4)
    return f"done {clicks}"


@app.callback(
    Output("failed", "children"),
    Input("fail", "n_clicks"),
    on_error=lambda error: f"handled {error}",
)
def fail(_):
    raise ValueError("told to")


@app.callback(Output("patched", "data"), Input("patch", "n_clicks"))
def patch(_):
    data = Patch()
    data["list"].append(4)
    data["list"].prepend(0)
    data["list"].insert(1, 0.5)
    data["list"].extend([5, 6])
    data["list"].remove(2)
    del data["deep"]["gone"]
    data["deep"]["kept"] += 10
    data["deep"].update({"new": True})
    data["deep"]["note"] = html.B("component").to_plotly_json()
    return data


@app.callback(Output("patched-shown", "children"), Input("patched", "data"))
def show_patched(data):
    note = data["deep"].pop("note")
    return f"{data} {note['type']}"


@app.callback(
    Output("optional-seen", "children"),
    Input("optional", "n_clicks"),
    State("nowhere", "value", allow_optional=True),
)
def optional(clicks, value):
    return f"{clicks} {value}"


@app.callback(
    Output("celsius", "value"),
    Output("fahrenheit", "value"),
    Input("celsius", "value"),
    Input("fahrenheit", "value"),
)
def circular(celsius, fahrenheit):
    if ctx.triggered_id == "celsius":
        return no_update, celsius * 9 / 5 + 32
    return (fahrenheit - 32) * 5 / 9, no_update


@app.callback(Output("cookie-seen", "children"), Input("cookie", "n_clicks"))
async def cookie(_):
    ctx.response.set_cookie("taste", "salty")
    ctx.response.append_header("X-Taste", "salty")
    return f"cookie {ctx.cookies.get('taste')}"


@app.callback(Output("items", "children"), Input("more", "n_clicks"))
def more(clicks):
    items = Patch()
    items.append(
        html.Div(
            [
                html.Button("+", id={"item": clicks, "part": "button"}),
                html.Span("0", id={"item": clicks, "part": "count"}),
                html.Span("", id={"item": clicks, "part": "sum"}),
            ]
        )
    )
    return items


@app.callback(
    Output({"item": MATCH, "part": "count"}, "children"),
    Input({"item": MATCH, "part": "button"}, "n_clicks"),
)
def count(clicks):
    return f"{ctx.triggered_id.item}:{clicks}"


@app.callback(
    Output({"item": MATCH, "part": "sum"}, "children"),
    Input({"item": ALLSMALLER, "part": "count"}, "children"),
    State({"item": MATCH, "part": "sum"}, "id"),
)
def before(counts, own):
    return f" before {own['item']}: {counts}"


@app.callback(Output("all", "children"), Input({"item": ALL, "part": "button"}, "n_clicks"))
def all_items(clicks):
    return f"{clicks} from {ctx.triggered_id and ctx.triggered_id['item']}"


@app.callback(Output("later", "children"), Input("nested", "n_clicks"))
def nested(_):
    return [dcc.Input(id="inner", value="inside"), html.P(id="inner-seen")]


app.config.suppress_callback_exceptions = True


@app.callback(Output("inner-seen", "children"), Input("inner", "value"), prevent_initial_call=False)
async def inner(value):
    return f"inner {value}"


app.clientside_callback(
    "() => 'in the browser'", Output("before", "children"), Input("chain", "n_clicks")
)
