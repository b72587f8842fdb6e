"""Callbacks as Dash's own handlers call them, over the functions in `callback_map`."""

import asyncio
import functools
import inspect
import json
import threading

import dash
import pytest
from dash import Input, Output, State, ctx, dcc, html

from flash import BadRequest, Flash
from flash.background import AsyncManager
from flash.testing import FlashClient

SECONDS = 20
OUT = Output("out", "children")
IN = Input("in", "value")


@pytest.fixture(autouse=True)
async def nothing_hangs():
    async with asyncio.timeout(SECONDS):
        yield


@pytest.fixture
async def app():
    app = Flash(__name__, suppress_callback_exceptions=True)
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])
    yield app
    app.pool.close()
    app.internal_pool.close()


def prop(component, name, value=None):
    return {"id": component, "property": name, "value": value}


def dashs_context(**fields):
    """The context that a handler of Dash makes."""
    return dash._utils.AttributeDict(updated_props={}, **fields)


async def by_dash(app, *values, output="out.children", spec=None, **context):
    """Call a callback as a handler of Dash does; returns the JSON of the response."""
    app.dispatcher.take_over()
    callback = app.callback_map[output]["callback"]
    text = await callback(
        *values,
        outputs_list=spec or {"id": "out", "property": "children"},
        callback_context=dashs_context(**context),
    )
    return json.loads(text)


async def test_a_plain_function_runs_in_a_thread_and_the_response_is_json(app):
    @app.callback(OUT, IN, State("s", "data"))
    def callback(value, data):
        return [value, data, threading.current_thread() is threading.main_thread()]

    answer = await by_dash(app, 1, 2)
    assert answer == {"multi": True, "response": {"out": {"children": [1, 2, False]}}}


async def test_the_function_sees_what_dash_knows_of_the_call(app):
    @app.callback(OUT, IN, State("s", "data"))
    def callback(value, data):
        return [
            ctx.inputs_list,
            ctx.states_list,
            ctx.outputs_list,
            ctx.inputs,
            ctx.states,
            ctx.triggered,
            ctx.triggered_id,
            [group["triggered"] for group in ctx.args_grouping],
            ctx.custom_note,
        ]

    dash._callback_context.CallbackContext.custom_note = property(
        lambda self: dash._callback_context.context_value.get()["note"]
    )
    try:
        answer = await by_dash(
            app,
            1,
            2,
            inputs_list=[prop("in", "value", 1)],
            states_list=[prop("s", "data", 2)],
            outputs_list="not this one",
            triggered_inputs=[prop("in", "value", 1) | {"prop_id": "in.value"}],
            note="kept",
        )
    finally:
        del dash._callback_context.CallbackContext.custom_note
    inputs, states, outputs, *rest = answer["response"]["out"]["children"]
    assert (inputs, states) == ([prop("in", "value", 1)], [prop("s", "data", 2)])
    assert outputs == "not this one"
    assert rest == [
        {"in.value": 1},
        {"s.data": 2},
        [prop("in", "value", 1) | {"prop_id": "in.value"}],
        "in",
        [True, False],
        "kept",
    ]


async def test_a_context_of_dash_may_leave_everything_out(app):
    @app.callback(OUT, IN)
    def callback(value):
        return [ctx.inputs, ctx.states, ctx.triggered_id, ctx.args_grouping, value]

    answer = await by_dash(app, 7)
    assert answer["response"]["out"]["children"] == [{}, {}, None, [], 7]


async def test_the_outputs_that_dash_names_are_those_that_are_updated(app):
    app.callback(Output({"row": dash.MATCH}, "children"), Input({"row": dash.MATCH}, "value"))(
        lambda value: [value, ctx.outputs_list["id"]["row"]]
    )
    app.dispatcher.take_over()
    [output] = app.callback_map
    answer = await by_dash(app, 5, output=output, spec=prop({"row": 3}, "children"))
    assert answer["response"] == {'{"row":3}': {"children": [5, 3]}}


async def test_what_the_function_sets_is_part_of_the_response(app):
    @app.callback(OUT, IN)
    def callback(value):
        dash.set_props("log", {"children": "x"})
        return value

    answer = await by_dash(app, 1)
    assert answer["sideUpdate"] == {"log": {"children": "x"}}


async def test_name_text_and_signature_of_the_function_can_be_read(app):
    @app.callback(OUT, IN)
    def double(value: int) -> int:
        """Return twice the value."""
        return value * 2

    app.callback(Output("other", "children"), IN)(functools.partial(double))
    app.dispatcher.take_over()
    adapter = app.callback_map["out.children"]["callback"]
    assert (adapter.__name__, adapter.__doc__) == ("double", "Return twice the value.")
    assert list(inspect.signature(adapter).parameters) == ["value"]
    assert inspect.unwrap(adapter) is double
    nameless = app.callback_map["other.children"]["callback"]
    assert nameless.__name__ == "callback"
    assert (await by_dash(app, 4, output="other.children"))["response"] == {"out": {"children": 8}}


