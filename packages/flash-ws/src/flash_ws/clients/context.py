"""The context variables of flash-ws."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flash_ws.clients.client import LinkedClient

# The client for which a handler or an event callback runs.
current_client: ContextVar[LinkedClient | None] = ContextVar(
    "flash_ws.current_client", default=None
)
