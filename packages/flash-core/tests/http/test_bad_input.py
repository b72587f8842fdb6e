"""What no page of the app sends: each is answered with a 4xx and one clear line."""

import asyncio
import json

import dash
import pytest
from dash import ALL, MATCH, Input, Output, State, ctx, dcc, html

from flash import Flash
from flash.background import AsyncManager
from flash.testing import FlashClient

SECONDS = 20
PATH = "/_dash-update-component"


@pytest.fixture(autouse=True)
async def nothing_hangs():
    async with asyncio.timeout(SECONDS):
        yield


@pytest.fixture(params=[False, True], ids=["direct", "through Quart"])
def app(request):
    app = Flash(__name__, suppress_callback_exceptions=True)
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])

    @app.callback(Output("out", "children"), Input("in", "value"), State("in", "type"))
    def one(value, kind):
        return [repr(value), kind]

    @app.callback(Output("out", "x"), Output("out", "y"), Input("in", "value"))
    async def two(value):
        return [value, value]

    @app.callback(
        Output({"type": "row", "index": ALL}, "children"),
        Input({"type": "item", "index": ALL}, "value"),
    )
    def every(values):
        return values

    @app.callback(
        Output({"type": "cell", "index": MATCH}, "children"),
        Input({"type": "item", "index": MATCH}, "value"),
    )
    def matching(value):
        return [value, ctx.triggered_id, ctx.args_grouping]

    @app.callback(Input("in", "n_blur"))
    def none(count):
        dash.set_props("out", {"children": count})

    app.clientside_callback(
        "function(value) { return value }", Output("out", "title"), Input("in", "value")
    )
    if request.param:

        @app.server.before_request
        async def watch():
            """Send every request through Quart."""

    return app


def slot(component, prop, value=None):
    return {"id": component, "property": prop, "value": value}


ONE = {
    "output": "out.children",
    "outputs": {"id": "out", "property": "children"},
    "inputs": [slot("in", "value", 1)],
    "state": [slot("in", "type", "text")],
    "changedPropIds": ["in.value"],
}
TWO = {
    "output": "..out.x...out.y..",
    "outputs": [{"id": "out", "property": "x"}, {"id": "out", "property": "y"}],
    "inputs": [slot("in", "value", 1)],
}
EVERY = {
    "output": '{"index":["ALL"],"type":"row"}.children',
    "outputs": [{"id": {"type": "row", "index": 1}, "property": "children"}],
    "inputs": [[slot({"type": "item", "index": 1}, "value", 1)]],
}
MATCHING = {
    "output": '{"index":["MATCH"],"type":"cell"}.children',
    "outputs": {"id": {"type": "cell", "index": 1}, "property": "children"},
    "inputs": [slot({"type": "item", "index": 1}, "value", 1)],
    "changedPropIds": ['{"index":1,"type":"item"}.value'],
}
VALID = {"one": ONE, "two": TWO, "every": EVERY, "matching": MATCHING}

