"""Callbacks over HTTP and over Dash's socket, async and plain, that look at all there is to see."""

from itertools import product

from quart import has_request_context, request, session, websocket

from flash import Flash, Input, Output, ctx, html, set_props

app = Flash(__name__)
app.server.secret_key = "only for this test"

WAYS = [f"{way}-{kind}" for way, kind in product(("http", "socket"), ("async", "plain"))]

app.layout = html.Div(
    [
        part
        for way in WAYS
        for part in (
            html.Button(way, id=f"{way}-ask"),
            html.P(id=f"{way}-seen"),
            html.P(id=f"{way}-side"),
        )
    ]
)


@app.server.get("/enter")
async def enter():
    session["user"] = "Alma"
    return "entered", {"Set-Cookie": "colour=red; Path=/"}


def look():
    set_props(f"{ctx.triggered_id.removesuffix('-ask')}-side", {"children": "set beside"})
    connection = request if has_request_context() else websocket
    return ", ".join(
        [
            ctx.triggered_id,
            f"clicks {ctx.inputs[f'{ctx.triggered_id}.n_clicks']}",
            f"session {session.get('user')}",
            f"cookie {ctx.cookies.get('colour')} {connection.cookies.get('colour')}",
            f"browser {'Chrom' in connection.headers['User-Agent']}",
            f"headers {'User-Agent' in ctx.headers or 'user-agent' in ctx.headers}",
            f"address {ctx.remote}",
        ]
    )


async def look_async(_):
    return look()


def look_plain(_):
    return look()


for way in WAYS:
    app.callback(
        Output(f"{way}-seen", "children"),
        Input(f"{way}-ask", "n_clicks"),
        prevent_initial_call=True,
        websocket=way.startswith("socket"),
    )(look_plain if way.endswith("plain") else look_async)
