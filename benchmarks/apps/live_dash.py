"""Dash's own WebSocket callbacks, on the two backends that have them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dash import Dash, Input, Output, ctx, html, set_props

from apps import live_work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def make(backend: str) -> Dash:
    app = Dash(__name__, backend=backend)
    app.layout = html.Div([html.Button(id="go"), html.P(id="out"), html.P(id="answer")])

    @app.callback(Input("go", "n_clicks"), websocket=True, persistent=True)
    async def push(clicks: int) -> None:
        while not ctx.websocket.is_shutdown:
            set_props("out", {"children": live_work.update()})
            await asyncio.sleep(1 / live_work.PUSHES_PER_SECOND)

    @app.callback(Output("answer", "children"), Input("word", "value"), websocket=True)
    async def answer(word: str) -> str:
        return f"async {word}"

    return app


quart_app = make("quart").server
fastapi_app = make("fastapi").server


def streaming() -> object:
    """Serve what Dash 4.5 calls a streaming callback; 4.4 refuses to register a generator."""
    app = Dash(__name__, backend="fastapi")
    app.layout = html.Div([html.Button(id="go"), html.P(id="out")])

    @app.callback(Output("out", "children"), Input("go", "n_clicks"), websocket=True)
    async def stream(clicks: int) -> AsyncIterator[str]:
        while True:
            yield live_work.update()
            await asyncio.sleep(1 / live_work.FRAMES_PER_SECOND)

    return app.server
