from cookbook import RECIPES

from flash import dcc, html, register_page

register_page(__name__, path="/", name="Recipes", title="All recipes", in_menu=True)

layout = html.Ul(
    [
        html.Li(dcc.Link(recipe["title"], href=f"/recipe/{slug}", id=f"to-{slug}"))
        for slug, recipe in RECIPES.items()
    ]
)
