"""Registering on an app that has no `Live` yet, as modules in ``pages/`` do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

from flash import ConfigurationError, get_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash import Flash


class Registry:
    """The registrations that wait for an object of one app; each kind of object has a subclass."""

    # The key in the server's ``extensions`` that holds the registries of its apps.
    extension: ClassVar[str]
    # The text of the error for a second object.
    taken: ClassVar[str]

    def __init__(self) -> None:
        # The object; None until `attach` is called.
        self.part: Any = None
        self._waiting: list[Callable[[Any], Any]] = []

    @classmethod
    def of(cls, app: Flash) -> Self:
        """Return the registry of an app; several apps may share one Quart server."""
        registries: dict[int, Self] = app.server.extensions.setdefault(cls.extension, {})
        return registries.setdefault(id(app), cls())

    def check_free(self) -> None:
        """Raise `ConfigurationError` if the app has the object already."""
        if self.part is not None:
            raise ConfigurationError(self.taken)

    def attach(self, part: Any) -> None:
        """Set the app's object and run the registrations; raises as `check_free` does."""
        self.check_free()
        self.part = part
        for register in self._waiting:
            register(part)
        self._waiting.clear()

    def add(self, register: Callable[[Any], Any]) -> None:
        """Call ``register`` with the app's object, now or when `attach` is called."""
        if self.part is None:
            self._waiting.append(register)
        else:
            register(self.part)

    @classmethod
    def decorator(
        cls, decorate: Callable[[Any], Callable[..., Any]]
    ) -> Callable[[Callable[..., Any]], Any]:
        """Return a decorator that applies ``decorate(part)`` once the current app has it."""

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            cls.of(get_app()).add(lambda part: decorate(part)(function))
            return function

        return register


class LiveRegistry(Registry):
    """The registrations that wait for the `Live` of one app."""

    extension = "flash_ws"
    taken = "this app has a Live already; use that one (PubSub makes one: pubsub.live)"


def event_callback(*dependencies: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Register an event callback of the current app; arguments as of `Live.event_callback`.

    Modules without a ``live`` variable, such as pages, use it. The callback takes effect once the
    app has a `Live`.
    """
    return LiveRegistry.decorator(lambda live: live.event_callback(*dependencies, **options))
