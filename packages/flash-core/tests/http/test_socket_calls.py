"""What Flash takes out of Dash's own WebSocket, and what it leaves in."""

import asyncio
import contextlib
import contextvars
import json
import queue
import threading

import dash
import pytest
import quart
import quart.signals
from dash import Input, Output, ctx, dcc, html
from quart.testing.connections import WebsocketDisconnectError
from socket_page import Page, a_body

from flash import Flash
from flash.http.socket_calls import MAX_WAITING, SocketCalls, SocketOutbox
from flash.testing import FlashClient

OUT = Output("out", "children")
IN = Input("in", "value")


@pytest.fixture(autouse=True)
async def nothing_hangs():
    async with asyncio.timeout(60):
        yield


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])
    return app


async def test_a_heartbeat_between_calls_is_answered_by_dash(app):
    app.callback(OUT, IN, websocket=True)(lambda value: value)
    async with Page(app) as page:
        await page.call(1)
        assert (await page.message())["payload"]["status"] == "ok"
        await page.send(type="heartbeat")
        assert (await page.message())["type"] == "heartbeat_ack"
        await page.call(2, request_id="2")
        assert (await page.message())["requestId"] == "2"


@pytest.mark.parametrize("output", ["nothing.such", "http.only"])
async def test_what_may_not_be_called_over_it_is_for_dash_to_refuse(app, output):
    called = []
    app.callback(OUT, IN, websocket=True)(lambda value: value)
    app.callback(Output("http", "only"), IN)(called.append)
    async with Page(app) as page:
        await page.call(1, output=output)
        with pytest.raises(WebsocketDisconnectError):
            await page.message()
    assert not called


async def test_what_a_callback_set_comes_before_its_answer(app):
    @app.callback(OUT, IN, websocket=True)
    async def callback(value):
        for number in range(5):
            dash.set_props("log", {"children": number})
        return value

    async with Page(app) as page:
        await page.call(7)
        seen = [await page.message() for _ in range(6)]
    assert [each["payload"]["props"]["children"] for each in seen[:5]] == [0, 1, 2, 3, 4]
    assert seen[5]["payload"]["data"]["response"] == {"out": {"children": 7}}


async def test_a_callback_that_waits_for_the_page_learns_that_it_left(app):
    told = asyncio.Event()

    @app.callback(OUT, IN, websocket=True)
    async def callback(value):
        try:
            await ctx.websocket.get_prop("in", "value")
        finally:
            told.set()

    async with Page(app) as page:
        await page.call(1)
        assert (await page.message())["type"] == "get_props_request"
    await told.wait()


async def test_a_plain_callback_learns_that_the_page_left(app):
    told, running = threading.Event(), threading.Event()

    @app.callback(OUT, IN, websocket=True)
    def callback(value):
        running.set()
        while not ctx.websocket.is_shutdown:
            told.wait(0.001)
        told.set()

    async with Page(app) as page:
        await page.call(1)
        await asyncio.to_thread(running.wait)
    await asyncio.to_thread(told.wait)


async def test_a_message_names_the_page_and_the_call_that_it_belongs_to(app):
    @app.callback(OUT, IN, websocket=True)
    async def callback(value):
        dash.set_props("log", {"children": "x"})
        return value

    async with Page(app) as page:
        await page.call(1, request_id="7")
        props, answer = await page.message(), await page.message()
        assert (props["type"], props["rendererId"]) == ("set_props", "r")
        assert props["payload"] == {"componentId": "log", "props": {"children": "x"}}
        assert (answer["type"], answer["rendererId"]) == ("callback_response", "r")
        assert answer["requestId"] == "7"
        assert answer["payload"] == {
            "status": "ok",
            "data": {"multi": True, "response": {"out": {"children": 1}}},
        }
        # A page may leave both out.
        await page.send(type="callback_request", payload=a_body(2))
        await page.message()
        answer = await page.message()
        assert (answer["rendererId"], answer["requestId"]) == ("", None)


@pytest.mark.parametrize(
    ("named", "expected"), [({"endId": "p"}, "p"), ({}, None), ({"endId": ["p"]}, None)]
)
async def test_a_call_finds_the_identity_of_its_page_among_the_arguments(app, named, expected):
    @app.callback(OUT, IN, websocket=True)
    async def callback(value):
        return [ctx.args.get("endId"), ctx.websocket is not None]

    async with Page(app) as page:
        await page.send(type="callback_request", payload={**a_body(1), **named})
        answer = await page.message()
    data = answer["payload"]["data"]
    assert data["response"] == {"out": {"children": [expected, True]}}


