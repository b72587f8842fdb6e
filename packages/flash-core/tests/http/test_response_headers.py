"""Headers of pages and of sessions' cookies (issue 13, E)."""

import sys

import flask
import pytest
import quart
from dash import html

from flash import ConfigurationError, Flash
from flash.http.response_headers import PageHeaders, use_safe_cookies, with_headers
from flash.testing import AppClient

NAMES = ("x-content-type-options", "referrer-policy", "x-frame-options")


def made(server=True, **settings):
    app = Flash(__name__, server=server, **settings)
    app.layout = html.Div()
    app.server.secret_key = "secret"
    return app


def with_views(app):
    """Add views that keep a session, send a page of their own, and one with a header of its own."""

    @app.server.get("/login")
    async def login():
        quart.session["user"] = "ada"
        response = quart.Response("in")
        response.set_cookie("session_of_another", "x")
        return response

    @app.server.get("/own")
    async def own():
        return "<p>own</p>"

    @app.server.get("/framed")
    async def framed():
        headers = {"Content-Security-Policy": "frame-ancestors https://site.test"}
        return quart.Response(
            "<p>framed</p>", headers={**headers, "Referrer-Policy": "no-referrer"}
        )

    return app


def page_headers(response):
    sent = {name.lower(): value for name, value in response.headers.items()}
    return {name: sent.get(name) for name in NAMES}


async def cookies(client):
    """Return the attributes of the cookies that the login sets."""
    async with client.stream("GET", "/login") as exchange:
        return {
            value.partition("=")[0]: {part.strip().lower() for part in value.split(";")[1:]}
            for value in exchange.headers.get_all("set-cookie")
        }


DEFAULTS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "strict-origin-when-cross-origin",
    "x-frame-options": "SAMEORIGIN",
}


@pytest.mark.parametrize("is_guarded", [False, True])
async def test_13_e_pages_have_the_headers_on_both_ways(is_guarded):
    app = with_views(made())
    if is_guarded:
        app.server.before_request(lambda: None)
    async with AppClient(app) as client:
        for path in ("/", "/own"):
            assert page_headers(await client.get(path)) == DEFAULTS
        for path in ("/_dash-layout", "/_dash-dependencies"):
            assert set(page_headers(await client.get(path)).values()) == {None}


async def test_13_e_a_view_keeps_a_header_of_its_own():
    async with AppClient(with_views(made())) as client:
        framed = page_headers(await client.get("/framed"))
    assert framed == {**DEFAULTS, "referrer-policy": "no-referrer", "x-frame-options": None}


async def test_13_e_an_app_changes_leaves_out_and_adds_headers():
    policy = "frame-ancestors 'self' https://site.test"
    changes = {"X-Frame-Options": None, "referrer-policy": "no-referrer", "X-Robots-Tag": "none"}
    async with AppClient(made(page_headers=changes)) as client:
        page = await client.get("/")
    assert page_headers(page) == {
        **DEFAULTS,
        "referrer-policy": "no-referrer",
        "x-frame-options": None,
    }
    assert dict(page.headers.items())["x-robots-tag"] == "none"
    async with AppClient(made(page_headers={"Content-Security-Policy": policy})) as client:
        assert page_headers(await client.get("/"))["x-frame-options"] is None


