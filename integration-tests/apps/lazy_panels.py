"""One panel of every kind, for a browser to look at."""

import asyncio
from collections import Counter

from flash import ALL, Flash, Input, Output, dcc, html
from flash_lazy import LazyLoad, Skeleton, lazy

app = Flash(__name__, suppress_callback_exceptions=True)
loads: Counter[str] = Counter()
SPACE = {"height": "2000px"}


def far(*children, **props):
    return html.Div([html.Div(style=SPACE), *children], **props)


@lazy(fallback=Skeleton(height=80), error=lambda error: html.P(f"sorry: {error}", id="sorry"))
async def failing_once():
    loads["failing"] += 1
    if loads["failing"] == 1:
        raise ValueError("down")
    return html.P("recovered", id="recovered")


@lazy(fallback=Skeleton(height=80))
async def broken_once():
    loads["broken"] += 1
    if loads["broken"] == 1:
        raise ValueError("down")
    return html.P("mended", id="mended")


@lazy(height=60)
def in_a_thread(name: str):
    loads[name] += 1
    return html.Div(
        [
            html.Button("count", id={"kind": "count", "name": name}),
            html.Span(id={"kind": "shown", "name": name}),
        ]
    )


@lazy(height=60)
async def inner():
    loads["inner"] += 1
    return html.P("inner is here", id="inner")


@lazy(height=120)
async def outer():
    loads["outer"] += 1
    return html.Div([html.P("outer is here", id="outer"), inner()])


@lazy(height=60, when="click", fallback=html.P("press to load", id="press"))
async def on_click():
    loads["click"] += 1
    return html.P("clicked", id="clicked")


@lazy(height=60, when="idle")
async def on_idle():
    loads["idle"] += 1
    return html.P("idle", id="idled")


@lazy(height=60, when="mount")
async def on_mount():
    loads["mount"] += 1
    return html.P("mounted", id="mounted")


@lazy(height=60, prefetch="idle")
async def prefetched():
    loads["prefetched"] += 1
    return html.P("prefetched", id="prefetched")


@lazy(height=60, refresh_every=0.2)
async def ticking():
    loads["ticking"] += 1
    return html.P(str(loads["ticking"]), id="ticks")


@lazy(height=60, anchors=["chapter"])
async def chapter():
    loads["chapter"] += 1
    await asyncio.sleep(0.1)
    return html.H2("Chapter", id="chapter")


def read(prop):
    return html.Pre(id=f"read-{prop}")


PAGES = {
    "/plain": lambda: [
        read("visible"),
        read("status"),
        read("load_count"),
        far(
            LazyLoad(
                html.P("drawn", id="drawn"),
                id="panel",
                height=400,
                placeholder=html.P("later", id="later"),
                unmount_if_invisible=True,
                class_name="mine",
                style={"color": "red"},
                **{"data-kind": "test", "aria-label": "a panel"},
            )
        ),
        html.Div(style=SPACE),
    ],
    "/container": lambda: [
        html.Div(
            far(LazyLoad(html.P("drawn", id="drawn"), height=50, scroll_container=container)),
            id="box",
            style={"height": "300px", "overflow": "auto"},
        )
        for container in ["#box"]
    ],
    "/nested-scroll": lambda: [
        html.Div(
            far(LazyLoad(html.P("drawn", id="drawn"), height=50)),
            id="box",
            style={"height": "300px", "overflow": "auto"},
        )
    ],
    "/debounce": lambda: [
        far(LazyLoad(html.P("drawn", id="drawn"), id="panel", height=50, debounce=300, offset=0)),
        html.Div(style=SPACE),
    ],
    "/throttle": lambda: [
        far(LazyLoad(html.P("drawn", id="drawn"), id="panel", height=50, throttle=100)),
    ],
    "/errors": lambda: [failing_once(), broken_once()],
    "/patterns": lambda: [in_a_thread("a"), in_a_thread("b")],
    "/nested": lambda: [outer()],
    "/when": lambda: [on_click(), far(on_idle(), on_mount(), prefetched())],
    "/ticking": lambda: [ticking(), far(html.P("far", id="far"))],
    "/anchors": lambda: [
        html.A("to the chapter", href="#chapter", id="to-chapter"),
        html.A("to the section", href="#section", id="to-section"),
        far(chapter()),
        far(LazyLoad(html.H2("Section", id="section"), height=100)),
        html.Div(style=SPACE),
    ],
    "/keyboard": lambda: [
        html.Button("first", id="first"),
        far(LazyLoad(html.Button("second", id="second"), id="panel", height=50)),
        far(in_a_thread("keyboard")),
        html.Button("last", id="last"),
    ],
    "/print": lambda: [
        far(LazyLoad(html.P("drawn for print", id="drawn"), height=50)),
        far(outer()),
        far(in_a_thread("print")),
    ],
    "/tabs": lambda: [
        dcc.Tabs(
            [
                dcc.Tab(in_a_thread("tab one"), label="One", value="1", id="tab-1"),
                dcc.Tab(in_a_thread("tab two"), label="Two", value="2", id="tab-2"),
            ],
            value="1",
        ),
    ],
    "/loading": lambda: [dcc.Loading(in_a_thread("loading"), id="spinner")],
    "/rerender": lambda: [html.Button("again", id="again"), html.Div(id="made")],
}


app.layout = html.Div(
    [dcc.Location(id="address", refresh=True), html.Div(id="content"), html.P(id="total")]
)


@app.callback(Output("content", "children"), Input("address", "pathname"))
async def show_page(path):
    return PAGES[path]() if path in PAGES else "no such page"


@app.callback(
    Output("read-visible", "children"),
    Output("read-status", "children"),
    Output("read-load_count", "children"),
    Input("panel", "visible"),
    Input("panel", "status"),
    Input("panel", "load_count"),
)
async def show_properties(visible, status, load_count):
    return str(visible), str(status), str(load_count)


@app.callback(Output("made", "children"), Input("again", "n_clicks"), prevent_initial_call=True)
async def make(clicks):
    panels = [in_a_thread("rerender"), LazyLoad(html.P("kept", id="kept"), id="panel")]
    return panels if clicks % 2 else panels[::-1]


@app.callback(
    Output({"kind": "shown", "name": ALL}, "children"),
    Output("total", "children"),
    Input({"kind": "count", "name": ALL}, "n_clicks"),
    prevent_initial_call=True,
)
async def count(clicks):
    return [str(each or 0) for each in clicks], str(sum(each or 0 for each in clicks))


@app.server.get("/loads")
async def show_loads():
    return dict(loads)


@app.server.post("/forget")
async def forget_loads():
    loads.clear()
    return "", 204
