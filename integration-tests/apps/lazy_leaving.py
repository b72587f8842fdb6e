"""A panel that loads for as long as anybody waits for it, in an app with pages."""

import asyncio
import os
from pathlib import Path

from flash import Flash, dcc, html, page_container, register_page
from flash_lazy import Skeleton, lazy

FOLDER = Path(os.environ["FOLDER"])

app = Flash(__name__, use_pages=True, pages_folder="")


def note(line: str) -> None:
    # A whole line at a time; the test reads it.
    with (FOLDER / "runs").open("a") as log:
        log.write(f"{line}\n")


@lazy(fallback=Skeleton(height=80))
async def slow(item: str):
    await asyncio.to_thread(note, "begun")
    try:
        while not await asyncio.to_thread((FOLDER / "go").exists):  # noqa: ASYNC110  a file
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        note("cancelled")
        raise
    return html.P(f"loaded {item}", id="loaded")


register_page("slow", path="/slow", layout=lambda: html.Div([slow("tea")]))
register_page("home", path="/", layout=html.P("home", id="home"))
app.layout = html.Div(
    [
        dcc.Link("home", href="/", id="to-home"),
        dcc.Link("slow", href="/slow", id="to-slow"),
        page_container,
    ]
)
