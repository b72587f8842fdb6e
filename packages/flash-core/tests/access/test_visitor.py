"""The one object that every ``authorize`` gets, and who decides where several are asked."""

import asyncio
import dataclasses

import pytest
import quart

from flash import ConfigurationError, Flash, Visitor, html
from flash.access import admission
from flash.access.admission import Admission
from flash.access.opening_request import OpeningRequest
from flash.access.origin import OriginPolicy
from flash.access.refusal import Refused
from flash.access.visitor import takes_visitor
from flash.checking.security import Deployment, run_security_checks


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div()
    app.server.secret_key = "secret"
    yield app
    app.pool.close()


def request(*headers, query=b"", **more):
    return {
        "type": "websocket",
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/socket",
        "raw_path": b"/socket",
        "root_path": "",
        "query_string": query,
        "headers": [(b"host", b"app.test"), *headers],
        "client": ("192.0.2.7", 1),
        "server": ("app.test", 80),
        "subprotocols": [],
        **more,
    }


async def admitted(app, *chain, scope=None, **options):
    """Ask functions from the widest to the narrowest; return the opening request."""
    opening = OpeningRequest(scope or request())
    *wider, authorize = chain
    door = Admission(app, OriginPolicy(), authorize, wider=wider, **options)
    await door.admit(opening._scope, opening)
    return opening


async def refusal(app, *chain):
    with pytest.raises(Refused) as refused:
        await admitted(app, *chain)
    return refused.value.status


class Page:
    id, user, path = "p1", "ada", "/desk"

    def __init__(self):
        self.data, self.groups = {}, {"traders"}


# -- what it has


async def test_14_4_a_visitor_has_request_session_cookies_and_user(app):
    seen = []

    async def authorize(visitor):
        seen.extend((visitor.path, visitor.host, visitor.cookies["a"], visitor.headers["X-Y"]))
        seen.extend((visitor.query["q"], dict(visitor.session), visitor.user, visitor.client))
        seen.extend((visitor.remote_address, visitor.request.path, dict(visitor.path_params)))
        assert visitor.request == quart.request
        return True

    scope = request((b"cookie", b"a=1"), (b"x-y", b"z"), query=b"q=2", path_params={"name": "x"})
    await admitted(app, authorize, scope=scope)
    assert seen[:4] == ["/socket", "app.test", "1", "z"]
    assert seen[4:8] == ["2", {}, None, None]
    assert seen[8:] == ["192.0.2.7", "/socket", {"name": "x"}]


async def test_14_4_a_visitor_cannot_be_changed(app):
    visitor = Visitor(OpeningRequest(request()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        visitor.user = "ada"


async def test_14_4_a_visitor_is_also_what_older_functions_got():
    class Opening(OpeningRequest):
        body = b"{}"

    page = Page()
    visitor = Visitor(Opening(request()), "ada", page)
    # Of the connection or stream, and of the page.
    assert visitor.body == b"{}"
    assert (visitor.id, visitor.groups, visitor.path) == ("p1", {"traders"}, "/desk")
    visitor.data["seen"] = True
    assert page.data == {"seen": True}
    with pytest.raises(AttributeError, match="'Visitor' object has no attribute 'usr'"):
        _ = visitor.usr
    with pytest.raises(AttributeError):
        _ = visitor._scope


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda visitor: "x", True),
        (lambda: "x", False),
        (lambda user="x": user, False),
        (lambda *parts: "x", False),
        (type("C", (), {"__call__": lambda self, visitor: "x"})(), True),
        (dict, False),
    ],
)
def test_14_4_a_function_without_parameters_is_called_without_a_visitor(function, expected):
    assert takes_visitor(function) is expected


# -- who decides


async def test_14_4_the_narrowest_decides_and_the_wider_ones_name_the_user(app):
    def who(visitor):
        return "ada"

    def nobody(visitor):
        return None

    def is_ada(visitor):
        return visitor.user == "ada"

    assert (await admitted(app, who, is_ada)).user == "ada"
    assert (await admitted(app, who, None)).user == "ada"
    assert await refusal(app, nobody, is_ada) == 401
    assert await refusal(app, who, nobody) == 401
    assert (await admitted(app, nobody, lambda visitor: True)).user is None
    assert (await admitted(app, who, lambda visitor: "eve")).user == "eve"
    middle = (who, lambda visitor: f"{visitor.user}!")
    assert (await admitted(app, *middle, lambda visitor: visitor.user == "ada!")).user == "ada!"


async def test_14_4_a_wider_one_that_fails_names_nobody(app, caplog):
    def fails(visitor):
        raise KeyError("user")

    assert await refusal(app, fails, lambda visitor: visitor.user is not None) == 401
    assert (await admitted(app, fails, lambda visitor: True)).user is None
    assert "which names no user" in caplog.text


async def test_14_4_a_wider_one_that_fails_later_does_not_end_a_connection_at_once(app):
    works = [True]

    def who(visitor):
        if not works[0]:
            raise ConnectionError("the store is away")
        return "ada"

    scope = request()
    opening = OpeningRequest(scope)
    narrower = Admission(app, OriginPolicy(), lambda visitor: True, wider=(who,))
    await narrower.admit(scope, opening)
    works[0] = False
    with pytest.raises(Refused) as refused:
        await narrower._is_still_allowed(scope, opening)
    assert refused.value.status == 500
    works[0] = True
    assert await narrower._is_still_allowed(scope, opening)


async def test_14_4_an_authorize_that_takes_too_long_refuses_for_now(app, caplog, monkeypatch):
    monkeypatch.setattr(admission, "AUTHORIZE_TIMEOUT", 0.05)

    async def endless(visitor):
        await asyncio.Event().wait()

    assert await refusal(app, endless) == 503
    assert "endless took longer than 0.05 s, which refuses the connection" in caplog.text


# -- settings


def test_14_4_what_is_no_function_is_refused_where_it_is_given():
    with pytest.raises(ConfigurationError, match=r"authorize='ada': must be a function.*test_vis"):
        Flash(__name__, authorize="ada")
    with pytest.raises(ConfigurationError, match=r"recheck_interval=0: must be"):
        Flash(__name__, recheck_interval=0)


async def test_14_4_background_jobs_are_their_users(app):
    app = Flash(__name__, authorize=lambda visitor: visitor.cookies.get("user"))
    async with app.server.test_request_context("/", headers={"Cookie": "user=ada"}):
        assert await app.user_of_request() == "ada"
    async with app.server.test_request_context("/"):
        assert await app.user_of_request() is None
    app.pool.close()


def test_14_4_flash_check_says_that_http_is_not_guarded_by_authorize(app):
    app.authorize = lambda visitor: visitor.session.get("user")
    found = [str(each) for each in run_security_checks(Deployment(app))]
    assert any("nothing guards pages, layouts and callbacks over HTTP" in each for each in found)

    @app.server.before_request
    async def guard():
        return None

    found = [str(each) for each in run_security_checks(Deployment(app))]
    assert not any("Flash(authorize=...) guards" in each for each in found)
