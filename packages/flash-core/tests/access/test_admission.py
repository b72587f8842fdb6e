"""Who may connect, asked step by step; and asked again while the connection stays."""

import asyncio
import random

import pytest
import quart

from flash import Flash, html
from flash.access.admission import Admission, Recheck
from flash.access.opening_request import OpeningRequest, draining_event
from flash.access.origin import OriginPolicy
from flash.access.refusal import Refused


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div()
    app.server.secret_key = "secret"
    yield app
    app.pool.close()


def request(*headers, path="/socket", query=b"", **more):
    return {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": [(b"host", b"app.test"), *headers],
        "client": ("192.0.2.7", 1),
        "server": ("app.test", 80),
        "subprotocols": [],
        **more,
    }


async def admitted(app, authorize=None, scope=None, **options):
    scope = scope or request()
    opening = OpeningRequest(scope)
    await Admission(app, OriginPolicy(), authorize, **options).admit(scope, opening)
    return opening


async def refusal(app, authorize=None, scope=None):
    with pytest.raises(Refused) as refused:
        await admitted(app, authorize, scope)
    return refused.value.status, refused.value.reason


# -- the steps


async def test_without_authorize_everybody_is_let_in_and_nobody_has_a_name(app):
    assert (await admitted(app)).user is None


async def test_a_name_lets_in_and_true_lets_in_without_one(app):
    assert (await admitted(app, lambda opening: "ada")).user == "ada"
    assert (await admitted(app, lambda opening: True)).user is None

    async def by_query(opening):
        return opening.query["user"]

    assert (await admitted(app, by_query, request(query=b"user=otto"))).user == "otto"


@pytest.mark.parametrize("verdict", [False, None, ""])
async def test_anything_false_refuses(app, verdict):
    assert await refusal(app, lambda opening: verdict) == (401, "not allowed to connect")


@pytest.mark.parametrize("verdict", [1, 0, ["ada"], {}, b"ada"])
async def test_a_verdict_of_another_kind_lets_nobody_in(app, verdict, caplog):
    assert await refusal(app, lambda opening: verdict) == (500, "not allowed to connect")
    assert f"authorize returned {verdict!r}: return True" in caplog.text


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_an_authorize_that_fails_lets_nobody_in_and_is_logged(app, kind, caplog):
    def fails(opening):
        raise LookupError("no such table")

    async def fails_at_once(opening):
        fails(opening)

    authorize = fails_at_once if kind == "async" else fails
    assert await refusal(app, authorize) == (500, "not allowed to connect")
    assert "LookupError: no such table" in caplog.text


@pytest.mark.parametrize(
    ("status", "description", "expected"),
    [
        (403, "the trial is over\nsecond line", (403, "the trial is over")),
        (403, "  spaces around  ", (403, "spaces around")),
        (418, "x" * 300, (418, "x" * 200)),
        (400, "<p>markup</p>", (400, "")),
        (503, "maintenance", (503, "maintenance")),
    ],
)
async def test_authorize_may_abort_with_a_status_and_a_line_of_its_own(
    app, status, description, expected
):
    assert await refusal(app, lambda opening: quart.abort(status, description)) == expected


async def test_a_login_page_that_authorize_or_a_guard_sends_to_is_a_refusal(app):
    async def to_login(*opening):
        quart.abort(quart.redirect("/login"))

    assert await refusal(app, to_login) == (401, "not allowed to connect: log in first")
    app.server.before_request(to_login)
    assert await refusal(app) == (401, "not allowed to connect: log in first")


async def test_a_whole_response_to_abort_with_counts_by_its_status(app):
    async def authorize(*opening):
        quart.abort(quart.Response("the trial is over", 402))

    assert await refusal(app, authorize) == (402, "not allowed to connect")
    app.server.before_request(authorize)
    assert await refusal(app) == (402, "the trial is over")


