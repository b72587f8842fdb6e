"""Apps with Flask extensions, each served by stock Dash and by Flash."""

import base64
import tempfile
import threading
from datetime import timedelta

import flask
import flask_login
from cachelib.file import FileSystemCache
from flask import g, session
from flask_caching import Cache
from flask_cors import CORS, cross_origin
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import LoginManager, UserMixin, current_user, login_required
from flask_replies import app_of, call, get, noting_in, with_callback
from flask_session import Session
from flask_sqlalchemy import SQLAlchemy
from flask_talisman import Talisman

# By name: the function that makes the app, and the requests.
EXTENSIONS = {}
extension = noting_in(EXTENSIONS)


# -- flask-login ----------------------------------------------------------------------------------


class User(UserMixin):
    def __init__(self, name):
        self.id = name


def name_of_user():
    return current_user.id if current_user.is_authenticated else "nobody"


def with_login(app):
    manager = LoginManager(app.server)
    manager.login_view = "enter"
    manager.user_loader(lambda name: None if name == "gone" else User(name))

    @app.server.route("/in/<name>", endpoint="in")
    def enter(name):
        remember = "remember" in flask.request.args
        flask_login.login_user(User(name), remember, duration=timedelta(days=3))
        return f"hello {current_user.id}"

    app.server.route("/login", endpoint="enter")(lambda: "please log in")

    @app.server.route("/out")
    def leave():
        flask_login.logout_user()
        return name_of_user()

    app.server.route("/me", endpoint="me")(lambda: {"user": name_of_user()})

    @app.server.route("/private")
    @login_required
    def private():
        return f"for {current_user.id}"

    @app.server.route("/fresh")
    @flask_login.fresh_login_required
    def fresh():
        return f"fresh {current_user.id}"

    app.server.route("/page", endpoint="page")(
        lambda: flask.render_template_string("{{ current_user.is_authenticated }}")
    )
    return app


@extension(
    get("/private"),
    get("/me"),
    get("/in/ann"),
    get("/private"),
    get("/fresh"),
    get("/page"),
    call(),
    get("/_dash-layout"),
    get("/out"),
    get("/private"),
    get("/page"),
    call(),
    get("/_dash-layout"),
    get("/in/gone"),
    get("/me"),
)
def login_on_routes(dash):
    app = with_login(with_callback(dash, lambda value: f"{value} {name_of_user()}"))
    app.layout = lambda: dash.html.P(name_of_user())
    return app


@extension(
    get("/in/ann?remember=1"),
    get("/me", drop_cookie="session"),
    get("/private"),
    get("/fresh"),
    call(),
    get("/out"),
    get("/me"),
    get("/private"),
)
def remembered_login(dash):
    return with_login(with_callback(dash, lambda value: f"{value} {name_of_user()}"))


@extension(call("ann"), get("/private"), call("-"), get("/private"), call("bob"), get("/me"))
def login_in_a_callback(dash):
    def called(value):
        if value == "-":
            flask_login.logout_user()
        else:
            flask_login.login_user(User(value), remember=True)
        return name_of_user()

    return with_login(with_callback(dash, called))


@extension(
    get("/"),
    call(),
    get("/_dash-layout"),
    get("/_dash-dependencies"),
    get("/in/ann"),
    get("/_dash-layout"),
    call(),
)
def login_in_a_guard(dash):
    app = with_login(with_callback(dash, lambda value: f"{g.name} {value}"))
    app.layout = lambda: dash.html.P(g.get("name"))

    @app.server.before_request
    def guard():
        if not current_user.is_authenticated and flask.request.endpoint not in ("in", "enter"):
            return flask.redirect(flask.url_for("enter", next=flask.request.path))
        g.name = name_of_user()
        return None

    return app


@extension(get("/in/ann"), call(), get("/out"), call())
def login_required_on_a_callback(dash):
    return with_login(with_callback(dash, login_required(lambda value: f"for {current_user.id}")))


@extension(get("/by-key"), get("/by-key", headers={"X-Key": "ann"}), call(headers={"X-Key": "ann"}))
def login_by_a_header(dash):
    app = with_login(with_callback(dash, lambda value: name_of_user()))

    @app.server.login_manager.request_loader
    def load(request):
        name = request.headers.get("X-Key")
        return User(name) if name else None

    app.server.route("/by-key", endpoint="key")(login_required(lambda: current_user.id))
    return app


# -- flask-caching --------------------------------------------------------------------------------


