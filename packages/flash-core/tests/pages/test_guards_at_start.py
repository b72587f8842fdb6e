"""Layouts that need what a `before_request` function has prepared, when the app starts."""

import dash
import flask
import pytest
from dash import html

from flash import Flash
from flash.testing import FlashClient


def layout():
    # Dash calls it when it is assigned, without a request.
    return html.P(flask.g.currency if flask.has_request_context() else "")


async def async_layout():
    return html.P(flask.g.currency)


def prepare():
    flask.g.currency = "EUR"


@pytest.mark.parametrize("given", [layout, async_layout])
async def test_a_layout_gets_what_the_guards_have_prepared(given):
    app = Flash("guarded", server=flask.Flask("guarded"))
    app.server.before_request(prepare)
    app.layout = given
    async with FlashClient(app) as client:
        assert (await client.layout("/")).text == "EUR"


async def test_pages_get_it_as_well():
    app = Flash("guarded", use_pages=True, pages_folder="")
    dash.register_page("home", path="/", layout=layout)
    app.layout = dash.page_container
    app.server.before_request(prepare)
    async with FlashClient(app) as client:
        assert (await client.get("/")).status == 200


async def test_a_guard_that_refuses_the_request_does_not_keep_the_app_from_starting():
    app = Flash("guarded", server=flask.Flask("guarded"))
    app.layout = layout

    @app.server.before_request
    def guard():
        prepare()
        flask.abort(401)

    async with FlashClient(app) as client:
        assert (await client.get("/")).status == 401


async def test_guards_are_not_called_where_no_layout_needs_them():
    app = Flash("guarded")
    called = []
    app.server.before_request(lambda: called.append(flask.request.path))
    app.layout = lambda: html.P("as it is")
    async with FlashClient(app):
        assert called == []


async def test_a_layout_that_fails_for_another_reason_is_reported(caplog):
    app = Flash("guarded")
    app.server.before_request(prepare)
    app.layout = lambda: html.P(1 / 0)
    async with FlashClient(app) as client:
        assert (await client.get("/_dash-layout")).status == 500
    assert "ZeroDivisionError: division by zero" in caplog.text
