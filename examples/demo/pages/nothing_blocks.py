"""A deliberately slow plain function beside figures that must never stop."""

from __future__ import annotations

import inspect
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import components
import figures
import queries
from amounts import money
from components import aria, chart, chart_id, panel
from resources import database, machine

from flash import (
    ClientsideFunction,
    Input,
    Output,
    State,
    callback,
    clientside_callback,
    dcc,
    html,
    register_page,
)

if TYPE_CHECKING:
    from dash.development.base_component import Component
    from plotly.graph_objects import Figure

register_page(
    __name__,
    path="/nothing-blocks",
    name="Nothing blocks",
    short_name="Threads",
    title="Nothing blocks · Meridian Trade",
    icon="pulse",
)


def write_report() -> list[Component]:
    """Slow on purpose, and written the old way: it sleeps, and then it waits for a query."""
    started = time.perf_counter()
    time.sleep(4)
    rows = database.fetch_blocking(queries.best_customers(limit=5))
    took = time.perf_counter() - started
    return [
        html.P(f"The best customers of five countries, after {took:.1f} seconds:"),
        html.Ol([html.Li(f"{row.name}, {row.country}: {money(row.cents)}") for row in rows]),
    ]


async def layout(**_query: str) -> Component:
    return components.page(
        "Nothing blocks",
        "A slow function keeps one thread busy, never the page, and never the other visitors",
        dcc.Interval(id="clockwork", interval=250, disabled=True),
        dcc.Store(id="tick"),
        html.Div(
            [
                panel(
                    "A slow, plain function",
                    html.P(
                        "It sleeps for four seconds and then ranks the customers of all countries "
                        "with a blocking query. Flash runs it in a thread."
                    ),
                    html.Div(
                        [
                            html.Button("Write the report", id="report", className="primary"),
                            html.Button("Block the server instead", id="blocking-report"),
                        ],
                        className="buttons",
                    ),
                    html.Div(
                        components.empty("No report yet. Start one and watch the clock."),
                        id="report-result",
                        className="result",
                        **aria(live="polite"),
                    ),
                    html.Details(
                        [
                            html.Summary("Show the function"),
                            html.Pre(html.Code(inspect.getsource(write_report)), tabIndex=0),
                        ]
                    ),
                    width=5,
                ),
                panel(
                    "The server's clock",
                    html.Div("–", id="clock", className="clock"),
                    html.Dl(
                        [
                            html.Div([html.Dt("Answers"), html.Dd("0", id="answers")]),
                            html.Div([html.Dt("Longest wait"), html.Dd("–", id="longest")]),
                            html.Div([html.Dt("Threads"), html.Dd("–", id="threads")]),
                        ],
                        className="facts",
                    ),
                    chart("processor", "Load of the processor", height=190),
                    width=7,
                    note="An async callback answers every 250 milliseconds",
                ),
                panel(
                    "Time between two answers",
                    chart("waits", "Milliseconds between two answers"),
                    note="As your browser saw it; level, whatever runs in a thread",
                ),
            ],
            className="grid",
        ),
    )


@callback(
    Output(chart_id("waits"), "figure"),
    Output(chart_id("processor"), "figure"),
    Output("clockwork", "disabled"),
    Input("tick", "id"),
    State("theme", "data"),
)
async def start(_tick: str, theme: str) -> tuple[Figure, Figure, bool]:
    """Called once, when the page appears: charts for the browser to fill, and then the clock."""
    return figures.waits(theme), figures.processor(theme), False


@callback(Output("tick", "data"), Input("clockwork", "n_intervals"))
async def tick(_ticks: int) -> dict[str, Any]:
    """What must go on whatever else the server does."""
    now = machine.latest
    return {
        "clock": datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-4],
        "cpu": now.cpu,
        "threads": now.threads,
    }


@callback(
    Output("report-result", "children"),
    Input("report", "n_clicks"),
    running=[(Output("report", "disabled"), True, False)],
    prevent_initial_call=True,
)
def write_report_in_a_thread(_clicks: int) -> list[Component]:
    """A plain callback: nothing is asked of its author, and it holds up nobody."""
    return write_report()


@callback(
    Output("report-result", "children", allow_duplicate=True),
    Input("blocking-report", "n_clicks"),
    running=[(Output("blocking-report", "disabled"), True, False)],
    run_in="loop",
    prevent_initial_call=True,
)
def write_report_on_the_loop(_clicks: int) -> list[Component]:
    """The same on the event loop, to see what Flash spares you: everything stops, for everyone."""
    return write_report()


# The browser measures and draws the waits itself; the server only answers.
clientside_callback(
    ClientsideFunction("demo", "tick"),
    Output("clock", "children"),
    Output("answers", "children"),
    Output("longest", "children"),
    Output("threads", "children"),
    Output(chart_id("waits"), "figure", allow_duplicate=True),
    Output(chart_id("processor"), "figure", allow_duplicate=True),
    Input("tick", "data"),
    State("report", "disabled"),
    State("blocking-report", "disabled"),
    State(chart_id("waits"), "figure"),
    State(chart_id("processor"), "figure"),
    prevent_initial_call=True,
)
