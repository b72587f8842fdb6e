"""What `dash.ctx` is for code that no callback request started, and what a request may not say."""

import threading

import dash
import pytest
from dash import ctx, hooks, set_props

import flash
from flash import BadRequest, ConfigurationError, Flash, html
from flash.callbacks.context import EventContext
from flash.callbacks.hook_registry import Hooks, at_start
from flash.callbacks.plan import CallbackOptions, CallbackRequest
from flash.testing import FlashClient


def prop(component_id, name, value=None):
    return {"id": component_id, "property": name, "value": value}


def test_code_that_a_page_calls_sees_inputs_state_and_what_has_changed():
    event = EventContext(
        [prop("a", "value", 1), [prop({"i": 1}, "value", 2), prop({"i": 2}, "value", 3)]],
        [prop("s", "data", 4)],
        ["a.value"],
    )
    assert [slot if isinstance(slot, list) else slot["value"] for slot in event.slots][::2] == [
        1,
        4,
    ]
    with event.active():
        assert ctx.triggered_id == "a"
        assert ctx.triggered == [{"prop_id": "a.value", "value": 1}]
        assert ctx.inputs["a.value"] == 1
        assert ctx.inputs['{"i":2}.value'] == 3
        assert ctx.states == {"s.data": 4}
        grouping = ctx.args_grouping
        assert (grouping[0].value, grouping[0].triggered) == (1, True)
        assert [each.value for each in grouping[1]] == [2, 3]
        assert (grouping[2].value, grouping[2].triggered) == (4, False)
        assert not ctx.using_args_grouping
        assert ctx.outputs_list == []


def test_what_is_set_is_handed_over_once_and_ids_of_patterns_are_objects_again():
    event = EventContext([], [], [])
    with event.active():
        set_props("a", {"children": 1})
        set_props("a", {"title": 2})
        set_props({"i": 1}, {"value": 3})
    assert event.take_updates() == [("a", {"children": 1, "title": 2}), ({"i": 1}, {"value": 3})]
    assert event.take_updates() == []


def test_who_sends_updates_at_once_is_told_of_each():
    event, told = EventContext([], [], []), []
    event.on_update(lambda: told.append(event.take_updates()))
    with event.active():
        flash.set_props("a", {"children": 1})
        flash.set_props("a", {"children": 2})
    assert told == [[("a", {"children": 1})], [("a", {"children": 2})]]


def test_afterwards_there_is_no_context_again_whatever_happened():
    event = EventContext([], [], [])
    with pytest.raises(LookupError), event.active():
        raise LookupError
    with pytest.raises(dash.exceptions.MissingCallbackContextException):
        _ = ctx.triggered_id


def test_without_a_browser_there_are_no_cookies_headers_or_address():
    with EventContext([], [], []).active():
        assert (ctx.cookies, ctx.headers, ctx.path, ctx.remote) == ({}, {}, "", None)
        assert ctx.args.getlist("x") == []
        assert ctx.origin is None


def test_what_no_context_has_is_no_field():
    with EventContext([], [], []).active():
        context = dash._callback_context.context_value.get()
        assert context.get("nothing") is None
        assert context.get("nothing", 5) == 5
        with pytest.raises(KeyError, match="nothing"):
            context["nothing"]


def test_an_additional_response_has_the_headers_that_were_added_and_no_others():
    with EventContext([], [], []).active():
        response = ctx.response
        assert list(response.headers) == []
        response.append_header("X-A", "1")
        response.append_header("X-A", "2")
        response.set_header("X-B", "1")
        response.set_header("X-B", "2")
        assert response.headers.getlist("x-a") == ["1", "2"]
        assert response.headers.getlist("x-b") == ["2"]
        assert response.callback_response.headers is response.headers
        response.set_cookie("user")
        response.delete_cookie("old")
        cookies = response.headers.getlist("set-cookie")
        assert cookies[0].startswith("user=;")
        assert cookies[1].startswith("old=;")
        assert response.set_response(data=b"{}").content_type == "application/json"


# -- requests


