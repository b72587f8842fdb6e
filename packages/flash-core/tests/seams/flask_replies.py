"""Runs an app on stock Dash and on Flash and returns what both answer, for comparison.

A table of apps is a dictionary: name to a function, which gets the package ``dash`` or ``flash``
and returns an app, and the requests to send to it.
"""

import functools
import inspect
import json
import re
from contextvars import copy_context
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import itsdangerous

from flash.http.response_headers import PAGE_HEADERS

# What Flash adds to pages, and Dash does not; see docs/security.md.
ADDED = {(name.lower(), value) for name, value in PAGE_HEADERS.items()}

# Of a response: what a browser or an API's user would notice.
HEADERS = (
    "content-type",
    "location",
    "content-disposition",
    "content-range",
    "allow",
    "www-authenticate",
)


def get(path, **options):
    """Ask for a path."""
    return ("GET", path, options)


def post(path, **options):
    """Post to a path."""
    return ("POST", path, options)


def call(value=1, path="/_dash-update-component", output="out", **options):
    """Call the callback of `with_callback`."""
    body = {
        "output": f"{output}.children",
        "outputs": {"id": output, "property": "children"},
        "inputs": [{"id": "in", "property": "value", "value": value}],
        "changedPropIds": ["in.value"],
    }
    return post(path, data=json.dumps(body), content_type="application/json", **options)


def page(path):
    """Open a page of an app with pages."""
    content, store = "_pages_content", "_pages_store"
    body = {
        "output": f"..{content}.children...{store}.data..",
        "outputs": [
            {"id": content, "property": "children"},
            {"id": store, "property": "data"},
        ],
        "inputs": [
            {"id": "_pages_location", "property": "pathname", "value": path},
            {"id": "_pages_location", "property": "search", "value": ""},
        ],
        "changedPropIds": ["_pages_location.pathname"],
    }
    return post("/_dash-update-component", data=json.dumps(body), content_type="application/json")


def noting_in(table):
    """Return a decorator that puts a function and its requests into a table."""

    def idiom(*requests):
        def note(define):
            table[define.__name__] = define, requests
            return define

        return note

    return idiom


def app_of(dash, **options):
    """Return an app with one input and one output."""
    options.setdefault("suppress_callback_exceptions", True)
    app = dash.Dash("idioms", **options)
    app.server.secret_key = "secret"
    app.layout = dash.html.Div([dash.dcc.Input(id="in"), dash.html.P(id="out")])
    return app


def with_callback(dash, function, **options):
    """Return an app whose callback is ``function``."""
    app = app_of(dash, **options)
    app.callback(dash.Output("out", "children"), dash.Input("in", "value"))(function)
    return app


def at_one_moment(monkeypatch):
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


def make_async(app):
    """Make the views, the functions before and after requests and the callbacks coroutines."""
    for endpoint, view in app.server.view_functions.items():
        if not inspect.iscoroutinefunction(view):
            app.server.view_functions[endpoint] = awaited(view)
    for functions in (app.server.before_request_funcs, app.server.teardown_request_funcs):
        for key, each in functions.items():
            functions[key] = [awaited(function) for function in each]
    make_callbacks_async(app)


def make_callbacks_async(app):
    """Make the callbacks coroutines."""
    for spec in app.callback_map.values():
        wrapper = spec["callback"]
        # Dash keeps the function in the wrapper's closure, where Flash reads it.
        cell = wrapper.__closure__[wrapper.__code__.co_freevars.index("func")]
        cell.cell_contents = awaited(cell.cell_contents)


def replies(package, table, name, change=None):
    """Return what the app of a table answers; ``change`` is called with the app before."""
    define, requests = table[name]
    app = define(package)
    if change is not None:
        change(app)
    client = app.server.test_client()
    found = []
    for method, path, options in requests:
        given = dict(options)
        if isinstance(given.get("data"), dict):
            # A file is read once, and the table serves twice.
            given["data"] = {
                key: (type(value[0])(value[0].getvalue()), value[1])
                if isinstance(value, tuple)
                else value
                for key, value in given["data"].items()
            }
        if given.pop("new_client", False):
            client = app.server.test_client()
        dropped = given.pop("drop_cookie", None)
        if dropped is not None:
            client.delete_cookie(dropped)
        response = client.open(path, method=method, **given)
        found.append(seen_in(path, response))
        response.close()
    return found


def seen_in(path, response):
    """Return what is compared of a response."""
    headers = {key: response.headers.get(key) for key in HEADERS}
    # Or a shared cache would give one user's answer to another.
    headers["vary by cookie"] = "cookie" in response.vary
    own = {
        key.lower(): value
        for key, value in response.headers
        if key.lower().startswith(("x-", "access-control-")) and (key.lower(), value) not in ADDED
    }
    cookies = sorted(seen_cookie(each) for each in response.headers.getlist("set-cookie"))
    body = response.get_data()
    if "_dash-" in path and response.mimetype == "application/json":
        # Dash's own JSON escapes slashes and has other white space.
        body = json.loads(body)
    return (response.status_code, body, headers, own, cookies)


def seen_cookie(cookie):
    """Replace the moment at which a cookie expires by the minutes until then.

    ``SameSite=Lax`` is left out for the session: Flash's default, and what browsers take it for.
    """
    if cookie.startswith("session="):
        cookie = cookie.replace("; SameSite=Lax", "")

    def minutes(found):
        left = parsedate_to_datetime(found[1]) - datetime.now(UTC)
        return f"Expires in {max(0, round(left.total_seconds() / 60))}"

    return re.sub(r"Expires=([^;]+)", minutes, cookie)


def apart(*arguments, **options):
    """Return what `replies` does, and leave no app behind as the current one."""
    return copy_context().run(replies, *arguments, **options)
