"""What the developer's panel of a page is told about its link (issue 15, number 8)."""

import asyncio
import re

import pytest
from page import Page

from flash import Flash, Input, html
from flash.testing import FlashClient
from flash_ws import Live

NO_RELOAD = {"dev_tools_hot_reload": False, "dev_tools_disable_version_check": True}


def an_app(debug):
    app = Flash(__name__)
    app.layout = html.Div()
    app.enable_dev_tools(debug=debug, **NO_RELOAD)
    return app, Live(app)


async def frames_of_a_call(debug):
    app, live = an_app(debug)

    @live.event_callback(Input("go", "n_clicks"), reset_props=[("go", {"disabled": False})])
    async def count(clicks):
        yield "out", {"children": clicks}

    (name,) = live._event_callbacks._callbacks
    await app.server.startup()
    page = await Page(app).open()
    await page.hello()
    slot = {"id": "go", "property": "n_clicks", "value": 5}
    page.send({"t": "call", "id": 7, "body": {"callback": name, "inputs": [slot]}})
    frames = []
    while not frames or frames[-1].get("state") != "done":
        frames.append(await page.frame())
    await page.leave()
    await app.server.shutdown()
    return frames


async def test_15_8_updates_of_an_event_callback_name_their_call_in_debug_mode():
    running, update, reset, done = await frames_of_a_call(debug=True)
    assert running["state"] == "running"
    assert running["name"].endswith("count")
    assert (update["u"], update["call"]) == ([["out", {"children": 5}]], 7)
    assert (reset["u"], reset["call"]) == ([["go", {"disabled": False}]], 7)
    assert done["state"] == "done"


async def test_15_8_elsewhere_they_do_not():
    running, update, reset, _ = await frames_of_a_call(debug=False)
    assert "name" not in running
    assert "call" not in update
    assert "call" not in reset


@pytest.mark.parametrize("is_linked", [True, False])
async def test_15_8_the_page_that_asks_is_told_about_its_own_link(is_linked):
    app, live = an_app(debug=True)
    async with FlashClient(app) as client:
        identity = re.search(r'"end_id":"([^"]+)"', (await client.get("/")).text)[1]
        page = await Page(app).open()
        await page.hello(identity if is_linked else None, new=True)
        async with asyncio.timeout(5):
            await live.push("a", {"children": 1})
            await page.frame()
        told = (await client.get("/_flash/panel", headers={"Flash-Page": identity})).json()
        await page.leave()
    link = told["Link"]["facts"]
    if is_linked:
        assert link["page"] == page.welcome["id"]
        assert link["sent by the server"] >= 1
        assert link["conflated by the server"] == 0
    else:
        assert link == {"on this worker": False}
    assert told["Server"]["facts"]["event loop late (ms)"] >= 0
