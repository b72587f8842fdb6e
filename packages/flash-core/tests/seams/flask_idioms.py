"""What apps do with Flask, each as an app that stock Dash and Flash both serve.

An idiom is a function that gets the package ``dash`` or ``flash`` and returns an app; `REQUESTS`
says what is asked of it.
"""

import functools
import io
import threading

import flask
from dash import hooks
from flask import g, session
from flask_replies import app_of, call, get, noting_in, page, post, with_callback
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

# By idiom: the function, and the requests.
IDIOMS = {}
idiom = noting_in(IDIOMS)


def seen():
    """Return what `flask.request` says, without what differs by the server."""
    request = flask.request
    return [
        request.method,
        request.path,
        request.remote_addr,
        request.cookies.get("taste"),
        request.headers.get("X-Who"),
        request.args.get("q"),
        request.url,
        request.host,
        request.content_type,
        request.is_secure,
    ]


# -- the request ----------------------------------------------------------------------------------


@idiom(call(headers={"X-Who": "me", "Cookie": "taste=sweet"}))
def request_in_a_callback(dash):
    return with_callback(dash, lambda value: str(seen()))


@idiom(call(7))
def json_of_the_request_in_a_callback(dash):
    return with_callback(
        dash, lambda value: str([flask.request.get_json(), flask.request.json["inputs"]])
    )


@idiom(get("/_dash-layout", headers={"X-Who": "me"}))
def request_in_a_layout(dash):
    app = app_of(dash)
    app.layout = lambda: dash.html.P(str(seen()))
    return app


@idiom(get("/_dash-layout"))
def has_request_context(dash):
    app = app_of(dash)
    app.layout = lambda: dash.html.P(str([flask.has_request_context(), flask.has_app_context()]))
    return app


@idiom(get("/seen?q=a%20b", headers={"X-Who": "me"}), post("/seen", data=b"x"))
def request_in_a_route(dash):
    app = app_of(dash)
    app.server.route("/seen", methods=["GET", "POST"])(
        lambda: [*seen(), flask.request.get_data().decode()]
    )
    return app


@idiom(post("/up", data={"file": (io.BytesIO(b"bytes"), "name.txt"), "note": "n"}))
def uploads(dash):
    app = app_of(dash)

    @app.server.route("/up", methods=["POST"])
    def up():
        file = flask.request.files["file"]
        return {"name": file.filename, "size": len(file.read()), "form": dict(flask.request.form)}

    return app


@idiom(get("/u/alice?name=bob"))
def variables_of_a_route(dash):
    app = app_of(dash)
    app.server.route("/u/<name>")(
        lambda name: [name, flask.request.view_args, flask.request.endpoint is not None]
    )
    return app


# -- session and g --------------------------------------------------------------------------------


@idiom(call(1), call(2), get("/_dash-layout"))
def session_in_a_callback(dash):
    def count(value):
        session["count"] = session.get("count", 0) + value
        return session["count"]

    return with_callback(dash, count)


@idiom(get("/in/bob"), get("/_dash-layout"), get("/out"), get("/_dash-layout"))
def session_in_a_layout(dash):
    app = app_of(dash)
    app.layout = lambda: dash.html.P(session.get("user", "nobody"))

    @app.server.route("/in/<user>")
    def enter(user):
        session["user"] = user
        session.permanent = True
        return "hello"

    @app.server.route("/out")
    def leave():
        session.pop("user", None)
        return "bye"

    return app


@idiom(call(), get("/_dash-layout"))
def g_of_before_request(dash):
    app = with_callback(dash, lambda value: f"{g.user} {value}")
    app.layout = lambda: dash.html.P(g.get("user", "nobody"))

    @app.server.before_request
    def load():
        g.user = "carol"

    return app


@idiom(call())
def config_of_current_app(dash):
    app = with_callback(
        dash,
        lambda value: str([flask.current_app.config["COLOUR"], flask.current_app.name]),
    )
    app.server.config["COLOUR"] = "red"
    return app


@idiom(get("/add"), get("/show"), get("/show"))
def flashed_messages(dash):
    app = app_of(dash)

    @app.server.route("/add")
    def add():
        flask.flash("one")
        flask.flash("two", "warning")
        return "added"

    @app.server.route("/show")
    def show():
        return flask.jsonify(flask.get_flashed_messages(with_categories=True))

    return app


# -- guards and functions around requests ---------------------------------------------------------


@idiom(get("/"), call(), get("/_dash-layout"), get("/login"), get("/_dash-layout"), call())
def a_guard_that_redirects(dash):
    app = with_callback(dash, lambda value: f"for {session['user']}")

    @app.server.before_request
    def guard():
        if flask.request.path != "/login" and "user" not in session:
            return flask.redirect("/login")
        return None

    @app.server.route("/login")
    def login():
        session["user"] = "dave"
        return "in"

    return app


