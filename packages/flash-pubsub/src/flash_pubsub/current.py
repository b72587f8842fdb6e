"""``pubsub``: the `PubSub` of the current app, for code that does not have the object."""

from __future__ import annotations

from typing import Any, cast

from flash import Flash, hooks
from flash.addons import is_used_by
from flash.callbacks.hook_registry import at_start
from flash_pubsub.pubsub import PubSub
from flash_pubsub.registry import PubSubRegistry
from flash_ws.callbacks.deferred import Current

# Declarations made before the app has a PubSub.
_DECLARATIONS = frozenset(
    {
        *("authorize", "channel", "channel_callback", "feeder", "on_join", "on_leave"),
        *("present_name", "shared_callback", "table"),
    }
)


def _blank() -> PubSub:
    # In memory, whatever the environment says: it only checks declarations.
    return PubSub(broker="memory://")


pubsub = cast("PubSub", Current(PubSubRegistry, "pubsub", _DECLARATIONS, _blank))


@hooks.setup()
def claim(app: object) -> None:
    """Give a new app what was declared before it was made."""
    if isinstance(app, Flash) and app.server is not None:
        PubSubRegistry.claim(app)


@hooks.setup()
@at_start
def install(app: object) -> Any:
    """Give an app a `PubSub` at its start, if it uses ``flash.pubsub`` and has not made one."""
    return _install(app) if isinstance(app, Flash) else None


async def _install(app: Flash) -> None:
    if _is_missing(app):
        # In a thread, since redis-py takes a while to import.
        await app.internal_pool.run(PubSub, app)


def attach(app: Flash) -> None:
    """Do what `install` does, for `flash check`, which starts no app."""
    if _is_missing(app):
        PubSub(app)


def _is_missing(app: Flash) -> bool:
    PubSubRegistry.claim(app)
    registry = PubSubRegistry.of(app)
    uses = registry.is_waited_for or is_used_by("pubsub", app)
    return registry.part is None and uses


def connect(app: Flash) -> None:
    """Give an app a `PubSub`, unless it has one, so that its live link reaches other workers."""
    if PubSubRegistry.of(app).part is None:
        PubSub(app)
