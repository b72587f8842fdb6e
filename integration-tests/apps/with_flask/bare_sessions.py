"""An app whose callbacks and layout read the session, and which nothing else runs for a request."""

import asyncio
import time

import flask
from flask import g, session

from flash import Flash, Input, Output, html

app = Flash(__name__, suppress_callback_exceptions=True)
app.server.secret_key = "secret"


@app.server.route("/in/<name>")
def enter(name):
    session["name"] = name
    return "in"


def layout():
    return html.P(session.get("name", "nobody"))


app.layout = layout


def mine():
    if "name" not in g:
        g.name = session["name"]
    return sorted({g.name, session["name"], flask.request.headers["X-Me"]})


def count():
    session["count"] = session.get("count", 0) + 1
    return session["count"]


@app.callback(Output("plain", "children"), Input("in", "value"))
def plain(value):
    before = mine()
    time.sleep(0.002)
    return [*before, *mine(), count(), value * value]


@app.callback(Output("awaited", "children"), Input("in", "value"))
async def awaited(value):
    before = mine()
    await asyncio.sleep(0.002)
    return [*before, *mine(), count(), value * value]