async def test_taking_over_again_changes_nothing_and_clientside_callbacks_stay(app):
    app.callback(OUT, IN)(lambda value: value)
    app.clientside_callback("v => v", Output("out", "title"), Input("in", "value"))
    app.dispatcher.take_over()
    before = {name: dict(entry) for name, entry in app.callback_map.items()}
    app.dispatcher.take_over()
    assert app.callback_map == before
    assert "callback" not in app.callback_map["out.title"]


@pytest.mark.parametrize("output", ["nobody.knows", "out.title"])
async def test_what_no_function_answers_has_no_plan(app, output):
    app.callback(OUT, IN)(lambda value: value)
    app.clientside_callback("v => v", Output("out", "title"), Input("in", "value"))
    with pytest.raises(BadRequest, match=f"no callback for output '{output}'") as refused:
        app.dispatcher.plan(output)
    assert refused.value.status == 404


async def test_a_plan_is_made_once_and_again_when_the_entry_is_replaced(app):
    app.callback(OUT, IN)(lambda value: value)
    plan = app.dispatcher.plan("out.children")
    assert plan.id == "out.children"
    assert app.dispatcher.plan("out.children") is plan

    async def replaced(*args, **kwargs):
        raise NotImplementedError

    app.callback_map["out.children"]["callback"] = replaced
    assert app.dispatcher.plan("out.children") is None
    assert app.callback_map["out.children"]["callback"] is replaced


# -- over Dash's socket


def body(value=1, **changes):
    return {
        "output": "out.children",
        "outputs": {"id": "out", "property": "children"},
        "inputs": [prop("in", "value", value)],
        "changedPropIds": ["in.value"],
        **changes,
    }


async def test_a_call_over_the_socket_returns_the_json_and_has_the_socket(app):
    @app.callback(OUT, IN)
    def callback(value):
        return [value, ctx.websocket == "socket", ctx.triggered_id, ctx.outputs_list["id"]]

    answer = json.loads(await app.dispatcher.call(body(5), "socket"))
    assert answer["response"] == {"out": {"children": [5, True, "in", "out"]}}


async def test_a_call_over_the_socket_raises_what_is_wrong_with_it(app):
    @app.callback(OUT, IN)
    def callback(value):
        raise KeyError(value)

    with pytest.raises(KeyError, match="x"):
        await app.dispatcher.call(body("x"), None)
    with pytest.raises(BadRequest, match="'inputs' must be a list"):
        await app.dispatcher.call(body(inputs="in"), None)
    with pytest.raises(BadRequest, match="'outputs' does not match"):
        await app.dispatcher.call(body(outputs=[]), None)
    with pytest.raises(Exception, match="Inputs do not match"):
        await app.dispatcher.call(body(inputs=[]), None)

    async def replaced(*args, **kwargs):
        raise NotImplementedError

    app.callback_map["out.children"]["callback"] = replaced
    with pytest.raises(BadRequest, match=r"'out\.children' must be run by Dash's own handler"):
        await app.dispatcher.call(body(), None)


# -- background callbacks


async def test_a_background_callback_has_its_arguments_its_context_and_its_error_handler():
    app = Flash(
        __name__, suppress_callback_exceptions=True, background_callback_manager=AsyncManager()
    )
    app.layout = html.Div()

    @app.callback(
        output=OUT,
        inputs={"value": IN},
        state={"data": State("s", "data")},
        background=True,
        on_error=lambda error: f"handled at {ctx.triggered_id}: {str(error).splitlines()[0]}",
    )
    async def slow(*, value, data):
        if value == "bad":
            raise KeyError(data)
        return [value, data, ctx.triggered_id]

    async with FlashClient(app) as client:
        result = await client.call("out.children", {"in.value": 1}, {"s.data": 2})
        assert result.value == [1, 2, "in"]
        result = await client.call("out.children", {"in.value": "bad"}, {"s.data": 2})
        assert result.value.startswith("handled at in: ")
        assert result.value.endswith(": 2")


class CountingManager(AsyncManager):
    """Counts the jobs that it is given."""

    started = 0

    async def start(self, spec, pool):
        self.started += 1
        return await super().start(spec, pool)


async def test_a_callback_s_own_manager_runs_it_and_the_app_s_runs_the_others():
    apps, own = CountingManager(), CountingManager()
    app = Flash(__name__, suppress_callback_exceptions=True, background_callback_manager=apps)
    app.layout = html.Div()

    async def job(value):
        return value

    app.callback(OUT, IN, background=True, manager=own)(job)
    app.callback(Output("other", "children"), IN, background=True)(job)
    async with FlashClient(app) as client:
        assert (await client.call("out.children", {"in.value": 1})).value == 1
        assert (apps.started, own.started) == (0, 1)
        assert (await client.call("other.children", {"in.value": 2})).value == 2
        assert (apps.started, own.started) == (1, 1)