async def test_an_error_and_no_update_are_told_to_the_page(app, caplog):
    app.show_errors()

    @app.callback(OUT, IN, websocket=True)
    def callback(value):
        if value:
            raise KeyError(value)
        raise dash.exceptions.PreventUpdate

    async with Page(app) as page:
        await page.call("x")
        answer = await page.message()
        assert answer["payload"] == {"status": "error", "message": "'x'"}
        assert "the callback 'out.children' failed" in caplog.text
        assert "KeyError: 'x'" in caplog.text
        await page.call(None)
        answer = await page.message()
        assert answer["payload"] == {"status": "prevent_update"}


async def test_a_property_that_a_callback_asks_for_is_what_the_page_answers(app):
    @app.callback(OUT, IN, websocket=True)
    async def callback(value):
        return [value, await ctx.websocket.get_prop("other", "value")]

    async with Page(app) as page:
        await page.call(1)
        question = await page.message()
        assert question["type"] == "get_props_request"
        await page.send(
            type="get_props_response",
            rendererId="r",
            requestId=question["requestId"],
            payload={"value": 5},
        )
        answer = await page.message()
        assert answer["payload"]["data"]["response"] == {"out": {"children": [1, 5]}}
        # Nobody waits for this one.
        await page.send(type="get_props_response", rendererId="r", requestId="no", payload={})
        await page.call(2)
        assert (await page.message())["type"] == "get_props_request"


async def test_a_page_that_leaves_ends_the_calls_that_run(app):
    begun, ended = asyncio.Event(), asyncio.Event()

    @app.callback(OUT, IN, websocket=True)
    async def callback(value):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with Page(app) as page:
        await page.call(1)
        await begun.wait()
    await ended.wait()


async def test_the_end_of_the_calls_is_awaited(app):
    begun, ended = asyncio.Event(), []

    @app.callback(OUT, IN, websocket=True)
    async def callback(value):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            # Such as a transaction that is rolled back.
            for _ in range(20):
                await asyncio.sleep(0)
            ended.append(value)

    async with FlashClient(app):
        calls = SocketCalls(app, Wire().send, max_calls=1)
        assert calls.handle({"type": "callback_request", "payload": a_body(1)})
        await begun.wait()
        await calls.close()
        assert ended == [1]


class Middleware:
    """Notes the messages of WebSockets."""

    def __init__(self, inner):
        self._inner = inner
        self.seen = []

    async def __call__(self, scope, receive, send):
        async def noted():
            event = await receive()
            if event["type"] == "websocket.receive":
                self.seen.append(json.loads(event["text"])["requestId"])
            return event

        await self._inner(scope, noted, send)


@pytest.mark.parametrize("observer", ["a receiver of the signal", "middleware"])
async def test_who_observes_messages_sees_the_calls(observer):
    server = quart.Quart(__name__)
    middleware = Middleware(server.asgi_app)
    seen = middleware.seen

    async def receiver(message):
        seen.append(json.loads(message)["requestId"])

    if observer == "middleware":
        server.asgi_app = middleware
    app = Flash(__name__, server=server)
    app.layout = html.Div([dcc.Input(id="in"), html.P(id="out")])
    app.callback(OUT, IN, websocket=True)(lambda value: value)
    with contextlib.ExitStack() as stack:
        if observer != "middleware":
            stack.enter_context(quart.signals.websocket_received.connected_to(receiver))
        async with Page(app) as page:
            for request_id in "12":
                await page.call(1, request_id=request_id)
                assert (await page.message())["requestId"] == request_id
    assert seen == ["1", "2"]


async def test_a_call_has_the_context_of_the_socket_and_shares_none_with_other_calls(app):
    variable = contextvars.ContextVar("variable", default=0)

    @app.callback(OUT, IN, websocket=True)
    async def callback(value):
        before = variable.get()
        variable.set(value)
        return [before, quart.websocket.path, quart.websocket.cookies.get("user")]

    async with Page(app, {"Cookie": "user=ann"}) as page:
        for value in (1, 2):
            await page.call(value)
            data = (await page.message())["payload"]["data"]
            assert data["response"]["out"]["children"] == [0, "/_dash-ws-callback", "ann"]


async def test_a_call_that_is_read_while_the_socket_ends_is_not_begun(app):
    called = []

    @app.callback(OUT, IN, websocket=True)
    async def callback(value):
        called.append(value)

    async with FlashClient(app):
        wire = Wire()
        calls = SocketCalls(app, wire.send, max_calls=10)
        request = {"type": "callback_request", "requestId": "1", "rendererId": "r"}
        await calls.close()
        assert calls.handle({**request, "payload": a_body(1)})
        assert calls.count() == 0
        await asyncio.sleep(0)
    assert called == []


