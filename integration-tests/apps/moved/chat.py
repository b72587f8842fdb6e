"""A page that talks to a WebSocket server beside the app, with the component of dash-extensions."""

import json
import threading

from dash import Dash, Input, Output, Patch, State, callback, dcc, html
from dash.exceptions import PreventUpdate
from dash_extensions import WebSocket
from websockets.sync.server import serve


def answer(connection) -> None:
    """Answer every line of a visitor, who is greeted first."""
    connection.send(json.dumps({"who": "house", "text": "Good day"}))
    for number, line in enumerate(connection, start=1):
        connection.send(json.dumps({"who": "house", "text": f"{number}. {line[::-1]}"}))


lines = serve(answer, "127.0.0.1", 0)
threading.Thread(target=lines.serve_forever, daemon=True).start()
port = lines.socket.getsockname()[1]

app = Dash(__name__, title="Chat", update_title=None)
server = app.server
app.layout = html.Div(
    [
        html.H1("Chat"),
        WebSocket(id="socket", url=f"ws://127.0.0.1:{port}"),
        html.P(id="state"),
        dcc.Input(id="line", debounce=True, autoComplete="off"),
        html.Ul(id="lines", children=[]),
    ]
)


@callback(Output("state", "children"), Input("socket", "state"))
def tell(state):
    if not state:
        raise PreventUpdate
    return {0: "connecting", 1: "connected"}.get(state["readyState"], "closed")


@callback(
    Output("socket", "send"),
    Output("line", "value"),
    Output("lines", "children", allow_duplicate=True),
    Input("line", "value"),
    prevent_initial_call=True,
)
def say(line):
    if not line:
        raise PreventUpdate
    said = Patch()
    said.append(html.Li(f"you: {line}"))
    return line, "", said


@callback(
    Output("lines", "children"),
    Input("socket", "message"),
    State("lines", "children"),
    prevent_initial_call=True,
)
def hear(message, heard):
    told = json.loads(message["data"])
    return [*heard, html.Li(f"{told['who']}: {told['text']}")]


if __name__ == "__main__":
    app.run(debug=True)
