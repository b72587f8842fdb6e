"""An event callback that meets a `BaseException` ends as failed, and its properties are reset."""

import asyncio

import pytest
from page import Page

from flash import Flash, Input, html
from flash_ws import Live, stream_props


class PanicException(BaseException):
    """What polars raises when its native code panics."""


async def cancel_own_task():
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task


async def panic():
    raise PanicException("native code")


async def leave():
    raise GeneratorExit


@pytest.mark.parametrize("fault", [cancel_own_task, panic, leave])
async def test_11_7_an_event_callback_fails_and_its_properties_are_reset(fault, caplog):
    app = Flash(__name__)
    app.layout = html.Div()
    live = Live(app)
    errors = []

    def on_error(error):
        errors.append(error)
        return stream_props("out", {"children": "sorry"})

    @live.event_callback(
        Input("go", "n_clicks"), reset_props=[("go", {"disabled": False})], on_error=on_error
    )
    async def report(clicks):
        await fault()
        yield stream_props("out", {"children": clicks})

    (name,) = live._event_callbacks._callbacks
    await app.server.startup()
    page = await Page(app).open()
    await page.hello()
    body = {"callback": name, "inputs": [{"id": "go", "property": "n_clicks", "value": 1}]}
    seen = []
    for number in (1, 2):
        page.send({"t": "call", "id": number, "body": body})
        while (frame := await page.frame()).get("state") != "failed":
            seen += frame.get("u", [])
    assert seen.count(["go", {"disabled": False}]) == 2
    assert seen.count(["out", {"children": "sorry"}]) == 2
    assert all(isinstance(error, Exception) for error in errors)
    assert len(errors) == 2
    assert "report' failed" in caplog.text
    await page.leave()
    await app.server.shutdown()
