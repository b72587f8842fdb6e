"""An app with what many have beside Dash: a login, a cache, a session, a guard, JSON routes.

`DASH_PACKAGE` names the package that it imports, ``dash`` or ``flash``; nothing else differs.
``python with_flask.py PORT`` serves it by WSGI.
"""

import asyncio
import importlib
import os
import sys
import threading
import time

import flask
import flask_login
import itsdangerous
from flask import g, session
from flask_caching import Cache
from werkzeug.serving import make_server

if "FIXED_TIME" in os.environ:
    # Cookies that are signed at different times differ.
    itsdangerous.TimestampSigner.get_timestamp = lambda self: 1_700_000_000

dash = importlib.import_module(os.environ["DASH_PACKAGE"])

app = dash.Dash(__name__, suppress_callback_exceptions=True)
server = app.server
server.secret_key = "secret"
cache = Cache(server, config={"CACHE_TYPE": "SimpleCache"})

# What is at hand to everybody: a user's own is put beside it.
counted = {"squared": 0}
lock = threading.Lock()


class User(flask_login.UserMixin):
    def __init__(self, name):
        self.id = name


login = flask_login.LoginManager(server)
login.user_loader(User)
PUBLIC = ("/in", "/login", "/bare")


@server.before_request
def guard():
    if flask.request.path.startswith(PUBLIC):
        return None
    if not flask_login.current_user.is_authenticated:
        return flask.redirect(flask.url_for("enter", next=flask.request.path))
    g.name = flask_login.current_user.id
    return None


@server.route("/login", endpoint="enter")
def ask():
    return flask.jsonify(login="please", next=flask.request.args.get("next"))


@server.route("/in/<name>", endpoint="sign_in")
def enter(name):
    session["name"] = name
    flask_login.login_user(User(name), remember=True)
    return flask.redirect("/who")


@server.route("/out")
def leave():
    flask_login.logout_user()
    session.clear()
    return flask.jsonify(out=True)


def mine():
    """Who is asking, in all the ways to know."""
    names = {g.name, session["name"], flask_login.current_user.id, flask.request.headers["X-Me"]}
    return sorted(names)


def count():
    session["count"] = session.get("count", 0) + 1
    return session["count"]


@server.route("/who")
def who():
    before = mine() if "X-Me" in flask.request.headers else [g.name]
    time.sleep(0.002)
    return flask.jsonify(before=before, after=session["name"], count=count())


@server.route("/umlauts")
def umlauts():
    return {"b": "ä</script>", "a": [1, 2.5, None], "g": g.name}


@cache.memoize()
def squared(value):
    with lock:
        counted["squared"] += 1
    return value * value


@server.route("/cached/<int:value>")
@cache.cached(query_string=True)
def cached(value):
    return flask.jsonify(squared(value), squared(value), counted)


def layout():
    return dash.html.Div([dash.html.P(g.get("name", "nobody")), dash.dcc.Input(id="in")])


app.layout = layout


@app.callback(dash.Output("plain", "children"), dash.Input("in", "value"))
def plain(value):
    before = mine()
    time.sleep(0.002)
    return [*before, *mine(), count(), squared(value)]


if os.environ["DASH_PACKAGE"] == "flash":

    @app.callback(dash.Output("awaited", "children"), dash.Input("in", "value"))
    async def awaited(value):
        before = mine()
        await asyncio.sleep(0.002)
        return [*before, *mine(), count(), await asyncio.to_thread(squared, value)]

    @server.route("/awaited")
    async def who_awaited():
        before = mine()
        await asyncio.sleep(0.002)
        return flask.jsonify(before=before, after=session["name"], count=count())


if __name__ == "__main__":
    make_server("127.0.0.1", int(sys.argv[1]), server, threaded=True).serve_forever()
