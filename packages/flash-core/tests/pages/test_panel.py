"""The data of the developer's panel: what it says, and who gets it (issue 15, number 8)."""

from __future__ import annotations

import os
import re

import dash
import pytest
import quart

from flash import Flash, Input, Output, html
from flash.pages.panel import PanelSection
from flash.testing import FlashClient

PATH = "/_flash/panel"
NO_RELOAD = {"dev_tools_hot_reload": False, "dev_tools_disable_version_check": True}


def an_app(debug=True, **options):
    app = Flash(__name__, **options)
    app.layout = html.P(id="a")

    @app.callback(Output("a", "children"), Input("a", "title"))
    async def name(title):
        return title

    app.enable_dev_tools(debug=debug, **NO_RELOAD)
    return app


async def test_15_8_it_says_what_the_worker_does():
    async with FlashClient(an_app(max_threads=7, max_waiting=30)) as client:
        await client.call("a.children", {"a.title": "x"})
        response = await client.get(PATH)
    assert response.headers["cache-control"] == "no-store"
    server = response.json()["Server"]
    assert server["facts"]["worker"] == str(os.getpid())
    assert server["facts"]["callbacks answered"] == 1
    assert server["facts"]["callbacks running"] == 0
    threads = {row["threads for"]: row for row in server["rows"]}
    assert (threads["callbacks"]["of"], threads["callbacks"]["of at most"]) == (7, 30)


async def test_15_8_a_part_of_an_add_on_is_joined_with_a_known_one():
    app = an_app()
    asked = []

    def source(page):
        asked.append(page)
        return {"Server": PanelSection({"more": 1}, [{"threads for": "x"}]), "Own": PanelSection()}

    app.panel_sources.append(source)
    async with FlashClient(app) as client:
        identity = re.search(r'"end_id":"([^"]+)"', (await client.get("/")).text)[1]
        told = (await client.get(PATH, headers={"Flash-Page": identity})).json()
        await client.get(PATH, headers={"Flash-Page": "no identity"})
        await client.get(PATH)
    assert told["Server"]["facts"]["more"] == 1
    assert told["Server"]["rows"][-1] == {"threads for": "x"}
    assert told["Own"] == {"facts": {}, "rows": []}
    assert asked == [app.page_of(identity), None, None]


@pytest.mark.parametrize("debug", [True, False])
async def test_15_8_script_button_and_route_are_there_in_debug_mode_alone(debug):
    async with FlashClient(an_app(debug)) as client:
        page = (await client.get("/")).text
        data = await client.get(PATH)
        script = re.search(r'src="([^"]*flash_dev[^"]*)"', page)
        found = await client.get(script[1]) if script else None
    assert ("PanelButton" in page) is debug
    assert (found is not None and found.status == 200) is debug
    assert data.headers["content-type"].startswith("application/json") is debug


async def test_15_8_tools_that_are_turned_off_again_take_it_with_them():
    app = an_app()
    async with FlashClient(app) as client:
        assert "flash_dev" in (await client.get("/")).text
    app.enable_dev_tools(debug=True, dev_tools_ui=False, **NO_RELOAD)
    async with FlashClient(app) as client:
        assert "flash_dev" not in (await client.get("/")).text
        assert (await client.get(PATH)).status == 404


async def test_15_8_a_guard_of_the_app_decides_who_gets_it():
    app = an_app(allowed_hosts=["app.test"])

    @app.server.before_request
    def guard():
        if quart.request.headers.get("Authorization") != "mine":
            quart.abort(401)

    async with FlashClient(app) as client:
        known = {"Host": "app.test"}
        assert (await client.get(PATH, headers=known)).status == 401
        assert (await client.get(PATH, headers={"Host": "evil.test"})).status == 400
        allowed = await client.get(PATH, headers={**known, "Authorization": "mine"})
        assert allowed.status == 200
        assert "Server" in allowed.json()


async def test_15_8_components_that_hooks_add_to_the_tools_stay(monkeypatch):
    monkeypatch.setitem(dash.hooks._ns, "dev_tools", [])
    dash.hooks.devtool("my_tools", "Mine")
    async with FlashClient(an_app()) as client:
        page = (await client.get("/")).text
    listed = re.search(r'"dev_tools":(\[.*?\])', page)[1]
    assert [listed.count(each) for each in ("Mine", "PanelButton")] == [1, 1]
