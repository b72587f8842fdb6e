"""Flash: one app for each kind of live work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dash import Output

from apps import live_work
from flash import Flash, Input, html
from flash_ws import Live, stream_props

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

pushing, bursting, streaming, calling = (Flash(__name__) for _ in range(4))
to_all, to_one, to_callers = Live(pushing), Live(bursting), Live(streaming)


def repeat(app: Flash, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do ``work`` as long as ``app`` is served."""

    @app.server.before_serving
    async def start() -> None:
        app.server.add_background_task(live_work.every, seconds, work)


async def push() -> None:
    await to_all.push("out", {"children": live_work.update()})


async def send() -> None:
    await to_one.send_event("figures", live_work.update())


repeat(pushing, 1 / live_work.PUSHES_PER_SECOND, push)
repeat(bursting, 1 / live_work.BURST_PER_SECOND, send)


@to_callers.event_callback(Input("go", "n_clicks"))
async def stream(clicks: int) -> AsyncIterator[object]:
    while True:
        yield stream_props("out", {"children": live_work.update()})
        await asyncio.sleep(1 / live_work.FRAMES_PER_SECOND)


@calling.callback(Output("answer", "children"), Input("word", "value"), websocket=True)
async def answer(word: str) -> str:
    return f"async {word}"


for app in (pushing, bursting, streaming, calling):
    app.layout = html.Div([html.Button(id="go"), html.P(id="out"), html.P(id="answer")])
