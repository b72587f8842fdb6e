"""Large bodies: refused above the limit, parsed in a thread, and once (issue 13, B)."""

import json
import threading
from types import SimpleNamespace

import pytest
import quart

from flash import Flash, Input, Output, html
from flash.http import gateway, socket_calls
from flash.testing import AppClient

MIB = 1 << 20


def an_app(**more):
    app = Flash(__name__, **more)
    app.layout = html.Div([html.P(id="in"), html.P(id="out")])

    @app.callback(Output("out", "children"), Input("in", "children"))
    async def size(value):
        return len(value)

    return app


def call(value):
    return json.dumps(
        {
            "output": "out.children",
            "outputs": {"id": "out", "property": "children"},
            "inputs": [{"id": "in", "property": "children", "value": value}],
            "changedPropIds": ["in.children"],
        }
    ).encode()


async def post(client, body):
    return await client.post(
        "/_dash-update-component", body=body, headers={"content-type": "application/json"}
    )


@pytest.fixture(params=["direct", "through Quart"])
def app(request):
    app = an_app()
    if request.param == "through Quart":
        app.server.before_request(lambda: None)
    return app


@pytest.fixture
def parsed(monkeypatch):
    """The threads in which JSON is parsed, by parser."""
    seen = []

    def watch(module, name):
        parse = getattr(module, name)

        def watched(*arguments, **options):
            seen.append((module.__name__, threading.current_thread() is threading.main_thread()))
            return parse(*arguments, **options)

        return watched

    class Watched:
        JSONDecodeError = gateway.orjson.JSONDecodeError
        loads = staticmethod(watch(gateway.orjson, "loads"))

    class Slow:
        loads = staticmethod(watch(json, "loads"))

    monkeypatch.setattr(gateway, "orjson", Watched)
    monkeypatch.setattr(gateway, "json", Slow)
    return seen


async def test_13_b_a_body_may_have_four_mib(app):
    async with AppClient(app) as client:
        assert (await post(client, call("x" * (4 * MIB - 1_000)))).status == 200
        answer = await post(client, call("x" * 4 * MIB))
    assert answer.status == 413
    assert "4194304 bytes" in answer.text or "Too Large" in answer.text


def test_13_b_a_body_that_is_too_long_is_logged_at_most_once_a_minute(caplog, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(gateway, "time", SimpleNamespace(monotonic=lambda: now[0]))
    app = an_app()
    app.server.config["MAX_CONTENT_LENGTH"] = 1234
    for now[0] in (0.0, 59.9, 60.0, 119.9, 120.0):
        gateway.Gateway.of(app.server).log_too_long()
    assert len(caplog.records) == 3
    assert 'app.server.config["MAX_CONTENT_LENGTH"] = 1234 bytes; set it higher' in caplog.text


async def test_13_b_a_callback_that_is_too_long_is_logged_and_other_refusals_are_not(caplog):
    async with AppClient(an_app()) as client:
        assert (await post(client, b"{")).status == 400
        assert not caplog.records
        assert (await post(client, call("x" * 4 * MIB))).status == 413
    assert [each.name for each in caplog.records] == ["flash.serving"]


async def test_13_b_the_limit_can_be_raised_and_a_server_of_the_apps_own_keeps_its(app):
    app.server.config["MAX_CONTENT_LENGTH"] = 6 * MIB
    async with AppClient(app) as client:
        assert (await post(client, call("x" * 5 * MIB))).status == 200
    assert quart.Quart("own").config["MAX_CONTENT_LENGTH"] == 16 * MIB
    own = an_app(server=quart.Quart("own"))
    assert own.server.config["MAX_CONTENT_LENGTH"] == 16 * MIB


async def test_13_b_large_json_is_parsed_in_a_thread_and_once(app, parsed):
    async with AppClient(app) as client:
        assert (await post(client, call("x" * MIB))).status == 200
        assert parsed == [("orjson", False)]
        parsed.clear()
        # Broken at its end.
        answer = await post(client, call("x" * MIB)[:-1])
        assert answer.status == 400
        assert "not JSON" in answer.text
        assert parsed == [("orjson", False)]


async def test_13_b_half_a_surrogate_pair_is_still_accepted(app, parsed):
    body = call("x" * MIB).replace(b"xx", rb"\ud800", 1)
    async with AppClient(app) as client:
        assert (await post(client, body)).status == 200
    assert parsed == [("orjson", False), ("json", False)]


@pytest.mark.parametrize(
    ("message", "value"),
    [
        ("[1", None),
        ('{"a": NaN}', None),
        (r'{"a": "\ud800"}', {"a": "\ud800"}),
        ('{"a": 1}', {"a": 1}),
        (r'{"a": "\ud800"', None),
    ],
)
def test_13_b_a_message_of_a_socket_is_parsed_as_a_body_is(message, value):
    assert socket_calls._parse(message) == value
