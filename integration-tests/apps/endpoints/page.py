"""The page's side: dash-extensions' components, and callbacks that show what they get."""

import json

from dash_extensions import SSE, WebSocket
from dash_extensions.streaming import sse_options

from flash import dcc


def layout(dash):
    html = dash.html
    return html.Div(
        [
            WebSocket(id="ticker", url="/ticker"),
            dcc.Input(id="say", debounce=True),
            html.P(id="heard"),
            html.P(id="state"),
            WebSocket(id="talk", url="/talk", protocols=["v1", "v3"]),
            html.P(id="spoken"),
            WebSocket(id="room", url="/room/blue"),
            dcc.Input(id="chat", debounce=True),
            html.P(id="at"),
            html.Ul(id="chatted", children=[]),
            WebSocket(id="burst", url="/burst"),
            html.Button("Burst", id="go"),
            html.P(id="handled"),
            WebSocket(id="members", url="/members-only"),
            html.P(id="member"),
            dcc.Input(id="prompt", debounce=True),
            SSE(id="answer", concat=True),
            html.P(id="answered"),
            SSE(id="lines", url="/lines"),
            html.Pre(id="line"),
            SSE(id="latest", url="/latest", concat=False),
            html.P(id="last"),
            SSE(id="breaking", url="/breaking"),
            html.P(id="broken"),
            SSE(id="endless"),
            html.Button("Start", id="start"),
            html.Button("Stop", id="stop"),
            html.P(id="counted"),
        ]
    )


def connect(app, dash):
    @app.callback(
        dash.Output("ticker", "send"), dash.Input("say", "value"), prevent_initial_call=True
    )
    async def say(text):
        return text

    @app.callback(
        dash.Output("heard", "children"), dash.Input("ticker", "message"), prevent_initial_call=True
    )
    async def hear(message):
        return message["data"]

    @app.callback(dash.Output("state", "children"), dash.Input("ticker", "state"))
    def show_state(state):
        return json.dumps({key: state.get(key) for key in ("readyState", "code")})

    @app.callback(
        dash.Output("spoken", "children"), dash.Input("talk", "message"), prevent_initial_call=True
    )
    async def speak(message):
        return message["data"]

    @app.callback(dash.Output("at", "children"), dash.Input("room", "state"))
    async def arrive(state):
        return "in" if state.get("readyState") == 1 else "out"

    @app.callback(
        dash.Output("room", "send"), dash.Input("chat", "value"), prevent_initial_call=True
    )
    async def chat(text):
        return text

    @app.callback(
        dash.Output("chatted", "children"),
        dash.Input("room", "message"),
        dash.State("chatted", "children"),
        prevent_initial_call=True,
    )
    async def chatted(message, lines):
        return [*lines, dash.html.Li(message["data"])]

    @app.callback(
        dash.Output("burst", "send"), dash.Input("go", "n_clicks"), prevent_initial_call=True
    )
    async def go(clicks):
        return "100"

    app.clientside_callback(
        """message => {
            window.calls = [...(window.calls || []), Number(message.data)];
            return String(window.calls.length);
        }""",
        dash.Output("handled", "children"),
        dash.Input("burst", "message"),
        prevent_initial_call=True,
    )

    @app.callback(
        dash.Output("member", "children"),
        dash.Input("members", "message"),
        prevent_initial_call=True,
    )
    async def greet(message):
        return message["data"]

    @app.callback(
        dash.Output("answer", "url"),
        dash.Output("answer", "options"),
        dash.Input("prompt", "value"),
        prevent_initial_call=True,
    )
    async def ask(prompt):
        return "/answer", sse_options(json.dumps({"prompt": prompt}))

    for component, shown in (
        ("answer", "answered"),
        ("lines", "line"),
        ("latest", "last"),
        ("breaking", "broken"),
    ):

        @app.callback(
            dash.Output(shown, "children"),
            dash.Input(component, "value"),
            dash.Input(component, "done"),
            prevent_initial_call=True,
        )
        async def show(value, done):
            return f"{value}{'.' if done else '…'}"

    @app.callback(
        dash.Output("endless", "url"),
        dash.Input("start", "n_clicks"),
        dash.Input("stop", "n_clicks"),
        prevent_initial_call=True,
    )
    async def start(started, stopped):
        return None if stopped else "/endless"

    @app.callback(
        dash.Output("counted", "children"),
        dash.Input("endless", "value"),
        prevent_initial_call=True,
    )
    async def count(value):
        return value
