"""The limit of a server: one loop that sends a message to every WebSocket, the bytes of Flash's."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from apps import live_work
from flash_ws.protocol.frames import props_message

# A first message as long as Flash's.
_WELCOME = '[{"t":"welcome","v":1,"page":"' + 100 * "x" + '","recovered":null,"at":{}}]'

_sends: dict[int, Any] = {}
_number = 0


async def push() -> None:
    global _number
    _number += 1
    message = props_message([("out", {"children": live_work.update()})])
    event = {"type": "websocket.send", "text": f"[{message.numbered('all', _number).text}]"}
    for send in list(_sends.values()):
        # One that has just gone is no reason to end.
        with contextlib.suppress(OSError):
            await send(event)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Take WebSockets, and push to them."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
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
    pushing = asyncio.create_task(live_work.every(1 / live_work.PUSHES_PER_SECOND, push))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    pushing.cancel()
    await send({"type": "lifespan.shutdown.complete"})
