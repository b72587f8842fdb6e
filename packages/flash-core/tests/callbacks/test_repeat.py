"""`repeat=`, which tells pages whether they may send a request again that got no answer."""

import asyncio

import pytest

import flash
from flash import ConfigurationError, Flash, Input, Output, html
from flash.testing import CallbackFailed, FlashClient


def dependencies_of(app):
    return {each["output"]: each.get("flash_repeat") for each in app.callback_list}


def test_11_5_pages_are_told_of_repeat_where_it_is_given():
    app = Flash(__name__)
    app.callback(Output("a", "children"), Input("x", "n_clicks"))(lambda x: x)
    app.callback(Output("b", "children"), Input("x", "n_clicks"), repeat=True)(lambda x: x)
    app.callback(Output("c", "children"), Input("x", "value"), repeat=False)(lambda x: x)
    assert dependencies_of(app) == {"a.children": None, "b.children": True, "c.children": False}
    assert "flash_repeat" not in app.callback_list[0]


async def test_11_5_so_are_those_of_callbacks_without_an_app():
    flash.callback(Output("d", "children"), Input("x", "n_clicks"), repeat=True)(lambda x: x)
    app = Flash(__name__)
    app.layout = html.Div()
    async with asyncio.timeout(10), FlashClient(app) as client:
        sent = (await client.get("/_dash-dependencies")).json()
    assert [each["flash_repeat"] for each in sent if each["output"] == "d.children"] == [True]


def test_11_5_repeat_is_true_false_or_none():
    with pytest.raises(ConfigurationError, match="repeat"):
        Flash(__name__).callback(Output("a", "children"), Input("x", "value"), repeat="always")


async def test_11_5_a_504_of_the_server_itself_says_so():
    app = Flash(__name__)
    app.layout = html.Div()

    @app.callback(Output("a", "children"), Input("x", "value"), timeout=0.01)
    async def wait(value):
        await asyncio.Event().wait()

    async with asyncio.timeout(10), FlashClient(app) as client:
        with pytest.raises(CallbackFailed) as failed:
            await client.call("a.children", {"x.value": 1})
        assert failed.value.status == 504
        body = {
            "output": "a.children",
            "outputs": {"id": "a", "property": "children"},
            "inputs": [{"id": "x", "property": "value", "value": 1}],
            "changedPropIds": ["x.value"],
        }
        response = await client.post("/_dash-update-component", json=body)
        assert response.status == 504
        assert response.headers["flash-timeout"] == "1"
