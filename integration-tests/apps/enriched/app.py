"""What dash-extensions adds: transforms, objects that stay on the server, blueprints, events."""

import tempfile
from dataclasses import dataclass

from clock import clock
from dash_extensions import EventListener, Purify

from flash.enrich import (
    BlockingCallbackTransform,
    CycleBreakerInput,
    CycleBreakerTransform,
    DashProxy,
    FileSystemBackend,
    Input,
    MultiplexerTransform,
    Output,
    Serverside,
    ServersideOutputTransform,
    State,
    Trigger,
    TriggerTransform,
    dcc,
    html,
    no_update,
)


@dataclass
class Series:
    """What no browser could be sent: it is no JSON."""

    numbers: set[int]


folder = tempfile.TemporaryDirectory()
app = DashProxy(
    __name__,
    title="Enriched",
    transforms=[
        TriggerTransform(),
        MultiplexerTransform(),
        CycleBreakerTransform(),
        BlockingCallbackTransform(timeout=30),
        ServersideOutputTransform(backends=[FileSystemBackend(folder.name)]),
    ],
)

app.layout = html.Div(
    [
        # Two callbacks write to one output.
        html.Button("Left", id="left"),
        html.Button("Right", id="right"),
        html.P("Nowhere", id="side"),
        # An object on the server, its name in the browser.
        dcc.Input(id="upto", type="number", value=4),
        html.Button("Make", id="make"),
        dcc.Store(id="series"),
        html.P(id="sum"),
        # Two inputs that follow each other.
        dcc.Input(id="celsius", type="number", value=0, debounce=True),
        dcc.Input(id="fahrenheit", type="number", debounce=True),
        # One at a time, however often it is asked for.
        html.Button("Work", id="work", n_clicks=0),
        html.P(id="worked"),
        EventListener(
            html.Div("Click here", id="field", style={"background": "#dde", "height": 80}),
            id="listener",
            events=[{"event": "click", "props": ["shiftKey", "detail"]}],
        ),
        html.P(id="event"),
        Purify(id="purified", html="<b>bold</b><img src='' onerror='window.unsafe = true'>"),
        clock.embed(app),
    ]
)


@app.callback(Output("side", "children"), Trigger("left", "n_clicks"), prevent_initial_call=True)
def go_left():
    return "Left"


@app.callback(Output("side", "children"), Input("right", "n_clicks"), prevent_initial_call=True)
def go_right(clicks):
    return f"Right, {clicks}"


@app.callback(
    Output("series", "data"),
    Trigger("make", "n_clicks"),
    State("upto", "value"),
    prevent_initial_call=True,
)
def make(upto):
    return Serverside(Series(set(range(upto + 1))))


@app.callback(Output("sum", "children"), Input("series", "data"), prevent_initial_call=True)
def add_up(series):
    return f"The sum is {sum(series.numbers)}"


@app.callback(Output("fahrenheit", "value"), Input("celsius", "value"))
def to_fahrenheit(celsius):
    return no_update if celsius is None else round(celsius * 9 / 5 + 32)


@app.callback(Output("celsius", "value"), CycleBreakerInput("fahrenheit", "value"))
def to_celsius(fahrenheit):
    return no_update if fahrenheit is None else round((fahrenheit - 32) * 5 / 9)


@app.callback(
    Output("worked", "children"),
    Input("work", "n_clicks"),
    blocking=True,
    prevent_initial_call=True,
)
def work(clicks):
    return f"Worked {clicks}"


@app.callback(
    Output("event", "children"),
    Trigger("listener", "n_events"),
    State("listener", "event"),
    prevent_initial_call=True,
)
def listen(event):
    return f"{event['detail']} click{', shifted' if event['shiftKey'] else ''}"


if __name__ == "__main__":
    app.run(debug=True)
