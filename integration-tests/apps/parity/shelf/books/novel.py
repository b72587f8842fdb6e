from flash import Input, Output, callback, html, register_page

register_page(__name__)

layout = html.Div(
    [html.H1("A novel", id="heading"), html.Button("Read", id="read"), html.P(id="pages-read")]
)


@callback(Output("pages-read", "children"), Input("read", "n_clicks"), prevent_initial_call=True)
def read(clicks):
    return f"{clicks} read"
