"""Flask's idioms give under Flash what they give under Dash on Flask."""

import functools
import inspect
import json
from contextvars import copy_context

import dash
import flask
import itsdangerous
import pytest
import quart
from flask_idioms import IDIOMS

import flash

# Of a response: what a browser or an API's user would notice.
HEADERS = ("content-type", "location", "content-disposition", "content-range", "allow")


@pytest.fixture(autouse=True)
def one_moment(monkeypatch):
    """Sign all cookies at the same second."""
    monkeypatch.setattr(itsdangerous.TimestampSigner, "get_timestamp", lambda self: 1_700_000_000)
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.5)
    # What `dash.get_app` returns is not to be an app of these tests in those that follow.
    monkeypatch.setattr("dash._get_app.APP", None)


def awaited(function):
    """Return a function as an ``async def``."""

    @functools.wraps(function)
    async def wrapped(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapped


def replies(package, name, *, awaiting=False):
    """Return what an idiom's app answers; ``awaiting`` makes its functions coroutines."""
    define, requests = IDIOMS[name]
    app = define(package)
    if awaiting:
        for endpoint, view in app.server.view_functions.items():
            if not inspect.iscoroutinefunction(view):
                app.server.view_functions[endpoint] = awaited(view)
        for functions in (app.server.before_request_funcs, app.server.teardown_request_funcs):
            for key, each in functions.items():
                functions[key] = [awaited(function) for function in each]
        for spec in app.callback_map.values():
            spec["callback"].__wrapped__ = awaited(spec["callback"].__wrapped__)
    client = app.server.test_client()
    found = []
    for method, path, options in requests:
        given = dict(options)
        if "data" in given and isinstance(given["data"], dict):
            given["data"] = {
                key: (type(value[0])(value[0].getvalue()), value[1])
                if isinstance(value, tuple)
                else value
                for key, value in given["data"].items()
            }
        response = client.open(path, method=method, **given)
        headers = {key: response.headers.get(key) for key in HEADERS}
        own = {
            key.lower(): value for key, value in response.headers if key.lower().startswith("x-")
        }
        cookies = sorted(response.headers.getlist("set-cookie"))
        body = response.get_data()
        if "_dash-" in path and response.mimetype == "application/json":
            # Dash's own JSON escapes slashes and has other white space.
            body = json.loads(body)
        response.close()
        found.append((response.status_code, body, headers, own, cookies))
    return found


def apart(*arguments, **options):
    """Return what `replies` does, and leave no app behind as the current one."""
    return copy_context().run(replies, *arguments, **options)


@pytest.mark.parametrize("name", IDIOMS)
def test_an_idiom_of_flask_gives_the_same(name):
    assert apart(flash, name) == apart(dash, name)


# What waits for a request's body, which the event loop cannot.
WAIT = {"request_in_a_route", "uploads"}


@pytest.mark.parametrize("name", sorted(IDIOMS.keys() - WAIT))
def test_an_idiom_of_flask_gives_the_same_in_an_async_function(name):
    assert apart(flash, name, awaiting=True) == apart(dash, name)


async def test_flasks_names_work_on_a_plain_quart_app_and_read_no_disk_on_the_loop():
    server = quart.Quart("plain")
    server.config["COLOUR"] = "red"
    async with server.test_request_context("/there", headers={"X-Who": "me"}):
        assert flask.request.headers["X-Who"] == "me"
        assert flask.current_app.config["COLOUR"] == "red"
        assert flask.url_for("static", filename="a") == "/static/a"
