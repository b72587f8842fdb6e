"""Flask's idioms give under Flash what they give under Dash on Flask."""

import dash
import flask
import pytest
import quart
from flask_idioms import IDIOMS
from flask_replies import apart, at_one_moment, make_async

import flash


@pytest.fixture(autouse=True)
def one_moment(monkeypatch):
    at_one_moment(monkeypatch)


@pytest.mark.parametrize("name", IDIOMS)
def test_an_idiom_of_flask_gives_the_same(name):
    assert apart(flash, IDIOMS, name) == apart(dash, IDIOMS, name)


# What waits for a request's body, which the event loop cannot.
WAIT = {"request_in_a_route", "uploads"}


@pytest.mark.parametrize("name", sorted(IDIOMS.keys() - WAIT))
def test_an_idiom_of_flask_gives_the_same_in_an_async_function(name):
    assert apart(flash, IDIOMS, name, make_async) == apart(dash, IDIOMS, name)


async def test_flasks_names_work_on_a_plain_quart_app_and_read_no_disk_on_the_loop():
    server = quart.Quart("plain")
    server.config["COLOUR"] = "red"
    async with server.test_request_context("/there", headers={"X-Who": "me"}):
        assert flask.request.headers["X-Who"] == "me"
        assert flask.current_app.config["COLOUR"] == "red"
        assert flask.url_for("static", filename="a") == "/static/a"
