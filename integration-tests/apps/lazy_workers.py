"""Pages with panels for several workers, whose loads take until a file says so."""

import asyncio
import os
from pathlib import Path

from flash import Flash, html, page_container, register_page
from flash_lazy import RedisCache, configure, lazy
from flash_pubsub import PubSub

# What all workers write down, and what they wait for.
FOLDER = Path(os.environ["FOLDER"])

app = Flash(__name__, use_pages=True, pages_folder="")
if "BROKER" in os.environ:
    # Nothing else is said: neither where results are kept nor what signs them.
    PubSub(app, broker=os.environ["BROKER"])
else:
    app.server.secret_key = "the same for all workers"
    configure(app, cache=RedisCache(os.environ["REDIS_URL"], lease_seconds=2))


def note(line: str) -> None:
    # A whole line at a time, so that workers do not write into each other's.
    with (FOLDER / "queries").open("a") as log:
        log.write(f"{line}\n")


@lazy(height=60, cache=600)
async def orders(customer: str):
    await asyncio.to_thread(note, customer)
    while not await asyncio.to_thread((FOLDER / "go").exists):  # noqa: ASYNC110  another process
        await asyncio.sleep(0.02)
    return html.P(f"orders of {customer} by {os.getpid()}")


def page():
    return html.Div([orders(customer) for customer in "abc"])


register_page("orders", path="/orders", layout=page)
register_page("home", path="/", layout=html.P("home"))
app.layout = html.Div(page_container)


@app.server.post("/invalidate/<customer>")
async def invalidate(customer: str):
    orders.invalidate(customer)
    return "", 204
