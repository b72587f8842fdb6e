"""Callbacks of every form answer as Dash's own Quart backend answers: same JSON, same errors."""

import decimal
import functools
from dataclasses import dataclass, field

import dash
import pytest
from dash import ALL, ALLSMALLER, MATCH, Dash, Input, Output, Patch, State, html, no_update
from dash.exceptions import PreventUpdate

from flash import Flash
from flash.callbacks.plan import CallbackOptions
from flash.errors import ConfigurationError
from flash.testing import CallbackFailed, FlashClient


@dataclass
class Case:
    """One callback and a call of it."""

    # What `callback` is given.
    declared: tuple
    function: object
    # What `FlashClient.call` is given.
    wanted: object
    values: dict
    options: dict = field(default_factory=dict)
    # Keywords of the app.
    app: dict = field(default_factory=dict)
    # Component libraries and the like; called with the app before it is served.
    triggered: object = None


OUT = Output("out", "children")
TWO = [Output("a", "x"), Output("b", "y")]
IN = Input("in", "value")


def item(index):
    return f'{{"index":{index},"type":"item"}}.value'


def row(index):
    return f'{{"index":{index},"type":"row"}}.children'


class Unserialisable:
    def __repr__(self):
        return "<Unserialisable>"


def raises(error):
    def function(*_):
        raise error

    return function


def sets(*updates, result=None):
    def function(*_):
        for component, props in updates:
            dash.set_props(component, props)
        return result

    return function


def returns(result):
    return lambda *_, **__: result


def patched(_):
    patch = Patch()
    patch["a"]["b"] = 1
    patch.append(html.B("x"))
    del patch["c"]
    return patch


PATTERN_ITEMS = {item(1): "one", item(2): "two", item(3): "three"}

