"""Pages for members only, with flask-login and a login form that is posted."""

from dash import Dash, Input, Output, callback, dcc, html, page_container
from flask import Flask, redirect, request, session
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user

PASSWORDS = {"ada": "engine", "max": "quanta"}

server = Flask(__name__)
server.config["SECRET_KEY"] = "members"


class Member(UserMixin):
    def __init__(self, name):
        self.id = name


logins = LoginManager(server)
logins.login_view = "/login"


@logins.user_loader
def load(name):
    return Member(name) if name in PASSWORDS else None


@server.route("/login", methods=["POST"])
def log_in():
    name = request.form["name"]
    if PASSWORDS.get(name) != request.form["password"]:
        return 'wrong name or password, <a id="again" href="/login">again</a>'
    login_user(Member(name), remember="remember" in request.form)
    return redirect(session.pop("wanted", None) or "/")


@server.route("/card")
@login_required
def card():
    return {"member": current_user.id, "fresh": session["_fresh"]}


app = Dash(__name__, server=server, use_pages=True, suppress_callback_exceptions=True)
app.layout = html.Div([dcc.Location(id="url"), html.Header(id="header"), html.Hr(), page_container])


@callback(
    Output("header", "children"),
    Output("url", "pathname"),
    Input("url", "pathname"),
)
def guard(path):
    if current_user.is_authenticated:
        where = "/" if path == "/login" else path
        return [f"{current_user.id} ", dcc.Link("Leave", href="/logout", id="leave")], where
    if path == "/accounts":
        session["wanted"] = path
        return "", "/login"
    return dcc.Link("Log in", href="/login", id="to-login"), path


if __name__ == "__main__":
    app.run(debug=True)
