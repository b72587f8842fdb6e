"""The limit for a page: Flash's own answers, recorded on first sight and sent again.

What is left of a page load is the server and the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apps.flash_app import app as flash_app

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Message = dict[str, Any]

_recorded: dict[str, list[Message]] = {}


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Answer as Flash did when the same path was asked for the first time."""
    if scope["type"] != "http":
        await flash_app(scope, receive, send)
        return
    messages = _recorded.get(scope["path"])
    if messages is None:
        messages = _recorded[scope["path"]] = await _record(scope, receive)
    for message in messages:
        await send(message)


async def _record(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Message]]
) -> list[Message]:
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await flash_app(scope, receive, keep)
    return messages
