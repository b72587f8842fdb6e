"""An app with everything that starts with it, for other apps to host."""

from flash import Flash, Input, Output, dcc, html
from flash_lazy import lazy
from flash_pubsub import PubSub
from flash_ws import Live
from flash_ws.callbacks.deferred import hub_of

# In the order in which it happened.
EVENTS = []


@lazy
def panel(number):
    return html.B(f"panel {number}", id="panel")


def make(**options):
    """Return the app; how it is hosted decides over its prefix."""
    app = Flash(__name__, **options)

    @app.server.before_serving
    async def first():
        EVENTS.append("first")
        print("first", flush=True)

    live = Live(app)
    pubsub = PubSub(app)
    app.layout = lambda: html.Div(
        [
            dcc.Input(id="name", value="Alma"),
            html.P(id="greeting"),
            html.Button("push", id="push"),
            html.P(id="pushed"),
            html.Button("switch", id="switch", n_clicks=0),
            html.P(id="lamp"),
            html.Img(src=app.get_asset_url("lamp.svg"), id="picture"),
            panel(7),
        ]
    )

    @app.callback(Output("greeting", "children"), Input("name", "value"))
    def greet(name):
        return f"Hello {name}"

    @app.callback(Input("push", "n_clicks"), prevent_initial_call=True)
    async def push(clicks):
        await live.push("pushed", {"children": f"pushed {clicks}"})

    @pubsub.shared_callback(Output("lamp", "children"), Input("switch", "n_clicks"))
    async def lamp(clicks):
        return f"lamp {clicks}"

    @app.server.before_serving
    async def last():
        assert hub_of(live.app) is not None
        EVENTS.append("last")
        print("last", flush=True)

    @app.server.after_serving
    def ended():
        print("ended", flush=True)

    return app
