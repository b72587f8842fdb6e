"""Flask's extensions do under Flash what they do under Dash on Flask."""

import asyncio
import gzip
import re
from contextvars import copy_context
from urllib.parse import parse_qs, urlsplit

import dash
import flask
import pytest
import redis
from flask_caching import Cache
from flask_compress import Compress
from flask_extension_apps import COUNTING, EXTENSIONS, counting
from flask_login import login_required
from flask_replies import (
    apart,
    app_of,
    at_one_moment,
    call,
    make_callbacks_async,
    with_callback,
)
from flask_session import Session
from flask_sock import Sock
from flask_socketio import SocketIO
from oidc_provider import provider
from redis_servers import RedisServer

import flash
from flash import ConfigurationError


@pytest.fixture
def one_moment(monkeypatch):
    at_one_moment(monkeypatch)


@pytest.mark.usefixtures("one_moment")
@pytest.mark.parametrize("name", EXTENSIONS)
def test_an_extension_does_the_same(name):
    assert apart(flash, EXTENSIONS, name) == apart(dash, EXTENSIONS, name)


@pytest.mark.usefixtures("one_moment")
@pytest.mark.parametrize("name", EXTENSIONS)
def test_an_extension_does_the_same_with_async_callbacks(name):
    stock = apart(dash, EXTENSIONS, name)
    assert apart(flash, EXTENSIONS, name, make_callbacks_async) == stock


# -- flask-session on Redis -----------------------------------------------------------------------


@pytest.fixture
def redis_server(tmp_path):
    with RedisServer(tmp_path) as server:
        yield server.url


@pytest.mark.usefixtures("one_moment")
def test_sessions_in_redis_are_the_same(redis_server):
    def stored(package):
        client = redis.Redis.from_url(redis_server)
        client.flushall()

        def configure(server):
            server.config.update(SESSION_TYPE="redis", SESSION_REDIS=client)
            Session(server)

        table = {"redis": (lambda package: counting(package, configure), COUNTING)}
        found = apart(package, table, "redis")
        keys = client.keys()
        client.close()
        return found, keys

    assert stored(flash) == stored(dash)


# -- flask-compress -------------------------------------------------------------------------------


def compressed(package):
    app = with_callback(package, lambda value: "long " * 1000)
    Compress(app.server)
    app.layout = package.html.Div([package.html.P("text " * 10) for _ in range(100)])
    app.server.route("/long", endpoint="long")(lambda: "route " * 1000)
    app.server.route("/short", endpoint="short")(lambda: "short")
    client = app.server.test_client()
    found = []
    method, path, options = call()
    accepting = {"Accept-Encoding": "gzip"}
    responses = [client.get(each, headers=accepting) for each in ("/long", "/short", "/")]
    responses.append(client.open(path, method=method, headers=accepting, **options))
    for response in responses:
        coding = response.headers.get("Content-Encoding")
        body = response.get_data()
        text = (gzip.decompress(body) if coding == "gzip" else body).decode()
        # Both name a page differently, and Dash's JSON has other white space.
        text = re.sub(r"<script.*</script>|<link[^>]*>|\s", "", text, flags=re.DOTALL)
        found.append((response.status_code, coding, response.headers.get("Vary"), text))
    return app, found


def test_flask_compress_is_replaced():
    app, found = copy_context().run(compressed, flash)
    _, stock = copy_context().run(compressed, dash)
    assert [each[:2] for each in found] == [each[:2] for each in stock]
    assert [each[3] for each in found][:2] == [each[3] for each in stock][:2]
    assert found[3][3] == stock[3][3]
    assert all(each[2].lower() == "accept-encoding" for each in found if each[1])
    # Nothing is called for every response.
    assert not app.server.after_request_funcs.get(None)


# -- flask-caching and `async def` ----------------------------------------------------------------


def test_flask_caching_caches_the_result_of_an_async_function():
    calls = []

    def define(package):
        app = app_of(package)
        cache = Cache(app.server, config={"CACHE_TYPE": "SimpleCache"})

        @cache.memoize()
        async def squared(value):
            await asyncio.sleep(0)
            calls.append(value)
            return f"{value} {flask.request.method}"

        app.callback(package.Output("out", "children"), package.Input("in", "value"))(squared)
        plain = package.Output("plain", "children"), package.Input("in", "value")
        app.callback(*plain)(lambda value: squared(value))

        @app.callback(package.Output("thread", "children"), package.Input("in", "value"))
        async def thread(value):
            return await asyncio.to_thread(squared, value)

        return app

    requests = [call(3), call(3), call(3, output="plain"), call(3, output="thread"), call(4)]
    found = apart(flash, {"async": (define, requests)}, "async")
    assert [next(iter(body["response"].values()))["children"] for _, body, *_ in found] == [
        *["3 POST"] * 4,
        "4 POST",
    ]
    assert calls == [3, 4]


