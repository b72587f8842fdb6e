"""The placeholder "thumbnail" of a graph: a picture of it, or a message."""

from __future__ import annotations

from typing import Any

from dash import dcc, html

from flash_lazy.extension import find_panels

MESSAGE = "This chart is drawn when it comes near."
_CLASS = "flash-lazy-thumbnail"


class Thumbnail:
    """A graph's placeholder before it is written as JSON, which turns it into a component.

    When it is created, there may be no app yet to render the picture.
    """

    def __init__(self, children: Any, width: object, height: object) -> None:
        graph = children[0] if isinstance(children, list) and len(children) == 1 else children
        if not isinstance(graph, dcc.Graph):
            raise ValueError(
                f'placeholder="thumbnail" around {type(graph).__name__}: give the panel one '
                "dcc.Graph as its only child"
            )
        self.figure: Any = getattr(graph, "figure", None) or {}
        self.width = width
        self.height = height

    def to_plotly_json(self) -> Any:
        """Return the component as JSON, for the app that answers the current request."""
        panels = find_panels()
        source = None
        if panels is not None:
            source = panels.thumbnails.url_of(self.figure, self.width, self.height)
        if source is None:
            return html.P(MESSAGE, className=_CLASS).to_plotly_json()
        return html.Img(src=source, alt=MESSAGE, className=_CLASS).to_plotly_json()
