"""Callbacks that are written before their app has a `PubSub`: in modules of ``pages/``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from flash import get_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash import Flash

_EXTENSION = "flash_pubsub"


class CallbackKinds(Protocol):
    """The part of `PubSub` that callbacks wait for."""

    def shared_callback(self, *dependencies: Any, **options: Any) -> Callable[..., Any]:
        """Register a shared callback."""
        ...

    def channel_callback(self, channel: str, *outputs: Any, **options: Any) -> Callable[..., Any]:
        """Register a channel callback."""
        ...


S = TypeVar("S", bound=CallbackKinds)


class Registry(Generic[S]):
    """What waits for one app's `PubSub`."""

    def __init__(self) -> None:
        self.pubsub: S | None = None
        self._waiting: list[Callable[[S], Any]] = []

    @classmethod
    def of(cls, app: Flash) -> Registry[S]:
        """Return the app's registry; several apps may share a server."""
        registries: dict[int, Registry[S]] = app.server.extensions.setdefault(_EXTENSION, {})
        return registries.setdefault(id(app), cls())

    def attach(self, pubsub: S) -> None:
        """Give the app its `PubSub`, and the `PubSub` what waited for it."""
        self.pubsub = pubsub
        for register in self._waiting:
            register(pubsub)
        self._waiting.clear()

    def add(self, register: Callable[[S], Any]) -> None:
        """Call ``register`` with the app's `PubSub`, now or when there is one."""
        if self.pubsub is None:
            self._waiting.append(register)
        else:
            register(self.pubsub)


def shared_callback(*dependencies: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Register a shared callback of the current app; arguments as of `PubSub.shared_callback`.

    For modules that have no ``pubsub`` at hand, such as pages. It takes effect when the app has a
    `PubSub`.
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
    """Register a channel callback of the current app, as `shared_callback` does a shared one."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        Registry.of(get_app()).add(
            lambda pubsub: pubsub.channel_callback(channel, *outputs, **options)(function)
        )
        return function

    return register
