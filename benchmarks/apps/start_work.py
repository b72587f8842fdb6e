"""An application with two thousand callbacks, as generated dashboards have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dash import Input, Output, State, dcc, html

if TYPE_CHECKING:
    from dash import Dash

CALLBACKS = 2000


def install(app: Dash) -> None:
    """Give ``app`` its callbacks, half of them async, and the components that they name."""
    app.layout = html.Div(
        [
            html.Div([dcc.Input(id=f"in-{number}"), html.P(id=f"out-{number}")])
            for number in range(CALLBACKS)
        ]
    )
    for number in range(CALLBACKS):
        _add(app, number)


def _add(app: Dash, number: int) -> None:
    output = Output(f"out-{number}", "children")
    value = Input(f"in-{number}", "value")
    unit = State(f"in-{(number + 1) % CALLBACKS}", "value")
    if number % 2:

        @app.callback(output, value, unit)
        async def _async_answer(word: str, other: str) -> str:
            return f"{word} {other} {number}"

    else:

        @app.callback(output, value, unit)
        def _plain_answer(word: str, other: str) -> str:
            return f"{word} {other} {number}"
