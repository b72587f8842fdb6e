"""`flash.install()`: `dash.Dash` is `Flash`, for apps and frameworks that are not changed."""

import sys
import types
import warnings

import dash
import pytest
from dash import html

import flash
from flash import Flash
from flash.testing import FlashClient


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Give Dash its own class back after each test."""
    monkeypatch.setattr(dash, "Dash", dash.Dash)
    monkeypatch.setattr(sys.modules["dash.dash"], "Dash", dash.Dash)
    monkeypatch.setattr("dash._get_app.APP", None)


@pytest.fixture
def install():
    """Call `flash.install` without the warning about what this test's process has imported."""

    def call():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            flash.install()

    return call


def imported(monkeypatch, code):
    """Return a module that runs ``code`` when it is imported, now."""
    module = types.ModuleType("an_old_module")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(code, vars(module))
    return module


async def test_an_app_of_dash_is_one_of_flash_from_then_on(install):
    install()
    app = dash.Dash(__name__)
    app.layout = html.P("hello")
    assert isinstance(app, Flash)
    assert isinstance(app, dash.Dash)
    async with FlashClient(app) as client:
        assert (await client.get("/")).status == 200


def test_a_module_that_is_imported_afterwards_needs_no_change(install, monkeypatch):
    install()
    module = imported(
        monkeypatch,
        "from dash import Dash\n"
        "from dash.dash import Dash as Same\n"
        "class Framework(Dash): pass\n"
        "app = Framework('framework')",
    )
    assert module.Dash is module.Same is Flash
    assert isinstance(module.app, Flash)


def test_a_module_that_looks_it_up_later_needs_no_change(install, monkeypatch):
    module = imported(monkeypatch, "import dash\ndef make(): return dash.Dash('old')")
    install()
    assert isinstance(module.make(), Flash)


def test_modules_that_were_earlier_are_named(monkeypatch):
    imported(monkeypatch, "from dash import Dash as Board\nclass Framework(Board): pass")
    with pytest.warns(RuntimeWarning) as caught:
        flash.install()
    text = str(caught[0].message)
    assert "an_old_module.Board" in text
    assert "an_old_module.Framework" in text
    assert "call flash.install() before the import" in text
    assert "dash.dash" not in text
    assert "flash.app" not in text


def test_a_second_time_changes_and_says_nothing(install):
    install()
    flash.install()
    assert dash.Dash is Flash


def test_a_class_that_was_set_by_hand_works_as_well(monkeypatch):
    monkeypatch.setattr(dash, "Dash", Flash)
    app = dash.Dash(__name__)
    app.layout = html.P("hello")
    assert app.layout.children == "hello"
    app.layout = lambda: html.P("called")
    assert app.get_layout().children == "called"
