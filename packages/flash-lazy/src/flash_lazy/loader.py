"""`lazy`: a function of JSON-able arguments, turned into something to place in a layout."""

from __future__ import annotations

import functools
import inspect
import secrets
import weakref
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Protocol, overload

from flash import ConfigurationError
from flash_lazy.components.component import LazyPanel, Offset, Size, Skeleton, When
from flash_lazy.errors import TokenRefused
from flash_lazy.extension import current_panels
from flash_lazy.tokens.registry import LoaderRegistry
from flash_lazy.tokens.token import LoaderCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flash_lazy.tokens.binding import Bind

P = ParamSpec("P")

# The id of every panel has this one key; the callback that loads matches on it.
PANEL_ID_KEY = "flash_lazy"


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How the server runs a loader; see `lazy`."""

    error: Any = None
    cache: float | None = None
    stale: float = 0
    key: Callable[..., Any] | None = None
    max_concurrency: int | None = None
    timeout: float | None = None
    bind: Bind = None
    live: bool = False


class Subscriber(Protocol):
    """Hears that what a loader loaded is no longer true.

    Called in whichever thread invalidates, and must not raise.
    """

    def invalidated(self, loader: Loader[...], call: LoaderCall | None) -> None:
        """Forget what was loaded for ``call``, or for every call where it is None."""
        ...


class Loader(Generic[P]):
    """What `lazy` makes of a function; calling it gives the panel to place."""

    def __init__(
        self,
        function: Callable[P, Any],
        name: str,
        options: LoadOptions,
        appearance: Mapping[str, Any],
    ) -> None:
        functools.update_wrapper(self, function)
        # What is called, with the arguments of the panel.
        self.function = function
        # What tokens call it; the same in every process that imports the module.
        self.name = name
        self.options = options
        self._appearance = dict(appearance)
        self._signature = inspect.signature(function)
        # The apps that use it, as long as they live. A dictionary, for it is read from any thread.
        self._subscribers: dict[int, weakref.ref[Subscriber]] = {}
        LOADERS.add(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> LazyPanel:
        """Return a panel that loads ``function(*args, **kwargs)`` when it is seen.

        Raises what the function would for arguments that do not fit, and `ArgumentError` for
        arguments that JSON does not keep.
        """
        panel = LazyPanel(id={PANEL_ID_KEY: secrets.token_hex(6)}, **self._appearance)
        # As Dash sets the properties of every component.
        call = self.call_of(*args, **kwargs)
        setattr(panel, "token", DeferredToken(self, call))  # noqa: B010
        if self.options.live:
            setattr(panel, "live", DeferredTopic(self, call))  # noqa: B010
        return panel

    def call_of(self, *args: P.args, **kwargs: P.kwargs) -> LoaderCall:
        """Return these arguments as a call."""
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
        """Return a call's arguments, as the function takes them.

        Raises `TokenRefused` where the function has other parameters than when it was signed.
        """
        values = call.values()
        if values.keys() != self._signature.parameters.keys():
            raise TokenRefused
        bound = inspect.BoundArguments(self._signature, values)  # type: ignore[arg-type]
        return bound.args, bound.kwargs

    def invalidate(self, *args: Any, **kwargs: Any) -> None:
        """Forget what was loaded with these arguments, or, without any, all that was loaded.

        Every app of this process that uses the loader forgets, and with it all that share its
        cache; loads that are under way are neither kept nor shared with loads that begin from now
        on. Where the loader is ``live``, pages load it again. From any thread.
        """
        call = self.call_of(*args, **kwargs) if args or kwargs else None
        for reference in list(self._subscribers.values()):
            if (subscriber := reference()) is not None:
                subscriber.invalidated(self, call)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Tell ``subscriber`` of what is invalidated from now on; idempotent, held weakly."""
        key = id(subscriber)
        if key not in self._subscribers:
            forget = partial(self._subscribers.pop, key)
            self._subscribers[key] = weakref.ref(subscriber, forget)


# Filled as modules are imported, like Dash's own registries.
LOADERS: LoaderRegistry[Loader[...]] = LoaderRegistry()


class DeferredToken:
    """The token of a panel while it is in Python: it is signed when it is written for a page.

    Before that there may be no app to sign for, and no visitor.
    """

    def __init__(self, loader: Loader[...], call: LoaderCall) -> None:
        self.loader = loader
        self.call = call

    def to_plotly_json(self) -> str:
        """Return the token signed by the app that is writing."""
        return current_panels().sign(self.loader, self.call)


class DeferredTopic(DeferredToken):
    """What a live panel's page hears of, while it is in Python."""

    def to_plotly_json(self) -> str:
        """Return the topic as the app that is writing calls it."""
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
    timeout: float | None = None,
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
    timeout: float | None = None,
    bind: Bind = None,
    live: bool = False,
    when: When = "visible",
    prefetch: Literal["idle"] | None = None,
    refresh_every: float | None = None,
    height: Size | None = None,
    name: str | None = None,
    **appearance: Any,
) -> Any:
    """Turn a function into a loader: called in a layout it gives a panel that loads when seen.

    The function may be ``async def`` or plain (it then runs in one of the app's threads), and its
    result must depend on its arguments alone, for equal loads that are under way share one run.

    - ``fallback``: what stands there until then; a `Skeleton` with a height keeps that room.
    - ``error``: a component, or a function of the exception that returns one, shown beside a
      button to try again. Without it an exception is an error of the callback as any other.
    - ``cache``: seconds that a result is kept for every visitor; ``stale``: seconds after that in
      which it is still shown at once while a new one is loaded.
    - ``key``: a function of the arguments; what a result depends on besides them.
    - ``max_concurrency``: runs of this function at a time; ``timeout``: seconds for one.
    - ``bind``: "session", or a function that says who asks: the panel works for that visitor only,
      and results are shared with nobody else.
    - ``when``: "visible", "idle", "click" or "mount"; ``prefetch="idle"`` loads before it is seen,
      when the browser has nothing to do, and draws when it is.
    - ``refresh_every``: seconds after which it loads again, while it is seen.
    - ``live``: what is invalidated is loaded again where a page shows it, and elsewhere when it is
      seen; the app needs a `Live` of flash-ws.
    - ``name``: what tokens call it, where module and function name do not tell it apart.

    The others are those of `LazyLoad`.
    """
    if isinstance(cache, str):
        raise ConfigurationError(
            f"@lazy(cache={cache!r}): a loader says for how many seconds, cache=60; where results "
            f"are kept is the app's to say: configure(app, cache={cache!r})"
        )
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
        label = name or f"{function.__module__}.{function.__qualname__}"
        return Loader(function, label, options, shown)

    # Said now rather than when the first panel is placed.
    LazyPanel(**shown)
    return decorate if function is None else decorate(function)
