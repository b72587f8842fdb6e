"""Prints as JSON what a page is told of an app by its server: ``python told.py flash|dash``."""

import asyncio
import json
import re
import sys

import dash

import flash
from flash import MATCH, Input, Output, State, dcc, html
from flash.testing import FlashClient


def made(kind):
    options = {"prevent_initial_callbacks": "initial_duplicate"}
    app = (
        dash.Dash("told", backend="quart", **options)
        if kind == "dash"
        else flash.Flash("told", **options)
    )
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out"), html.P(id={"row": 1})])
    app.clientside_callback("() => 1", Output("out", "title"), Input("in", "value"))

    @app.callback(
        Output("out", "children"),
        Input("in", "value"),
        State("in", "id"),
        running=[(Output("in", "disabled"), True, False)],
        hidden=True,
        optional=True,
    )
    def one(value, _):
        return value

    @app.callback(
        Output({"row": MATCH}, "children"),
        Output({"row": MATCH}, "title"),
        Input({"row": MATCH}, "n_clicks"),
        Input("in", "value", allow_optional=True),
        prevent_initial_call=False,
    )
    def two(clicks, value):
        return clicks, value

    @app.callback(Output("out", "children", allow_duplicate=True), Input("in", "n_submit"))
    def three(_):
        return ""

    return app


async def told(kind):
    async with FlashClient(made(kind)) as client:
        page = (await client.get("/")).text
        config = json.loads(re.search(r'_dash-config"[^>]*>(.*?)</script>', page)[1])
        # Each page's own name, signed.
        assert config.pop("end_id")
        # Dash's pages open its socket in any case, Flash's where some callback uses it.
        assert ("websocket" in config) is (kind == "dash")
        config.pop("websocket", None)
        return {
            "config": config,
            "layout": (await client.get("/_dash-layout")).json(),
            "dependencies": (await client.get("/_dash-dependencies")).json(),
            "files": re.findall(r'(?:src|href)="([^"]+)"', page),
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(told(sys.argv[1]))))
