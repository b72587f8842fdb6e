"""A callback that is refused leaves nothing behind."""

import dash
import pytest

from flash import ConfigurationError, Flash, Input, Output, callback, html


async def later(value):
    return value


@pytest.mark.parametrize(
    ("options", "function", "words"),
    [
        ({}, "no function", "the callback 'no function' is no function; give one"),
        ({"run_in": "loop"}, later, r"run_in='loop' on .*test_refused\.later: an async function"),
    ],
)
@pytest.mark.parametrize("of_app", [True, False])
def test_a_refused_callback_is_on_no_page(of_app, options, function, words):
    app = Flash("refusing", suppress_callback_exceptions=True)
    app.layout = html.Div()
    register = app.callback if of_app else callback
    register(Output("kept", "children"), Input("in", "value"))(later)
    with pytest.raises(ConfigurationError, match=words):
        register(Output("out", "children"), Input("in", "value"), **options)(function)
    app.run_first_request_setup()
    assert list(app.callback_map) == ["kept.children"]
    assert [each["output"] for each in app.callback_list] == ["kept.children"]


def test_a_callback_that_dash_refuses_is_on_no_page():
    app = Flash("refusing")
    with pytest.raises(dash.exceptions.DashException):
        app.callback(Output("out", "children"), Input("a.b", "value"))(later)
    assert not app.callback_map
    assert not app.callback_list
