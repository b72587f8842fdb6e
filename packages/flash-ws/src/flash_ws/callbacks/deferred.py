"""Declarations for an object of an app that is made later: its `Live`, or its `PubSub`.

Modules in ``pages/`` are imported while the app is made, before it has a `Live`. What they declare
waits in the app's `Registry`. What is declared before there is an app waits for the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from flash import ConfigurationError, Flash
from flash.current import (
    NoCurrentApp,
    current_app,
    declaring_app,
    is_importing,
    modules_of_apps,
)
from flash_ws.errors import NotServing

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash_ws.clients.hub import Hub

F = TypeVar("F")


@dataclass(slots=True, eq=False)
class Unclaimed:
    """A declaration that was made before there was an app for it."""

    register: Callable[[Any], Any]
    # Whether a module made it while it was imported.
    at_import: bool
    # The module of the first app that took it.
    taker: str | None = None


class Registry:
    """The registrations that wait for an object of one app; each kind of object has a subclass."""

    # The key in the server's ``extensions`` that holds the registries of its apps.
    extension: ClassVar[str]
    # The text of the error for a second object.
    taken: ClassVar[str]
    # How an app gets the object, for the error where it has none.
    remedy: ClassVar[str]
    # What was declared before there was an app to declare it for; each subclass has its own.
    unclaimed: ClassVar[list[Unclaimed]]

    def __init_subclass__(cls) -> None:
        cls.unclaimed = []

    def __init__(self) -> None:
        # The object; None until `attach` is called.
        self.part: Any = None
        self._waiting: list[Callable[[Any], Any]] = []
        # What this app has taken of `unclaimed`.
        self.claimed: list[Unclaimed] = []

    @classmethod
    def of(cls, app: Flash) -> Self:
        """Return the registry of an app; several apps may share one Quart server."""
        registries: dict[int, Self] = app.server.extensions.setdefault(cls.extension, {})
        return registries.setdefault(id(app), cls())

    @classmethod
    def of_current_app(cls) -> Self | None:
        """Return the registry of the app whose code is running; None before there is an app."""
        try:
            app = current_app()
        except NoCurrentApp:
            if modules_of_apps():
                raise
            return None
        return cls.of(app) if isinstance(app, Flash) and app.server is not None else None

    @classmethod
    def declare(cls, register: Callable[[Any], Any]) -> None:
        """Call ``register`` with the object of the app that the calling code belongs to.

        It is called now, or when the app has the object; before there is an app, the next one
        takes it. Raises `ConfigurationError` if the app is served and will not have the object.
        """
        app = declaring_app()
        if not isinstance(app, Flash) or app.server is None:
            cls.unclaimed.append(Unclaimed(register, is_importing()))
            return
        registry = cls.of(app)
        if registry.part is None and app.has_started:
            raise ConfigurationError(f"the app is served already, and {cls.remedy}")
        registry.add(register)

    @classmethod
    def claim(cls, app: Flash) -> None:
        """Take for ``app`` what was declared before there was an app.

        What a module declared while it was imported is also for each later app of the module that
        made the first one, as a factory makes them.
        """
        module = modules_of_apps().get(app, "")
        registry = cls.of(app)
        for each in list(cls.unclaimed):
            if each.taker not in (None, module) or each in registry.claimed:
                continue
            registry.claimed.append(each)
            registry.add(each.register)
            each.taker = module
            if not each.at_import:
                cls.unclaimed.remove(each)

    @property
    def is_waited_for(self) -> bool:
        """Whether something was declared for an object that the app does not have."""
        return self.part is None and bool(self._waiting)

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
    def decorator(cls, decorate: Callable[[Any], Callable[[F], F]]) -> Callable[[F], F]:
        """Return a decorator that applies ``decorate(part)`` once the app has the object."""

        def register(function: F) -> F:
            cls.declare(lambda part: decorate(part)(function))
            return function

        return register


class Current:
    """The object of the current app: every name is that of the app's own object.

    ``declarations`` are the methods that also work before the app has the object. They are checked
    at once, on an object without an app, and wait. Dotted names are methods of a part of it.
    """

    def __init__(
        self,
        registry: type[Registry],
        name: str,
        declarations: frozenset[str],
        blank: Callable[[], Any],
        constants: frozenset[str] = frozenset(),
    ) -> None:
        self._registry = registry
        self._name = name
        self._declarations = declarations
        # Names of parts that have declarations.
        self._parts = {
            part for part, dot, _ in (each.partition(".") for each in declarations) if dot
        }
        self._blank = blank
        # Names that need no app.
        self._constants = constants

    def __repr__(self) -> str:
        return f"<flash.{self._name} of the current app>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self._declarations:
            return self._declaration(name)
        if name in self._parts:
            registry = self._registry.of_current_app()
            if registry is None or registry.part is None:
                return _Part(self, name)
        if name in self._constants:
            return getattr(self._sample, name)
        registry = self._registry.of_current_app()
        if registry is not None and registry.part is not None:
            return getattr(registry.part, name)
        # An unknown name is an error of the caller's, whether there is an app or not.
        if not hasattr(type(blank := self._blank()), name) and name not in vars(blank):
            raise AttributeError(f"flash.{self._name} has no attribute {name!r}")
        if registry is None:
            raise NoCurrentApp(
                f"flash.{self._name}.{name} is used before there is an app: call it in a function "
                f"that runs while the app is served"
            )
        raise ConfigurationError(
            f"flash.{self._name}.{name} is used before the app is served, or "
            f"{self._registry.remedy}"
        )

    @cached_property
    def _sample(self) -> Any:
        """The object that has the constants; made once, since it takes 0.7 ms."""
        return self._blank()

    def _declaration(self, path: str) -> Callable[..., Any]:
        def declare(*args: Any, **kwargs: Any) -> Any:
            # Raises for wrong arguments here, where the app's code can be seen.
            checked = _method(self._blank(), path)(*args, **kwargs)
            if not callable(checked) or any(checked is each for each in args):
                self._registry.declare(lambda part: _method(part, path)(*args, **kwargs))
                return checked

            def register(function: Any) -> Any:
                checked(function)
                self._registry.declare(lambda part: _method(part, path)(*args, **kwargs)(function))
                return function

            return register

        declare.__name__ = declare.__qualname__ = path
        return declare

    def part_of(self, path: str) -> Callable[..., Any]:
        """Return the declaration of a dotted name; raises `AttributeError` for another one."""
        if path not in self._declarations:
            raise AttributeError(f"flash.{self._name}.{path} cannot be used before the app starts")
        return self._declaration(path)


class _Part:
    """A part of an object that an app does not have yet, such as ``live.metrics``."""

    def __init__(self, whole: Current, name: str) -> None:
        self._whole = whole
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return self._whole.part_of(f"{self._name}.{name}")


def _method(whole: Any, path: str) -> Callable[..., Any]:
    found = whole
    for name in path.split("."):
        found = getattr(found, name)
    return found


class LiveRegistry(Registry):
    """The registrations that wait for the `Live` of one app."""

    extension = "flash_ws"
    taken = "this app has a Live already; use that one (PubSub makes one: pubsub.live)"
    remedy = "it has no live link: write `from flash import live` in the app's module, or Live(app)"

    def __init__(self) -> None:
        super().__init__()
        # The hub of this worker, while the app is served.
        self.hub: Hub | None = None


def hub_of(app: Flash) -> Hub:
    """Return the hub of an app's live link; raises `NotServing` if it is not served.

    For add-on packages.
    """
    hub = LiveRegistry.of(app).hub
    if hub is None:
        raise NotServing
    return hub


def event_callback(*dependencies: Any, **options: Any) -> Callable[[F], F]:
    """Register an event callback of the current app; arguments as of `Live.event_callback`.

    Modules without a ``live`` variable, such as pages, use it. The callback takes effect once the
    app has a `Live`.
    """
    return LiveRegistry.decorator(lambda live: live.event_callback(*dependencies, **options))
