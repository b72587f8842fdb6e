"""`lazy`: turns a function with JSON arguments into a loader, which makes panels for layouts."""

from __future__ import annotations

import functools
import inspect
import logging
import secrets
import weakref
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Protocol, overload

from flash import ConfigurationError
from flash.callbacks.functions import is_async, is_generator, name_of, place_of, same_function
from flash.settings import (
    COUNT_OR_NONE,
    DURATION,
    DURATION_OR_NONE,
    FLAG,
    SECONDS_OR_NONE,
    Function,
    Instance,
    check,
    check_names,
    here,
)
from flash_lazy.components.component import LazyPanel, Offset, Size, Skeleton, When
from flash_lazy.errors import TokenRefused
from flash_lazy.extension import current_panels
from flash_lazy.tokens.registry import LoaderRegistry, same
from flash_lazy.tokens.token import LoaderCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flash_lazy.tokens.binding import Bind

logger = logging.getLogger("flash_lazy")

P = ParamSpec("P")

# The only key of every panel's id; the callback that loads panels matches on it.
PANEL_ID_KEY = "flash_lazy"

# Seconds that one run of a loader may take.
LOAD_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """The options of a loader that concern the server; see `lazy`."""

    error: Any = None
    cache: float | None = None
    stale: float = 0
    key: Callable[..., Any] | None = None
    max_concurrency: int | None = None
    timeout: float | None = None
    bind: Bind = None
    live: bool = False


class InvalidationListener(Protocol):
    """Is notified when results of a loader are invalidated.

    The method is called in the thread that invalidates, and must not raise.
    """

    def invalidated(self, loader: Loader[...], call: LoaderCall | None) -> bool:
        """Drop the results of ``call``, or of all calls if it is None.

        Returns False if it cannot, because its app is not being served.
        """
        ...


