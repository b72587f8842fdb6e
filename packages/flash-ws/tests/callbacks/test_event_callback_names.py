"""Event callbacks of functions that share a qualified name."""

import functools
from contextlib import asynccontextmanager

import dash
import pytest
from page import Page

from flash import ConfigurationError, Flash, Input, html
from flash_ws import Live, stream_props


@pytest.fixture
def live():
    app = Flash(__name__)
    app.layout = html.Div()
    return Live(app)


@asynccontextmanager
async def page_of(live):
    await live.app.server.startup()
    page = await Page(live.app).open()
    await page.hello()
    yield page
    await page.leave()
    await live.app.server.shutdown()


async def answers(live):
    """What each callback streams when it is called with 3."""
    found = []
    async with page_of(live) as page:
        for number, name in enumerate(live._event_callbacks._callbacks):
            body = {
                "callback": name,
                "inputs": [{"id": "go", "property": "n_clicks", "value": 3}],
                "state": [],
                "changedPropIds": ["go.n_clicks"],
            }
            page.send({"t": "call", "id": number, "body": body})
            while (frame := await page.frame())["t"] != "props":
                pass
            found += [props["children"] for _, props in frame["u"]]
            while (frame := await page.frame()).get("state") != "done":
                pass
    return found


async def test_11_6_event_callbacks_of_a_factory_all_run(live):
    def make(number):
        @live.event_callback(Input("go", "n_clicks"))
        async def report(clicks):
            yield stream_props("out", {"children": f"{number}: {clicks}"})

    for number in range(3):
        make(number)
    assert await answers(live) == ["0: 3", "1: 3", "2: 3"]


async def report(word, clicks):
    yield stream_props("out", {"children": f"{word}: {clicks}"})


class Reports:
    async def method(self, clicks):
        yield stream_props("out", {"children": f"method: {clicks}"})

    async def __call__(self, clicks):
        yield stream_props("out", {"children": f"instance: {clicks}"})


async def test_11_6_partials_methods_and_instances_are_event_callbacks(live):
    for each in (functools.partial(report, "partial"), Reports().method, Reports()):
        live.event_callback(Input("go", "n_clicks"))(each)
    assert await answers(live) == ["partial: 3", "method: 3", "instance: 3"]


async def test_11_6_one_function_twice_with_the_same_inputs_is_refused(live):
    function = functools.partial(report, "partial")
    live.event_callback(Input("go", "n_clicks"))(function)
    with pytest.raises(ConfigurationError, match="'report' is registered twice"):
        live.event_callback(Input("go", "n_clicks"))(function)
    with pytest.raises(ConfigurationError, match="async generator"):
        live.event_callback(Input("go", "n_clicks"))(7)


async def test_11_6_a_partial_that_fails_is_logged_by_its_name(live, caplog):
    async def fail(word, clicks):
        raise ValueError(word)
        yield

    live.event_callback(Input("go", "n_clicks"))(functools.partial(fail, "no"))
    (name,) = live._event_callbacks._callbacks
    async with page_of(live) as page:
        body = {"callback": name, "inputs": [{"value": 3, "id": "go", "property": "n_clicks"}]}
        page.send({"t": "call", "id": 1, "body": body})
        while (await page.frame()).get("state") != "failed":
            pass
    assert "fail' failed" in caplog.text


def test_a_refused_event_callback_leaves_nothing_behind(live):
    async def stream(value):
        yield stream_props("out", {"children": value})

    with pytest.raises(dash.exceptions.DashException):
        live.event_callback(Input("a.b", "n_clicks"), cancel=[Input("stop", "n_clicks")])(stream)
    assert not live._event_callbacks._callbacks
    assert not live._event_callbacks._cancels
    homeless = Live()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="no app"):
            homeless.event_callback(Input("a", "n_clicks"))(stream)
