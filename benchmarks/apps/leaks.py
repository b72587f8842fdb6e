"""The app of `leaks.py`: callbacks, a link, and its own tasks and threads by HTTP."""

import asyncio
import gc
import os
import threading
import time
from pathlib import Path

from flash import Flash, Input, Output, dcc, html
from flash_ws import Live
from flash_ws.callbacks.deferred import hub_of

app = Flash(__name__)
app.server.secret_key = "0123456789abcdef" * 4
app.layout = html.Div([dcc.Input(id="in"), html.P(id="out"), html.P(id="plain"), html.P(id="slow")])
live = Live(app, resume_window=1.0)


@app.callback(Output("out", "children"), Input("in", "value"))
async def on_loop(value: object) -> object:
    return value


@app.callback(Output("plain", "children"), Input("in", "value"))
def in_thread(value: object) -> object:
    return value


@app.callback(Output("slow", "children"), Input("in", "value"))
async def slow(value: object) -> object:
    await asyncio.sleep(30)
    return value


@app.callback(Output("in", "placeholder"), Input("in", "value"))
def slow_in_thread(value: object) -> object:
    time.sleep(0.2)
    return value


@app.server.get("/figures")
async def figures() -> dict[str, float]:
    tasks = len(asyncio.all_tasks())
    return {
        "tasks": tasks,
        "clients": len(hub_of(live.app).clients),
        **await asyncio.to_thread(of_process),
    }


def of_process() -> dict[str, float]:
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (resident,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return {
        "rss": int(resident) / 1024,
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }
