"""An app as it was on Dash, for the servers of WSGI that its team may use."""

import os

import flask

from flash import Flash, Input, Output, dcc, html
from flash_ws import Live

if "FLASK" in os.environ:
    server = flask.Flask(__name__)
    app = Flash(__name__, server=server)
else:
    app = Flash(__name__)
    server = app.server
live = Live(app)
app.layout = html.Div([dcc.Input(id="name", value="Alma"), html.P(id="greeting")])


@app.callback(Output("greeting", "children"), Input("name", "value"))
def greet(name):
    return f"Hello {name}"


@server.route("/told", methods=["GET", "POST"])
def told():
    """What a request brought."""
    return {
        "path": flask.request.path,
        "arguments": flask.request.args.to_dict(),
        "body": flask.request.get_data(as_text=True),
        "address": flask.request.remote_addr,
    }


@server.route("/lines")
def lines():
    return flask.Response((f"{number}\n" for number in range(3)), mimetype="text/plain")


@app.server.after_serving
def note_end():
    print("ended", flush=True)
