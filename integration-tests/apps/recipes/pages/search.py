from cookbook import RECIPES

from flash import Input, Output, callback, dcc, html, register_page

register_page(__name__, path="/search", title="Search", in_menu=True, redirect_from=["/find"])


def layout(within="60", **_):
    return html.Div(
        [
            html.Label("Minutes at most"),
            dcc.Input(id="minutes", type="number", value=int(within), debounce=True),
            html.Ul(id="found"),
        ]
    )


@callback(Output("found", "children"), Input("minutes", "value"))
def find(minutes):
    return [
        html.Li(dcc.Link(recipe["title"], href=f"/recipe/{slug}?servings=4"))
        for slug, recipe in RECIPES.items()
        if recipe["minutes"] <= (minutes or 0)
    ]
