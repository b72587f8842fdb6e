"""The page's HTML: what an app may put in it, what is kept, and that nothing breaks out of it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import dash
import pytest
from dash import Dash, Input, Output, dcc, html

import flash
from flash import Flash
from flash.testing import FlashClient

CONFIG = re.compile(r'<script id="_dash-config" type="application/json">(.*?)</script>', re.DOTALL)


def an_app(kind=Flash, **options):
    app = kind(__name__, **options)
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])
    return app


async def page_of(app, path="/"):
    async with FlashClient(app) as client:
        return (await client.get(path)).text


def stock(name, **options):
    app = Dash(name, backend="quart", **options)
    # The only things that Flash adds to a page.
    app._inline_scripts.append(Path(flash.__file__).with_name("flash.js").read_text())
    app.scripts.append_script({"relative_package_path": "flash_core.js", "namespace": "flash"})
    return app


def without_identity(page):
    config = json.loads(CONFIG.search(page)[1])
    config.pop("end_id")
    # Told of it, every page would open Dash's socket.
    config.pop("websocket", None)
    # Dash lists Plotly once more for each app that was made before in the process.
    return list(dict.fromkeys(CONFIG.sub("", page).splitlines())), config


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"title": "<Sales> & more", "update_title": None},
        {"meta_tags": [{"name": "viewport", "content": "width=500"}, {"charset": "UTF-16"}]},
        {"external_scripts": ["https://example.org/a.js", {"src": "/b.js", "integrity": "x"}]},
        {"external_stylesheets": ["https://example.org/a.css"]},
        {"serve_locally": False},
        {"show_undo_redo": True, "suppress_callback_exceptions": True},
        {"url_base_pathname": "/deep/app/"},
        {"eager_loading": True},
        {"csrf_token_name": "mine", "csrf_header_name": "X-Mine"},
    ],
    ids=lambda options: ",".join(options) or "nothing",
)
async def test_the_page_is_dash_s(options):
    path = options.get("url_base_pathname", "/")
    dashs = without_identity(await page_of(an_app(stock, **options), path))
    assert without_identity(await page_of(an_app(**options), path)) == dashs


async def test_every_page_has_a_signed_identity_of_its_own():
    async with FlashClient(an_app()) as client:
        identities = {
            json.loads(CONFIG.search((await client.get("/")).text)[1])["end_id"] for _ in range(5)
        }
    assert len(identities) == 5


async def test_an_index_string_of_one_s_own_is_used():
    page = await page_of(
        an_app(
            index_string="<html><head>{%metas%}{%css%}</head><body><h1>Mine</h1>"
            "{%app_entry%}{%config%}{%scripts%}{%renderer%}</body></html>"
        )
    )
    assert "<h1>Mine</h1>" in page
    assert "{%" not in page


def test_an_index_string_that_lacks_something_is_refused():
    with pytest.raises(dash.exceptions.InvalidIndexException, match="Missing items"):
        an_app(index_string="<html></html>")


async def test_an_override_of_interpolate_index_is_called_with_the_parts():
    class Mine(Flash):
        def interpolate_index(self, **parts):
            return (
                f"<html><body>{sorted(parts)}{parts['app_entry']}{parts['config']}"
                f"{parts['scripts']}{parts['renderer']}</body></html>"
            )

    page = await page_of(an_app(Mine))
    assert page.startswith(
        "<html><body>['app_entry', 'config', 'css', 'favicon', 'metas', 'renderer', 'scripts', "
        "'title']"
    )


async def test_the_app_s_own_icon_is_linked(tmp_path):
    (tmp_path / "favicon.ico").write_bytes(b"icon")
    async with FlashClient(an_app(assets_folder=str(tmp_path))) as client:
        page = (await client.get("/")).text
        href = re.search(r'<link rel="icon"[^>]*href="([^"]+)"', page)[1]
        assert href.startswith("/assets/favicon.ico?m=")
        assert (await client.get(href)).body == b"icon"


async def test_dash_s_icon_stands_in():
    async with FlashClient(an_app()) as client:
        page = (await client.get("/")).text
        href = re.search(r'<link rel="icon"[^>]*href="([^"]+)"', page)[1]
        answer = await client.get(href)
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/x-icon"


async def test_csp_hashes_fit_the_inline_scripts_of_the_page():
    app, stocks = an_app(), an_app(stock)
    for each in (app, stocks):
        each.clientside_callback(
            "function(value) { return value }", Output("out", "children"), Input("in", "value")
        )
    assert app.csp_hashes() == stocks.csp_hashes()


async def test_nothing_in_the_configuration_can_break_out_of_its_element():
    evil = "</script><script>alert(1)</script><!-- \u2028"
    app = an_app()
    app.layout = lambda: html.Div([dcc.Input(id="in", placeholder=evil), html.P(evil, id="out")])
    page = await page_of(app)
    assert "alert(1)</script>" not in page
    children = json.loads(CONFIG.search(page)[1])["validation_layout"]["props"]["children"]
    assert children[0]["props"]["placeholder"] == evil


@dataclass
class Counted:
    """How often the disk was asked for the files' ages."""

    count: int = 0


async def test_tags_are_made_once_and_again_when_something_changes(monkeypatch):
    made = Counted()
    app = an_app()
    original = app.make_scripts_html

    def make():
        made.count += 1
        return original()

    monkeypatch.setattr(app, "make_scripts_html", make)
    async with FlashClient(app) as client:
        made.count = 0
        for _ in range(3):
            await client.get("/")
        assert made.count == 0
        app.config.external_scripts.append("https://example.org/later.js")
        page = (await client.get("/")).text
        assert made.count == 1
        assert "later.js" in page


async def test_a_validation_layout_assigned_while_served_is_on_the_next_page():
    app = an_app()
    async with FlashClient(app) as client:
        await client.get("/")
        app.validation_layout = html.Div("x", id="another")
        assert '"id":"another"' in (await client.get("/")).text


async def test_in_development_nothing_is_kept(monkeypatch):
    made = Counted()
    app = an_app()
    app.enable_dev_tools(debug=True, dev_tools_hot_reload=False)
    original = app.make_scripts_html

    def make():
        made.count += 1
        return original()

    monkeypatch.setattr(app, "make_scripts_html", make)
    async with FlashClient(app) as client:
        made.count = 0
        for _ in range(3):
            assert json.loads(CONFIG.search((await client.get("/")).text)[1])["ui"] is True
        assert made.count == 3