CASES = {
    "one output": Case((OUT, IN), lambda v: v * 2, "out.children", {"in.value": 4}),
    "one output, a tuple as its value": Case((OUT, IN), returns((1, 2)), "out.children", {}),
    "one output, a component": Case(
        (OUT, IN), lambda v: html.Div([html.P(v), "x"], id="y"), "out.children", {"in.value": "é"}
    ),
    "one output, None": Case((OUT, IN), returns(None), "out.children", {}),
    "an input that is not set": Case((OUT, IN), lambda v: [v, 1], "out.children", {}),
    "no arguments in the request": Case((OUT,), lambda: 1, "out.children", {}),
    "two outputs, a list": Case((TWO, IN), lambda v: [v, 1], ["a.x", "b.y"], {"in.value": 1}),
    "two outputs, a tuple": Case((TWO, IN), lambda v: (v, 1), ["a.x", "b.y"], {"in.value": 1}),
    "two outputs, not in a list": Case(
        (*TWO, IN), lambda v: (v, 1), ["a.x", "b.y"], {"in.value": 1}
    ),
    "two properties of one component": Case(
        (Output("a", "x"), Output("a", "y"), IN), returns([1, 2]), ["a.x", "a.y"], {}
    ),
    "a list of one output": Case(([OUT], IN), lambda v: [v], ["out.children"], {"in.value": 5}),
    "a list of one output, not a list": Case(([OUT], IN), returns(5), ["out.children"], {}),
    "a list of one output, a string": Case(([OUT], IN), returns("a"), ["out.children"], {}),
    "too few values": Case((TWO, IN), returns([1]), ["a.x", "b.y"], {}),
    "too many values": Case((TWO, IN), returns((1, 2, 3)), ["a.x", "b.y"], {}),
    "a scalar for two outputs": Case((TWO, IN), returns(1), ["a.x", "b.y"], {}),
    "a dictionary for two outputs": Case((TWO, IN), returns({"a": 1}), ["a.x", "b.y"], {}),
    "a string for two outputs": Case((TWO, IN), returns("ab"), ["a.x", "b.y"], {}),
    "None for two outputs": Case((TWO, IN), returns(None), ["a.x", "b.y"], {}),
    "states after inputs": Case(
        (OUT, IN, Input("in", "data"), State("s", "value")),
        lambda *args: list(args),
        "out.children",
        {"in.value": 1, "in.data": 2, "s.value": 3},
    ),
    "states between inputs": Case(
        (OUT, [State("s", "value"), IN, State("t", "value")]),
        lambda *args: list(args),
        "out.children",
        {"in.value": 1, "s.value": 2, "t.value": 3},
    ),
    "inputs by keyword": Case(
        (),
        lambda **kwargs: kwargs,
        "out.children",
        {"in.value": 1, "s.value": 2},
        {"output": OUT, "inputs": {"first": IN}, "state": {"second": State("s", "value")}},
    ),
    "nested inputs": Case(
        (),
        lambda pair, extra: [pair, extra],
        "out.children",
        {"in.value": 1, "in.data": 2, "s.value": 3, "t.value": 4},
        {
            "output": OUT,
            "inputs": {
                "pair": (IN, Input("in", "data")),
                "extra": {"s": State("s", "value"), "t": [State("t", "value")]},
            },
        },
    ),
    "a tuple among positional inputs": Case(
        (OUT, (IN, Input("in", "data")), State("s", "value")),
        lambda *args: list(args),
        "out.children",
        {"in.value": 1, "in.data": 2, "s.value": 3},
    ),
    "outputs by name": Case(
        (),
        lambda v: {"first": v, "second": v + 1},
        ["a.x", "b.y"],
        {"in.value": 1},
        {"output": {"first": TWO[0], "second": TWO[1]}, "inputs": [IN]},
    ),
    "outputs by name, one missing": Case(
        (),
        returns({"first": 1}),
        ["a.x", "b.y"],
        {},
        {"output": {"first": TWO[0], "second": TWO[1]}, "inputs": [IN]},
    ),
    "outputs by name, a list": Case(
        (),
        returns([1, 2]),
        ["a.x", "b.y"],
        {},
        {"output": {"first": TWO[0], "second": TWO[1]}, "inputs": [IN]},
    ),
    "outputs by name, no_update for one": Case(
        (),
        returns({"first": no_update, "second": 2}),
        ["a.x", "b.y"],
        {},
        {"output": {"first": TWO[0], "second": TWO[1]}, "inputs": [IN]},
    ),
    "outputs by name, no_update for all": Case(
        (),
        returns(no_update),
        ["a.x", "b.y"],
        {},
        {"output": {"first": TWO[0], "second": TWO[1]}, "inputs": [IN]},
    ),
    "nested outputs": Case(
        (),
        returns({"list": [1, {"deep": 2}], "tuple": (3,)}),
        ["a.x", "b.y", "c.z"],
        {},
        {
            "output": {
                "list": [Output("a", "x"), {"deep": Output("b", "y")}],
                "tuple": (Output("c", "z"),),
            },
            "inputs": [IN],
        },
    ),
    "nested outputs, a wrong shape": Case(
        (),
        returns({"list": [1], "tuple": (3,)}),
        ["a.x", "b.y", "c.z"],
        {},
        {
            "output": {
                "list": [Output("a", "x"), {"deep": Output("b", "y")}],
                "tuple": (Output("c", "z"),),
            },
            "inputs": [IN],
        },
    ),
    "no_update": Case((OUT, IN), returns(no_update), "out.children", {}),
    "no_update, the class": Case((OUT, IN), returns(dash.NoUpdate), "out.children", {}),
    "no_update for one of two": Case((TWO, IN), returns([no_update, 2]), ["a.x", "b.y"], {}),
    "no_update for two": Case((TWO, IN), returns(no_update), ["a.x", "b.y"], {}),
    "no_update as JSON": Case(
        (OUT, IN), returns({"_dash_no_update": "_dash_no_update"}), "out.children", {}
    ),
    "a patch": Case((OUT, IN), patched, "out.children", {}),
    "PreventUpdate": Case((OUT, IN), raises(PreventUpdate), "out.children", {}),
    "PreventUpdate of two": Case((TWO, IN), raises(PreventUpdate()), ["a.x", "b.y"], {}),
    "set_props beside an output": Case(
        (OUT, IN), sets(("s", {"data": [1]}), result=2), "out.children", {}
    ),
    "set_props twice on one component": Case(
        (OUT, IN), sets(("s", {"a": 1, "b": 1}), ("s", {"b": 2})), "out.children", {}
    ),
    "set_props of a pattern's component": Case(
        (OUT, IN), sets(({"type": "x", "index": 1}, {"data": html.P("x")})), "out.children", {}
    ),
    "set_props and PreventUpdate": Case(
        (OUT, IN),
        lambda _: (dash.set_props("s", {"data": 1}), raises(PreventUpdate)())[0],
        "out.children",
        {},
    ),
    "set_props and no_update": Case(
        (OUT, IN), sets(("s", {"data": 1}), result=no_update), "out.children", {}
    ),
    "no output": Case((IN,), sets(("s", {"data": 1})), None, {"in.value": 1}),
    "no output and nothing set": Case((IN,), returns(None), None, {"in.value": 1}),
    "no output but a value": Case((IN,), returns(5), None, {"in.value": 1}),
    "no output but no_update": Case((IN,), returns(no_update), None, {"in.value": 1}),
    "MATCH": Case(
        (
            Output({"type": "row", "index": MATCH}, "children"),
            Input({"type": "item", "index": MATCH}, "value"),
        ),
        lambda v: v,
        row(2),
        {item(2): "two"},
    ),
    "MATCH in two outputs": Case(
        (
            [
                Output({"type": "row", "index": MATCH}, "children"),
                Output({"type": "row", "index": MATCH}, "title"),
            ],
            Input({"type": "item", "index": MATCH}, "value"),
        ),
        lambda v: [v, no_update],
        [row(2), '{"index":2,"type":"row"}.title'],
        {item(2): "two"},
    ),
    "ALL inputs": Case(
        (OUT, Input({"type": "item", "index": ALL}, "value")),
        lambda values: values,
        "out.children",
        PATTERN_ITEMS,
    ),
    "ALL inputs, none there": Case(
        (OUT, Input({"type": "item", "index": ALL}, "value")),
        lambda values: values,
        "out.children",
        {},
    ),
    "ALLSMALLER inputs": Case(
        (
            Output({"type": "row", "index": MATCH}, "children"),
            Input({"type": "item", "index": MATCH}, "value"),
            State({"type": "item", "index": ALLSMALLER}, "value"),
        ),
        lambda value, smaller: [value, smaller],
        row(3),
        {item(3): "three", item(1): "one", item(2): "two"},
        triggered=[item(3)],
    ),
    "ALL outputs": Case(
        (
            Output({"type": "row", "index": ALL}, "children"),
            Input({"type": "item", "index": ALL}, "value"),
        ),
        lambda values: values[:2],
        [row(1), row(2)],
        PATTERN_ITEMS,
    ),
    "ALL outputs beside another": Case(
        (
            [Output({"type": "row", "index": ALL}, "children"), OUT],
            Input({"type": "item", "index": ALL}, "value"),
        ),
        lambda values: [[no_update, "b"], "out"],
        [row(1), row(2), "out.children"],
        PATTERN_ITEMS,
    ),
    "ALL outputs, too few values": Case(
        (
            Output({"type": "row", "index": ALL}, "children"),
            Input({"type": "item", "index": ALL}, "value"),
        ),
        lambda values: values[:1],
        [row(1), row(2)],
        PATTERN_ITEMS,
    ),
    "ALL outputs, a scalar": Case(
        (
            [Output({"type": "row", "index": ALL}, "children"), OUT],
            Input({"type": "item", "index": ALL}, "value"),
        ),
        returns(["x", "y"]),
        [row(1), row(2), "out.children"],
        PATTERN_ITEMS,
    ),
    "ALL outputs, too few of several": Case(
        (
            [Output({"type": "row", "index": ALL}, "children"), OUT],
            Input({"type": "item", "index": ALL}, "value"),
        ),
        returns([["x"], "y"]),
        [row(1), row(2), "out.children"],
        PATTERN_ITEMS,
    ),
    "an id with dots in its dictionary": Case(
        (Output({"type": "a.b"}, "children"), IN),
        lambda v: v,
        '{"type":"a.b"}.children',
        {"in.value": 1},
    ),
    "allow_duplicate": Case(
        (Output("out", "children", allow_duplicate=True), IN),
        lambda v: v,
        "out.children",
        {"in.value": 1},
        {"prevent_initial_call": True},
    ),
    "allow_duplicate of two": Case(
        ([Output("a", "x", allow_duplicate=True), Output("b", "y", allow_duplicate=True)], IN),
        lambda v: [v, no_update],
        ["a.x", "b.y"],
        {"in.value": 1},
        {"prevent_initial_call": True},
    ),
    "an exception": Case((OUT, IN), raises(ZeroDivisionError("by zero")), "out.children", {}),
    "its own on_error": Case(
        (OUT, IN), raises(KeyError("x")), "out.children", {}, {"on_error": lambda e: repr(e)}
    ),
    "its own on_error returns nothing": Case(
        (OUT, IN), raises(KeyError("x")), "out.children", {}, {"on_error": lambda e: None}
    ),
    "its own on_error returns something false": Case(
        (OUT, IN), raises(KeyError("x")), "out.children", {}, {"on_error": lambda e: 0}
    ),
    "the app's on_error returns something false": Case(
        (OUT, IN), raises(KeyError("x")), "out.children", {}, {}, {"on_error": lambda e: ""}
    ),
    "its own on_error for two": Case(
        (TWO, IN), raises(KeyError("x")), ["a.x", "b.y"], {}, {"on_error": lambda e: [1, 2]}
    ),
    "its own on_error raises": Case(
        (OUT, IN), raises(KeyError("x")), "out.children", {}, {"on_error": raises(ValueError("y"))}
    ),
    "its own on_error prevents the update": Case(
        (OUT, IN), raises(KeyError("x")), "out.children", {}, {"on_error": raises(PreventUpdate)}
    ),
    "on_error sets properties": Case(
        (OUT, IN),
        raises(KeyError("x")),
        "out.children",
        {},
        {"on_error": lambda e: dash.set_props("log", {"children": repr(e)})},
    ),
    "on_error without an output": Case(
        (IN,),
        raises(KeyError("x")),
        None,
        {"in.value": 1},
        {"on_error": lambda e: dash.set_props("log", {"children": repr(e)})},
    ),
    "the app's on_error": Case(
        (OUT, IN), raises(KeyError("x")), "out.children", {}, {}, {"on_error": lambda e: repr(e)}
    ),
    "both on_error": Case(
        (OUT, IN),
        raises(KeyError("x")),
        "out.children",
        {},
        {"on_error": lambda e: "own"},
        {"on_error": lambda e: "app's"},
    ),
    "an unserialisable value": Case((OUT, IN), returns(Unserialisable()), "out.children", {}),
    "an unserialisable value in a list": Case(
        (OUT, IN), returns([1, Unserialisable()]), "out.children", {}
    ),
    "an unserialisable child": Case(
        (OUT, IN), returns(html.Div([html.P(Unserialisable(), id="p")])), "out.children", {}
    ),
    "an unserialisable value of two": Case(
        (TWO, IN), returns([1, Unserialisable()]), ["a.x", "b.y"], {}
    ),
    "an unserialisable value by name": Case(
        (),
        returns({"first": 1, "second": Unserialisable()}),
        ["a.x", "b.y"],
        {},
        {"output": {"first": TWO[0], "second": TWO[1]}, "inputs": [IN]},
    ),
    "an unserialisable set_props": Case(
        (OUT, IN), sets(("s", {"data": Unserialisable()}), result=1), "out.children", {}
    ),
    "a Decimal and a set": Case(
        (OUT, IN), returns([decimal.Decimal("1.5"), {1}]), "out.children", {}
    ),
    "not a number": Case((OUT, IN), returns([float("nan"), float("inf")]), "out.children", {}),
    "keys that are no strings": Case((OUT, IN), returns({1: 2, None: 3}), "out.children", {}),
}


