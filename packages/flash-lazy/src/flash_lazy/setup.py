"""The set-up of an app: its settings, and the one callback that loads all panels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from flash import MATCH, ConfigurationError, Flash, Input, Output, State, hooks
from flash.callbacks.hook_registry import at_start
from flash.settings import AMOUNT, COUNT_OR_NONE, Function, check
from flash_lazy.components.thumbnail import ROUTE
from flash_lazy.loader import PANEL_ID_KEY
from flash_lazy.panels import panels_of

if TYPE_CHECKING:
    from flash_lazy.cache.seam import LazyCache
    from flash_lazy.components.thumbnail import Renderer


# What the developer's panel shows of panels; apart from the script of all pages, which stays small.
_DEV_SCRIPT = {"relative_package_path": "flash_lazy_dev.js", "namespace": "flash_lazy"}

# The path at which a page asks whether a panel's token is refused.
CHECK = "_flash_lazy/check"


class HasLazyCache(Protocol):
    """An object that provides a cache for panels, such as a broker on Redis."""

    @property
    def lazy_cache(self) -> LazyCache | str | None:
        """A cache, the address of a Redis, or None for a cache in this process."""
        ...


def configure(
    app: Flash,
    *,
    cache: LazyCache | HasLazyCache | str | None = None,
    max_concurrency: int | None = None,
    max_waiting: int = 1000,
    thumbnails: Renderer | None = None,
) -> None:
    """Set how an app loads its panels; call it at most once, before the app is served.

    - ``cache``: stores results and lets equal loads share one run; by default a `MemoryCache`. The
      address of a Redis, ``"redis://…"``, gives a `RedisCache` for all workers.
    - ``max_concurrency``: the number of loads that run at a time, for all loaders together.
    - ``max_waiting``: the number of loads that may wait, for each loader and for all together;
      further ones get a 503 response.
    - ``thumbnails``: renders figures for ``placeholder="thumbnail"``; by default kaleido, if it is
      installed.
    """
    check(
        max_concurrency=(max_concurrency, COUNT_OR_NONE),
        max_waiting=(max_waiting, AMOUNT),
        thumbnails=(thumbnails, Function()),
    )
    settings = {
        "cache": _cache_of(cache),
        "max_concurrency": max_concurrency,
        "max_waiting": max_waiting,
        "renderer": thumbnails,
    }
    if "flash_lazy" in app.server.extensions and app.has_started:
        raise ConfigurationError(
            "configure() was called while the app is being served; call it before"
        )
    panels_of(app, **settings)


def _cache_of(given: LazyCache | HasLazyCache | str | None) -> LazyCache | None:
    offered = getattr(given, "lazy_cache", given)
    if isinstance(offered, str):
        if "://" not in offered:
            raise ConfigurationError(f"cache={offered!r}: give the address of a Redis, redis://…")
        from flash_lazy.cache.redis import RedisCache

        return RedisCache(offered)
    return offered  # type: ignore[return-value]


# Run at the app's start, because the app may be created before this module is imported.
@hooks.setup()
@at_start
def install(app: object) -> Any:
    """Add the callback that loads panels to an app, at its start; ignores other Dash apps."""
    return _install(app) if isinstance(app, Flash) else None


async def _install(app: Flash) -> None:
    panels = panels_of(app)
    await panels.open()
    # Appended directly, because the server is already starting; `open` and `close` may be repeated.
    app.server.before_serving_funcs.append(panels.open)
    app.server.after_serving_funcs.append(panels.close)
    prefix = app.config.routes_pathname_prefix
    app.server.add_url_rule(
        prefix + ROUTE, f"{prefix}{ROUTE}", panels.thumbnails.serve, methods=["GET"]
    )
    app.server.add_url_rule(prefix + CHECK, f"{prefix}{CHECK}", panels.check, methods=["POST"])
    app.secret_watchers.append(panels.apply_new_secret)
    app.dev_tools_scripts = [*app.dev_tools_scripts, _DEV_SCRIPT]
    panel_id = {PANEL_ID_KEY: MATCH}
    app.callback(
        Output(panel_id, "children"),
        Output(panel_id, "answer"),
        Input(panel_id, "request"),
        State(panel_id, "token"),
        prevent_initial_call=True,
    )(panels.answer)