@extension(call(1), call(1), call(2), get("/counts"), get("/view"), get("/view"), get("/clear"))
def caching(dash):
    counts = {"memoize": 0, "cached": 0, "view": 0}

    def called(value):
        return f"{squared(value)} {constant()}"

    app = with_callback(dash, called)
    cache = Cache(app.server, config={"CACHE_TYPE": "SimpleCache"})

    @cache.memoize(timeout=60)
    def squared(value):
        counts["memoize"] += 1
        return value * value

    @cache.cached(timeout=60, key_prefix="constant")
    def constant():
        counts["cached"] += 1
        return counts["cached"]

    @app.server.route("/view")
    @cache.cached(timeout=60)
    def view():
        counts["view"] += 1
        return str(counts["view"])

    app.server.route("/counts")(lambda: flask.jsonify(counts))

    @app.server.route("/clear")
    def clear():
        cache.delete_memoized(squared)
        cache.clear()
        return str([squared(1), constant(), counts])

    return app


@extension(call(3), call(3), get("/outside"))
def caching_in_files(dash):
    app = with_callback(dash, lambda value: slow(value))
    config = {"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": tempfile.mkdtemp()}
    cache = Cache(config=config)
    cache.init_app(app.server)
    calls = []

    @cache.memoize()
    def slow(value):
        calls.append(value)
        return f"{value} {len(calls)}"

    # Filled before the app serves, without a request.
    found = [slow(9), slow(9)]
    app.server.route("/outside")(lambda: flask.jsonify(found))
    return app


# -- flask-session --------------------------------------------------------------------------------


def counting(dash, configure):
    """An app that counts in a session in a callback, a layout and a route."""

    def count(value):
        session["count"] = session.get("count", 0) + value
        return session["count"]

    app = with_callback(dash, count)
    configure(app.server)
    # The ids of sessions are random.
    app.server.session_interface._generate_sid = lambda length: "the-id"
    app.layout = lambda: dash.html.P(session.get("count", 0))

    @app.server.route("/count")
    def view():
        return {"count": count(10), "large": len(session.setdefault("large", "x" * 10_000))}

    @app.server.route("/leave")
    def leave():
        session.clear()
        return "left"

    return app


COUNTING = (
    get("/_dash-layout"),
    call(1),
    call(2),
    get("/count"),
    get("/_dash-layout"),
    get("/leave"),
    get("/_dash-layout"),
)


@extension(*COUNTING)
def sessions_in_files(dash):
    def configure(server):
        server.config["SESSION_TYPE"] = "cachelib"
        server.config["SESSION_CACHELIB"] = FileSystemCache(tempfile.mkdtemp())
        Session(server)

    return counting(dash, configure)


@extension(call(1), get("/found"))
def sessions_in_a_test_request(dash):
    app = sessions_in_files_app(dash)
    found = []
    with app.server.test_request_context("/"):
        session["a"] = 1
        found.append(session["a"])
    app.server.route("/found")(lambda: flask.jsonify(found))
    return app


def sessions_in_files_app(dash):
    return EXTENSIONS["sessions_in_files"][0](dash)


# -- flask-sqlalchemy -----------------------------------------------------------------------------


@extension(call("ann"), call("bob"), get("/names"), get("/thread"), get("/one/2"), get("/one/9"))
def sqlalchemy(dash):
    db = SQLAlchemy()

    class Name(db.Model):
        id = db.Column(db.Integer, primary_key=True)
        text = db.Column(db.String)

    def add(value):
        db.session.add(Name(text=value))
        db.session.commit()
        return db.session.query(Name).count()

    app = with_callback(dash, add)
    folder = tempfile.mkdtemp()
    app.server.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{folder}/names.db"
    db.init_app(app.server)
    with app.server.app_context():
        db.create_all()

    @app.server.route("/names")
    def names():
        return [name.text for name in db.session.scalars(db.select(Name).order_by(Name.id))]

    @app.server.route("/one/<int:key>")
    def one(key):
        return {"name": db.get_or_404(Name, key).text}

    @app.server.route("/thread")
    def thread():
        found = []

        def work():
            with app.server.app_context():
                found.append(db.session.query(Name).count())

        other = threading.Thread(target=work)
        other.start()
        other.join()
        return found

    return app


@extension(get("/open"), get("/open"), get("/closed"), call(), get("/closed"))
def sqlalchemy_ends_its_sessions(dash):
    db = SQLAlchemy()
    closed = []

    def use(value=None):
        db.session.execute(db.text("select 1"))
        return "used"

    app = with_callback(dash, use)
    app.server.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    db.init_app(app.server)
    remove = db.session.remove

    def removed():
        closed.append(db.session.registry.has())
        remove()

    db.session.remove = removed
    app.server.route("/open")(use)

    @app.server.route("/closed")
    def seen():
        return list(closed)

    return app


# -- headers: flask-talisman, flask-cors, flask-compress ------------------------------------------


