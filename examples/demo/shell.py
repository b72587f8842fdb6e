"""What stands around every page: navigation, theme, live meters, and the first start."""

from __future__ import annotations

from typing import Any

from amounts import size
from components import aria, meter
from resources import database, machine
from theme import template

from flash import (
    ALL,
    ClientsideFunction,
    Input,
    Output,
    Patch,
    State,
    callback,
    clientside_callback,
    dcc,
    html,
    no_update,
    page_container,
    page_registry,
)
from flash_ws import LinkStatus

# The theme is settled before the first paint: the visitor's own choice, else the system's.
INDEX = """<!doctype html>
<html lang="en">
<head>
{%metas%}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{%title%}</title>
{%favicon%}
<script>
(function () {
  var chosen = null;
  try { chosen = localStorage.getItem("theme"); } catch (error) { /* storage is off */ }
  var system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.theme = chosen || system;
  if (self !== top) document.documentElement.dataset.framed = "";
})();
</script>
{%css%}
</head>
<body>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>
"""

BRAND = html.Div(
    [html.Span(className="brand-mark"), html.Span("Meridian Trade")], className="brand"
)


async def layout() -> html.Div:
    """The frame of the app; Dash puts the page of the address into ``page_container``."""
    if not database.preparation.ready:
        return preparing()
    return html.Div(
        [
            html.A("Skip to content", href="#content", className="skip-link"),
            dcc.Location(id="address"),
            LinkStatus(id="link"),
            dcc.Store(id="theme"),
            dcc.Interval(id="every-two-seconds", interval=2000),
            html.Aside(
                [
                    BRAND,
                    html.Nav(
                        [
                            dcc.Link(
                                [
                                    html.Span(className=f"icon icon-{page['icon']}"),
                                    html.Span(page["name"], className="long-name"),
                                    html.Span(
                                        page.get("short_name", page["name"]),
                                        className="short-name",
                                        **aria(hidden="true"),
                                    ),
                                ],
                                href=page["relative_path"],
                            )
                            for page in page_registry.values()
                            if "icon" in page
                        ],
                        **aria(label="Pages"),
                    ),
                    html.Div(
                        [
                            html.H2("This machine"),
                            meter("machine-cpu", "Processor"),
                            meter("machine-memory", "Memory"),
                        ],
                        className="machine",
                    ),
                    html.Button(
                        [html.Span(className="icon icon-theme"), html.Span("Theme")],
                        id="theme-toggle",
                        className="quiet",
                        type="button",
                        **aria(label="Switch between the light and the dark theme"),
                    ),
                ],
                className="sidebar",
            ),
            html.Main(page_container, id="content", tabIndex="-1"),
        ],
        className="frame",
    )


def preparing() -> html.Div:
    """The page while the database is being filled; it makes room for the real one by itself."""
    return html.Div(
        [
            dcc.Interval(id="every-moment", interval=300),
            dcc.Store(id="prepared"),
            BRAND,
            html.H1("Preparing a million orders"),
            html.P(
                "On the first start the demo draws its orders from the data sets that ship with "
                "plotly. It takes a few seconds, once.",
                id="preparing-text",
            ),
            html.Div(html.Div(id="preparing-bar", className="meter-bar"), className="meter"),
        ],
        className="panel preparing",
        role="status",
    )


clientside_callback(
    ClientsideFunction("demo", "theme"), Output("theme", "data"), Input("theme-toggle", "n_clicks")
)
clientside_callback(ClientsideFunction("demo", "markCurrentPage"), Input("address", "pathname"))
# In the browser, since a callback on the server could not tell that there is no way to the server.
clientside_callback(
    ClientsideFunction("demo", "showLink"),
    Output("link-badge", "className"),
    Output("link-text", "children"),
    Input("link", "status"),
)
clientside_callback(ClientsideFunction("demo", "reloadWhenPrepared"), Input("prepared", "data"))


@callback(
    Output({"chart": ALL}, "figure", allow_duplicate=True),
    Input("theme", "data"),
    State({"chart": ALL}, "id"),
    prevent_initial_call=True,
)
async def repaint(theme: str, charts: list[Any]) -> list[Patch]:
    """Exchange the template of every chart on the page; no query runs again."""
    patch = Patch()
    patch["layout"]["template"] = template(theme)
    return [patch] * len(charts)


@callback(
    Output("machine-cpu-bar", "style"),
    Output("machine-cpu-text", "children"),
    Output("machine-memory-bar", "style"),
    Output("machine-memory-text", "children"),
    Input("every-two-seconds", "n_intervals"),
)
async def show_machine(_ticks: int) -> tuple[dict[str, str], str, dict[str, str], str]:
    """The meters at the side of every page."""
    now = machine.latest
    return (
        {"width": f"{now.cpu:.0%}"},
        f"{now.cpu:.0%}",
        {"width": f"{now.memory:.0%}"},
        f"{size(now.memory_used)} of {size(now.memory_total)}",
    )


@callback(
    Output("preparing-bar", "style"),
    Output("preparing-text", "children"),
    Output("prepared", "data"),
    Input("every-moment", "n_intervals"),
    prevent_initial_call=True,
)
async def show_preparation(_ticks: int) -> tuple[dict[str, str], Any, bool]:
    """The progress of the first start."""
    state = database.preparation
    text: Any = no_update
    if state.error:
        text = f"The orders could not be prepared: {state.error}"
    elif state.done:
        text = f"{state.done:,} of {state.total:,} orders are in the database."
    return {"width": f"{state.done / state.total:.0%}"}, text, state.ready