async def test_where_no_thread_is_free_nobody_is_let_in(app):
    held, begun = asyncio.Event(), asyncio.Event()
    app.pool.max_threads, app.pool.max_waiting = 1, 0
    loop = asyncio.get_running_loop()

    def hold():
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(held.wait(), loop).result(10)

    holding = asyncio.ensure_future(app.pool.run(hold))
    await begun.wait()
    assert await refusal(app, lambda opening: True) == (503, "the server is busy")
    held.set()
    await holding


async def test_a_page_of_another_origin_is_refused_before_anything_is_asked(app, caplog):
    asked = []
    app.server.before_request(lambda: asked.append("guard"))
    foreign = request((b"origin", b"http://evil.test"), path="/feed")
    status, reason = await refusal(app, asked.append, foreign)
    assert status == 403
    assert reason.startswith("the page is from http://evil.test")
    assert asked == []
    assert "refused a connection to /feed: the page is from http://evil.test" in caplog.text


async def test_a_guard_of_the_app_comes_before_authorize_and_may_refuse(app):
    asked = []

    @app.server.before_request
    async def guard():
        asked.append(quart.request.path)
        return None if quart.request.args.get("key") == "1" else ("no key\n", 403)

    assert await refusal(app, lambda opening: asked.append("authorize")) == (403, "no key")
    assert asked == ["/socket"]
    assert (await admitted(app, lambda opening: "ada", request(query=b"key=1"))).user == "ada"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (("", 302, {"location": "/login"}), (401, "not allowed to connect: log in first")),
        (("come in", 200), (401, "not allowed to connect: log in first")),
        (("bad", 400), (400, "bad")),
        (("<html>", 404), (404, "not allowed to connect")),
        (("", 403), (403, "not allowed to connect")),
        (("away", 500), (500, "away")),
    ],
)
async def test_what_a_guard_answers_in_place_of_the_endpoint_is_a_refusal(app, answer, expected):
    app.server.before_request(lambda: answer)
    assert await refusal(app) == expected


async def test_the_body_of_the_request_is_at_hand_while_authorize_runs(app):
    async def authorize(opening):
        return (await quart.request.get_data()).decode()

    scope = request(type="http", method="POST")
    opening = OpeningRequest(scope)
    await Admission(app, OriginPolicy(), authorize).authorize(scope, opening, b"token")
    assert opening.user == "token"


# -- the opening request


async def test_what_the_browser_said_is_readable_for_as_long_as_the_connection_lasts(app):
    ada = app.server.session_interface.get_signing_serializer(app.server).dumps({"user": "ada"})
    cookies = f"session={ada}; theme=dark".encode()
    scope = request(
        (b"cookie", cookies),
        (b"x-forwarded-for", b"10.0.0.1"),
        path="/room/7",
        query=b"a=1&a=2",
        path_params={"name": "7"},
    )
    opening = await admitted(app, None, scope)
    assert opening.path == "/room/7"
    assert opening.path_params == {"name": "7"}
    assert opening.query.getlist("a") == ["1", "2"]
    assert opening.headers["X-Forwarded-For"] == "10.0.0.1"
    assert opening.cookies["theme"] == "dark"
    assert opening.session == {"user": "ada"}
    assert opening.remote_address == "192.0.2.7"
    assert opening.context().run(lambda: quart.request.path) == "/room/7"


async def test_a_path_without_variables_has_none(app):
    assert (await admitted(app)).path_params == {}


async def test_what_runs_in_the_context_of_a_opening_leaves_it_as_it_was(app):
    opening = await admitted(app)
    assert opening.context() is not opening.context()
    # The context may be read by the code that runs in it.
    assert opening.context().run(lambda: opening.path) == "/socket"


def test_a_request_has_an_empty_context_until_it_is_bound_to_one():
    assert len(OpeningRequest(request()).context()) == 0


def test_the_event_of_a_stopping_server_is_found_where_the_server_put_it():
    event = object()
    assert draining_event({"state": {"flash.draining": event}}) is event
    assert draining_event({"state": {}}) is None
    assert draining_event({"state": None}) is None
    assert draining_event({}) is None


# -- asked again


async def test_nothing_is_asked_again_without_an_interval(app):
    scope = request()
    opening = await admitted(app)
    assert Admission(app, OriginPolicy()).recheck(scope, opening, print) is None


