from dash import Input, Output, callback, dcc, html, register_page
from flask_login import current_user

register_page(__name__, path="/accounts", title="Accounts")


def layout(**_query):
    if not current_user.is_authenticated:
        return html.P("for members only", id="refused")
    return html.Div(
        [
            html.H1(f"Accounts of {current_user.id}", id="accounts"),
            dcc.RadioItems(["savings", "shares"], "savings", id="account"),
            html.P(id="balance"),
        ]
    )


@callback(Output("balance", "children"), Input("account", "value"))
def balance(account):
    amount = 100 * len(current_user.id) + len(account)
    return f"{current_user.id} has {amount} in {account}"
