"""A trading desk. On workers: ``FLASH_REDIS_URL=redis://… flash run app:app --workers 3``."""

import asyncio
import random
from itertools import count

from quart import redirect, request, session

from flash import Flash, Input, Output, State, dcc, html, live, pubsub
from flash_pubsub import Present, Room

app = Flash(__name__, title="Desk", authorize=lambda visitor: visitor.session.get("name"))
app.server.secret_key = "the same in every worker; yours is a secret"


@app.server.before_request
async def only_with_a_name():
    if "name" not in session and not request.path.endswith("/login"):
        return redirect(app.get_relative_path("/login"))


@app.server.route("/login", methods=["GET", "POST"])
async def login():
    if name := (await request.form).get("name"):
        session["name"] = name
        return redirect(app.get_relative_path("/"))
    return "<form method=post>Your name <input name=name autofocus><button>Enter</button></form>"


app.layout = html.Div(
    [
        Room("desk/{desk}", desk=7),
        Present("desk/{desk}", "present", desk=7),
        dcc.Graph(id="prices", figure={"data": [{"x": [], "y": [], "mode": "lines"}]}),
        dcc.Slider(0, 10, 1, value=2, id="unrest", updatemode="drag"),
        html.P(id="unrest-note"),
        dcc.Input(id="notice", placeholder="Tell the desk"),
        html.Button("Tell", id="tell"),
    ]
)


@pubsub.feeder("prices")
async def walk():
    for number in count():
        yield {"t": number, "p": round(100 + random.uniform(-1, 1), 2)}
        await asyncio.sleep(0.2)


@pubsub.channel_callback("prices", Output("prices", "extendData"), backfill=500)
def show(message):
    return [{"x": [[message["t"]]], "y": [[message["p"]]]}, [0], 500]


pubsub.authorize("desk/{desk}")(lambda visitor, desk: visitor.user is not None)


@pubsub.shared_callback(
    Output("unrest-note", "children"), Input("unrest", "value"), room="desk/{desk}"
)
def note(unrest, desk):
    return f"Unrest {unrest} of 10 at desk {desk}, set by {live.client.user}"


@app.callback(Input("tell", "n_clicks"), State("notice", "value"), prevent_initial_call=True)
async def tell(clicks, said):
    live.notify(f"{session['name']}: {said}", to=live.room("desk/7"))


if __name__ == "__main__":
    app.run()