async def rechecked(app, authorize, first, scope=None):
    """Whether somebody who got in as ``first`` is sent away by the recheck within some turns."""
    scope = scope or request()
    opening = OpeningRequest(scope)
    withdrawn = asyncio.Event()
    admission = Admission(app, OriginPolicy(), authorize, recheck_interval=0.001)
    await admission.authorize(scope, opening)
    assert opening.user == first
    recheck = admission.recheck(scope, opening, withdrawn.set)
    assert recheck is not None
    return recheck, withdrawn


async def test_somebody_who_is_somebody_else_by_now_is_sent_away(app):
    names = ["ada", "ada", "otto"]
    recheck, withdrawn = await rechecked(app, lambda opening: names.pop(0), "ada")
    async with asyncio.timeout(5):
        await withdrawn.wait()
    assert names == []
    recheck.stop()


async def test_somebody_who_may_no_longer_is_sent_away_and_the_log_says_from_where(app, caplog):
    caplog.set_level("INFO", "flash.access")
    verdicts = [True, True, False]
    recheck, withdrawn = await rechecked(app, lambda opening: verdicts.pop(0), None)
    async with asyncio.timeout(5):
        await withdrawn.wait()
    assert verdicts == []
    assert "the permission to use /socket is withdrawn: not allowed to connect" in caplog.text
    recheck.stop()


async def test_the_apps_guards_are_asked_again_too(app):
    answers = [None, None, ("no", 403)]
    app.server.before_request(lambda: answers.pop(0))
    recheck, withdrawn = await rechecked(app, lambda opening: quart.request.path, "/socket")
    async with asyncio.timeout(5):
        await withdrawn.wait()
    assert answers == []
    recheck.stop()


class Asked:
    """Answers rechecks one after another, and records when each was to come."""

    def __init__(self, monkeypatch, *answers):
        self._answers = list(answers)
        self.delays = []
        self.asked = 0
        self.withdrawn = 0
        self.over = asyncio.Event()
        loop = asyncio.get_running_loop()
        call_later = loop.call_later

        def at_once(delay, callback, *arguments, **options):
            if getattr(callback, "__self__", None).__class__ is Recheck:
                self.delays.append(delay)
                delay = 0
            return call_later(delay, callback, *arguments, **options)

        monkeypatch.setattr(loop, "call_later", at_once)

    async def ask(self):
        self.asked += 1
        answer = self._answers.pop(0) if self._answers else False
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def withdraw(self):
        self.withdrawn += 1
        self.over.set()

    async def until_withdrawn(self, interval):
        recheck = Recheck(self.ask, interval, self.withdraw)
        async with asyncio.timeout(5):
            await self.over.wait()
        recheck.stop()
        return recheck


async def test_a_recheck_comes_after_about_the_interval_and_each_time_another(monkeypatch):
    asked = Asked(monkeypatch, *[True] * 30)
    await asked.until_withdrawn(100)
    assert asked.asked == 31
    assert asked.withdrawn == 1
    assert all(90 <= delay <= 110 for delay in asked.delays)
    assert min(asked.delays) < 97
    assert max(asked.delays) > 103
    assert len(set(asked.delays)) == 31


async def test_after_a_recheck_that_failed_the_next_comes_soon(monkeypatch, caplog):
    monkeypatch.setattr(random, "uniform", lambda low, high: 1)
    asked = Asked(monkeypatch, OSError("away"), OSError("away"), True, OSError("away"), True)
    await asked.until_withdrawn(100)
    # Two failures and a yes begin the count anew.
    assert asked.delays == [100, 5, 5, 100, 5, 100]
    assert "a recheck failed (2 of 3 in a row); it is repeated soon" in caplog.text
    assert "OSError: away" in caplog.text


async def test_an_interval_shorter_than_soon_stays_as_short(monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda low, high: 1)
    asked = Asked(monkeypatch, OSError("away"))
    await asked.until_withdrawn(2)
    assert asked.delays == [2, 2]


