"""The building blocks of the pages: panels, charts, figures in words, controls, empty states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import figures

from flash import dcc, html

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dash.development.base_component import Component
    from database import Answer


def aria(**attributes: str) -> dict[str, Any]:
    """Attributes for screen readers: ``**aria(label="Pages")``."""
    return {f"aria-{name}": value for name, value in attributes.items()}


def chart_id(name: str) -> dict[str, str]:
    """The id of a chart: a pattern, so that one callback can repaint all charts of a page."""
    return {"chart": name}


def page(
    title: str, lead: str, *content: Component, controls: Sequence[Component] = ()
) -> Component:
    """A page: its heading, its controls and then its content."""
    return html.Div(
        [
            html.Header(
                [
                    html.Div(
                        [
                            html.Div([html.H1(title), link_badge()], className="title"),
                            html.P(lead, className="lead"),
                        ]
                    ),
                    html.Div(list(controls), className="controls"),
                ],
                className="page-header",
            ),
            *content,
        ],
        className="page",
    )


def link_badge() -> Component:
    """How the page's live link is: ``shell`` keeps it up to date."""
    return html.Span(
        [html.Span(className="dot"), html.Span("Connecting", id="link-text")],
        id="link-badge",
        className="link-badge connecting",
        title="The page's live link to the server",
    )


def panel(
    title: str, *content: Component, note: str | Component | None = None, width: int = 12
) -> Component:
    """A titled box, ``width`` twelfths of the page wide; full width on a phone."""
    heading: list[Component] = [html.H2(title)]
    if note is not None:
        heading.append(html.P(note, className="note"))
    return html.Section(
        [html.Div(heading, className="panel-header"), *content], className=f"panel span-{width}"
    )


def chart(
    name: str | dict[str, str],
    label: str,
    *,
    height: int = 300,
    figure: Any = None,
    title: str | None = None,
) -> Component:
    """A chart that keeps its place while it loads; ``label`` is read out in its stead.

    One that is to be left alone when the theme changes brings an id of its own.
    """
    drawn = html.Div(
        dcc.Graph(
            id=chart_id(name) if isinstance(name, str) else name,
            figure=figures.blank() if figure is None else figure,
            responsive=True,
            config={"displayModeBar": False, "doubleClick": False},
            style={"height": "100%"},
        ),
        className="chart",
        style={"height": height},
        role="img",
        title=title,
        **aria(label=label),
    )
    # `demo.js` fills the table when it is opened.
    table = html.Details([html.Summary("As a table"), html.Div()], className="chart-table")
    return html.Div([drawn, table])


def tile(
    title: str,
    value: str,
    growth: float | None,
    trend: Sequence[float],
    growth_is_good: bool = True,
) -> Component:
    """One key figure, its growth over a year and its course by month."""
    most = max(trend, default=0) or 1
    return html.Div(
        [
            html.Div(title, className="tile-title"),
            html.Div(value, className="tile-value"),
            html.Div(
                "no year before" if growth is None else f"{growth:+.1%} on the year",
                className=f"tile-change {_judge(growth, growth_is_good)}",
            ),
            html.Div(
                [html.Span(style={"height": f"{100 * value / most:.0f}%"}) for value in trend],
                className="sparkline",
                **aria(hidden="true"),
            ),
        ],
        className="tile",
    )


def live_tile(
    name: str, title: str, note: str, *, value: str = "–", bar: bool = False
) -> Component:
    """One figure that is pushed to the page: ``name``, ``name-note`` and ``name-bar`` are its ids.

    The bar shows a share.
    """
    parts: list[Component] = [
        html.Div(title, className="tile-title"),
        html.Div(value, id=name, className="tile-value"),
        html.Div(note, id=f"{name}-note", className="tile-change"),
    ]
    if bar:
        parts.append(html.Div(html.Div(id=f"{name}-bar", className="meter-bar"), className="meter"))
    return html.Div(parts, className="tile live-tile")


def tile_placeholders(count: int) -> list[Component]:
    """Boxes of a tile's size, for the time before the figures have come."""
    return [html.Div(className="tile skeleton") for _ in range(count)]


def segmented(name: str, label: str, options: Mapping[str, str], value: str) -> Component:
    """A choice between few options, all of them in sight."""
    return html.Fieldset(
        [
            html.Legend(label, className="visually-hidden"),
            dcc.RadioItems(dict(options), value, id=name, className="segmented", inline=True),
        ]
    )


def select(
    name: str, label: str, options: Iterable[str] | list[dict[str, Any]], placeholder: str
) -> Component:
    """A labelled choice between many options, which may stay open."""
    return html.Div(
        [
            html.Label(label, htmlFor=name),
            dcc.Dropdown(
                options if isinstance(options, list) else list(options),
                id=name,
                placeholder=placeholder,
            ),
        ],
        className="field",
    )


def meter(name: str, label: str) -> Component:
    """A thin bar with a figure, both set by callbacks."""
    return html.Div(
        [
            html.Div([html.Span(label), html.Span("–", id=f"{name}-text")], className="meter-text"),
            html.Div(html.Div(id=f"{name}-bar", className="meter-bar"), className="meter"),
        ]
    )


def empty(message: str, *remedy: Component) -> Component:
    """What stands where there is nothing to show, and what to do about it."""
    return html.Div([html.P(message), *remedy], className="empty")


def spans(**answers: Answer | None) -> list[dict[str, Any]]:
    """When each query ran, for the chart that shows them side by side; None did not run."""
    return [
        {"name": name.replace("_", " "), "started": answer.started, "ended": answer.ended}
        for name, answer in answers.items()
        if answer
    ]


def _judge(growth: float | None, growth_is_good: bool) -> str:
    if not growth:
        return ""
    return "good" if (growth > 0) == growth_is_good else "bad"
