"""A long report in the background: progress, a button that is off meanwhile, one that cancels."""

import os
import time

import diskcache

from flash import Dash, DiskcacheManager, Input, Output, State, callback, dcc, html, set_props
from flash.background import AsyncManager

# Where the jobs are kept; without it they are tasks of the server.
FOLDER = os.environ.get("JOBS_FOLDER")

app = Dash(
    __name__,
    title="Report",
    background_callback_manager=(
        DiskcacheManager(diskcache.Cache(FOLDER)) if FOLDER else AsyncManager()
    ),
)

app.layout = html.Div(
    [
        dcc.Input(id="chapters", type="number", value=6),
        html.Button("Write the report", id="write"),
        html.Button("Stop", id="stop", disabled=True),
        html.Progress(id="bar", value="0", max="1"),
        html.P(id="now-at"),
        html.P(id="log"),
        html.Pre("No report yet", id="report"),
        html.Button("Ask something else meanwhile", id="ask"),
        html.P(id="answer"),
    ]
)


@callback(
    Output("report", "children"),
    Input("write", "n_clicks"),
    State("chapters", "value"),
    background=True,
    interval=100,
    running=[
        (Output("write", "disabled"), True, False),
        (Output("stop", "disabled"), False, True),
    ],
    cancel=[Input("stop", "n_clicks")],
    progress=[Output("bar", "value"), Output("bar", "max"), Output("now-at", "children")],
    progress_default=["0", "1", "Not writing"],
    prevent_initial_call=True,
)
def write(set_progress, clicks, chapters):
    set_props("log", {"children": f"Report {clicks} begun"})
    lines = []
    for chapter in range(1, chapters + 1):
        set_progress((str(chapter), str(chapters), f"Chapter {chapter} of {chapters}"))
        time.sleep(0.1)
        lines.append(f"Chapter {chapter}")
    return "\n".join(lines)


@callback(Output("answer", "children"), Input("ask", "n_clicks"), prevent_initial_call=True)
def answer(clicks):
    return f"Answer {clicks}"


if __name__ == "__main__":
    app.run(debug=True)
