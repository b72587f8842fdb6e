"""Registering callbacks before the app has a `PubSub`, as modules in ``pages/`` do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from flash_ws.callbacks.deferred import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F")


class PubSubRegistry(Registry):
    """The callbacks that wait until one app has a `PubSub`."""

    extension = "flash_pubsub"
    taken = "this app has a PubSub already; use that one"
    remedy = (
        "it has no PubSub: write `from flash import pubsub` in the app's module, or PubSub(app)"
    )


def shared_callback(*dependencies: Any, **options: Any) -> Callable[[F], F]:
    """Register a shared callback of the current app; arguments as of `PubSub.shared_callback`.

    Modules without a ``pubsub`` variable, such as pages, use it. The callback takes effect once the
    app has a `PubSub`.
    """
    return PubSubRegistry.decorator(lambda pubsub: pubsub.shared_callback(*dependencies, **options))


def channel_callback(channel: str, *outputs: Any, **options: Any) -> Callable[[F], F]:
    """Register a channel callback of the current app; arguments as of `PubSub.channel_callback`.

    The callback takes effect once the app has a `PubSub`.
    """
    return PubSubRegistry.decorator(
        lambda pubsub: pubsub.channel_callback(channel, *outputs, **options)
    )
