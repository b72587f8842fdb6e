"""The limit of one message per change: a loop that sends each changed row to every WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import orjson

from apps import table_work

# A first message as long as Flash's.
_WELCOME = '[{"t":"welcome","v":1,"page":"' + 100 * "x" + '","recovered":null,"at":{}}]'

_sends: dict[int, Any] = {}
_changes = 0


async def _change(row: dict[str, Any]) -> None:
    global _changes
    event = {"type": "websocket.send", "text": orjson.dumps({"update": [row]}).decode()}
    for send in list(_sends.values()):
        # One that has just gone is no reason to end.
        with contextlib.suppress(OSError):
            await send(event)
    _changes += 1
    # The loop has other work, too.
    await asyncio.sleep(0)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Take WebSockets, and say how many changes there were."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    if scope["type"] == "http":
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": str(_changes).encode()})
        return
    await receive()
    await send({"type": "websocket.accept"})
    await receive()
    await send({"type": "websocket.send", "text": _WELCOME})
    _sends[id(scope)] = send
    try:
        while (await receive())["type"] != "websocket.disconnect":
            pass
    finally:
        del _sends[id(scope)]


async def _lifespan(receive: Any, send: Any) -> None:
    await receive()
    changing = asyncio.create_task(table_work.change_for_ever(_change))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    changing.cancel()
    await send({"type": "lifespan.shutdown.complete"})
