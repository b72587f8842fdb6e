from flash import Input, Output, callback, dcc, html, page_registry, register_page

register_page(
    __name__,
    path="/",
    name="Shelf",
    title="The shelf",
    description="What stands on it",
    image="dot.png",
    order=0,
    colour="red",
)


def layout(language="", **_):
    pages = page_registry.values()
    return html.Div(
        [
            html.H1(f"Shelf {language}", id="heading"),
            html.Ul([html.Li(dcc.Link(page["name"], page["relative_path"])) for page in pages]),
            html.P([page.get("colour", "-") for page in pages], id="colours"),
            dcc.Input(id="search"),
            html.P(id="searched"),
        ]
    )


@callback(Output("searched", "children"), Input("search", "value"), prevent_initial_call=True)
async def search(value):
    return f"searched {value}"
