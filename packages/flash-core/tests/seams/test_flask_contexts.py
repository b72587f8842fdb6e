"""Flask's names wherever Flash makes a request context or puts one off, and nowhere else."""

import asyncio
import threading
import time
from contextvars import Context, copy_context

import dash
import diskcache
import flask
import pytest
from flask import g, session
from flask_replies import call
from socket_page import Page

import flash
from flash import Flash, Input, Output, dcc, html
from flash.seams.flask_globals import flask_side
from flash.testing import FlashClient


@pytest.fixture(autouse=True)
def no_app_is_left(monkeypatch):
    monkeypatch.setattr("dash._get_app.APP", None)


# -- background callbacks -------------------------------------------------------------------------


def answer_of_job(package, manager, *, awaiting=False):
    app = package.Dash("jobs", suppress_callback_exceptions=True)
    app.server.secret_key = "secret"
    app.layout = package.html.Div([package.dcc.Input(id="in"), package.html.P(id="out")])

    def read(value):
        return [session["user"], flask.request.cookies["taste"], g.get("user"), value]

    async def read_async(value):
        return read(value)

    app.callback(
        package.Output("out", "children"),
        package.Input("in", "value"),
        background=True,
        manager=manager,
    )(read_async if awaiting else read)

    @app.server.before_request
    def guard():
        g.user = session.get("user")

    @app.server.route("/in")
    def enter():
        session["user"] = "ann"
        return "in"

    client = app.server.test_client()
    client.get("/in")
    client.set_cookie("taste", "sweet")
    method, path, options = call(5)
    started = client.open(path, method=method, **options).get_json()
    for _ in range(600):
        response = client.open(path, method=method, query_string=started, **options)
        found = response.get_json(silent=True) or {}
        if "response" in found or response.status_code >= 400:
            return response.status_code, found
        time.sleep(0.05)
    raise AssertionError(found)


def test_the_session_in_a_background_callback_is_the_same(tmp_path):
    def answer(package, name):
        manager = dash.DiskcacheManager(diskcache.Cache(tmp_path / name))
        return copy_context().run(answer_of_job, package, manager)

    found = answer(flash, "flash")
    assert found == answer(dash, "dash")
    assert found[1]["response"]["out"]["children"] == ["ann", "sweet", "ann", 5]


# -- Dash's socket --------------------------------------------------------------------------------


@pytest.mark.parametrize("awaiting", [False, True])
async def test_flasks_names_in_a_callback_over_dashs_socket(awaiting):
    app = Flash("socket", websocket_callbacks=True, suppress_callback_exceptions=True)
    app.server.secret_key = "secret"
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])
    signed = app.server.session_interface.get_signing_serializer(app.server)
    cookie = signed.dumps({"user": "ann"})

    def read(value):
        request = flask.request
        return [session["user"], request.path, request.cookies["taste"], flask.current_app.name]

    async def read_async(value):
        return read(value)

    app.callback(Output("out", "children"), Input("in", "value"))(read_async if awaiting else read)
    headers = {"Cookie": f"taste=sweet; session={cookie}"}
    async with Page(app, headers=headers) as page:
        await page.call(1)
        answer = await page.message()
    found = answer["payload"]["data"]["response"]["out"]["children"]
    assert found == ["ann", "/_dash-ws-callback", "sweet", "socket"]


# -- nothing is left ------------------------------------------------------------------------------


async def test_no_context_is_left_in_threads_or_on_the_loop():
    app = Flash("left", suppress_callback_exceptions=True, max_threads=2)
    app.server.secret_key = "secret"
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])

    @app.callback(Output("out", "children"), Input("in", "value"))
    def called(value):
        # Never popped, as some scripts have it.
        app.server.app_context().push()
        g.left = value
        return session.get("left", "none")

    @app.server.route("/left")
    def view():
        app.server.test_request_context("/other").push()
        return flask.request.path

    def seen():
        return flask.has_request_context(), flask.has_app_context()

    async with FlashClient(app) as client:
        for number in range(8):
            await client.call(Output("out", "children"), {Input("in", "value"): number})
            assert (await client.get("/left")).text == "/other"
        assert seen() == (False, False)
        for pool in (app.pool, app.internal_pool):
            found = [await pool.run(lambda: Context().run(seen)) for _ in range(4)]
            assert found == [(False, False)] * 4
            assert await pool.run(seen) == (False, False)
        assert await app.server.call_in_thread(seen) == (False, False)


