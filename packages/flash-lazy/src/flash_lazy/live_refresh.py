"""Access to the app's `flash_ws.Live`, which tells open pages what was invalidated.

flash-ws is imported only when a live loader needs it.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, Protocol

from flash import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash import Flash

_REGISTRY = "flash_ws.callbacks.deferred"

# The event that pages get; its data is the prefix of the topics of the invalidated panels.
EVENT = "flash_lazy"


class EventSender(Protocol):
    """The part of `flash_ws.Live` that is used here."""

    async def send_event(self, name: str, data: Any = None) -> None:
        """Send an event to every page of this worker, or of all workers."""
        ...


def is_live_imported() -> bool:
    """Tell whether the process may have a `Live`: then flash-ws has been imported."""
    return sys.modules.get(_REGISTRY) is not None


def when_live(app: Flash, use: Callable[[EventSender], None]) -> None:
    """Call ``use`` with the app's `Live`, now or as soon as the app has one.

    Raises `ConfigurationError` if flash-ws is not installed.
    """
    try:
        registry = importlib.import_module(_REGISTRY)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            'live=True needs flash-ws: pip install "flash-core[ws]", and create a Live(app)'
        ) from error
    registry.LiveRegistry.of(app).add(use)
