"""Registering callbacks before the app has a `PubSub`, as modules in ``pages/`` do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from flash import get_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash import Flash

_EXTENSION = "flash_pubsub"


class CallbackKinds(Protocol):
    """The methods of `PubSub` that register callbacks."""

    def shared_callback(self, *dependencies: Any, **options: Any) -> Callable[..., Any]:
        """Register a shared callback."""
        ...

    def channel_callback(self, channel: str, *outputs: Any, **options: Any) -> Callable[..., Any]:
        """Register a channel callback."""
        ...


S = TypeVar("S", bound=CallbackKinds)


class Registry(Generic[S]):
    """The callbacks that wait until one app has a `PubSub`."""

    def __init__(self) -> None:
        self.pubsub: S | None = None
        self._waiting: list[Callable[[S], Any]] = []

    @classmethod
    def of(cls, app: Flash) -> Registry[S]:
        """Return the registry of an app; several apps may share one Quart server."""
        registries: dict[int, Registry[S]] = app.server.extensions.setdefault(_EXTENSION, {})
        return registries.setdefault(id(app), cls())

    def attach(self, pubsub: S) -> None:
        """Set the app's `PubSub` and register the callbacks that waited."""
        self.pubsub = pubsub
        for register in self._waiting:
            register(pubsub)
        self._waiting.clear()

    def add(self, register: Callable[[S], Any]) -> None:
        """Call ``register`` with the app's `PubSub`, now or once `attach` is called."""
        if self.pubsub is None:
            self._waiting.append(register)
        else:
            register(self.pubsub)


def shared_callback(*dependencies: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Register a shared callback of the current app; arguments as of `PubSub.shared_callback`.

    Modules without a ``pubsub`` variable, such as pages, use it. The callback takes effect once the
    app has a `PubSub`.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        Registry.of(get_app()).add(
            lambda pubsub: pubsub.shared_callback(*dependencies, **options)(function)
        )
        return function

    return register


def channel_callback(
    channel: str, *outputs: Any, **options: Any
) -> Callable[[Callable[..., Any]], Any]:
    """Register a channel callback of the current app; arguments as of `PubSub.channel_callback`.

    The callback takes effect once the app has a `PubSub`.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        Registry.of(get_app()).add(
            lambda pubsub: pubsub.channel_callback(channel, *outputs, **options)(function)
        )
        return function

    return register