async def test_the_third_failure_in_a_row_is_taken_for_a_no(monkeypatch, caplog):
    asked = Asked(monkeypatch, *[OSError("away")] * 5)
    await asked.until_withdrawn(100)
    assert asked.asked == 3
    assert "a recheck failed (3 of 3 in a row); the permission is withdrawn" in caplog.text


async def test_a_recheck_that_is_stopped_asks_no_more(monkeypatch):
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def ask():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    asked = Asked(monkeypatch)
    recheck = Recheck(ask, 100, asked.withdraw)
    await begun.wait()
    recheck.stop()
    async with asyncio.timeout(5):
        await cancelled.wait()
    assert asked.withdrawn == 0

    asked = Asked(monkeypatch)
    recheck = Recheck(asked.ask, 100, asked.withdraw)
    recheck.stop()
    await asyncio.sleep(0.01)
    assert asked.asked == 0


async def test_13_e_a_page_that_only_a_star_allows_has_no_cookies_and_no_session(app):
    serializer = app.server.session_interface.get_signing_serializer(app.server)
    cookie = (b"cookie", f"session={serializer.dumps({'user': 'ada'})}".encode())

    async def session_of(policy, *headers):
        scope = request(cookie, *headers)
        opening = OpeningRequest(scope)
        await Admission(app, policy).admit(scope, opening)
        return dict(opening.session), dict(opening.cookies)

    anybody = OriginPolicy(["*", "http://named.test"])
    for headers in (
        [(b"origin", b"http://evil.test")],
        [(b"origin", b"null")],
        [(b"origin", b"https://app.test")],
        [(b"sec-fetch-site", b"cross-site")],
        [(b"origin", b"http://app.test"), (b"origin", b"http://evil.test")],
    ):
        assert await session_of(anybody, *headers) == ({}, {})
    for headers in (
        [],
        [(b"origin", b"http://app.test")],
        [(b"origin", b"http://named.test")],
        [(b"origin", b"http://127.0.0.1"), (b"sec-fetch-site", b"same-origin")],
    ):
        assert (await session_of(anybody, *headers))[0] == {"user": "ada"}


async def test_13_c_the_opening_requests_session_is_quarts_at_each_recheck(app):
    stored = {"user": "ada"}

    class Stored(quart.sessions.SessionInterface):
        async def open_session(self, app, request):
            return quart.sessions.SecureCookieSession(stored)

        async def save_session(self, app, session, response):
            """Save nothing."""

    app.server.session_interface = Stored()
    seen = []

    def by_session(opening):
        seen.append((opening.session.get("user"), quart.session.get("user")))
        return opening.session.get("user")

    admission = Admission(app, OriginPolicy(), by_session, recheck_interval=0.01)
    scope = request()
    opening = OpeningRequest(scope)
    await admission.admit(scope, opening)
    withdrawn = asyncio.Event()
    stored["user"] = None
    recheck = admission.recheck(scope, opening, withdrawn.set)
    async with asyncio.timeout(10):
        await withdrawn.wait()
    recheck.stop()
    assert seen == [("ada", "ada"), (None, None)]


async def test_13_c_one_failure_of_authorize_is_asked_again_and_many_are_no(app):
    answers = iter(["ada", LookupError("store away"), "ada", *[LookupError("gone")] * 3])

    async def authorize(opening):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    admission = Admission(app, OriginPolicy(), authorize, recheck_interval=0.01)
    scope = request()
    opening = OpeningRequest(scope)
    await admission.admit(scope, opening)
    withdrawn = asyncio.Event()
    recheck = admission.recheck(scope, opening, withdrawn.set)
    async with asyncio.timeout(10):
        await withdrawn.wait()
    recheck.stop()
    assert next(answers, None) is None


async def test_11_7_a_recheck_that_meets_a_base_exception_is_repeated(monkeypatch, caplog):
    asked = Asked(monkeypatch, asyncio.CancelledError(), GeneratorExit(), True)
    await asked.until_withdrawn(100)
    assert asked.asked == 4
    assert caplog.text.count("a recheck failed") == 2
