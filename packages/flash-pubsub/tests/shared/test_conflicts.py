"""Other callbacks that set a property of a shared callback are refused at the start."""

import logging

import dash
import pytest

from flash import ALL, ClientsideFunction, ConfigurationError, Flash, Input, Output, html
from flash_pubsub import MemoryBroker, PubSub


def lamp(value):
    return value


def other(value):
    return value


def an_app(output="lamp"):
    app = Flash("conflict")
    app.layout = html.Div()
    pubsub = PubSub(app, broker=MemoryBroker())
    pubsub.shared_callback(Output(output, "children"), Input("slider", "value"))(lamp)
    return app, pubsub


def place(function):
    return f"test_conflicts.py:{function.__code__.co_firstlineno}"


async def refused(app, caplog):
    with pytest.raises(ConfigurationError) as caught:
        await app.server.startup()
    assert not [each for each in caplog.records if each.exc_info]
    return str(caught.value)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("duplicate", [False, True])
async def test_11_18_an_ordinary_callback_may_not_set_a_shared_output(duplicate, several, caplog):
    app, _ = an_app()
    outputs = [Output("lamp", "children", allow_duplicate=duplicate)]
    if several:
        outputs.insert(0, Output("mine", "children"))
    app.callback(outputs, Input("button", "n_clicks"), prevent_initial_call=True)(other)
    error = await refused(app, caplog)
    assert "the shared callback 'lamp'" in error
    assert place(lamp) in error
    assert place(other) in error
    assert "and a callback (" in error
    assert "both set lamp.children" in error
    assert "give the second an Output of its own" in error


async def test_11_18_a_callback_of_no_app_yet_may_not_either(caplog):
    from flash import callback

    app, _ = an_app()
    callback(Output("lamp", "children"), Input("button", "n_clicks"))(other)
    assert place(other) in await refused(app, caplog)


async def test_11_18_an_output_with_a_wildcard_may_not_cover_it(caplog):
    app, _ = an_app({"kind": "lamp", "room": 1})
    output = Output({"kind": "lamp", "room": ALL}, "children")
    app.callback(output, Input("button", "n_clicks"))(other)
    assert place(other) in await refused(app, caplog)


@pytest.mark.parametrize(
    ("function", "name"),
    [(ClientsideFunction("mine", "show"), "mine.show"), ("x => x", "JavaScript code")],
)
async def test_11_18_a_clientside_callback_may_not_either(function, name, caplog):
    app, _ = an_app()
    app.clientside_callback(function, Output("lamp", "children"), Input("button", "n_clicks"))
    error = await refused(app, caplog)
    assert f"a clientside callback ({name} with the Inputs button.n_clicks)" in error


async def test_11_18_a_channel_callback_may_not_either(caplog):
    app, pubsub = an_app()
    pubsub.channel_callback("lamps", Output("lamp", "children"))(other)
    error = await refused(app, caplog)
    assert place(other) in error
    assert "and a channel callback (" in error


async def test_11_18_a_shared_callback_that_comes_later_may_not_either():
    app, pubsub = an_app()
    app.callback(Output("mine", "children"), Input("button", "n_clicks"))(other)
    await app.server.startup()
    try:
        with pytest.raises(ConfigurationError, match=r"both set mine\.children"):
            pubsub.shared_callback(Output("mine", "children"), Input("slider", "value"))(lamp)
        # Nothing of it is left behind.
        assert len(app.page_extras["flash_pubsub"]["shared"]) == 1
    finally:
        await app.server.shutdown()


async def test_11_18_other_outputs_and_the_inputs_of_shared_callbacks_may_be_set(caplog):
    app, _ = an_app({"kind": "lamp", "room": 1})
    for output in (
        Output("slider", "value"),
        Output({"kind": "lamp", "room": 1}, "title"),
        Output({"kind": "lamp", "room": 2}, "children"),
        Output({"kind": "other", "room": ALL}, "children"),
    ):
        app.callback(output, Input("button", "n_clicks"))(other)
    with caplog.at_level(logging.WARNING):
        await app.server.startup()
    await app.server.shutdown()
    assert not caplog.records


def test_a_shared_callback_that_dash_refuses_leaves_nothing_behind():
    app, pubsub = an_app()
    before = dict(app.page_extras["flash_pubsub"]["shared"])
    with pytest.raises(dash.exceptions.DashException):
        pubsub.shared_callback(Output("mine", "children"), Input("a.b", "value"))(other)
    assert app.page_extras["flash_pubsub"]["shared"] == before
    pubsub.shared_callback(Output("mine", "children"), Input("b", "value"))(other)
