"""A form and a board that everybody fills in together: texts, picks and dots merge.

On workers: ``FLASH_REDIS_URL=redis://… flash run form:app --workers 3``.
"""

from flash import Flash, Input, Output, callback, dcc, html, pubsub
from flash_pubsub import Present, Room

TEAM = ["Design", "Data", "Legal", "Sales", "Support"]
STEPS = list(range(1, 13))
app = Flash(__name__, title="Form")
pubsub.channel("dots", history=1000, max_age=86_400)
# An almost clear surface takes the clicks; the dots of everybody are the second trace.
SURFACE = {"type": "heatmap", "x": STEPS, "y": STEPS, "z": [[i + j for i in STEPS] for j in STEPS]}
SURFACE |= {"showscale": False, "opacity": 0.18, "hoverinfo": "none", "colorscale": "Blues"}
DOTS = {"x": [], "y": [], "mode": "markers", "marker": {"size": 16, "color": "#e4892b"}}
AXIS = {"fixedrange": True, "showticklabels": False}
X, Y = ({**AXIS, "title": {"text": text}} for text in ("effort", "value"))
LOOK = {"xaxis": X, "yaxis": Y, "showlegend": False, "margin": {"l": 40, "r": 8, "t": 8, "b": 36}}
BOARD = dcc.Graph(id="board", figure={"data": [SURFACE, DOTS], "layout": LOOK})


def field(label, control):
    return html.Div([html.Label(label, htmlFor=control.id), control])


FORM = [
    field("Goal", dcc.Input(id="goal", value="Ship the new catalogue", debounce=True)),
    field("Who takes part", dcc.Checklist(TEAM, ["Design"], id="team")),
    field("Weeks", dcc.Slider(1, 12, 1, value=4, id="weeks", marks=None)),
    html.P(id="summary", className="banner good"),
]
HINT = html.H2("Click where the next step belongs")
HERE = Present("planning/{plan}", "present", plan="spring")
app.layout = html.Main(
    [
        Room("planning/{plan}", plan="spring"),
        html.Header([html.H1("Plan for spring"), HERE]),
        html.Section(
            [
                html.Div([HINT, BOARD], className="card tall"),
                html.Div(FORM, className="card"),
            ],
            className="two",
        ),
    ]
)
pubsub.authorize("planning/{plan}")(lambda visitor, plan: True)


@pubsub.present_name("planning/{plan}")
def name_of(client, plan):
    return f"Guest {sum(client.id.encode()) % 1000}"


@pubsub.shared_callback(
    Output("summary", "children"),
    *(Input("goal", "value"), Input("team", "value"), Input("weeks", "value")),
    room="planning/{plan}",
)
def summary(goal, team, weeks):
    teams = "1 team" if len(team) == 1 else f"{len(team)} teams"
    return f"{(goal or 'No goal yet')[:80]}: {weeks} weeks, {teams}"


@callback(Input("board", "clickData"), prevent_initial_call=True)
async def place(click):
    x, y = (click["points"][0][axis] for axis in "xy")
    if x in STEPS and y in STEPS:
        await pubsub.publish("dots", [x, y])


@pubsub.channel_callback("dots", Output("board", "extendData"), backfill=200)
def dot(message):
    return [{"x": [[message[0]]], "y": [[message[1]]]}, [1], 200]


if __name__ == "__main__":
    app.run()
