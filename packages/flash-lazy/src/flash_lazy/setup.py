"""How an app comes to load panels: one callback for all of them, and its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flash import MATCH, ConfigurationError, Flash, Input, Output, State, hooks
from flash.hook_registry import at_start
from flash_lazy.loader import PANEL
from flash_lazy.runtime import runtime_of

if TYPE_CHECKING:
    from flash_lazy.cache import LazyCache


def configure(
    app: Flash,
    *,
    cache: LazyCache | None = None,
    max_concurrency: int | None = None,
    max_waiting: int = 1000,
) -> None:
    """Say how an app loads its panels; without it, as the defaults say. Once, before it serves.

    - ``cache``: where results are kept, by default a `MemoryCache`.
    - ``max_concurrency``: loads that run at a time, of all loaders together.
    - ``max_waiting``: loads that may wait for a turn, for each loader and for all; one more is
      answered 503.
    """
    settings = {"cache": cache, "max_concurrency": max_concurrency, "max_waiting": max_waiting}
    if "flash_lazy" in app.server.extensions and app.has_started:
        raise ConfigurationError("configure() comes too late: the app is being served already")
    runtime_of(app, **settings)


# At the start, since the constructor of an app may come before this module.
@hooks.setup()
@at_start
def install(app: object) -> Any:
    """Give an app that is about to be served the callback that loads panels."""
    return _install(app) if isinstance(app, Flash) else None


async def _install(app: Flash) -> None:
    runtime = runtime_of(app)
    await runtime.open()
    panel = {PANEL: MATCH}
    app.callback(
        Output(panel, "children"),
        Output(panel, "answer"),
        Input(panel, "request"),
        State(panel, "token"),
        prevent_initial_call=True,
    )(runtime.answer)
