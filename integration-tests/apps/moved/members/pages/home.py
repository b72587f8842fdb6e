from dash import dcc, html, register_page

register_page(__name__, path="/", name="Home", title="Members")

layout = html.Div([html.H1("Welcome"), dcc.Link("Accounts", href="/accounts", id="to-accounts")])
