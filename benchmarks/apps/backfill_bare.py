"""The peer: each new WebSocket is sent the last messages, one after the other, as they came."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from typing import Any

from redis.asyncio import Redis

from apps import channels_work

_URL = os.environ["FLASH_BROKER_URL"]
_BACKFILL = int(os.environ["BACKFILL"])

# A first message as long as Flash's.
_WELCOME = '[{"t":"welcome","v":1,"page":"' + 100 * "x" + '","recovered":null,"at":{}}]'

_recent: deque[dict[str, str]] = deque(maxlen=_BACKFILL)
_sends: dict[int, Any] = {}


async def forward() -> None:
    async with Redis.from_url(_URL, socket_timeout=None) as client, client.pubsub() as pubsub:
        await pubsub.subscribe(channels_work.TICKS)
        async for message in pubsub.listen():
            if message["type"] != "message":
                continue
            event = {"type": "websocket.send", "text": message["data"].decode()}
            _recent.append(event)
            for send in list(_sends.values()):
                # One that has just gone is no reason to end.
                with contextlib.suppress(OSError):
                    await send(event)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Take WebSockets, and forward to them."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    await receive()
    with contextlib.suppress(OSError):
        await send({"type": "websocket.send", "text": _WELCOME})
        for event in tuple(_recent):
            await send(event)
        _sends[id(scope)] = send
        while (await receive())["type"] != "websocket.disconnect":
            pass
    _sends.pop(id(scope), None)


async def _lifespan(receive: Any, send: Any) -> None:
    await receive()
    forwarding = asyncio.create_task(forward())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    forwarding.cancel()
    await send({"type": "lifespan.shutdown.complete"})