async def test_an_exit_beside_a_callback_fails_the_call_alone(app, caplog, monkeypatch):
    app.callback(OUT, IN, websocket=True)(lambda value: value)
    called = app.dispatcher.call

    async def call(body, *rest):
        if body["inputs"][0]["value"] == "exit":
            raise SystemExit(3)
        return await called(body, *rest)

    async with Page(app) as page:
        monkeypatch.setattr(app.dispatcher, "call", call)
        await page.call("exit")
        assert (await page.message())["payload"]["status"] == "error"
        await page.call("stay")
        assert (await page.message())["payload"]["status"] == "ok"
    assert "the callback 'out.children' failed" in caplog.text


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  a timer of the outbox tells nobody
            await asyncio.sleep(0.001)


class Wire:
    def __init__(self):
        self.sent = []
        self.taking = asyncio.Event()
        self.taking.set()

    async def send(self, text):
        await self.taking.wait()
        self.sent.append(text)


async def test_messages_from_a_thread_leave_together_and_in_order():
    wire = Wire()
    outbox = SocketOutbox(wire.send, 0.001)
    await asyncio.to_thread(lambda: [outbox.put_nowait(str(number)) for number in range(3)])
    await outbox.send("3")
    flat = []
    for text in wire.sent:
        received = json.loads(text)
        flat += received if isinstance(received, list) else [received]
    assert flat == [0, 1, 2, 3]
    await outbox.close()


async def test_one_message_is_sent_as_it_is_and_several_as_a_list():
    wire = Wire()
    outbox = SocketOutbox(wire.send, 0.001)
    await outbox.send("1")
    wire.taking.clear()
    first = asyncio.create_task(outbox.send("2"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    # While one is being sent, others are collected, and nobody else sends.
    outbox.put_nowait("3")
    await outbox.send("4")
    assert wire.sent == ["1"]
    wire.taking.set()
    await first
    assert wire.sent == ["1", "2", "[3,4]"]
    await outbox.close()


async def test_what_is_sent_in_one_turn_leaves_together():
    wire = Wire()
    outbox = SocketOutbox(wire.send, 3600)
    await asyncio.gather(*(outbox.send(text) for text in "123"))
    await outbox.send("4")
    assert wire.sent == ["[1,2,3]", "4"]
    await outbox.close()


async def test_what_running_callbacks_set_is_collected_for_the_delay():
    wire = Wire()
    outbox = SocketOutbox(wire.send, 0.02)
    assert outbox.sync_q is outbox
    outbox.put_nowait("1")
    outbox.put_nowait("2")
    for _ in range(5):
        await asyncio.sleep(0)
    assert wire.sent == []
    await until(lambda: wire.sent)
    assert wire.sent == ["[1,2]"]
    outbox.put_nowait("3")
    await until(lambda: len(wire.sent) == 2)
    assert wire.sent[1] == "3"
    await outbox.close()


async def test_a_page_that_is_gone_is_sent_nothing_more():
    class Gone(Wire):
        async def send(self, text):
            self.sent.append(text)
            raise OSError

    wire = Gone()
    outbox = SocketOutbox(wire.send, 0.001)
    await outbox.send("1")
    assert outbox.is_closed
    await outbox.send("2")
    assert wire.sent == ["1"]
    await outbox.close()


async def test_a_message_that_is_being_sent_at_the_end_is_given_up():
    wire = Wire()
    wire.taking.clear()
    outbox = SocketOutbox(wire.send, 0)
    before = asyncio.all_tasks()
    outbox.put_nowait("1")
    await until(lambda: asyncio.all_tasks() - before)
    await asyncio.sleep(0)
    await outbox.close()
    assert asyncio.all_tasks() == before
    assert wire.sent == []


async def test_more_than_a_page_takes_is_refused():
    wire = Wire()
    outbox = SocketOutbox(wire.send, 3600)
    for number in range(MAX_WAITING):
        outbox.put_nowait(str(number))
    with pytest.raises(queue.Full, match=str(MAX_WAITING)):
        outbox.put_nowait("one too many")
    await outbox.close()


async def test_nothing_is_sent_after_the_end():
    wire = Wire()
    outbox = SocketOutbox(wire.send, 0.001)
    outbox.put_nowait("1")
    await outbox.close()
    await outbox.send("2")
    assert wire.sent == []
