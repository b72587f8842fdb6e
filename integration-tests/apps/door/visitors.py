"""An app whose one `authorize` names users, with narrower ones at an endpoint and a channel."""

import quart
from dash import Input, Output, html

from flash import Flash, dcc, live, pubsub
from flash_pubsub.channels.subscription import sign

# Users whose permission is withdrawn.
withdrawn: set[str] = set()


async def authorize(visitor):
    user = visitor.session.get("user")
    return user not in withdrawn and user


app = Flash(__name__, authorize=authorize, recheck_interval=0.2, websocket_callbacks=True)
app.server.secret_key = "secret"
app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])


@app.server.route("/log-in/<user>")
async def log_in(user):
    quart.session["user"] = user
    return sign(app, "desk/fx")


@app.server.get("/withdraw/<user>")
async def withdraw(user):
    withdrawn.add(user)
    return "withdrawn"


@app.server.get("/log-out/<user>")
async def log_out(user):
    await live.revoke(user=user)
    return "logged out"


@live.websocket("/socket")
async def socket(connection):
    await connection.send(connection.user)
    async for message in connection:
        await connection.send(message)


@live.websocket("/admin", authorize=lambda visitor: visitor.user == "ada")
async def admin(connection):
    await connection.send(connection.user)
    async for message in connection:
        await connection.send(message)


@live.websocket("/public", authorize=lambda visitor: True)
async def public(connection):
    await connection.send(str(connection.user))


@live.sse("/stream")
async def stream(request):
    yield request.user


@live.sse("/admin-stream", authorize=lambda visitor: visitor.user == "ada")
async def admin_stream(request):
    yield request.user


@pubsub.authorize("desk/{desk}")
async def may(visitor, desk):
    return visitor.user == "ada" and visitor.client.path == f"/{desk}"


@pubsub.channel_callback("desk/{desk}", Output("out", "title"))
def price(message, desk):
    return message


@app.callback(Output("out", "children"), Input("in", "value"))
async def echo(value):
    return value