# What is wrong, the request, the status, what the answer's line names.
BAD = {
    "a list": ([], 400, "JSON object, not a list"),
    "a string": ("x", 400, "JSON object, not a string"),
    "null": (None, 400, "JSON object, not null"),
    "a number": (5, 400, "JSON object, not a number"),
    "a boolean": (True, 400, "JSON object, not a boolean"),
    "an empty object": ({}, 400, "'output'"),
    "no output": ({"inputs": []}, 400, "'output'"),
    "an output that is null": ({**ONE, "output": None}, 400, "'output' must be a string"),
    "an output that is an object": ({**ONE, "output": {}}, 400, "'output' must be a string"),
    "an unknown output": ({**ONE, "output": "nobody.knows"}, 404, "no callback for output"),
    "an empty output": ({**ONE, "output": ""}, 404, "no callback for output"),
    "a clientside callback's output": ({**ONE, "output": "out.title"}, 404, "no callback"),
    "a very long output": ({**ONE, "output": "x" * 100_000}, 404, "no callback"),
    "an output of several lines": ({**ONE, "output": "a\nb\u2028c.d"}, 404, "no callback"),
    "half a surrogate pair as output": ({**ONE, "output": "\ud800"}, 404, "no callback"),
    "outputs of another callback": (
        {**ONE, "outputs": {"id": "other", "property": "children"}},
        400,
        "Output does not match",
    ),
    "outputs that are a string": ({**ONE, "outputs": "out"}, 400, "'outputs'"),
    "outputs that are a number": ({**ONE, "outputs": 5}, 400, "'outputs'"),
    "outputs that are empty": ({**ONE, "outputs": []}, 400, "'outputs'"),
    "outputs in a list where one was declared": (
        {**ONE, "outputs": [{"id": "out", "property": "children"}]},
        400,
        "'outputs'",
    ),
    "one output where several were declared": (
        {**TWO, "outputs": {"id": "out", "property": "x"}},
        400,
        "'outputs'",
    ),
    "too few outputs": ({**TWO, "outputs": TWO["outputs"][:1]}, 400, "output_spec"),
    "too many outputs": ({**TWO, "outputs": TWO["outputs"] * 2}, 400, "output_spec"),
    "outputs in another order": ({**TWO, "outputs": TWO["outputs"][::-1]}, 400, "Output does not"),
    "a list for one of several": (
        {**TWO, "outputs": [TWO["outputs"][:1], TWO["outputs"][1]]},
        400,
        "'outputs'",
    ),
    "an output without an id": ({**ONE, "outputs": {"property": "children"}}, 400, "'id'"),
    "an output without a property": ({**ONE, "outputs": {"id": "out"}}, 400, "'property'"),
    "an output with a list as id": (
        {**ONE, "outputs": {"id": ["out"], "property": "children"}},
        400,
        "'id'",
    ),
    "a pattern's outputs as an object": (
        {**EVERY, "outputs": EVERY["outputs"][0]},
        400,
        "'outputs'",
    ),
    "a pattern's outputs of another pattern": (
        {**EVERY, "outputs": [{"id": {"type": "other", "index": 1}, "property": "children"}]},
        400,
        "Output does not match",
    ),
    "a pattern's output with a list in its id": (
        {**EVERY, "outputs": [{"id": {"type": "row", "index": [1]}, "property": "children"}]},
        400,
        "",
    ),
    "a pattern's output with an object in its id": (
        {**EVERY, "outputs": [{"id": {"type": "row", "index": {}}, "property": "children"}]},
        400,
        "",
    ),
    "a pattern's output left as a pattern": (
        {**EVERY, "outputs": [{"id": {"type": "row", "index": ["ALL"]}, "property": "children"}]},
        400,
        "",
    ),
    "no outputs of a pattern": (
        {key: value for key, value in EVERY.items() if key != "outputs"},
        400,
        "'outputs'",
    ),
    "a list in a list in the outputs": ({**EVERY, "outputs": [EVERY["outputs"]]}, 400, "'outputs'"),
    "no output that matches": (
        {key: value for key, value in MATCHING.items() if key != "outputs"},
        400,
        "'outputs'",
    ),
    "a matching output in a list": ({**MATCHING, "outputs": [MATCHING["outputs"]]}, 400, "outputs"),
    "a matching output with a string id": (
        {**MATCHING, "outputs": {"id": "cell", "property": "children"}},
        400,
        "Output does not",
    ),
    "no inputs": ({**ONE, "inputs": None}, 400, "Inputs do not match"),
    "inputs that are an object": ({**ONE, "inputs": {}}, 400, "'inputs' must be a list"),
    "inputs that are a string": ({**ONE, "inputs": "in"}, 400, "'inputs' must be a list"),
    "too few inputs": ({**ONE, "inputs": []}, 400, "Inputs do not match"),
    "too many inputs": ({**ONE, "inputs": ONE["inputs"] * 2}, 400, "Inputs do not match"),
    "an input that is a string": ({**ONE, "inputs": ["in"]}, 400, "each item of 'inputs'"),
    "an input that is null": ({**ONE, "inputs": [None]}, 400, "each item of 'inputs'"),
    "an input without an id": ({**ONE, "inputs": [{"property": "x"}]}, 400, "'id'"),
    "an input without a property": ({**ONE, "inputs": [{"id": "in"}]}, 400, "'property'"),
    "an input with a number as id": ({**ONE, "inputs": [slot(5, "value")]}, 400, "'id'"),
    "an input with an object as property": ({**ONE, "inputs": [slot("in", {})]}, 400, "'property'"),
    "a list in a list in the inputs": ({**ONE, "inputs": [[[]]]}, 400, "each item of 'inputs'"),
    "a list where one input was declared": (
        {**ONE, "inputs": [[slot("in", "value")]]},
        400,
        "'inputs'",
    ),
    "one input where a pattern was declared": (
        {**EVERY, "inputs": [slot({"type": "item", "index": 1}, "value")]},
        400,
        "'inputs'",
    ),
    "a state that is a string": ({**ONE, "state": "in"}, 400, "'state' must be a list"),
    "a state without an id": ({**ONE, "state": [{"property": "x"}]}, 400, "'id'"),
    "changed properties in an object": ({**ONE, "changedPropIds": {"a": 1}}, 400, "changedPropIds"),
    "a changed property that is a number": ({**ONE, "changedPropIds": [5]}, 400, "changedPropIds"),
    "a changed property that is no JSON": (
        {**MATCHING, "changedPropIds": ["{no JSON}.value"]},
        400,
        "changedPropIds",
    ),
    "a changed property that is no object": (
        {**MATCHING, "changedPropIds": ['{"a".value']},
        400,
        "changedPropIds",
    ),
}


