"""Layouts that fail without their visitor do not keep the app from starting."""

import logging

import dash
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


@pytest.mark.parametrize("given", [layout, async_layout])
async def test_11_20_an_app_starts_whose_layout_needs_its_visitor(given, caplog):
    app = an_app()
    app.layout = given
    app.callback(Output("out", "children"), Input("in", "value"))(lambda value: value)
    with caplog.at_level(logging.WARNING):
        async with FlashClient(app) as client:
            await client.get("/login")
            assert (await client.layout()).text == "ada"
    (warning,) = [each for each in caplog.records if "without a visitor" in each.getMessage()]
    assert "KeyError: 'user'" in warning.getMessage()
    assert f"test_layouts_that_need_a_visitor.py:{given.__code__.co_firstlineno}" in caplog.text


async def test_11_20_a_page_s_layout_may_need_its_visitor(caplog):
    app = an_app(use_pages=True, pages_folder="")
    dash.register_page("home", path="/", layout=layout)
    app.layout = dash.page_container
    async with FlashClient(app) as client:
        assert (await client.get("/")).status == 200
    assert "a layout of a page failed" in caplog.text
    assert "test_layouts_that_need_a_visitor.py" in caplog.text


async def test_11_20_a_layout_that_is_seen_at_start_is_validated_as_before():
    app = an_app()
    app.layout = lambda: html.P(quart.request.path)
    async with FlashClient(app):
        assert app.validation_layout.children == "/"
