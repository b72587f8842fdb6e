"""One of two servers that race on the first page: this app on Flash, or as it is on Dash.

``CONTENDER=dash`` makes it an app of Dash on Dash's own Quart backend. Nothing else differs.
"""

from __future__ import annotations

import os
import time

QUERY_SECONDS = 0.5

if os.environ.get("CONTENDER") == "dash":
    from dash import Dash, Input, Output, html

    app = Dash(__name__, backend="quart")
else:
    from flash import Flash, Input, Output, html

    app = Flash(__name__)

app.layout = html.Div([html.P(id=name) for name in ("visitor", "report", "tick", "clock")])
server = app.server


@app.callback(Output("report", "children"), Input("visitor", "children"))
def query(visitor: int) -> str:
    """A plain function with a driver that blocks, as most apps have."""
    time.sleep(QUERY_SECONDS)
    return f"the report of visitor {visitor}"


@app.callback(Output("clock", "children"), Input("tick", "children"))
async def clock(_tick: int) -> str:
    """What all other visitors want meanwhile."""
    return time.strftime("%H:%M:%S")
