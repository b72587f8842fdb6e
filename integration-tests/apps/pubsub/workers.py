"""One worker of a deployment that is restarted, frozen and killed while pages look on.

Beside the file that ``JOURNAL`` names, where it writes what it does, a file ``hold-<worker>`` keeps
this worker inside its shared callback.
"""

import asyncio
import os
import time
from pathlib import Path

from flash import Flash, Input, Output, dcc, html
from flash_pubsub import PubSub
from flash_ws import Live

WORKER = os.environ["WORKER"]
JOURNAL = Path(os.environ["JOURNAL"])

app = Flash(__name__)
live = Live(app, resume_window=20)
pubsub = PubSub(app, lease_ttl=1, presence_ttl=3, presence_grace=0.5)
app.layout = html.Div(
    [
        html.Div(id="tape"),
        html.Div(id="ticks"),
        dcc.Slider(0, 100, 1, value=20, id="brightness"),
        html.Div(id="lamp"),
        dcc.Input(id="job"),
        html.Div(id="result"),
    ]
)
runs = 0


def note(*words):
    with JOURNAL.open("a", encoding="utf-8") as journal:
        print(*words, file=journal)


@pubsub.channel_callback("prices", Output("tape", "extendData"))
async def tape(message):
    return message


@pubsub.shared_callback(
    Output("lamp", "title"), Input("brightness", "value"), prevent_initial_call=True
)
async def lamp(brightness):
    return f"at {brightness}"


@pubsub.shared_callback(
    Output("result", "children"), Input("job", "value"), prevent_initial_call=True
)
def work(job):
    global runs
    runs += 1
    note("begins", job, WORKER, runs)
    while JOURNAL.with_name(f"hold-{WORKER}").exists():
        time.sleep(0.01)
    return f"{job} by {WORKER} in run {runs}"


@pubsub.feeder("ticks")
async def ticks():
    number = 0
    while True:
        number += 1
        yield [WORKER, number]
        await asyncio.sleep(0.02)


@pubsub.channel_callback("ticks", Output("ticks", "extendData"))
async def show_ticks(message):
    return message
