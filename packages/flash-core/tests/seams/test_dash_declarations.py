"""Declarations of callbacks are split as Dash splits them, whatever they look like."""

import pytest
from dash import ALL, Input, Output, State
from dash.exceptions import IncorrectTypeException, InvalidComponentIdError

from flash import ConfigurationError, Flash
from flash.seams import dash_declarations

OUT, OUT2 = Output("out", "children"), Output("out2", "children", allow_duplicate=True)
IN, IN2 = Input("in", "value"), Input("in2", "value", allow_optional=True)
STATE, STATE2 = State("state", "data"), State("state2", "data")

ROWS = [
    (OUT, IN),
    (OUT, IN, STATE),
    (OUT, OUT2, IN, IN2),
    (OUT, IN, STATE, IN2, STATE2),
    (OUT, STATE, IN),
    (OUT, STATE),
    (IN,),
    (IN, IN2),
    (OUT,),
    (OUT, OUT2),
    (),
]

OTHERS = [
    ((OUT, IN, True), {}),
    ((OUT, [IN]), {}),
    (([OUT], [IN], [STATE]), {}),
    ((OUT, [IN, IN2], [STATE]), {}),
    ((OUT, {"a": IN, "b": (IN2, STATE)}), {}),
    ((Output({"kind": ALL}, "children"), Input({"kind": ALL}, "value")), {}),
    ((), {"output": OUT, "inputs": [IN], "state": [STATE]}),
    ((OUT,), {"inputs": {"a": IN}, "state": {"b": STATE}}),
]

WRONG = [
    ((IN, OUT), IncorrectTypeException),
    ((OUT, "in"), IncorrectTypeException),
    ((OUT, IN, OUT2), IncorrectTypeException),
    ((OUT, Input("a.b", "value")), InvalidComponentIdError),
    ((OUT, Input("a{", "value")), InvalidComponentIdError),
    ((OUT, Input("in", 3)), IncorrectTypeException),
    ((OUT, Input(3, "value")), IncorrectTypeException),
]


@pytest.fixture
def calls_of_dash(monkeypatch):
    """The declarations that Dash has split."""
    calls = []
    own = dash_declarations._split_by_dash
    monkeypatch.setattr(
        dash_declarations, "_split_by_dash", lambda *given: calls.append(given) or own(*given)
    )
    return calls


@pytest.mark.parametrize("args", ROWS, ids=repr)
@pytest.mark.parametrize(
    "kwargs", [{}, {"prevent_initial_call": True}, {"prevent_initial_call": None}]
)
def test_a_row_of_dependencies_is_split_as_dash_does(args, kwargs, calls_of_dash):
    expected = dash_declarations._split_by_dash(args, dict(kwargs))
    calls_of_dash.clear()

    split = dash_declarations.split_arguments(args, dict(kwargs))

    assert calls_of_dash == []
    assert split == expected
    assert [type(each) for each in split] == [type(each) for each in expected]


@pytest.mark.parametrize(("args", "kwargs"), OTHERS, ids=repr)
def test_other_declarations_are_left_to_dash(args, kwargs, calls_of_dash):
    expected = dash_declarations._split_by_dash(args, dict(kwargs))
    calls_of_dash.clear()

    assert dash_declarations.split_arguments(args, dict(kwargs)) == expected
    assert len(calls_of_dash) == 1


@pytest.mark.parametrize(("args", "error"), WRONG, ids=repr)
def test_a_declaration_that_dash_refuses_is_refused_where_it_is_made(args, error):
    app = Flash(__name__)

    with pytest.raises(error):
        app.callback(*args)(lambda *values: None)
    assert not app.callback_list


def test_the_options_of_flash_are_checked_as_before():
    with pytest.raises(ConfigurationError, match="run_in='threads'"):
        Flash(__name__).callback(OUT, IN, run_in="threads")
