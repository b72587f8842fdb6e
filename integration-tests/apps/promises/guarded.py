"""A Quart app with a login, a blueprint and two Flash apps, all behind one guard."""

from pathlib import Path
from urllib.parse import urlsplit

from quart import Blueprint, Quart, redirect, request
from quart_auth import AuthUser, QuartAuth, Unauthorized, current_user, login_user

from flash import Flash, Input, Output, callback_context, get_app, html

server = Quart(__name__)
server.secret_key = "only for this test"
QuartAuth(server, cookie_secure=False)

reports = Blueprint("reports", __name__, url_prefix="/reports")


@reports.get("/today")
async def today():
    return f"today's report for {current_user.auth_id}"


server.register_blueprint(reports)


@server.before_request
async def guard():
    if request.path != "/login" and not await current_user.is_authenticated:
        raise Unauthorized


@server.errorhandler(Unauthorized)
async def to_login(_):
    if "text/html" in request.headers.get("Accept", ""):
        return redirect("/login")
    return "log in first", 401


@server.route("/login", methods=["GET", "POST"])
async def login():
    if request.method == "POST":
        login_user(AuthUser((await request.form)["name"]))
        return redirect("/sales/")
    return '<form method="post"><input name="name"><button>Enter</button></form>'


def an_app(name):
    app = Flash(
        __name__,
        server=server,
        url_base_pathname=f"/{name}/",
        title=name.title(),
        assets_folder=str(Path(__file__).with_name("guarded-assets")),
    )
    app.layout = html.Div(
        [html.H1(name), html.Button("Who?", id="who"), html.P(id="user"), html.P(id="app")]
    )

    @app.callback(Output("user", "children"), Output("app", "children"), Input("who", "n_clicks"))
    async def who(clicks):
        del clicks
        path = urlsplit(callback_context.path).path
        return f"{current_user.auth_id} at {path}", get_app().title

    return app


sales = an_app("sales")
stock = an_app("stock")
