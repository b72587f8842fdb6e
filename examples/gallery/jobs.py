"""A job queue: everybody sees each job move, and a report of one's own shows its progress.

On workers: ``FLASH_REDIS_URL=redis://… flash run jobs:app --workers 3``.
"""

import asyncio
import random
from uuid import uuid4

from flash import Flash, Input, Output, State, callback, dcc, html, live, pubsub

KINDS = ["Import orders", "Train the forecast", "Send the invoices", "Check the stock"]
FIRST = [*KINDS, "Count the visits", "Compress the logs", "Draw the maps", "Tidy up"]
app = Flash(__name__, title="Jobs")
jobs = pubsub.table("jobs", key="id", columns={"id": str, "name": str, "done": int})


QUEUE = html.Div([html.H2("Queue of everybody"), html.Div(id="queue")], className="card")
CONTROLS = [
    dcc.Dropdown(KINDS, KINDS[0], id="kind", clearable=False),
    html.P(html.Button("Add to the queue", id="add")),
    html.H2("A report for this page alone"),
    html.Progress(id="bar", value="0", max="20"),
    html.Button("Report", id="report"),
    html.Button("Stop", id="stop", className="small"),
    html.P("None yet", id="text", className="quiet"),
]
app.layout = html.Main(
    [
        html.Header([html.H1("Jobs"), html.Span(id="waiting", className="badge")]),
        html.Section([QUEUE, html.Div(CONTROLS, className="card")], className="two"),
    ]
)


def job(name):
    return {"id": uuid4().hex, "name": name, "done": 0}


@callback(Input("add", "n_clicks"), State("kind", "value"), prevent_initial_call=True)
async def add(clicks, kind):
    await jobs.upsert(job(kind))


@pubsub.feeder("queue")
async def work():
    """Runs on one worker; if that dies, another goes on with the jobs as the table has them."""
    chance = random.Random(2)
    if not await jobs.rows():
        await jobs.upsert([job(name) for name in FIRST])
    while rows := await jobs.rows():
        await jobs.remove([row["id"] for row in rows if row["done"] == 100][:-4])
        for row in [row for row in rows if row["done"] < 100][:2]:
            done = min(100, row["done"] + chance.randint(1, 5))
            await jobs.upsert({**row, "done": done})
            if done == 100:
                await live.notify(f"{row['name']} is done.", kind="success", to=live.everybody)
        yield await jobs.rows()
        await asyncio.sleep(0.3)


@pubsub.channel_callback("queue", Output("queue", "children"), Output("waiting", "children"))
def show(rows):
    drawn = []
    for row in rows[-10:]:
        bar = html.Progress(value=str(row["done"]), max="100")
        drawn.append(html.Div([html.Span(row["name"]), bar, html.Span(f"{row['done']} %")]))
    return drawn, f"{sum(row['done'] < 100 for row in rows)} to do"


@callback(
    Output("text", "children"),
    Input("report", "n_clicks"),
    background=True,
    prevent_initial_call=True,
    running=[(Output("report", "disabled"), True, False)],
    progress=[Output("bar", "value"), Output("bar", "max")],
    cancel=[Input("stop", "n_clicks")],
    interval=250,
)
async def report(set_progress, clicks):
    for part in range(21):
        set_progress([str(part), "20"])
        await asyncio.sleep(0.1)
    return f"Report {clicks}: {len(await jobs.rows())} jobs are in the table."


if __name__ == "__main__":
    app.run()