@idiom(get("/x"), call())
def a_guard_that_aborts(dash):
    app = with_callback(dash, lambda value: value)

    @app.server.before_request
    def guard():
        flask.abort(401)

    return app


@idiom(get("/plain"), call(), get("/_dash-layout"))
def after_request(dash):
    app = with_callback(dash, lambda value: "called")
    app.server.route("/plain")(lambda: "text")

    @app.server.after_request
    def add(response):
        response.headers["X-Length"] = str(len(response.get_data()))
        response.set_cookie("seen", "yes", samesite="Lax")
        return response

    return app


@idiom(get("/shout"))
def after_request_that_changes_the_body(dash):
    app = app_of(dash)
    app.server.route("/shout")(lambda: "text")

    @app.server.after_request
    def shout(response):
        response.set_data(response.get_data().upper())
        return response

    return app


@idiom(get("/a"), get("/log"))
def teardown_functions(dash):
    app = app_of(dash)
    log = []
    app.server.before_request(lambda: log.append("before"))
    app.server.teardown_request(lambda error: log.append("request"))
    app.server.teardown_appcontext(lambda error: log.append("app"))
    app.server.route("/a", endpoint="a")(lambda: "a")
    app.server.route("/log", endpoint="log")(lambda: flask.jsonify(log))
    return app


@idiom(get("/soon"), call())
def after_this_request(dash):
    def cookie(response):
        response.set_cookie("later", "yes")
        response.headers["X-Length"] = str(len(response.get_data()))
        return response

    def called(value):
        flask.after_this_request(cookie)
        return "called"

    app = with_callback(dash, called)

    @app.server.route("/soon")
    def soon():
        flask.after_this_request(cookie)
        return "soon"

    return app


# -- what routes return ---------------------------------------------------------------------------


@idiom(*[get(f"/{name}") for name in ("text", "json", "dict", "list", "tuple", "away", "response")])
def kinds_of_responses(dash):
    app = app_of(dash)
    route = app.server.route
    route("/text", endpoint="text")(lambda: "text")
    route("/json", endpoint="json")(lambda: flask.jsonify(a=1, b=[2]))
    route("/dict", endpoint="dict")(lambda: {"b": 1, "a": "ä"})
    route("/list", endpoint="list")(lambda: [1, 2])
    route("/tuple", endpoint="tuple")(lambda: ("made", 201, {"X-A": "b"}))
    route("/away", endpoint="away")(lambda: flask.redirect("/text", 303))
    route("/response", endpoint="response")(
        lambda: flask.Response("body", 202, {"X-A": "b"}, mimetype="text/csv")
    )
    return app


@idiom(get("/made"))
def make_response(dash):
    app = app_of(dash)

    @app.server.route("/made")
    def made():
        response = flask.make_response({"a": 1}, 203)
        response.set_cookie("k", "v", max_age=60, httponly=True)
        return response

    return app


@idiom(get("/many"))
def a_generator(dash):
    app = app_of(dash)

    @app.server.route("/many")
    def many():
        return flask.Response((f"{n}\n" for n in range(3)), mimetype="text/plain")

    return app


@idiom(get("/stream?q=5"))
def a_stream_with_context(dash):
    app = app_of(dash)

    @app.server.route("/stream")
    def stream():
        @flask.stream_with_context
        def parts():
            yield "q="
            yield flask.request.args["q"]

        return flask.Response(parts(), mimetype="text/plain")

    return app


@idiom(
    get("/path"),
    get("/path", headers={"Range": "bytes=2-5"}),
    get("/bytes"),
    get("/folder/flask_idioms.py", headers={"Range": "bytes=0-9"}),
    get("/folder/none"),
    get("/folder/%2e%2e/conftest.py"),
)
def files(dash):
    app = app_of(dash)
    app.server.route("/path")(lambda: flask.send_file(__file__, mimetype="text/plain"))

    @app.server.route("/bytes")
    def attachment():
        return flask.send_file(io.BytesIO(b"a,b"), as_attachment=True, download_name="t.csv")

    @app.server.route("/folder/<path:name>")
    def folder(name):
        return flask.send_from_directory(__file__.rpartition("/")[0], name)

    return app


@idiom(get("/gone"), get("/teapot"), get("/value"), get("/nowhere/x", headers={"X": "y"}))
def errors(dash):
    app = app_of(dash, url_base_pathname="/dash/")
    app.server.route("/gone", endpoint="gone")(lambda: flask.abort(410, "it is gone"))
    app.server.route("/teapot")(lambda: flask.abort(flask.make_response("short", 418)))

    @app.server.route("/value")
    def value():
        raise ValueError("bad value")

    @app.server.errorhandler(ValueError)
    def bad(error):
        return flask.jsonify(error=str(error)), 422

    @app.server.errorhandler(404)
    def missing(error):
        return f"no {flask.request.path}", 404

    return app