def stock(**options):
    return Dash(__name__, backend="quart", **options)


def flash(**options):
    return Flash(__name__, **options)


def made_async(function):
    @functools.wraps(function)
    async def wrapped(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapped


async def outcome(kind, case, *, is_async):
    app = kind(suppress_callback_exceptions=True, **case.app)
    app.layout = html.Div()
    errors = []

    @app.server.errorhandler(Exception)
    async def note(error):
        errors.append((type(error), str(error)))
        return "an error", 500

    function = made_async(case.function) if is_async else case.function
    app.callback(*case.declared, **case.options)(function)
    async with FlashClient(app) as client:
        try:
            result = await client.call(case.wanted, case.values, triggered=case.triggered)
        except CallbackFailed:
            return errors
        answer = result.response
        return answer.status, answer.json() if answer.body else None


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("name", CASES)
async def test_the_answer_is_dashs(name, is_async):
    dashs = await outcome(stock, CASES[name], is_async=is_async)
    assert await outcome(flash, CASES[name], is_async=is_async) == dashs


async def test_a_callback_may_be_registered_twice_for_one_function():
    answers = []
    for kind in (stock, flash):
        app = kind(suppress_callback_exceptions=True)
        app.layout = html.Div()

        @app.callback(Output("b", "children"), Input("in", "value"))
        @app.callback(Output("a", "children"), Input("in", "value"))
        def double(value):
            return value * 2

        async with FlashClient(app) as client:
            answers.append(
                [
                    (await client.call(f"{name}.children", {"in.value": 2})).value
                    for name in ("a", "b")
                ]
            )
    assert answers[0] == answers[1] == [4, 4]


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "remedy"),
        [
            ({"run_in": "process"}, "must be 'thread' or 'loop'"),
            ({"timeout": 0}, "a number of seconds above 0"),
            ({"timeout": -1}, "a number of seconds above 0"),
            ({"supersede": True, "coalesce": True}, "exclude each other"),
        ],
    )
    def test_one_that_makes_no_sense_is_refused_with_the_remedy(self, options, remedy):
        with pytest.raises(ConfigurationError, match=remedy):
            CallbackOptions(**options)
        with pytest.raises(ConfigurationError, match=remedy):
            Flash(__name__).callback(OUT, IN, **options)

    def test_a_function_that_is_async_cannot_be_told_to_run_on_the_loop(self):
        app = Flash(__name__)
        with pytest.raises(ConfigurationError, match="always runs on the loop"):

            @app.callback(OUT, IN, run_in="loop")
            async def function(value):
                return value

    async def test_the_page_is_not_told_of_them(self):
        app = Flash(__name__, suppress_callback_exceptions=True)
        app.layout = html.Div()

        @app.callback(OUT, IN, run_in="loop", timeout=5, supersede=True)
        def function(value):
            return value

        async with FlashClient(app) as client:
            told = (await client.get("/_dash-dependencies")).json()
        assert not {"run_in", "timeout", "supersede", "flash_options"} & told[0].keys()

    @pytest.mark.parametrize("option", ["supersede", "coalesce"])
    def test_a_job_in_the_background_can_be_neither_superseded_nor_shared(self, option):
        with pytest.raises(ConfigurationError, match="cancel= to cancel a job"):
            Flash(__name__).callback(OUT, IN, background=True, **{option: True})
        Flash(__name__).callback(OUT, IN, background=False, **{option: True})
        Flash(__name__).callback(OUT, IN, background=True, timeout=5)

    def test_each_callback_has_its_own(self):
        app = Flash(__name__)
        app.callback(OUT, IN, timeout=5)(lambda value: value)
        app.callback(Output("other", "children"), IN)(lambda value: value)
        app.dispatcher.take_over()
        assert app.dispatcher.plan("out.children").options == CallbackOptions(timeout=5)
        assert app.dispatcher.plan("other.children").options == CallbackOptions()
