"""The colours of the figures, as one plotly template for each theme of the page.

The page's own colours are custom properties in ``assets/theme.css``; figures have a transparent
background, so that these are the only ones to keep beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
# Deep enough for white text, in both themes.
TILES = ("#3f5bd8", "#0b7d76", "#a85a14", "#7a3fb4", "#b53255")


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one theme."""

    text: str
    muted: str
    line: str
    surface: str
    # Neighbours differ in lightness too, for readers who do not see the hue.
    series: tuple[str, ...]
    # Low to high.
    scale: tuple[str, ...]


PALETTES = {
    "light": Palette(
        text="#1b2130",
        muted="#5a6478",
        line="#e6e9f0",
        surface="#ffffff",
        series=("#3f5bd8", "#f08c3a", "#0f9d94", "#8d4fc9", "#d6476b", "#7a8598"),
        scale=("#eef1fd", "#b9c5f6", "#7f94ea", "#3f5bd8", "#22348f"),
    ),
    "dark": Palette(
        text="#e9ecf3",
        muted="#9ba6ba",
        line="#293142",
        surface="#171d29",
        series=("#8098ff", "#ffa857", "#3cc9bd", "#c08bf5", "#ff7d9c", "#8f9bb0"),
        scale=("#1c2437", "#2c3d75", "#4a63bd", "#8098ff", "#d3dbff"),
    ),
}


def template(theme: str | None) -> dict[str, Any]:
    """The plotly template of a theme, ``light`` where none was chosen yet."""
    palette = PALETTES[theme or "light"]
    steps = len(palette.scale) - 1
    scale = [[index / steps, colour] for index, colour in enumerate(palette.scale)]
    axis = {
        "gridcolor": palette.line,
        "linecolor": palette.line,
        "zeroline": False,
        "ticklabelstandoff": 4,
        "tickfont": {"color": palette.muted},
        "title": {"font": {"color": palette.muted}},
        "automargin": True,
    }
    return {
        "layout": {
            "font": {"family": FONT, "size": 12, "color": palette.text},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": palette.series,
            "treemapcolorway": TILES,
            "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
            "hoverlabel": {
                "bgcolor": palette.surface,
                "bordercolor": palette.line,
                "font": {"family": FONT, "color": palette.text},
            },
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": 1.02,
                "yanchor": "bottom",
                "font": {"color": palette.muted},
            },
            "xaxis": axis | {"showgrid": False},
            "yaxis": axis,
            "bargap": 0.35,
            "barcornerradius": 3,
        },
        "data": {
            "heatmap": [{"colorscale": scale, "colorbar": {"thickness": 8, "outlinewidth": 0}}],
            "treemap": [
                {
                    "marker": {"line": {"color": palette.surface, "width": 1}},
                    "root": {"color": "rgba(0,0,0,0)"},
                    "textfont": {"color": "#ffffff"},
                }
            ],
        },
    }
