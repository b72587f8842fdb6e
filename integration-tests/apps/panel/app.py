"""An app of which the developer's panel has something to show in each section."""

import asyncio
import os
import threading

from flash import Flash, Input, Output, dcc, html, lazy, live, pubsub, set_props
from flash_pubsub import Present, Room, Subscription

app = Flash(__name__)


@lazy()
async def report(number):
    if number == 2:
        raise ValueError("no such report")
    return html.P(f"report {number}", className="report")


app.layout = html.Main(
    [
        html.H1("Panel"),
        html.Button("Ask", id="ask"),
        html.P("", id="answer"),
        html.Button("Count", id="count"),
        html.Button("Many", id="many"),
        html.Button("Absent", id="absent"),
        html.Button("Wait", id="wait"),
        html.Button("End", id="end"),
        html.P("", id="waited"),
        html.Button("Figure", id="figure"),
        html.P("", id="counted"),
        html.Label(["Name ", dcc.Input(id="name", value="", type="text")]),
        html.P("", id="greeting"),
        html.P("", id="mirror"),
        html.P("", id="pushed"),
        html.P("", id="price"),
        html.Button("Tell", id="tell"),
        html.Label(["Desk ", dcc.Input(id="lots", value="", type="text")]),
        html.Label(["Shared ", dcc.Input(id="level", value="1", type="text")]),
        html.P("", id="double"),
        html.P("", id="lots_seen"),
        Subscription("prices"),
        Room("desk/7"),
        Present("desk/7"),
        dcc.Graph(id="graph"),
        html.Div(id="far", style={"height": "3000px"}),
        report(1),
        report(2),
    ],
)


@app.callback(Output("greeting", "children"), Input("name", "value"), prevent_initial_call=True)
def greet(name):
    return f"hello {name}"


app.clientside_callback(
    "name => `mirror ${name}`",
    Output("mirror", "children"),
    Input("name", "value"),
    prevent_initial_call=True,
)


@app.callback(Output("answer", "children"), Input("ask", "n_clicks"), prevent_initial_call=True)
async def answer(clicks):
    await asyncio.sleep(float(os.environ.get("SECONDS", "0.5")))
    return f"answer {clicks}"


@live.event_callback(Input("count", "n_clicks"))
async def count(_):
    for number in range(1, 10_000):
        yield "counted", {"children": number}
        await asyncio.sleep(0.2)


@pubsub.channel_callback("prices", Output("price", "children"))
async def show_price(message):
    return f"price {message}"


@pubsub.shared_callback(Output("double", "children"), Input("level", "value"))
async def double(level):
    return f"twice {level}{level}"


@pubsub.authorize("desk/{desk}")
async def may_enter(client, desk):
    return client is not None and desk == "7"


@pubsub.shared_callback(Output("lots_seen", "children"), Input("lots", "value"), room="desk/{desk}")
async def lots(value):
    return f"lots {value}"


@app.callback(Input("many", "n_clicks"), prevent_initial_call=True)
async def push_many(_):
    for number in range(300):
        await live.push("pushed", {"children": f"push {number}"})


@app.callback(Input("absent", "n_clicks"), prevent_initial_call=True)
async def push_to_nobody(_):
    await live.push("nowhere", {"children": "nobody"})


ended = threading.Event()


@app.callback(Output("waited", "children"), Input("wait", "n_clicks"), prevent_initial_call=True)
def wait(_):
    ended.wait(60)
    return "waited"


@app.callback(Input("end", "n_clicks"), prevent_initial_call=True)
async def end(_):
    ended.set()


@app.callback(Input("figure", "n_clicks"), prevent_initial_call=True)
async def draw(_):
    figure = {"data": [{"y": list(range(50_000))}], "layout": {"title": {"text": "large"}}}
    await live.push("graph", {"figure": figure})


@app.callback(Input("tell", "n_clicks"), prevent_initial_call=True)
async def tell(clicks):
    await pubsub.publish("prices", clicks)
    set_props("pushed", {"children": f"<img src=x onerror=alert({clicks})>"}, to=live.everybody)


if os.environ.get("DEBUG"):
    app.enable_dev_tools(
        debug=True, dev_tools_hot_reload=False, dev_tools_disable_version_check=True
    )
if os.environ.get("CSP"):
    scripts = " ".join(app.csp_hashes())
    policy = f"default-src 'self'; script-src 'self' 'unsafe-eval' {scripts}; style-src 'self'"
    app.page_headers.update({"Content-Security-Policy": policy})
