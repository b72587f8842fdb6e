"""A cookbook of several pages: path templates, query strings, titles, a 404 page, shared state."""

from flash import Dash, Input, Output, callback, dcc, html, page_container, page_registry

app = Dash(__name__, use_pages=True, title="Cookbook")


def navigation():
    return [
        dcc.Link(page["name"], href=page["relative_path"], className="nav")
        for page in page_registry.values()
        if page.get("in_menu")
    ]


app.layout = html.Div(
    [
        dcc.Location(id="here"),
        dcc.Store(id="shopping-list", data=[]),
        html.Nav(navigation(), id="navigation"),
        html.P(id="breadcrumb"),
        html.Main(page_container),
        html.Footer(id="shopping-count"),
    ]
)


@callback(Output("breadcrumb", "children"), Input("here", "pathname"))
def breadcrumb(pathname):
    return " / ".join(["Cookbook", *pathname.strip("/").split("/")]).rstrip(" /")


@callback(Output("shopping-count", "children"), Input("shopping-list", "data"))
def count(items):
    return f"{len(items)} on the shopping list"


if __name__ == "__main__":
    app.run(debug=True)
