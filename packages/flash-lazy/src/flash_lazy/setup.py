"""How an app comes to load panels: one callback for all of them, and its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from flash import MATCH, ConfigurationError, Flash, Input, Output, State, hooks
from flash.callbacks.hook_registry import at_start
from flash_lazy.cache.redis import RedisCache
from flash_lazy.components.thumbnail import ROUTE
from flash_lazy.loader import PANEL_ID_KEY
from flash_lazy.panels import panels_of

if TYPE_CHECKING:
    from flash_lazy.cache.seam import LazyCache
    from flash_lazy.components.thumbnail import Renderer


class HasLazyCache(Protocol):
    """Something that can say where panels are kept, such as a broker that stands on Redis."""

    @property
    def lazy_cache(self) -> LazyCache | str | None:
        """A cache, the address of a Redis, or None for this process alone."""
        ...


def configure(
    app: Flash,
    *,
    cache: LazyCache | HasLazyCache | str | None = None,
    max_concurrency: int | None = None,
    max_waiting: int = 1000,
    thumbnails: Renderer | None = None,
) -> None:
    """Say how an app loads its panels; without it, as the defaults say. Once, before it serves.

    - ``cache``: where results are kept and equal loads meet, by default a `MemoryCache`; the
      address of a Redis, ``"redis://…"``, is a `RedisCache` for all workers.
    - ``max_concurrency``: loads that run at a time, of all loaders together.
    - ``max_waiting``: loads that may wait for a turn, for each loader and for all; one more is
      answered 503.
    - ``thumbnails``: draws figures for ``placeholder="thumbnail"``, by default kaleido, where it
      is installed.
    """
    settings = {
        "cache": _cache_of(cache),
        "max_concurrency": max_concurrency,
        "max_waiting": max_waiting,
        "renderer": thumbnails,
    }
    if "flash_lazy" in app.server.extensions and app.has_started:
        raise ConfigurationError("configure() comes too late: the app is being served already")
    panels_of(app, **settings)


def _cache_of(given: LazyCache | HasLazyCache | str | None) -> LazyCache | None:
    offered = getattr(given, "lazy_cache", given)
    if isinstance(offered, str):
        if "://" not in offered:
            raise ConfigurationError(f"cache={offered!r}: give the address of a Redis, redis://…")
        return RedisCache(offered)
    return offered  # type: ignore[return-value]


# At the start, since the constructor of an app may come before this module.
@hooks.setup()
@at_start
def install(app: object) -> Any:
    """Give an app that is about to be served the callback that loads panels."""
    return _install(app) if isinstance(app, Flash) else None


async def _install(app: Flash) -> None:
    panels = panels_of(app)
    await panels.open()
    # Appended, since this runs while the server starts; `open` and `close` may be repeated.
    app.server.before_serving_funcs.append(panels.open)
    app.server.after_serving_funcs.append(panels.close)
    prefix = app.config.routes_pathname_prefix
    app.server.add_url_rule(
        prefix + ROUTE, f"{prefix}{ROUTE}", panels.thumbnails.serve, methods=["GET"]
    )
    panel_id = {PANEL_ID_KEY: MATCH}
    app.callback(
        Output(panel_id, "children"),
        Output(panel_id, "answer"),
        Input(panel_id, "request"),
        State(panel_id, "token"),
        prevent_initial_call=True,
    )(panels.answer)
