"""Dash: pages that follow Redis by what Dash itself has, which is more from 4.5 on."""

from __future__ import annotations

import os
from typing import Any

from dash import Dash, Input, set_props

from apps import channels_work

_URL = os.environ["FLASH_BROKER_URL"]

# What a page hears first, as Flash's pages are welcomed.
_FOLLOWS = "follows"


def make(**options: Any) -> Dash:
    app = Dash(__name__, backend="quart", **options)
    app.layout = channels_work.layout()
    channels_work.watch(app)
    return app


def _persistent() -> Any:
    """Make what one writes by hand: a persistent callback that reads Redis for its page."""
    from redis.asyncio import Redis

    app = make()

    @app.callback(Input("go", "n_clicks"), websocket=True, persistent=True)
    async def follow(clicks: int) -> None:
        async with Redis.from_url(_URL, socket_timeout=None) as client, client.pubsub() as pubsub:
            await pubsub.subscribe(channels_work.LINES)
            set_props("out", {"children": _FOLLOWS})
            async for message in pubsub.listen():
                if message["type"] == "message":
                    set_props("out", {"children": message["data"].decode()})

    return app.server


def _shared_storage() -> Any:
    """Make what Dash 4.5 has for it: the shared storage, followed by a persistent callback.

    What a streaming callback yields is shown, but no callback that depends on it runs before the
    stream ends (4.5.0rc2).
    """
    from dash import RedisSharedStorage

    app = make(shared_storage=RedisSharedStorage(_URL))

    @app.callback(Input("go", "n_clicks"), websocket=True, persistent=True)
    async def follow(clicks: int) -> None:
        following = app.shared_storage.subscribe(channels_work.LINES)
        set_props("out", {"children": _FOLLOWS})
        async for message in following:
            set_props("out", {"children": message})

    return app.server


server = _shared_storage() if os.environ.get("SHARED_STORAGE") else _persistent()
