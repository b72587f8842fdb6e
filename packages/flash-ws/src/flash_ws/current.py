"""``live``: the `Live` of the current app, for code that does not have the object."""

from __future__ import annotations

import importlib
import logging
from typing import Any, cast

from flash import Flash, hooks
from flash.addons import is_used_by
from flash.callbacks.hook_registry import at_start
from flash_ws.callbacks.deferred import Current, LiveRegistry
from flash_ws.live import Live

logger = logging.getLogger(__name__)

# Declarations made before the app has a Live, and what needs no app.
_DECLARATIONS = frozenset(
    {
        *("event_callback", "on_connect", "on_disconnect", "on_event", "sse", "websocket"),
        "text_stream",
        *("metrics.add", "readiness.add"),
    }
)
_CONSTANTS = frozenset({"everybody", "group", "room"})


class _Sketch(Live):
    """A `Live` that only checks declarations."""

    is_sketch = True


live = cast("Live", Current(LiveRegistry, "live", _DECLARATIONS, _Sketch, _CONSTANTS))


@hooks.setup()
def claim(app: object) -> None:
    """Give a new app what was declared before it was made."""
    if isinstance(app, Flash) and app.server is not None:
        LiveRegistry.claim(app)


@hooks.setup()
@at_start
def install(app: object) -> Any:
    """Give an app a `Live` at its start, if it uses ``flash.live`` and has not made one."""
    return _install(app) if isinstance(app, Flash) else None


async def _install(app: Flash) -> None:
    _make_used(app)
    if _lacks_workers(app):
        # In a thread, since redis-py takes a while to import.
        await app.internal_pool.run(_connect_workers, app)


def attach(app: Flash) -> None:
    """Do what `install` does, for `flash check`, which starts no app."""
    _make_used(app)
    if _lacks_workers(app):
        _connect_workers(app)


def _make_used(app: Flash) -> None:
    LiveRegistry.claim(app)
    registry = LiveRegistry.of(app)
    if registry.part is None and (registry.is_waited_for or is_used_by("live", app)):
        Live(app)


def _lacks_workers(app: Flash) -> bool:
    part: Live | None = LiveRegistry.of(app).part
    return part is not None and part.lacks_backplane and app.redis is not None


def _connect_workers(app: Flash) -> None:
    """Let the link reach other workers by the app's Redis, if flash-pubsub is installed."""
    try:
        pubsub = importlib.import_module("flash_pubsub.current")
    except ModuleNotFoundError as error:
        if error.name != "flash_pubsub":
            raise
        logger.warning(
            "the app has a Redis, but its live link reaches only the pages of one worker: "
            'pip install "flash-core[pubsub]"'
        )
        return
    pubsub.connect(app)