class Loader(Generic[P]):
    """A function decorated with `lazy`; calling it returns a panel for a layout."""

    def __init__(
        self,
        function: Callable[P, Any],
        name: str,
        options: LoadOptions,
        appearance: Mapping[str, Any],
    ) -> None:
        functools.update_wrapper(self, function)
        # The function that is called with the panel's arguments.
        self.function = function
        # The loader's name in tokens; the same in every process that imports the module.
        self.name = name
        self.options = options
        self._appearance = dict(appearance)
        self._signature = inspect.signature(function)
        # The apps that use the loader, held weakly. A plain dictionary: any thread may read it.
        self._listeners: dict[int, weakref.ref[InvalidationListener]] = {}
        # What was invalidated before an app was served: for each app at its start.
        self._early: set[LoaderCall | None] = set()
        LOADERS.add(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> LazyPanel:
        """Return a panel that loads ``function(*args, **kwargs)`` when it is seen.

        Raises ``TypeError`` for arguments that do not match the function's parameters, and
        `ArgumentError` for arguments that JSON does not preserve.
        """
        panel = LazyPanel(id={PANEL_ID_KEY: secrets.token_hex(6)}, **self._appearance)
        # Dash sets the properties of components in the same way.
        call = self.call_of(*args, **kwargs)
        setattr(panel, "token", DeferredToken(self, call))  # noqa: B010
        if self.options.live:
            setattr(panel, "live", DeferredTopic(self, call))  # noqa: B010
        return panel

    def call_of(self, *args: P.args, **kwargs: P.kwargs) -> LoaderCall:
        """Return the `LoaderCall` of these arguments."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = {
            name: list(value)
            if self._signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
            else value
            for name, value in bound.arguments.items()
        }
        return LoaderCall.of(self.name, values)

    def arguments(self, call: LoaderCall) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return a call's positional and keyword arguments.

        Raises `TokenRefused` if the function's parameters have changed since the call was signed.
        """
        values = call.values()
        if values.keys() != self._signature.parameters.keys():
            raise TokenRefused
        bound = inspect.BoundArguments(self._signature, values)  # type: ignore[arg-type]
        return bound.args, bound.kwargs

    def invalidate(self, *args: Any, **kwargs: Any) -> None:
        """Drop the results for these arguments; without arguments, drop all results.

        This applies to every app of this process that uses the loader, and to all processes that
        share its cache. Loads that are running are not kept, and later loads do not share them. If
        the loader is ``live``, pages load it again. From any thread. Before an app is served, it
        takes effect when one is; a process that serves none uses `invalidate_at`.
        """
        call = self.call_of(*args, **kwargs) if args or kwargs else None
        listeners = [reference() for reference in list(self._listeners.values())]
        served = [each for each in listeners if each is not None and each.invalidated(self, call)]
        if not served:
            self._early.add(call)
            if len(self._early) > _MAX_EARLY:
                self._early = {None}
            logger.warning(
                "%s.invalidate(): no app of this process is being served, so it takes effect when "
                "one is; a script calls flash_lazy.invalidate_at(address, loader, …), or runs "
                "flash-lazy invalidate",
                self.name,
            )

    @property
    def lifetime(self) -> float:
        """Seconds for which a result may be kept."""
        return self.options.cache + self.options.stale if self.options.cache else 0

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The parameters of the function, by name."""
        return self._signature.parameters

    def is_same_as(self, other: Loader[...]) -> bool:
        """Tell whether panels of ``other`` show the same as panels of this loader."""
        mine, its = self.options, other.options
        return (
            same_function(self.function, other.function)
            and same(mine.bind, its.bind)
            and same(mine.key, its.key)
        )

    def subscribe(self, listener: InvalidationListener) -> None:
        """Notify ``listener`` of invalidations, also of those that reached no app; held weakly.

        Idempotent.
        """
        key = id(listener)
        if key not in self._listeners:
            forget = partial(self._listeners.pop, key)
            self._listeners[key] = weakref.ref(listener, forget)
            for call in list(self._early):
                listener.invalidated(self, call)

    def unsubscribe(self, listener: InvalidationListener) -> None:
        """Notify ``listener`` no longer; idempotent."""
        self._listeners.pop(id(listener), None)


# Invalidations of one loader that wait for an app; beyond it they become one of all results.
_MAX_EARLY = 1000

# The options of `lazy`.
_NAMES = (
    *("fallback", "error", "cache", "stale", "key", "max_concurrency", "timeout", "bind", "live"),
    *("when", "prefetch", "refresh_every", "height", "width", "offset", "unmount_if_invisible"),
    *("suspend", "scroll_container", "throttle", "debounce", "class_name", "style", "anchors"),
    "name",
)

# All loaders of the process. Filled when modules are imported, like Dash's registries.
LOADERS: LoaderRegistry[Loader[...]] = LoaderRegistry()


class DeferredToken:
    """The token of a panel before it is written as JSON, which signs it.

    When the panel is created, there may be no app and no visitor to sign it for.
    """

    def __init__(self, loader: Loader[...], call: LoaderCall) -> None:
        self.loader = loader
        self.call = call

    def to_plotly_json(self) -> str:
        """Return the token, signed by the app that answers the current request."""
        return current_panels().sign(self.loader, self.call)


class DeferredTopic(DeferredToken):
    """The topic of a live panel before it is written as JSON."""

    def to_plotly_json(self) -> str:
        """Return the topic, named by the app that answers the current request."""
        return current_panels().topic(self.loader, self.call)


@overload
def lazy(function: Callable[P, Any], /) -> Loader[P]: ...


@overload
def lazy(
    *,
    fallback: Any = None,
    error: Any = None,
    cache: float | None = None,
    stale: float = 0,
    key: Callable[..., Any] | None = None,
    max_concurrency: int | None = None,
    timeout: float | None = LOAD_TIMEOUT,
    bind: Bind = None,
    live: bool = False,
    when: When = "visible",
    prefetch: Literal["idle"] | None = None,
    refresh_every: float | None = None,
    height: Size | None = None,
    width: Size | None = None,
    offset: Offset = 200,
    unmount_if_invisible: bool = False,
    suspend: bool = False,
    scroll_container: str | None = None,
    throttle: float | bool | None = None,
    debounce: float | bool | None = None,
    class_name: str | None = None,
    style: Mapping[str, Any] | None = None,
    anchors: Sequence[str] = (),
    name: str | None = None,
) -> Callable[[Callable[P, Any]], Loader[P]]: ...


def lazy(
    function: Callable[..., Any] | None = None,
    /,
    *,
    fallback: Any = None,
    error: Any = None,
    cache: float | None = None,
    stale: float = 0,
    key: Callable[..., Any] | None = None,
    max_concurrency: int | None = None,
    timeout: float | None = LOAD_TIMEOUT,
    bind: Bind = None,
    live: bool = False,
    when: When = "visible",
    prefetch: Literal["idle"] | None = None,
    refresh_every: float | None = None,
    height: Size | None = None,
    name: str | None = None,
    **appearance: Any,
) -> Any:
    """Turn a function into a loader: calling it returns a panel that loads when it is seen.

    The function is ``async def``, or a plain function that runs in one of the app's threads. Its
    result must depend on its arguments only, because equal loads that overlap share one run.

    - ``fallback``: components to show until the panel is loaded; a `Skeleton` with a height also
      sets the panel's height.
    - ``error``: a component, or a function that takes the exception and returns one; it is shown
      with a button to try again. Without it an exception is an ordinary error of the callback.
    - ``cache``: seconds that a result is kept, for all visitors; ``stale``: further seconds in
      which it is still shown at once while a new one is loaded.
    - ``key``: a function of the arguments that returns what else the result depends on.
    - ``max_concurrency``: the number of runs of this function at a time; ``timeout``: the limit of
      one run in seconds, 60 by default; None for no limit.
    - ``bind``: "session", or a plain function that is called with the `Visitor` and returns its
      identity; True for all whom it allows, a false value to refuse the load. The panel works for
      that visitor only, and its results are not shared with others.
    - ``when``: "visible", "idle", "click" or "mount"; ``prefetch="idle"`` loads the panel when the
      browser is idle, and draws it when it is seen.
    - ``refresh_every``: seconds after which the panel loads again while it is seen.
    - ``live``: after `invalidate`, pages that show the panel load it again, and other pages load it
      when it is seen; the app needs a `Live` of flash-ws.
    - ``name``: the loader's name in tokens. It is needed if another function has the same module
      and qualified name, as all functions of one factory have; the second one is refused.

    The other options are those of `LazyLoad`.
    """
    if isinstance(cache, str):
        raise ConfigurationError(
            f"@lazy(cache={cache!r}): give a number of seconds, such as cache=60; the place of the "
            f"results is set for the whole app: configure(app, cache={cache!r})"
        )
    check(
        cache=(cache, DURATION_OR_NONE),
        stale=(stale, DURATION),
        key=(key, Function()),
        max_concurrency=(max_concurrency, COUNT_OR_NONE),
        timeout=(timeout, SECONDS_OR_NONE),
        bind=(bind, Function(("session", None))),
        live=(live, FLAG),
        name=(name, Instance(str, optional=True)),
    )
    if bind != "session" and bind is not None and is_async(bind):
        raise ConfigurationError(
            f"@lazy(bind={name_of(bind)}): must be a plain function: layouts are signed where "
            f"nothing can be awaited; read visitor.session, or ask in the loader{here()}"
        )
    check_names(appearance, _NAMES, "@lazy")
    if height is None and isinstance(fallback, Skeleton):
        height = getattr(fallback, "height", None)
    shown: dict[str, Any] = {
        "placeholder": fallback,
        "when": when,
        "prefetch": prefetch,
        "refresh_every": refresh_every,
        "height": height,
        **appearance,
    }
    shown = {option: value for option, value in shown.items() if value is not None}
    options = LoadOptions(error, cache, stale, key, max_concurrency, timeout, bind, live)

    def decorate(function: Callable[..., Any]) -> Loader[...]:
        if not callable(function):
            raise ConfigurationError(
                f"@lazy on {function!r}: give a function, a partial, a method or a callable object"
            )
        if is_generator(function):
            raise ConfigurationError(
                f"the loader {name_of(function)!r} is a generator; return components instead of "
                f"yielding them ({place_of(function)})"
            )
        return Loader(function, name or name_of(function), options, shown)

    # Created here to report wrong options now and not with the first panel.
    LazyPanel(**shown)
    return decorate if function is None else decorate(function)