async def test_13_e_a_notebook_can_show_the_app_in_a_frame(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    async with AppClient(made()) as client:
        assert page_headers(await client.get("/")) == {**DEFAULTS, "x-frame-options": None}
    async with AppClient(made(page_headers={"X-Frame-Options": "DENY"})) as client:
        assert page_headers(await client.get("/"))["x-frame-options"] == "DENY"


async def test_13_e_headers_can_be_set_once_the_callbacks_are_known():
    app = made()
    app.page_headers.update({"Content-Security-Policy": "script-src 'self'", "X-A": "a"})
    app.page_headers.update({"X-A": None, "x-frame-options": "DENY"})
    async with AppClient(app) as client:
        sent = dict((await client.get("/")).headers.items())
    assert sent["content-security-policy"] == "script-src 'self'"
    assert sent["x-frame-options"] == "DENY"
    assert "x-a" not in sent


async def test_13_e_pages_of_the_host_outside_of_the_apps_prefix_are_left_alone():
    server = quart.Quart(__name__)
    app = with_views(made(server, url_base_pathname="/board/"))
    made(server, url_base_pathname="/board/inner/", page_headers={"Referrer-Policy": "origin"})
    async with AppClient(app) as client:
        assert set(page_headers(await client.get("/own")).values()) == {None}
        assert page_headers(await client.get("/board/")) == DEFAULTS
        inner = page_headers(await client.get("/board/inner/"))
    assert inner["referrer-policy"] == "origin"


@pytest.mark.parametrize(
    "headers",
    [
        {"X Y": "a"},
        {"": "a"},
        {"X-A": "a\r\nSet-Cookie: b=c"},
        {"X-A": ""},
        {"X-A": "\xe4"},
        {"X-A:": "a"},
    ],
)
def test_13_e_what_is_no_header_is_an_error(headers):
    with pytest.raises(ConfigurationError, match="page_headers="):
        PageHeaders(headers)


@pytest.mark.parametrize("server", [True, quart.Quart, flask.Flask])
async def test_13_e_the_sessions_cookie_is_lax_and_behind_https_secure(server):
    app = with_views(made(server if server is True else server(__name__)))
    for scheme, is_secure in (("http", False), ("https", True)):
        async with AppClient(app, base_url=f"{scheme}://app.test") as client:
            set_cookies = await cookies(client)
        assert "samesite=lax" in set_cookies["session"]
        assert ("secure" in set_cookies["session"]) == is_secure
        # Cookies of the app's own are not changed.
        assert set_cookies["session_of_another"] == {"path=/"}


@pytest.mark.parametrize("is_secure", [False, True])
async def test_13_e_an_app_decides_about_its_cookies_itself(is_secure):
    app = with_views(made())
    app.server.config.update(SESSION_COOKIE_SECURE=is_secure, SESSION_COOKIE_SAMESITE="Strict")
    async with AppClient(app, base_url="https://app.test") as client:
        session = (await cookies(client))["session"]
    assert ("secure" in session) == is_secure
    assert "samesite=strict" in session


def test_13_e_only_what_the_app_leaves_open_about_cookies_is_set():
    server = quart.Quart(__name__)
    server.config["SESSION_COOKIE_SAMESITE"] = "None"
    use_safe_cookies(server)
    assert server.config["SESSION_COOKIE_SAMESITE"] == "None"
    assert server.config["SESSION_COOKIE_SECURE"] is None


@pytest.mark.parametrize(
    ("cookie", "expected"),
    [
        (b"session=a; Path=/", b"session=a; Path=/; Secure"),
        (b"session=a; SECURE; Path=/", b"session=a; SECURE; Path=/"),
        # The value of the cookie is none of its attributes.
        (b"session=secure", b"session=secure; Secure"),
        (b"session_2=a", b"session_2=a"),
    ],
)
async def test_13_e_behind_https_secure_is_added_once_and_to_the_session_alone(cookie, expected):
    sent = []

    async def send(message):
        sent.extend(message["headers"])

    config = {"SESSION_COOKIE_NAME": "session", "SESSION_COOKIE_SECURE": None}
    wrapped = with_headers(send, {"scheme": "https"}, lambda _: None, config)
    headers = [(b"Set-Cookie", cookie), (b"x-mine", b"session=a")]
    await wrapped({"type": "http.response.start", "status": 200, "headers": headers})
    assert sent == [(b"Set-Cookie", expected), (b"x-mine", b"session=a")]


HTML = [(b"Content-Type", b"text/html; charset=utf-8"), (b"x-mine", b"1")]
JSON = [(b"content-type", b"application/json"), (b"x-mine", b"1")]


@pytest.mark.parametrize("headers", [HTML, JSON], ids=["HTML", "JSON"])
@pytest.mark.parametrize("kind", [list, tuple, iter])
async def test_headers_of_any_iterable_arrive(kind, headers):
    sent = []

    async def send(message):
        sent.append(list(message["headers"]))

    pages = PageHeaders({})
    wrapped = with_headers(send, {"scheme": "http"}, lambda _: pages, {})
    await wrapped({"type": "http.response.start", "status": 200, "headers": kind(headers)})
    added = pages.missing_from(headers) if headers is HTML else []
    assert sent == [[*headers, *added]]
