"""Rooms whose name a component gives, and rooms whose name the URL gives."""

from quart import redirect, session

from flash import Flash, Input, Output, dcc, html, live, set_props
from flash_pubsub import Present, PubSub, Room
from flash_ws import Live

app = Flash(__name__, suppress_callback_exceptions=True)
app.server.secret_key = "the same in every worker"
# A page that was closed is not counted for long.
Live(app, authorize=lambda opening: opening.session.get("name", True), resume_window=2.0)
pubsub = PubSub(app, presence_ttl=3, presence_grace=0.5)
app.layout = html.Div(
    [
        dcc.Location(id="url"),
        *(dcc.Link(name, href=f"/desk/{name}", id=f"to-{name}") for name in ("7", "8", "9")),
        dcc.Link("out", href="/out", id="to-out"),
        html.Div(id="page"),
        html.P(id="status"),
        html.P(id="news"),
        dcc.Slider(0, 10, 1, value=2, id="unrest"),
        html.P("nothing", id="unrest-note"),
        html.P("no double", id="twice"),
        dcc.Slider(0, 10, 1, value=3, id="light"),
        html.P("dark", id="light-note"),
        html.P("no notice", id="notice"),
    ]
)
pubsub.authorize("desk/{desk}")(lambda client, desk: desk in ("7", "8"))
pubsub.authorize("hall/{hall}")(lambda client, hall: hall != "9")


@app.server.get("/as/<name>/<desk>")
async def enter_as(name, desk):
    session["name"] = name
    return redirect(f"/desk/{desk}")


@app.callback(Output("page", "children"), Input("url", "pathname"))
def page(path):
    desk = path.removeprefix("/desk/") if path.startswith("/desk/") else None
    if desk is None:
        return "outside"
    return [
        html.Div(Room("desk/{desk}", "room", desk=desk), id="first"),
        Present("desk/{desk}", "present", desk=desk),
        html.Button("second", id="add"),
        html.Button("end the first", id="end"),
        html.Div(id="second"),
        html.P(id="second-status"),
        html.Button("later", id="later"),
        html.Div(id="place"),
    ]


@app.callback(Output("second", "children"), Input("add", "n_clicks"), prevent_initial_call=True)
def add_second(clicks):
    return Room("desk/8", "room-2")


@app.callback(Output("second-status", "children"), Input("room-2", "status"))
def second_status(status):
    return f"second {status}"


@app.callback(Output("first", "children"), Input("end", "n_clicks"), prevent_initial_call=True)
def end_first(clicks):
    return None


@app.callback(Output("place", "children"), Input("later", "n_clicks"), prevent_initial_call=True)
def show_later(clicks):
    return [
        dcc.Input("nothing yet", id="word"),
        html.P("no word", id="word-note"),
        html.P("none", id="kept"),
    ]


@app.callback(Output("status", "children"), Input("room", "channel"), Input("room", "status"))
def status(room, status):
    return f"{room} {status}"


@app.callback(Output("news", "children"), Input("present", "joined"), Input("present", "left"))
def news(joined, left):
    return f"+{joined} -{left}"


@pubsub.shared_callback(
    Output("unrest-note", "children"),
    Input("unrest", "value"),
    room="desk/{desk}",
    prevent_initial_call=True,
)
def unrest_note(unrest, desk):
    return f"desk {desk}: {unrest}"


@pubsub.shared_callback(
    Output("light-note", "children"),
    Input("light", "value"),
    room="hall/{hall}",
    room_from="/desk/<hall>",
    prevent_initial_call=True,
)
def light_note(light, hall):
    return f"hall {hall}: {light}"


@pubsub.shared_callback(Output("word-note", "children"), Input("word", "value"), room="desk/{desk}")
def word_note(word, desk):
    return f"desk {desk} says {word}"


@pubsub.shared_callback(
    Output("twice", "children"),
    Input("unrest", "value"),
    room="desk/{desk}",
    prevent_initial_call=True,
)
def twice(unrest):
    return str(2 * unrest)


@app.server.get("/tell/<desk>/<component>/<text>")
async def tell(desk, component, text):
    await set_props(component, {"children": text}, to=live.room(f"desk/{desk}"))
    return "told"


if __name__ == "__main__":
    app.run()
