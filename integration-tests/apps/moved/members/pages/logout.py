from dash import html, register_page
from flask_login import current_user, logout_user

register_page(__name__, path="/logout", title="Good bye")


def layout(**_query):
    name = current_user.id if current_user.is_authenticated else "nobody"
    if current_user.is_authenticated:
        logout_user()
    return html.H1(f"Good bye, {name}", id="bye")
