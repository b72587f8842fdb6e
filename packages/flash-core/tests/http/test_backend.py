"""What Flash's backend for Dash registers with the server."""

import dash
import pytest
import quart
from dash import Input, Output, dcc, hooks, html

from flash import Flash
from flash.http.backend import QuartBackend
from flash.testing import FlashClient


def test_a_server_that_is_made_has_the_name_and_the_settings_that_it_is_given():
    server = QuartBackend.create_app("mine", {"ANSWER": 42})
    assert (server.name, server.config["ANSWER"]) == ("mine", 42)
    assert isinstance(server, quart.Quart)
    assert "ANSWER" not in QuartBackend.create_app("other").config


@pytest.mark.parametrize("watched", [False, True], ids=["direct", "through Quart"])
@pytest.mark.parametrize("path", ["assets", "files/", "/files", "deep/files/"])
async def test_assets_are_served_at_the_path_that_the_app_has_chosen(tmp_path, path, watched):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "style.css").write_text("p {}")
    app = Flash(__name__, assets_folder=str(tmp_path), assets_url_path=path)
    app.layout = html.Div()
    if watched:

        @app.server.before_request
        async def watch():
            """Send every request through Quart."""

    async with FlashClient(app) as client:
        answer = await client.get(f"/{path.strip('/')}/deep/style.css")
        missing = await client.get(f"/{path.strip('/')}/deep/none.css")
    assert (answer.status, answer.text) == (200, "p {}")
    assert (missing.status, missing.text) == (404, "no such file")
    assert missing.headers["content-type"] == "text/plain"


async def test_a_route_of_a_hook_belongs_to_the_app_and_has_its_own_methods():
    @hooks.route(name="mine", methods=("POST",))
    async def mine():
        return f"{quart.request.method} {dash.get_app().title}"

    for name in ("a", "b"):
        app = Flash(__name__, title=name, url_base_pathname=f"/{name}/")
        app.layout = html.Div()
        async with FlashClient(app) as client:
            assert (await client.post(f"/{name}/mine")).text == f"POST {name}"
            assert "<html" in (await client.get(f"/{name}/mine")).text


@pytest.mark.parametrize("path", ["/api/double", "api/double"])
async def test_an_endpoint_of_a_callback_is_posted_to_with_or_without_a_slash(path):
    app = Flash(__name__)
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])
    app.callback(Output("out", "children"), Input("in", "value"), api_endpoint=path)(
        lambda value: value * 2
    )
    app.setup_apis()
    async with FlashClient(app) as client:
        assert (await client.post("/api/double", json={"value": 4})).json() == 8
        refused = await client.post("/api/double", json=[4])
        assert (refused.status, refused.text) == (
            400,
            "the body must be a JSON object of arguments\n",
        )
        refused = await client.post("/api/double", json={"other": 4})
        assert refused.status == 400
        assert refused.text.startswith("the arguments do not match the callback: ")


def test_run_serves_at_the_place_and_with_the_options_that_it_is_given(monkeypatch):
    app, served = Flash(__name__), []
    app.layout = html.Div()
    monkeypatch.setattr(app, "serve", lambda *place, **options: served.append((place, options)))
    app.run(host="127.0.0.2", port=8051, workers=2)
    assert served == [(("127.0.0.2", 8051), {"debug": False, "workers": 2})]
