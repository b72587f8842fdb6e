"""The slot ``app.server.extensions["flash_lazy"]``, which holds the panels of each app.

Components read it while a layout is written as JSON: a token is signed for the app that answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from flash import ConfigurationError, get_app

if TYPE_CHECKING:
    from flash import Flash

_EXTENSION = "flash_lazy"

NOT_SERVED = (
    "a lazy panel was written before its app was served; import flash_lazy before the app starts"
)


class ThumbnailUrls(Protocol):
    """Gives the URL of a figure's picture."""

    def url_of(self, figure: Any, width: object, height: object) -> str | None:
        """Return the URL of a picture of ``figure``; None if no renderer is available."""
        ...


class PanelWriter(Protocol):
    """What components need of an app while they are written as JSON."""

    @property
    def thumbnails(self) -> ThumbnailUrls:
        """The pictures of the app's figures."""
        ...

    def sign(self, loader: Any, call: Any) -> str:
        """Return the token of a panel for the current visitor."""
        ...

    def topic(self, loader: Any, call: Any) -> str:
        """Return the topic that the page of a live panel follows."""
        ...


def panels_by_prefix(app: Flash) -> dict[str, Any]:
    """Return the panels of all apps of a server, by the path prefix of each app."""
    return app.server.extensions.setdefault(_EXTENSION, {})


def find_panels() -> PanelWriter | None:
    """Return the panels of the app that answers the current request; None before its start."""
    app = get_app()
    return panels_by_prefix(app).get(app.config.routes_pathname_prefix)


def current_panels() -> PanelWriter:
    """Return what `find_panels` does; raises `ConfigurationError` where that is None."""
    panels = find_panels()
    if panels is None:
        raise ConfigurationError(NOT_SERVED)
    return panels
