"""The page as the `Visitor` that an ``authorize`` of narrower scope gets."""

from __future__ import annotations

from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING

from flash.access.opening_request import OpeningRequest
from flash.access.visitor import Visitor
from flash.callbacks.execution import time_limit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from flash_ws.clients.client import LinkedClient


@asynccontextmanager
async def visiting(client: LinkedClient, what: str, seconds: float) -> AsyncGenerator[Visitor]:
    """Make the request of a page the current one while the block asks the application.

    ``what`` names the question in the `CallbackTimeout` that is raised after ``seconds``.
    """
    async with time_limit(what, seconds), client.handshake.active():
        opening = OpeningRequest(client.handshake.scope)
        opening.user = client.user
        opening.bind_context(copy_context())
        yield Visitor(opening, client.user, client)
