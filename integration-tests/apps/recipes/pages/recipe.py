from cookbook import RECIPES

from flash import ALL, Input, Output, Patch, callback, ctx, html, no_update, register_page


def title(slug=None):
    return RECIPES[slug]["title"] if slug in RECIPES else "No such recipe"


register_page(__name__, path_template="/recipe/<slug>", title=title, description="One recipe")


def layout(slug=None, servings="2", **_):
    if slug not in RECIPES:
        return html.P(f"There is no recipe called {slug}.", id="unknown")
    recipe = RECIPES[slug]
    return html.Article(
        [
            html.H2(recipe["title"], id="recipe-title"),
            html.P(f"{recipe['minutes']} minutes, for {servings}", id="recipe-facts"),
            html.Ul([html.Li(each) for each in recipe["needs"]], id="recipe-needs"),
            html.Button("Add to the shopping list", id={"add": slug}),
        ],
        id="recipe",
    )


@callback(
    Output("shopping-list", "data"), Input({"add": ALL}, "n_clicks"), prevent_initial_call=True
)
def add(clicks):
    if not any(clicks):
        return no_update
    shopping_list = Patch()
    shopping_list.extend(RECIPES[ctx.triggered_id["add"]]["needs"])
    return shopping_list