@pytest.mark.parametrize("name", VALID)
async def test_what_a_page_sends_is_answered(app, name):
    async with FlashClient(app) as client:
        answer = await client.post(PATH, json=VALID[name])
    assert answer.status == 200, answer.text


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_body_is_refused_in_one_line(app, name):
    body, status, reason = BAD[name]
    async with FlashClient(app) as client:
        # Written with escapes, as a browser does with half a surrogate pair.
        answer = await client.post(
            PATH, body=json.dumps(body).encode(), headers={"content-type": "application/json"}
        )
        assert (answer.status, answer.headers["content-type"]) == (
            status,
            "text/plain; charset=utf-8",
        )
        assert reason in answer.text
        assert len(answer.text.splitlines()) == 1
        assert len(answer.text) < 500
        assert (await client.post(PATH, json=ONE)).status == 200


BAD_BYTES = {
    "nothing": b"",
    "no JSON": b"{output}",
    "JSON cut off": json.dumps(ONE).encode()[:-5],
    "two values": b"{} {}",
    "no UTF-8": b'{"output": "\xff\xfe"}',
    "NaN": b'{"output": NaN}',
    "a null byte": b"\x00",
    "very deep lists": b"[" * 200_000,
    "very deep objects": b'{"a":' * 200_000,
    "a number of thousands of digits": b'{"output": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("name", BAD_BYTES)
async def test_bytes_that_are_no_json_are_refused_in_one_line(app, name):
    async with FlashClient(app) as client:
        answer = await client.post(
            PATH, body=BAD_BYTES[name], headers={"content-type": "application/json"}
        )
        assert answer.status == 400
        assert len(answer.text.splitlines()) == 1
        assert len(answer.text) < 500
        assert (await client.post(PATH, json=ONE)).status == 200


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("APPLICATION/JSON", 200),
        ("application/vnd.api+json", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("", 415),
        (";;;", 415),
        ("\xe9", 415),
    ],
)
async def test_only_json_is_read(app, content_type, status):
    async with FlashClient(app) as client:
        answer = await client.post(
            PATH, body=json.dumps(ONE).encode(), headers={"content-type": content_type}
        )
    assert answer.status == status
    assert status == 200 or len(answer.text.splitlines()) == 1


async def test_values_of_any_kind_reach_the_callback(app):
    odd = ["\ud800", 2**70, -(2**70), 1e308, [[[{}]]], {"": None, "\u0000": "\u2028"}]
    async with FlashClient(app) as client:
        for value in odd:
            body = json.dumps({**ONE, "inputs": [slot("in", "value", value)]}).encode()
            answer = await client.post(
                PATH, body=body, headers={"content-type": "application/json"}
            )
            assert answer.status == 200, (value, answer.text)


async def test_a_value_nested_too_deep_to_be_written_back_is_refused(app):
    deep = json.loads("[" * 300 + "]" * 300)
    async with FlashClient(app) as client:
        answer = await client.post(PATH, json={**ONE, "inputs": [slot("in", "value", deep)]})
        # The callback returned what cannot be written: its own error, told as such.
        assert answer.status in (200, 500)
        assert (await client.post(PATH, json=ONE)).status == 200


BACKGROUND = {**ONE, "state": []}


class TestBackground:
    @pytest.fixture
    def app(self):
        app = Flash(
            __name__, suppress_callback_exceptions=True, background_callback_manager=AsyncManager()
        )
        app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])

        @app.callback(
            Output("out", "children"),
            Input("in", "value"),
            background=True,
            cancel=[Input("stop", "n_clicks")],
        )
        async def slow(value):
            return value

        return app

    @pytest.mark.parametrize(
        "query",
        [
            "cacheKey=forged&job=forged",
            "cacheKey=&job=",
            "cacheKey=x",
            "cacheKey=x&job=1&endId=forged",
            "cacheKey=%00&job=%ff",
            "oldJob=1&oldJob=forged",
            "cancelJob=1",
            "endId=" + "x" * 10_000,
        ],
    )
    async def test_forged_handles_are_no_server_error(self, app, query):
        async with FlashClient(app) as client:
            answer = await client.post(f"{PATH}?{query}", json=BACKGROUND)
            assert answer.status < 500
            result = await client.call("out.children", {"in.value": 7})
            assert result.value == 7

    async def test_another_page_cannot_take_a_result(self, app):
        async with FlashClient(app) as client:
            await client.layout()
            identity = client._page.config["end_id"]
            begun = (await client.post(f"{PATH}?endId={identity}", json=BACKGROUND)).json()
            await client.layout()
            other = client._page.config["end_id"]
            assert other != identity
            answer = await client.post(
                f"{PATH}?endId={other}&cacheKey={begun['cacheKey']}&job={begun['job']}",
                json=BACKGROUND,
            )
            assert 400 <= answer.status < 500