def test_an_async_function_cached_on_the_loop_says_what_to_do():
    errors = []

    def define(package):
        app = app_of(package)
        cache = Cache(app.server, config={"CACHE_TYPE": "SimpleCache"})

        @cache.memoize()
        async def squared(value):
            return value * value

        @app.callback(package.Output("out", "children"), package.Input("in", "value"))
        async def called(value):
            try:
                return await squared(value)
            except RuntimeError as error:
                errors.append(str(error))
                return "failed"

        return app

    apart(flash, {"async": (define, [call(3)])}, "async")
    (text,) = errors
    assert "squared is an `async def` function" in text
    assert "asyncio.to_thread(" in text


# -- flask-login and `async def` ------------------------------------------------------------------


def test_login_required_guards_async_views_and_callbacks():
    from flask_extension_apps import with_login

    def define(package):
        async def called(value):
            await asyncio.sleep(0)
            return f"{value} {flask.session['_user_id']}"

        app = with_login(with_callback(package, login_required(called)))

        @app.server.route("/awaited")
        @login_required
        async def awaited():
            await asyncio.sleep(0)
            return f"for {flask.session['_user_id']}"

        return app

    get = ("GET", "/awaited", {})
    requests = [get, ("GET", "/in/ann", {}), get, call(2)]
    out, _, inside, callback = apart(flash, {"async": (define, requests)}, "async")
    assert (out[0], out[2]["location"]) == (302, "/login?next=%2Fawaited")
    assert inside[:2] == (200, b"for ann")
    assert callback[1]["response"]["out"]["children"] == "2 ann"


async def test_many_guarded_async_views_at_once_do_not_take_the_last_thread():
    app = app_of(flash)
    app.server.config["LOGIN_DISABLED"] = True
    everybody = asyncio.Barrier(40)

    @app.server.route("/awaited")
    @login_required
    async def awaited():
        # Each holds a thread that waits for it, and needs another.
        await everybody.wait()
        return await app.server.ensure_async(lambda: "done")()

    client = app.server.test_client()
    async with asyncio.timeout(60):
        found = await asyncio.gather(*(client.get("/awaited") for _ in range(40)))
    assert [each.status_code for each in found] == [200] * 40


# -- dash-auth with OpenID ------------------------------------------------------------------------


def signed_in(package, address):
    from dash_auth import OIDCAuth, list_groups

    app = with_callback(package, lambda value: str([value, list_groups()]))
    auth = OIDCAuth(app, secret_key="secret", public_routes=["/open"], log_signins=True)
    auth.register_provider(
        "idp",
        token_endpoint_auth_method="client_secret_post",
        client_id="client",
        client_secret="key",
        server_metadata_url=f"{address}/.well-known/openid-configuration",
    )
    app.server.route("/open", endpoint="open")(lambda: "open")
    app.server.route("/mine", endpoint="mine")(
        lambda: flask.jsonify(flask.session["user"]["email"], flask.session["idp"])
    )
    client = app.server.test_client()
    method, path, options = call()
    found = [client.get("/open"), client.open(path, method=method, **options), client.get("/mine")]
    asked = {name: value[0] for name, value in parse_qs(urlsplit(found[2].location).query).items()}
    state, nonce = asked.pop("state"), asked.pop("nonce")
    found.append(client.get(f"/oidc/idp/callback?code=wrong&state={state}"))
    found.append(client.get(f"/oidc/idp/callback?code={nonce}&state=another"))
    asked_again = parse_qs(urlsplit(client.get("/oidc/idp/login").location).query)
    state, nonce = asked_again["state"][0], asked_again["nonce"][0]
    found.append(client.get(f"/oidc/idp/callback?code={nonce}&state={state}"))
    found += [client.get("/mine"), client.open(path, method=method, **options)]
    found += [client.get("/oidc/logout"), client.get("/mine")]
    return asked, [
        (each.status_code, (each.location or "").partition("?")[0], _body(each)) for each in found
    ]


def _body(response):
    """The body, without a location's random parts."""
    return None if response.location else re.sub(rb"\s", b"", response.get_data())


def test_a_login_with_openid_goes_the_same_way():
    with provider() as address:
        stock = copy_context().run(signed_in, dash, address)
        assert copy_context().run(signed_in, flash, address) == stock
    assert stock[1][6][2] == b'["ann@example.org","idp"]'


# -- what cannot work -----------------------------------------------------------------------------


def test_socketio_is_refused_when_it_is_attached():
    app = app_of(flash)
    with pytest.raises(ConfigurationError, match=r"flash_ws|add_asgi_route"):
        SocketIO(app.server)


def test_flask_sock_is_refused_when_it_is_attached():
    app = app_of(flash)
    sock = Sock(app.server)
    with pytest.raises(ConfigurationError, match=r"@app\.server\.websocket"):
        sock.route("/ws")(lambda socket: None)


def test_an_extension_that_replaces_dispatching_is_refused():
    app = app_of(flash)
    with pytest.raises(ConfigurationError, match="before_request"):
        app.server.dispatch_request = lambda: "mine"