async def test_requests_that_overlap_have_a_context_each():
    app = Flash("overlap", suppress_callback_exceptions=True)
    app.layout = html.P()
    here = asyncio.Barrier(10)

    @app.server.route("/<name>/x")
    async def view(name):
        g.name = name
        request = flask.request._get_current_object()
        await here.wait()
        assert flask.request._get_current_object() is request
        return f"{g.name} {flask.request.path} {flask.request.view_args['name']}"

    async with FlashClient(app) as client:
        found = await asyncio.gather(*(client.get(f"/n{number}/x") for number in range(10)))
    assert [each.text for each in found] == [f"n{n} /n{n}/x n{n}" for n in range(10)]


async def test_all_threads_of_a_request_have_the_same_request():
    app = Flash("threads")
    found = []

    @app.server.route("/many")
    async def view():
        started = threading.Barrier(8)

        def look():
            started.wait(30)
            return flask.request._get_current_object()

        found.extend(await asyncio.gather(*(app.pool.run(look) for _ in range(8))))
        return "many"

    app.layout = html.P()
    async with FlashClient(app) as client:
        await client.get("/many")
    assert len({id(request) for request in found}) == 1
    assert len(found) == 8


# -- current_app ----------------------------------------------------------------------------------


def test_current_app_has_no_attribute_that_neither_app_has():
    side = flask_side(Flash("side").server)
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        side.nothing_of_that_name  # noqa: B018
    # As `copy` and `pickle` make them: without any attribute.
    with pytest.raises(AttributeError):
        type(side).__new__(type(side)).nothing_of_that_name  # noqa: B018


def test_a_resource_is_opened_without_awaiting_outside_of_the_loop(tmp_path):
    (tmp_path / "schema.sql").write_text("create")
    app = Flash("resources")
    app.server.root_path = str(tmp_path)
    flask_side(app.server).root_path = str(tmp_path)
    with app.server.open_resource("schema.sql", "r") as file:
        assert file.read() == "create"


async def test_a_request_class_of_flasks_is_what_flasks_code_gets():
    class Request(flask.Request):
        @property
        def who(self):
            return self.headers["X-Who"]

    class Response(flask.Response):
        default_mimetype = "text/x-own"

    app = Flash("classes")
    app.layout = html.P()
    app.server.request_class = Request
    app.server.response_class = Response
    app.server.route("/who")(lambda: flask.request.who)
    async with FlashClient(app) as client:
        response = await client.get("/who", headers={"X-Who": "me"})
    assert response.text == "me"
    assert response.headers["content-type"].startswith("text/x-own")


async def test_the_context_costs_nothing_until_it_is_looked_at(monkeypatch):
    made = []
    monkeypatch.setattr(
        "flash.seams.flask_globals.flask_request", lambda *arguments: made.append(arguments)
    )
    app = Flash("idle", suppress_callback_exceptions=True)
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])
    app.callback(Output("out", "children"), Input("in", "value"))(lambda value: value)
    app.server.route("/idle")(lambda: "idle")
    async with FlashClient(app) as client:
        await client.call(Output("out", "children"), {Input("in", "value"): 1})
        await client.get("/idle")
    assert not made


def test_contexts_are_pushed_and_popped_outside_of_the_loop():
    app, ended = Flash(__name__), []
    app.server.teardown_appcontext(ended.append)
    for context in (app.server.app_context(), app.server.test_request_context("/there")):
        context.push()
        assert flask.current_app.name == app.server.name
        assert context.pop() is None
        assert not flask.has_app_context()
        assert not flask.has_request_context()
    assert ended == [None]