@idiom(get("/page/anna"))
def templates(dash):
    app = app_of(dash)
    app.server.context_processor(lambda: {"brand": "Acme"})
    app.server.add_template_filter(lambda text: text[::-1], "backwards")

    @app.server.route("/page/<name>")
    def page(name):
        g.colour = "blue"
        return flask.render_template_string(
            "{{ name|backwards }} <{{ '<' }}> {{ brand }} {{ g.colour }} {{ request.path }} "
            "{{ config.SECRET_KEY }} {{ session.get('x') }} {{ url_for('page', name='bo') }}",
            name=name,
        )

    return app


@idiom(get("/urls"))
def urls(dash):
    app = app_of(dash)

    @app.server.route("/urls")
    def here():
        return [
            flask.url_for("here"),
            flask.url_for("here", a=1, _external=True),
            flask.url_for("here", _anchor="x"),
        ]

    return app


@idiom(get("/shop/"), get("/shop/cart/3"))
def blueprints(dash):
    app = app_of(dash)
    shop = flask.Blueprint("shop", __name__, url_prefix="/shop")
    shop.route("/")(lambda: "shop")

    @shop.route("/cart/<int:number>")
    def cart(number):
        return {"cart": number, "at": flask.url_for("shop.cart", number=9), "g": g.shop}

    @shop.before_request
    def before():
        g.shop = flask.request.blueprint

    @shop.after_request
    def after(response):
        response.headers["X-Shop"] = str(len(response.get_data()))
        return response

    app.server.register_blueprint(shop)
    return app


@idiom(get("/v"))
def method_views(dash):
    from flask.views import MethodView

    class View(MethodView):
        def get(self):
            return {"method": flask.request.method}

    app = app_of(dash)
    app.server.add_url_rule("/v", view_func=View.as_view("v"))
    return app


@idiom(get("/hooked"), post("/hooked", data=b"x"))
def routes_of_hooks(dash):
    @dash.hooks.route("hooked", methods=("GET", "POST"))
    def hooked():
        session["count"] = session.get("count", 0) + 1
        return flask.jsonify([*seen(), session["count"], flask.current_app.name])

    try:
        return app_of(dash)
    finally:
        # For this app only.
        hooks._ns["routes"].pop()


@idiom(call(), get("/_dash-layout", headers={"X-Fail": "yes"}))
def aborts_and_errors_in_callbacks(dash):
    def called(value):
        flask.abort(flask.make_response("not now", 409))

    app = with_callback(dash, called)

    def layout():
        if "X-Fail" in flask.request.headers:
            raise LookupError("no layout")
        return dash.html.P()

    app.layout = layout

    @app.server.errorhandler(LookupError)
    def missing(error):
        return f"{error} at {flask.request.path}", 404

    return app


@idiom(page("/first/7"), page("/second"), page("/none"))
def layouts_of_pages(dash):
    app = app_of(dash, use_pages=True, pages_folder="")
    dash.register_page(
        "first",
        path_template="/first/<n>",
        layout=lambda n=0: dash.html.P(
            str([n, flask.request.path, session.get("user"), g.get("user")])
        ),
    )
    dash.register_page("second", path="/second", layout=dash.html.P("second"))
    app.layout = dash.html.Div([dash.page_container])

    @app.server.before_request
    def load():
        g.user = "carol"

    return app


@idiom(call())
def cookies_of_a_callback(dash):
    def called(value):
        dash.ctx.response.set_cookie("dash", "cookie")
        return "called"

    return with_callback(dash, called)


# -- threads and contexts -------------------------------------------------------------------------


@idiom(call(headers={"X-Who": "me"}))
def copy_current_request_context(dash):
    def called(value):
        found = []

        @flask.copy_current_request_context
        def work():
            found.append(flask.request.headers["X-Who"])

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return found

    return with_callback(dash, called)


@idiom(call())
def an_app_context_in_a_thread(dash):
    def called(value):
        found = []

        def work():
            with app.server.app_context():
                g.value = 5
                found.append([flask.current_app.config["COLOUR"], g.value])

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return str(found)

    app = with_callback(dash, called)
    app.server.config["COLOUR"] = "red"
    return app


@idiom(get("/found"))
def contexts_outside_of_requests(dash):
    app = app_of(dash)
    found = []
    with app.server.app_context():
        found.append(flask.current_app.name)
    with app.server.test_request_context("/there?q=1", headers={"X-Who": "me"}):
        found.extend(seen())
        session["a"] = 1
        found.append(session["a"])
    app.server.route("/found")(lambda: flask.jsonify(found))
    return app


