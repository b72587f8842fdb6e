from flash import dcc, html, register_page

register_page(__name__, title="Nothing here")

layout = html.Div([html.H2("This page is not in the book", id="missing"), dcc.Link("Home", "/")])
