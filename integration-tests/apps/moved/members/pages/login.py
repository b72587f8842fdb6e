from dash import dcc, html, register_page

register_page(__name__, path="/login", title="Log in")

layout = html.Form(
    [
        dcc.Input(id="name", name="name"),
        dcc.Input(id="password", name="password", type="password"),
        html.Label([html.Button("Log in", id="submit", type="submit")]),
        dcc.Input(type="hidden", name="remember", value="yes"),
    ],
    method="POST",
)
