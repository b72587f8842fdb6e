"""Layouts that fail without their visitor do not keep the app from starting."""

import logging

import dash
import flask
import pytest
import quart
from dash import Input, Output, html

from flash import Flash
from flash.testing import FlashClient


def layout():
    return html.P(quart.session["user"])


async def async_layout():
    return html.P(quart.session["user"])


def an_app(**options):
    app = Flash("visited", **options)
    app.server.secret_key = "secret"

    @app.server.get("/login")
    async def login():
        quart.session["user"] = "ada"
        return "hello"

    return app


def warnings_in(caplog):
    return [each for each in caplog.messages if "without a visitor" in each]


@pytest.mark.parametrize("with_guard", [False, True])
@pytest.mark.parametrize("suppressed", [False, True])
@pytest.mark.parametrize("given", [layout, async_layout])
async def test_11_20_an_app_starts_whose_layout_needs_its_visitor(
    given, suppressed, with_guard, caplog
):
    app = an_app(suppress_callback_exceptions=suppressed)
    app.layout = given
    app.callback(Output("out", "children"), Input("in", "value"))(lambda value: value)
    if with_guard:
        app.server.before_request(lambda: None)
    with caplog.at_level(logging.WARNING):
        async with FlashClient(app) as client:
            await client.get("/login")
            assert (await client.layout()).text == "ada"
            config = client._page.config
    (warning,) = warnings_in(caplog)
    assert "KeyError: 'user'" in warning
    line = given.__code__.co_firstlineno
    assert f"test_layouts_that_need_a_visitor.py:{line})" in warning
    # Where it failed.
    assert f"test_layouts_that_need_a_visitor.py:{line + 1})" in warning
    # Otherwise the browser reports that the components of callbacks are missing.
    assert config["suppress_callback_exceptions"]
    assert "validation_layout" not in config


async def test_11_20_a_visitor_without_a_session_gets_an_error(caplog):
    app = an_app()
    app.layout = layout
    async with FlashClient(app) as client:
        assert (await client.get("/_dash-layout")).status == 500


async def test_11_20_a_page_s_layout_may_need_its_visitor(caplog):
    app = an_app(use_pages=True, pages_folder="")
    dash.register_page("home", path="/", layout=layout)
    dash.register_page("about", path="/about", layout=html.P(id="about"))
    app.layout = dash.page_container
    async with FlashClient(app) as client:
        await client.get("/login")
        assert (await client.layout("/")).text == "ada"
        assert client._page.config["suppress_callback_exceptions"]
    (warning,) = warnings_in(caplog)
    assert "the layout of the page 'home'" in warning
    assert f"test_layouts_that_need_a_visitor.py:{layout.__code__.co_firstlineno + 1})" in warning


async def test_11_20_an_app_s_layout_around_its_pages_may_need_its_visitor(caplog):
    app = an_app(use_pages=True, pages_folder="")
    dash.register_page("home", path="/", layout=html.P("home"))
    app.layout = lambda: html.Div([html.P(quart.session["user"]), dash.page_container])
    async with FlashClient(app) as client:
        await client.get("/login")
        assert (await client.layout("/")).text == "adahome"
    assert len(warnings_in(caplog)) == 1


async def test_11_20_a_layout_that_fails_when_it_is_assigned_is_validated_at_the_start(caplog):
    app = an_app()
    app.layout = lambda: html.P(quart.request.path)
    async with FlashClient(app) as client:
        await client.layout()
        assert app.validation_layout.children == "/"
        assert not client._page.config["suppress_callback_exceptions"]
    assert not warnings_in(caplog)


async def test_11_20_what_a_layout_gives_without_a_request_is_enough_to_validate(caplog):
    app = an_app()

    @lambda function: setattr(app, "layout", function)
    def everything():
        if not flask.has_request_context():
            return html.P("all", id="all")
        return html.P(flask.session["user"])

    async with FlashClient(app) as client:
        await client.get("/login")
        assert (await client.layout()).text == "ada"
        assert client._page.config["validation_layout"]["props"]["id"] == "all"
    assert not warnings_in(caplog)


async def test_11_20_a_layout_of_no_components_is_refused_as_before():
    app = an_app()
    with pytest.raises(dash.exceptions.NoLayoutException):
        app.layout = lambda: [1]
    with pytest.raises(dash.exceptions.DuplicateIdError):
        app.layout = lambda: html.Div([html.P(id="a"), html.P(id="a")])
