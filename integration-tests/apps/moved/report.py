"""A report that takes a while, as a background callback on diskcache."""

import os
import tempfile
import time

import diskcache
from dash import Dash, DiskcacheManager, Input, Output, State, dcc, html

cache = diskcache.Cache(os.environ.get("REPORT_CACHE") or tempfile.mkdtemp())
manager = DiskcacheManager(cache, cache_by=[lambda: "edition 1"], expire=60)

app = Dash(__name__, background_callback_manager=manager, title="Report", update_title=None)
server = app.server
app.layout = html.Div(
    [
        html.H1("Report"),
        dcc.Input(id="chapters", type="number", value=3),
        html.Button("Write", id="write"),
        html.Button("Cancel", id="cancel", disabled=True),
        html.Progress(id="bar", value="0", max="1"),
        html.P("idle", id="state"),
        html.Pre(id="text"),
    ]
)


@app.callback(
    Output("text", "children"),
    Input("write", "n_clicks"),
    State("chapters", "value"),
    background=True,
    interval=100,
    prevent_initial_call=True,
    cache_args_to_ignore=[0],
    running=[
        (Output("write", "disabled"), True, False),
        (Output("cancel", "disabled"), False, True),
        (Output("state", "children"), "writing", "idle"),
    ],
    cancel=[Input("cancel", "n_clicks")],
    progress=[Output("bar", "value"), Output("bar", "max")],
    progress_default=["0", "1"],
)
def write(set_progress, clicks, chapters):
    written = []
    for chapter in range(1, chapters + 1):
        set_progress((str(chapter), str(chapters)))
        time.sleep(0.4)
        written.append(f"Chapter {chapter} of click {clicks}")
    return "\n".join(written)


if __name__ == "__main__":
    app.run(debug=True)
