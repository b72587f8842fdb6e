"""A part with its own callbacks and ids, to be put into any app."""

from flash.enrich import DashBlueprint, Input, Output, PrefixIdTransform, html

clock = DashBlueprint(transforms=[PrefixIdTransform("clock")])
clock.layout = html.Div([html.Button("Tick", id="tick"), html.P("0 ticks", id="ticks")])


@clock.callback(Output("ticks", "children"), Input("tick", "n_clicks"), prevent_initial_call=True)
def tick(clicks):
    return f"{clicks} ticks"
