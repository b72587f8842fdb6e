"""Event callbacks that are written before their app has a `Live`: in modules of ``pages/``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from flash import ConfigurationError, get_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash import Flash

_EXTENSION = "flash_ws"


class EventCallbacks(Protocol):
    """The part of `Live` that event callbacks wait for."""

    def event_callback(self, *dependencies: Any, **options: Any) -> Callable[..., Any]:
        """Register an event callback."""
        ...


L = TypeVar("L", bound=EventCallbacks)


class Registry(Generic[L]):
    """What waits for one app's `Live`."""

    def __init__(self) -> None:
        self._live: L | None = None
        self._waiting: list[Callable[[L], Any]] = []

    @classmethod
    def of(cls, app: Flash) -> Registry[L]:
        """Return the app's registry; several apps may share a server."""
        registries: dict[int, Registry[L]] = app.server.extensions.setdefault(_EXTENSION, {})
        return registries.setdefault(id(app), cls())

    @property
    def live(self) -> L | None:
        """The app's `Live`, if it has one."""
        return self._live

    def attach(self, live: L) -> None:
        """Give the app its `Live`, and the `Live` what waited for it."""
        if self._live is not None:
            raise ConfigurationError(
                "this app has a Live already; use that one (PubSub makes one: pubsub.live)"
            )
        self._live = live
        for register in self._waiting:
            register(live)
        self._waiting.clear()

    def add(self, register: Callable[[L], Any]) -> None:
        """Call ``register`` with the app's `Live`, now or when there is one."""
        if self._live is None:
            self._waiting.append(register)
        else:
            register(self._live)


def event_callback(*dependencies: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Register an event callback of the current app; arguments as of `Live.event_callback`.

    For modules that have no ``live`` at hand, such as pages. It takes effect when the app has a
    `Live`.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        Registry.of(get_app()).add(
            lambda live: live.event_callback(*dependencies, **options)(function)
        )
        return function

    return register