@extension(
    get("/plain"),
    get("/plain", headers={"X-Forwarded-Proto": "https"}),
    get("/framed", headers={"X-Forwarded-Proto": "https"}),
    call(headers={"X-Forwarded-Proto": "https"}),
    get("/_dash-layout"),
)
def talisman(dash):
    app = with_callback(dash, lambda value: value)
    policy = {"default-src": "'self'", "script-src": ["'self'", "'unsafe-inline'"]}
    guard = Talisman(app.server, content_security_policy=policy, force_https_permanent=True)

    @app.server.route("/plain")
    def plain():
        session["a"] = 1
        return flask.render_template_string("plain {{ csp_nonce() }}")

    @app.server.route("/framed")
    @guard(frame_options="ALLOW-FROM", frame_options_allow_from="https://example.org")
    def framed():
        return "framed"

    return shown(app, "Content-Security-Policy", "Strict-Transport-Security", "Referrer-Policy")


def shown(app, *names):
    """Copy headers into ones that are compared."""

    def add(response):
        for name in names:
            if name in response.headers:
                response.headers[f"X-{name}-Shown"] = response.headers[name]
        return response

    # First in the list: called last.
    app.server.after_request_funcs[None].insert(0, add)
    return app


@extension(
    get("/plain", headers={"Origin": "https://a.example"}),
    get("/plain", headers={"Origin": "https://b.example"}),
    (
        "OPTIONS",
        "/plain",
        {"headers": {"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}},
    ),
    get("/one", headers={"Origin": "https://b.example"}),
    get("/fails", headers={"Origin": "https://a.example"}),
    get("/breaks", headers={"Origin": "https://a.example"}),
    get("/nowhere", headers={"Origin": "https://a.example"}),
    call(path="/dash/_dash-update-component", headers={"Origin": "https://a.example"}),
)
def cors(dash):
    app = with_callback(dash, lambda value: value, url_base_pathname="/dash/")
    CORS(app.server, origins=["https://a.example"], supports_credentials=True, max_age=60)
    app.server.route("/plain", methods=["GET", "PUT"])(lambda: "plain")
    app.server.route("/one", endpoint="one")(cross_origin(origins="*")(lambda: "one"))

    @app.server.route("/fails")
    def fails():
        flask.abort(403, "not you")

    @app.server.route("/breaks")
    def breaks():
        raise ValueError("broken")

    return app


# -- flask-limiter --------------------------------------------------------------------------------


@extension(get("/few"), get("/few"), get("/few"), get("/free"), call(), call(), call())
def limiter(dash):
    app = with_callback(dash, lambda value: value)
    limits = Limiter(
        get_remote_address,
        app=app.server,
        default_limits=["2 per hour"],
        storage_uri="memory://",
        headers_enabled=True,
    )
    app.server.route("/few", endpoint="few")(limits.limit("2/day")(lambda: "few"))
    app.server.route("/free", endpoint="free")(limits.exempt(lambda: "free"))
    return app


# -- dash-auth ------------------------------------------------------------------------------------


def basic(name, password="pass"):
    token = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


@extension(
    get("/"),
    get("/_dash-layout"),
    get("/mine"),
    get("/mine", headers=basic("ann", "wrong")),
    get("/mine", headers=basic("ann")),
    call(),
    call(headers=basic("ann")),
    call(headers=basic("bob")),
    get("/open/1"),
    get("/out", new_client=True),
)
def basic_auth(dash):
    from dash_auth import BasicAuth, check_groups, list_groups

    app = with_callback(
        dash, lambda value: str([value, list_groups(), check_groups(["admin"]), dict(session)])
    )
    BasicAuth(
        app,
        {"ann": "pass", "bob": "pass"},
        public_routes=["/open/<number>"],
        user_groups={"ann": ["admin", "staff"]},
        secret_key="secret",
    )
    app.server.route("/mine", endpoint="mine")(lambda: flask.jsonify(dict(session)))
    app.server.route("/open/<number>", endpoint="open")(lambda number: f"open {number}")
    app.server.route("/out", endpoint="out")(lambda: "out")
    return app


@extension(call(), call(headers=basic("ann")), call(headers=basic("bob")))
def protected_callbacks(dash):
    from dash_auth import BasicAuth, protected_callback

    app = app_of(dash)
    BasicAuth(
        app,
        auth_func=lambda name, password: password == "pass",
        secret_key="secret",
        user_groups=lambda name: ["admin"] if name == "ann" else [],
    )

    @protected_callback(
        dash.Output("out", "children"),
        dash.Input("in", "value"),
        groups=["admin"],
        missing_permissions_output="not yours",
    )
    def called(value):
        return f"yours {value}"

    return app


@extension(call(), call(output="other"), call(output="other", headers=basic("ann")))
def public_callbacks(dash):
    from dash_auth import BasicAuth, public_callback

    app = app_of(dash)
    BasicAuth(app, {"ann": "pass"}, secret_key="secret")

    @public_callback(dash.Output("out", "children"), dash.Input("in", "value"))
    def called(value):
        return f"public {value}"

    @dash.callback(dash.Output("other", "children"), dash.Input("in", "value"))
    def other(value):
        return f"private {value}"

    return app
