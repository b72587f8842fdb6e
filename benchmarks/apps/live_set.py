"""Flash: what `live_flash.pushing` pushes, set by `set_props`."""

from __future__ import annotations

from apps import live_work
from flash import Flash, html, live, set_props
from flash_ws import Live

app = Flash(__name__)
Live(app)
app.layout = html.P(id="out")


async def work() -> None:
    await set_props("out", {"children": live_work.update()}, to=live.everybody)


@app.server.before_serving
async def start() -> None:
    seconds = 1 / live_work.PUSHES_PER_SECOND
    app.server.add_background_task(live_work.every, seconds, work)
