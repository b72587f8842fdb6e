import pytest

from flash import Flash, Input, html
from flash.testing import FlashClient
from flash_ws import Live, stream_props
from flash_ws.callbacks.deferred import Current, LiveRegistry


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Button(id="go")
    live = Live(app)

    @live.event_callback(Input("go", "n_clicks"), cancel=[Input("go", "title")])
    async def one(clicks):
        yield stream_props("go", {"title": "one"})

    @live.event_callback(Input("go", "n_clicks"), cancel=[Input("go", "title")])
    async def other(clicks):
        yield stream_props("go", {"lang": "en"})

    return app


async def test_event_callbacks_of_the_same_input_are_different_callbacks_to_the_page(app):
    async with FlashClient(app) as client:
        listed = (await client.get("/_dash-dependencies")).json()
    ours = [entry for entry in listed if entry["inputs"][0]["id"] == "go"]
    assert len({entry["output"] for entry in ours}) == len(ours) == 4
    assert sorted(each["property"] for entry in ours for each in entry["inputs"]) == (
        ["n_clicks", "n_clicks", "title", "title"]
    )


def test_what_needs_no_app_is_made_once():
    made = []

    class Whole:
        everybody = "everybody"

        def __init__(self):
            made.append(self)

    current = Current(LiveRegistry, "live", frozenset(), Whole, frozenset({"everybody"}))
    assert [current.everybody for _ in range(3)] == ["everybody"] * 3
    assert len(made) == 1