def body(**fields):
    return {"output": "o.children", "inputs": [], "changedPropIds": [], **fields}


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ([], "must be a JSON object, not a list"),
        ("x", "must be a JSON object, not a string"),
        (None, "must be a JSON object, not null"),
        (True, "must be a JSON object, not a boolean"),
        (1.5, "must be a JSON object, not a number"),
        (body(output=None), "'output' must be a string, not null"),
        (body(output={}), "'output' must be a string, not an object"),
        (body(changedPropIds="a.b"), "'changedPropIds' must be a list of strings"),
        (body(changedPropIds=[1]), "'changedPropIds' must be a list of strings"),
        (body(changedPropIds=["{broken.b"]), "'changedPropIds' must be a list of strings"),
        (body(changedPropIds=["[1].b", "{1}.b"]), "'changedPropIds' must be a list of strings"),
        (body(changedPropIds=['{"i":[1]}.b']), "'changedPropIds' must be a list of strings"),
        (body(inputs={}), "'inputs' must be a list, not an object"),
        (body(inputs=["a"]), "each .*of 'inputs' must be an object, not a string"),
        (body(inputs=[["a"]]), "each .*of 'inputs' must be an object, not a string"),
        (body(inputs=[{"property": "b"}]), "each .*of 'inputs' needs an 'id'"),
        (body(inputs=[{"id": 1, "property": "b"}]), "each .*of 'inputs' needs an 'id'"),
        (body(inputs=[{"id": "a"}]), "each .*of 'inputs' needs a 'property'"),
        (body(state=[{"id": "a", "property": 1}]), "each .*of 'state' needs a 'property'"),
        (body(state="x"), "'state' must be a list, not a string"),
        (body(outputs=1), "each .*of 'outputs' must be an object, not a number"),
        (body(outputs=[1]), "each .*of 'outputs' must be an object, not a number"),
        (body(outputs=[{}]), "each .*of 'outputs' needs an 'id'"),
    ],
)
def test_the_first_thing_wrong_with_a_request_is_named(sent, reason):
    with pytest.raises(BadRequest, match=reason):
        CallbackRequest.parse(sent)


def test_a_request_is_read_whole_and_what_is_left_out_is_empty():
    sent = body(
        inputs=[prop("a", "b", 1)],
        state=[[prop({"i": 1}, "c", 2)]],
        outputs=[prop("o", "children")],
        changedPropIds=["a.b", '{"i":1,"t":"x"}.c'],
    )
    request = CallbackRequest.parse(sent)
    assert request.output == "o.children"
    assert request.inputs == sent["inputs"]
    assert request.state == sent["state"]
    assert request.outputs == sent["outputs"]
    assert request.changed == sent["changedPropIds"]
    assert request.body is sent
    least = CallbackRequest.parse({"output": "o.children"})
    assert (least.outputs, least.inputs, least.state, least.changed) == (None, [], [], [])
    assert CallbackRequest.parse(body(changedPropIds=None)).changed == []
    assert CallbackRequest.parse(body(outputs=prop("o", "x"))).outputs == prop("o", "x")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"run_in": "process"}, "run_in='process'"),
        ({"timeout": 0}, "timeout=0: .*above 0"),
        ({"timeout": -1.5}, r"timeout=-1\.5"),
        ({"supersede": True, "coalesce": True}, "exclude each other"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, reason):
    with pytest.raises(ConfigurationError, match=reason):
        CallbackOptions(**options)


# -- hooks that Dash calls on the loop


@pytest.mark.skipif(not hasattr(hooks, "websocket_connect"), reason="newer than this Dash")
async def test_a_plain_hook_of_dashs_socket_runs_in_a_thread_and_is_awaited():
    app = Flash(__name__)
    app.layout = html.Div()
    seen = []

    @hooks.websocket_connect()
    def accept(socket):
        seen.append(threading.current_thread() is threading.main_thread())
        return f"accepted {socket}"

    (hook,) = Hooks(app.pool).get_hooks("websocket_connect")
    assert hook.func.__name__ == "accept"
    assert hook.data is hooks.get_hooks("websocket_connect")[0].data
    assert await hook("socket") == "accepted socket"
    assert seen == [False]
    app.pool.close()


async def test_a_setup_hook_for_the_start_is_called_then_and_may_be_awaited():
    order = []

    async def later():
        order.append("awaited")

    @hooks.setup()
    @at_start
    def setup(app):
        order.append("called")
        return later()

    app = Flash(__name__)
    app.layout = html.Div()
    assert order == []
    async with FlashClient(app):
        assert order == ["called", "awaited"]