@idiom(get("/inner"))
def test_client(dash):
    app = app_of(dash)
    app.server.route("/a", endpoint="a")(lambda: flask.jsonify(a=1, kept=session["a"]))
    found = []
    app.server.route("/inner", endpoint="inner")(lambda: flask.jsonify(found))
    with app.server.test_client() as client:
        with client.session_transaction() as kept:
            kept["a"] = 1
        response = client.get("/a", headers={"X": "y"})
    found.extend([response.status_code, response.json, response.mimetype, response.text])
    return app


# -- what is put around the server ----------------------------------------------------------------


@idiom(
    call(headers={"X-Forwarded-For": "10.1.2.3", "X-Forwarded-Proto": "https"}),
    get("/seen", headers={"X-Forwarded-For": "10.1.2.3", "X-Forwarded-Host": "shop.example"}),
)
def proxy_fix(dash):
    app = with_callback(dash, lambda value: str(seen()))
    app.server.route("/seen")(seen)
    app.server.wsgi_app = ProxyFix(app.server.wsgi_app, x_for=1, x_proto=1, x_host=1)
    return app


@idiom(get("/other/x"), get("/_dash-layout"))
def dispatcher_middleware(dash):
    def other(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Other", "yes")])
        return [environ["SCRIPT_NAME"].encode(), environ["PATH_INFO"].encode()]

    app = app_of(dash)
    app.server.wsgi_app = DispatcherMiddleware(app.server.wsgi_app, {"/other": other})
    return app


@idiom(get("/_dash-layout"), get("/_dash-dependencies"))
def middleware_that_adds_a_header(dash):
    def adding(inner):
        def middleware(environ, start_response):
            def start(status, headers, exc_info=None):
                return start_response(status, [*headers, ("X-Added", "yes")], exc_info)

            return inner(environ, start)

        return middleware

    app = app_of(dash)
    app.server.wsgi_app = adding(app.server.wsgi_app)
    return app


def flask_server():
    server = flask.Flask("idioms")
    server.secret_key = "secret"
    server.config["COLOUR"] = "green"
    server.route("/mine")(lambda: flask.jsonify(flask.current_app.config["COLOUR"]))
    return server


@idiom(get("/mine"), get("/late"), call(), get("/_dash-layout"))
def a_server_of_flask(dash):
    server = flask_server()
    app = with_callback(dash, lambda value: flask.current_app.config["COLOUR"], server=server)
    server.route("/late", endpoint="late")(lambda: "registered later")

    @server.after_request
    def after(response):
        response.headers["X-Length"] = str(len(response.get_data()))
        return response

    return app


@idiom(get("/mine"), get("/dash/_dash-layout"), call(path="/dash/_dash-update-component"))
def init_app_with_flask(dash):
    server = flask_server()
    app = dash.Dash(server=False, url_base_pathname="/dash/", suppress_callback_exceptions=True)
    app.layout = dash.html.P(id="out")
    app.init_app(server)
    app.callback(dash.Output("out", "children"), dash.Input("in", "value"))(
        lambda value: flask.current_app.config["COLOUR"]
    )
    return app


@idiom(get("/_dash-layout"), get("/mine"))
def an_app_factory(dash):
    def create_app():
        server = flask_server()
        with server.app_context():
            app = dash.Dash(__name__, server=server, suppress_callback_exceptions=True)
            app.layout = dash.html.P(flask.current_app.config["COLOUR"])
            app.title = "fixed"
        return app

    return create_app()


@idiom(get("/admin"), get("/_dash-layout"))
def a_view_with_a_decorator(dash):
    def needs(role):
        def decorate(view):
            @functools.wraps(view)
            def wrapped(*args, **kwargs):
                if flask.request.headers.get("X-Role") != role:
                    flask.abort(403)
                return view(*args, **kwargs)

            return wrapped

        return decorate

    app = app_of(dash)
    app.server.route("/admin")(needs("admin")(lambda: "secret"))
    return app


@idiom(get("/cli"))
def commands(dash):
    app = app_of(dash)

    @app.server.cli.command("greet")
    def greet():
        """Greet."""

    names = list(app.server.cli.commands)
    app.server.route("/cli")(lambda: flask.jsonify("greet" in names))
    return app


@idiom(get("/dumps"))
def json_settings(dash):
    app = app_of(dash)
    app.server.json.sort_keys = False
    app.server.route("/dumps")(lambda: flask.jsonify({"b": 1, "a": 2}))
    return app


@idiom(get("/a/"), get("/a"), post("/a/"))
def routing(dash):
    app = app_of(dash, url_base_pathname="/dash/")
    app.server.route("/a/")(lambda: "slash")
    return app
