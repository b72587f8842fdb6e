"""Components whose state lives in the browser and comes to the server and back."""

import asyncio

from flash import Flash, Input, Output, State, callback, ctx, dash_table, dcc, html, no_update

app = Flash(__name__, update_title="Working…", title="Parts")
# What a callback waits for, so that a page can be looked at meanwhile.
loading = asyncio.Semaphore(0)

LINE = {"x": [1, 2, 3], "y": [1, 3, 2], "type": "scatter", "mode": "lines+markers"}
TOWNS = [
    {"town": town, "people": people}
    for town, people in (("Ulm", 130), ("Bonn", 330), ("Bern", 140))
]
TABS = {label: dcc.Tab(html.P(f"In {label}"), label=label, value=label) for label in ("one", "two")}

app.layout = html.Div(
    [
        dcc.Location(id="address", refresh="callback-nav"),
        html.P(id="path"),
        dcc.Link("There", "/there?by=link#end", id="link"),
        html.Button("Go", id="go"),
        *(
            part
            for kind in ("memory", "local", "session")
            for part in (
                dcc.Store(id=f"in-{kind}", storage_type=kind),
                html.P(id=f"from-{kind}"),
            )
        ),
        html.Button("Store", id="store"),
        dcc.Input(id="persistent", persistence=True, value=""),
        dcc.Checklist(["a", "b"], [], id="checks", persistence=True, persistence_type="session"),
        html.P(id="persisted"),
        dcc.Input(id="lazy", debounce=True),
        html.P(id="lazy-seen"),
        dcc.Interval(id="ticks", interval=50, max_intervals=3),
        html.P(id="ticked"),
        html.Button("Load", id="load"),
        dcc.Loading(html.P(id="loaded"), id="loading", custom_spinner=html.B("…", id="spinner")),
        dcc.Tabs(list(TABS.values()), id="tabs", value="one"),
        html.P(id="tab"),
        dash_table.DataTable(
            TOWNS,
            [{"name": name, "id": name} for name in ("town", "people")],
            id="table",
            editable=True,
            sort_action="native",
            row_selectable="multi",
            page_size=2,
        ),
        html.P(id="edited"),
        dcc.ConfirmDialog(id="sure", message="Sure?"),
        html.Button("Ask", id="ask"),
        html.P(id="answered"),
        dcc.Markdown("**bold** and [a link](/there)", id="markdown", link_target="_self"),
        html.Button("Extend", id="extend"),
        html.Button("Prepend", id="prepend"),
        html.P(id="points"),
        html.P(id="graph-event"),
        html.P(id="zoomed"),
        dcc.Graph(
            id="graph",
            figure={"data": [LINE], "layout": {"height": 300, "margin": dict.fromkeys("lrtb", 30)}},
        ),
    ]
)


@callback(
    Output("path", "children"),
    Input("address", "pathname"),
    Input("address", "search"),
    Input("address", "hash"),
)
async def address(*parts):
    return " ".join(parts)


@callback(Output("address", "href"), Input("go", "n_clicks"), prevent_initial_call=True)
def go(_):
    return "/elsewhere?by=callback"


@callback(
    [Output(f"in-{kind}", "data") for kind in ("memory", "local", "session")],
    Input("store", "n_clicks"),
    prevent_initial_call=True,
)
def store(clicks):
    return [{"clicks": clicks}] * 3


for kind in ("memory", "local", "session"):

    @callback(
        Output(f"from-{kind}", "children"),
        Input(f"in-{kind}", "modified_timestamp"),
        State(f"in-{kind}", "data"),
    )
    def stored(_, data):
        return f"stored {data and data['clicks']}"


@callback(Output("persisted", "children"), Input("persistent", "value"), Input("checks", "value"))
def persisted(value, checks):
    return f"{value} {checks}"


@callback(Output("lazy-seen", "children"), Input("lazy", "value"), prevent_initial_call=True)
def lazy(value):
    return f"saw {value}"


@callback(Output("ticked", "children"), Input("ticks", "n_intervals"))
async def ticked(count):
    return f"{count} ticks"


@callback(Output("loaded", "children"), Input("load", "n_clicks"), prevent_initial_call=True)
async def load(clicks):
    await loading.acquire()
    return f"loaded {clicks}"


@app.server.get("/load")
async def let_load():
    loading.release()
    return "loaded"


@callback(Output("tab", "children"), Input("tabs", "value"))
def tab(value):
    return f"tab {value}"


@callback(
    Output("edited", "children"),
    Input("table", "data"),
    Input("table", "selected_rows"),
    Input("table", "derived_virtual_data"),
)
def edited(data, selected, shown):
    people = [row["people"] for row in data]
    return f"{people} selected {selected} order {[row['town'] for row in shown or []]}"


@callback(Output("sure", "displayed"), Input("ask", "n_clicks"), prevent_initial_call=True)
def ask(_):
    return True


@callback(
    Output("answered", "children"),
    Input("sure", "submit_n_clicks"),
    Input("sure", "cancel_n_clicks"),
    prevent_initial_call=True,
)
def answered(*_):
    return ctx.triggered[0]["prop_id"]


@callback(Output("graph", "extendData"), Input("extend", "n_clicks"), prevent_initial_call=True)
def extend(clicks):
    return {"x": [[3 + clicks]], "y": [[clicks]]}, [0], 10


@callback(Output("graph", "prependData"), Input("prepend", "n_clicks"), prevent_initial_call=True)
def prepend(clicks):
    return {"x": [[1 - clicks]], "y": [[clicks]]}, [0], 10


@callback(
    Output("graph-event", "children"),
    Input("graph", "clickData"),
    Input("graph", "hoverData"),
)
def event(click, hover):
    return f"clicked {click and click['points'][0]['x']} hovered {bool(hover)}"


@callback(Output("zoomed", "children"), Input("graph", "relayoutData"))
def zoomed(change):
    return f"range {change['xaxis.range']}" if change and "xaxis.range" in change else no_update
