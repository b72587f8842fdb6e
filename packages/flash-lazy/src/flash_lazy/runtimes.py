"""The runtime of the app that answers at this moment, for what is written while it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from flash import get_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash import Flash

_EXTENSION = "flash_lazy"


class Thumbnailer(Protocol):
    """Gives pictures of graphs addresses."""

    def address(self, source: Any, wide: object, high: object) -> str | None:
        """Return the URL of a picture of the figure ``source``; None where nothing can draw it."""
        ...


class PanelWriter(Protocol):
    """What a panel needs while it is written for a page."""

    @property
    def thumbnails(self) -> Thumbnailer:
        """The pictures of the app's graphs."""
        ...

    def sign(self, loader: Any, call: Any) -> str:
        """Return the token of a panel for the visitor at hand."""
        ...

    def topic(self, loader: Any, call: Any) -> str:
        """Return the topic that a live panel's page follows."""
        ...


# Makes the runtime of an app that has none yet; set once, by `flash_lazy.panels`.
_make: list[Callable[[Flash], PanelWriter]] = []


def runtimes_on(app: Flash) -> dict[str, Any]:
    """Return the runtimes of a server's apps, by the prefix of each app."""
    # Several apps may share a server, each below a prefix of its own.
    return app.server.extensions.setdefault(_EXTENSION, {})


def made_by(make: Callable[[Flash], PanelWriter]) -> None:
    """Make runtimes with ``make`` from now on."""
    _make[:] = [make]


def current_runtime() -> PanelWriter:
    """Return the runtime of the app that is answering now."""
    return _make[0](get_app())
