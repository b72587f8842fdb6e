"""The checks at start-up: they raise what Dash's raise, and only then do Dash's run."""

import dash
import pytest
from dash import Input, Output, State, dcc, html
from dash.exceptions import BackgroundCallbackError, DuplicateIdError, NoLayoutException

from flash import Flash
from flash.background import AsyncManager
from flash.seams import dash_checks
from flash.testing import FlashClient


class Sequence(list):
    """Children that are no plain list."""


@pytest.fixture
def calls_of_dash(monkeypatch):
    """The names of Dash's own checks that have run."""
    names = []
    for name in ("_validate_layout", "_validate_background_callbacks"):
        own = getattr(dash_checks, name)
        monkeypatch.setattr(
            dash_checks, name, lambda *args, name=name, own=own: names.append(name) or own(*args)
        )
    return names


UNIQUE = [
    html.Div(),
    html.Div(id="one"),
    html.Div("text", id="one"),
    html.Div(html.P(id="two"), id="one"),
    html.Div([html.P(id="two"), "text", None, 3, html.P([html.B(id="three")])], id="one"),
    html.Div((html.P(id="two"), html.P(id="three"))),
    html.Div(Sequence([html.P(id="two"), html.P(id="three")])),
    html.Div([html.P(id={"kind": "a", "n": 1}), html.P(id={"kind": "a", "n": 2})]),
    # Dash does not look into other properties than `children`.
    html.Div([dcc.Input(id="one", value="two"), html.P(id="two")]),
    [html.P(id="one"), "text", html.P(id="two")],
    (html.P(id="one"),),
    [],
    ["text", "text"],
]


@pytest.mark.parametrize("layout", UNIQUE, ids=repr)
def test_a_layout_in_which_each_id_is_unique_needs_no_check_by_dash(layout, calls_of_dash):
    dash_checks._validate_layout(layout, layout)
    calls_of_dash.clear()

    dash_checks.check_layout(layout, layout)

    assert calls_of_dash == []


REPEATED = [
    html.Div(html.P(id="one"), id="one"),
    html.Div([html.P(id="one"), html.P(id="one")]),
    html.Div([html.P(id="one"), html.Div([html.P([html.B(id="one")])])]),
    html.Div((html.P(id="one"), html.P(id="one"))),
    html.Div(Sequence([html.P(id="one"), html.P(id="one")])),
    # One id, whatever the order of its keys.
    html.Div([html.P(id={"kind": "a", "n": 1}), html.P(id={"n": 1, "kind": "a"})]),
    [html.P(id="one"), html.P(id="one")],
]


@pytest.mark.parametrize("layout", REPEATED, ids=repr)
def test_an_id_of_two_components_is_refused_with_dashs_error(layout):
    with pytest.raises(DuplicateIdError) as expected:
        dash_checks._validate_layout(layout, layout)
    with pytest.raises(DuplicateIdError) as raised:
        dash_checks.check_layout(layout, layout)
    assert str(raised.value) == str(expected.value)


@pytest.mark.parametrize(
    ("layout", "value"),
    [(None, html.Div()), (1, [html.Div(), 3]), (1, [None]), (1, [[]])],
    ids=repr,
)
def test_what_is_no_layout_is_refused_with_dashs_error(layout, value):
    with pytest.raises(NoLayoutException):
        dash_checks.check_layout(layout, value)


@pytest.mark.parametrize("value", ["text", 3])
def test_what_has_no_components_fails_as_in_dash(value):
    with pytest.raises(AttributeError):
        dash_checks._validate_layout(value, value)
    with pytest.raises(AttributeError):
        dash_checks.check_layout(value, value)


async def test_an_app_with_two_components_of_one_id_does_not_start():
    app = Flash(__name__)
    app.layout = html.Div([html.P(id="one"), html.P(id="one")])

    with pytest.raises(DuplicateIdError, match="`one`"):
        await app.start()


async def test_an_app_without_background_callbacks_starts_without_dashs_checks(calls_of_dash):
    app = Flash(__name__)
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])
    app.callback(Output("out", "children"), Input("in", "value"))(lambda value: value)

    async with FlashClient(app):
        pass

    assert calls_of_dash == []


async def test_a_background_callback_that_changes_what_it_depends_on_is_refused():
    app = Flash(__name__, background_callback_manager=AsyncManager())
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out"), html.P(id="progress")])
    app.callback(Output("in", "value"), Input("progress", "children"))(lambda value: value)

    @app.callback(
        Output("out", "children"),
        Input("in", "value"),
        State("in", "id"),
        background=True,
        progress=[Output("progress", "children")],
    )
    async def work(set_progress, value, name):
        return value

    with pytest.raises(BackgroundCallbackError, match="circular"):
        await app.start()


def test_dash_calls_the_short_checks():
    assert dash.dash._validate.validate_layout is dash_checks.check_layout
    assert (
        dash.dash._validate.validate_background_callbacks is dash_checks.check_background_callbacks
    )
