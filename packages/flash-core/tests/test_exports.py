"""`from flash import …` is `from dash import …`, and Flash stays clear of Dash's own names."""

import importlib

import dash
import pytest

import flash
from flash import Flash


@pytest.mark.parametrize("name", dash.__all__)
def test_whatever_dash_offers_flash_offers(name):
    ours, dashs = getattr(flash, name), getattr(dash, name)
    assert ours is dashs or name in ("Dash", "callback", "set_props", "__version__")


def test_dash_is_flash_so_that_one_import_line_moves_an_app():
    assert flash.Dash is Flash
    assert issubclass(Flash, dash.Dash)


def test_the_public_names_are_sorted_and_exist():
    def place(name):
        """Constants, then classes, then the rest: as ruff sorts them."""
        return not name.isupper(), not name[0].isupper(), name

    assert flash.__all__ == sorted(set(flash.__all__), key=place)
    for name in flash.__all__:
        assert getattr(flash, name) is not None


def test_a_star_import_brings_them_all():
    namespace = {}
    exec("from flash import *", namespace)
    assert set(flash.__all__) <= namespace.keys()


def test_a_name_that_only_a_newer_dash_has_is_found(monkeypatch):
    monkeypatch.setattr(dash, "__all__", [*dash.__all__, "tomorrow"])
    monkeypatch.setattr(dash, "tomorrow", "here", raising=False)
    assert flash.tomorrow == "here"


def test_a_name_that_nobody_has_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'flash' has no attribute 'nothing'"):
        importlib.import_module("flash").nothing  # noqa: B018


# What Flash overrides on purpose, each with Dash's meaning.
OVERRIDDEN = {
    "__call__",
    "__doc__",
    "__init__",
    "__module__",
    "_add_url",
    "_config",
    "_execute_callback",
    "_generate_config_html",
    "_generate_css_dist_html",
    "_generate_scripts_html",
    "_layout_value",
    "callback",
    "dependencies",
    "enable_pages",
    "get_layout",
    "init_app",
    "layout",
    "run",
    "serve_layout",
    "serve_reload_hash",
}
# Made by Dash's constructor; Flash assigns or shadows them with Dash's meaning.
SHARED = {"_hooks", "backend"}


def own_names(kind):
    return {
        name for base in kind.__mro__ if base.__module__.startswith("flash") for name in vars(base)
    }


def test_flash_overrides_only_what_it_means_to():
    taken = set(dir(dash.Dash)) - set(dir(object)) - {"__annotations__"}
    assert own_names(Flash) & taken <= OVERRIDDEN


def test_no_attribute_of_a_flash_app_collides_with_one_that_dash_makes():
    dashs = set(vars(dash.Dash(__name__, backend="quart")))
    both = own_names(Flash) & dashs
    assert both <= SHARED
    # Set by Flash before Dash's constructor runs: Dash must not set them again.
    before = {
        "pool",
        "internal_pool",
        "document",
        "dispatcher",
        "views",
        "_pages",
        "_starting",
        "_started",
    }
    assert not before & dashs
    assert before <= set(vars(Flash(__name__)))
