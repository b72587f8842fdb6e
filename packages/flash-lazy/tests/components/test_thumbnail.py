"""Static pictures in the place of graphs."""

import asyncio
import sys

import pytest

from flash import Flash, dcc, html
from flash.testing import FlashClient
from flash_lazy import LazyLoad, MemoryCache, Picture, configure
from flash_lazy.components.placeholder import MESSAGE
from flash_lazy.panels import panels_of

FIGURE = {"data": [{"y": [1, 3, 2], "type": "bar"}], "layout": {"width": 200}}


def panel(**options):
    return LazyLoad(dcc.Graph(figure=FIGURE), placeholder="thumbnail", **options)


class Pen:
    """Draws small pictures, and remembers of what."""

    def __init__(self):
        self.drawn = []

    def __call__(self, figure, width, height):
        self.drawn.append((figure, width, height))
        return Picture(f"<svg width='{width}' height='{height}'/>".encode(), "image/svg+xml")


def app_of(*panels, thumbnails=None):
    app = Flash(__name__)
    if thumbnails is not None:
        configure(app, thumbnails=thumbnails)
    app.layout = lambda: html.Div(list(panels))
    return app


async def placeholders(client):
    layout = await client.layout()
    return [each["placeholder"] for each in layout.find_all("LazyLoad")]


async def test_a_figure_is_drawn_once_at_the_size_of_its_panel():
    pen = Pen()
    async with FlashClient(app_of(panel(height=120), panel(height=120), thumbnails=pen)) as client:
        first, second = await placeholders(client)
        assert first == second
        assert first["type"] == "Img"
        assert first["props"]["alt"] == MESSAGE
        answers = [await client.get(first["props"]["src"]) for _ in range(3)]
    assert pen.drawn == [(FIGURE, 200, 120)]
    for answer in answers:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("image/svg+xml")
        assert answer.body == b"<svg width='200' height='120'/>"


async def test_equal_requests_at_once_draw_once():
    pen = Pen()
    async with FlashClient(app_of(panel(), thumbnails=pen)) as client:
        [image] = await placeholders(client)
        answers = await asyncio.gather(*(client.get(image["props"]["src"]) for _ in range(10)))
    assert {answer.status for answer in answers} == {200}
    assert len(pen.drawn) == 1


async def test_what_nobody_has_placed_is_not_drawn():
    pen = Pen()
    async with FlashClient(app_of(panel(), thumbnails=pen)) as client:
        [image] = await placeholders(client)
        answer = await client.get(image["props"]["src"][:-4] + "0000")
    assert answer.status == 404
    assert pen.drawn == []


async def test_a_figure_that_cannot_be_drawn_is_logged_and_not_found(caplog):
    def fail(figure, width, height):
        raise ValueError("no ink")

    async with FlashClient(app_of(panel(), thumbnails=fail)) as client:
        [image] = await placeholders(client)
        answer = await client.get(image["props"]["src"])
    assert answer.status == 404
    assert "no ink" in caplog.text


async def test_a_figure_that_the_cache_does_not_take_is_logged_as_what_it_is(caplog):
    class FullCache(MemoryCache):
        async def load(self, key, run, **options):
            raise OSError("no room")

    app = app_of(panel(), thumbnails=Pen())
    panels_of(app).cache = FullCache()
    async with FlashClient(app) as client:
        await placeholders(client)
    assert "no room" in caplog.text
    assert {record.getMessage() for record in caplog.records if record.name == "flash_lazy"} == {
        "a figure could not be kept for its thumbnail"
    }


async def test_pictures_are_guarded_as_everything_else():
    app = app_of(panel(), thumbnails=Pen())
    async with FlashClient(app) as client:
        [image] = await placeholders(client)

        @app.server.before_request
        async def guard():
            return "log in", 401

        assert (await client.get(image["props"]["src"])).status == 401


async def test_without_kaleido_a_message_stands_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "kaleido", None)
    async with FlashClient(app_of(panel())) as client:
        [message] = await placeholders(client)
    assert message["type"] == "P"
    assert message["props"]["children"] == MESSAGE


@pytest.mark.parametrize("children", [None, html.P("text"), [dcc.Graph(), dcc.Graph()]])
def test_a_thumbnail_of_something_else_than_a_graph_is_refused(children):
    with pytest.raises(ValueError, match=r"one dcc\.Graph as its only child"):
        LazyLoad(children, placeholder="thumbnail")
