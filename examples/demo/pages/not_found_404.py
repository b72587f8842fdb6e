"""What is shown at an address of no page; Dash knows it by the name of this module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import components

from flash import dcc, html, register_page

if TYPE_CHECKING:
    from dash.development.base_component import Component

register_page(__name__, title="No such page · Meridian Trade")


def layout(**_query: str) -> Component:
    return components.page(
        "There is no such page",
        "The address may be of an older version of this demo",
        html.Div(dcc.Link("To the first page", href="/"), className="panel not-found"),
    )
