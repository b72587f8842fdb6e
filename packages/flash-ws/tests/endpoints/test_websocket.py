"""WebSocket handlers and what browsers do to them, one socket at a time."""

import asyncio
import json

import pytest
import quart

from flash import Flash, html
from flash_ws.clients.groups import MAX_GROUPS
from flash_ws.endpoints.registration import Endpoints
from flash_ws.endpoints.websocket import Heartbeat
from flash_ws.errors import ConnectionClosed
from flash_ws.protocol.codes import CloseCode
from flash_ws.protocol.inbox import Inbox
from flash_ws.protocol.limits import RateLimit


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div()
    app.server.secret_key = "secret"
    return app


@pytest.fixture
def endpoints(app):
    return Endpoints(app)


async def collect(connection, got):
    async for message in connection:
        got.append(message)


# -- messages


async def test_a_hundred_messages_each_way_arrive_once_and_in_order(app, endpoints, connect):
    @endpoints.websocket("/ticker")
    async def ticker(connection):
        async for message in connection:
            await connection.send(message.upper())

    async with connect(app, "/ticker") as socket:
        for number in range(100):
            socket.send(f"m{number}")
        assert [await socket.receive() for _ in range(100)] == [f"M{n}" for n in range(100)]


async def test_text_binary_and_json_arrive_as_what_they_are(app, endpoints, connect):
    @endpoints.websocket("/echo")
    async def echo(connection):
        assert await connection.receive() == "text ✓"
        assert await connection.receive() == b"\x00\xff"
        assert await connection.receive() == ""
        await connection.send("text ✓")
        await connection.send(memoryview(b"\x00\xff"))
        await connection.send({"a": html.B("x")})
        await connection.send(None)
        await connection.send_json("quoted")
        with pytest.raises(TypeError):
            await connection.send(object())

    async with connect(app, "/echo") as socket:
        for message in ("text ✓", b"\x00\xff", ""):
            socket.send(message)
        assert await socket.receive() == "text ✓"
        assert await socket.receive() == b"\x00\xff"
        assert json.loads(await socket.receive())["a"]["type"] == "B"
        assert await socket.receive() == "null"
        assert await socket.receive() == '"quoted"'
        assert await socket.closed() == 1000


async def test_a_generator_has_what_it_yields_sent(app, endpoints, connect):
    closed = []

    @endpoints.websocket("/count")
    async def count(connection):
        try:
            for number in range(10**9):
                yield number
                await asyncio.sleep(0)
        finally:
            closed.append(True)

    async with connect(app, "/count") as socket:
        assert [await socket.receive() for _ in range(5)] == ["0", "1", "2", "3", "4"]
    assert closed == [True]


async def test_half_a_character_is_the_senders_mistake_and_closes_nothing(app, endpoints, connect):
    @endpoints.websocket("/half")
    async def half(connection):
        connection.join("all")
        with pytest.raises(UnicodeEncodeError):
            await endpoints.connections("all").send("\ud83d")
        await connection.send("well")

    async with connect(app, "/half") as socket:
        assert await socket.receive() == "well"


async def test_two_tasks_cannot_receive_at_once(app, endpoints, connect):
    @endpoints.websocket("/two")
    async def two(connection):
        first = asyncio.create_task(connection.receive())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await connection.receive()
        await connection.send("ready")
        await connection.send(await first)

    async with connect(app, "/two") as socket:
        assert await socket.receive() == "ready"
        socket.send("one")
        assert await socket.receive() == "one"


async def test_a_receive_that_was_cancelled_loses_no_message(app, endpoints, connect):
    @endpoints.websocket("/patient")
    async def patient(connection):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await connection.receive()
        await connection.send("now")
        await connection.send(await connection.receive())

    async with connect(app, "/patient") as socket:
        assert await socket.receive() == "now"
        socket.send("kept")
        assert await socket.receive() == "kept"


# -- the end


async def test_a_handler_that_returns_closes_with_1000_after_what_it_sent(app, endpoints, connect):
    @endpoints.websocket("/short")
    async def short(connection):
        connection.join("all")
        await endpoints.connections("all").send("first")
        await connection.send("last")

    async with connect(app, "/short") as socket:
        assert await socket.receive() == "first"
        assert await socket.receive() == "last"
        assert await socket.closed() == 1000


async def test_a_handler_that_raises_closes_with_1011_and_logs(app, endpoints, connect, caplog):
    @endpoints.websocket("/broken")
    async def broken(connection):
        raise RuntimeError("the secret reason")

    async with connect(app, "/broken") as socket:
        assert await socket.closed() == 1011
    assert "the handler of /broken failed" in caplog.text
    assert "the secret reason" in caplog.text


async def test_a_handler_may_choose_code_and_reason_and_go_on(app, endpoints, connect):
    after = []

    @endpoints.websocket("/choosy")
    async def choosy(connection):
        with pytest.raises(ValueError, match="1006 cannot be sent"):
            await connection.close(1006)
        await connection.send("bye")
        await connection.close(4000, "ü" * 100)
        assert connection.is_closed
        assert connection.close_code == 4000
        after.extend([message async for message in connection])
        with pytest.raises(ConnectionClosed, match="4000"):
            await connection.send("too late")
        after.append("cleaned up")

    async with connect(app, "/choosy") as socket:
        assert await socket.receive() == "bye"
        with pytest.raises(ConnectionAbortedError) as closed:
            await socket.receive()
        assert (closed.value.code, closed.value.reason) == (4000, "ü" * 61)
        await socket.over()
    assert after == ["cleaned up"]


async def test_iteration_ends_when_the_browser_leaves_after_all_that_it_sent(
    app, endpoints, connect
):
    got = []

    @endpoints.websocket("/listener")
    async def listener(connection):
        async for message in connection:
            await asyncio.sleep(0.001)
            got.append(message)
        got.append(connection.close_code)

    async with connect(app, "/listener") as socket:
        for number in range(10):
            socket.send(str(number))
        await socket.leave(1001)
    assert got == [*map(str, range(10)), 1001]


async def test_a_handler_that_only_sends_ends_without_a_log(app, endpoints, connect, caplog):
    ended = []

    @endpoints.websocket("/feed")
    async def feed(connection):
        try:
            while True:
                await connection.send("tick")
                await asyncio.sleep(0)
        finally:
            ended.append(True)

    async with connect(app, "/feed") as socket:
        await socket.receive()
        await socket.leave()
    assert ended == [True]
    assert caplog.text == ""


async def test_a_task_group_in_a_handler_ends_without_a_log(app, endpoints, connect, caplog):
    @endpoints.websocket("/group")
    async def group(connection):
        async def talk():
            while True:
                await connection.send("tick")
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(talk())
            tasks.create_task(talk())

    async with connect(app, "/group") as socket:
        await socket.receive()
        await socket.leave()
    assert caplog.text == ""


async def test_a_handler_busy_elsewhere_is_cancelled_after_its_time(app, endpoints, connect):
    cancelled = []

    @endpoints.websocket("/busy", linger=0.01)
    async def busy(connection):
        await connection.send("ready")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async with connect(app, "/busy") as socket:
        await socket.receive()
        await socket.leave()
    assert cancelled == [True]


async def test_a_handler_that_will_not_end_is_left_behind_with_a_warning(
    app, endpoints, connect, caplog, monkeypatch
):
    monkeypatch.setattr("flash_ws.endpoints.websocket.CLOSE_TIMEOUT", 0.01)
    release = asyncio.Event()

    @endpoints.websocket("/stubborn", linger=0.01)
    async def stubborn(connection):
        await connection.send("ready")
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async with connect(app, "/stubborn") as socket:
        await socket.receive()
        await socket.leave()
    assert "still runs although it was cancelled" in caplog.text
    release.set()


async def test_a_handler_that_is_cancelled_by_its_own_code_closes_with_1011(
    app, endpoints, connect
):
    @endpoints.websocket("/own")
    async def own(connection):
        raise asyncio.CancelledError

    async with connect(app, "/own") as socket:
        assert await socket.closed() == 1011


async def test_a_server_that_cancels_the_connection_ends_everything(app, endpoints, connect):
    ended = []

    @endpoints.websocket("/cut")
    async def cut(connection):
        connection.join("all")
        try:
            await connection.send("ready")
            await connection.receive()
        finally:
            ended.append(True)

    async with connect(app, "/cut") as socket:
        await socket.receive()
        socket.task.cancel()
        await asyncio.wait({socket.task})
        assert ended == [True]
        assert len(endpoints.connections("all")) == 0
        assert endpoints.statistics().connections == 0
        socket.task = asyncio.ensure_future(asyncio.sleep(0))


# -- limits


async def test_a_message_too_large_in_bytes_closes_with_4413(app, endpoints, connect, until):
    got = []

    @endpoints.websocket("/small", max_message_bytes=8)
    async def small(connection):
        await collect(connection, got)

    for message in ("123456789", b"123456789", "ääääs"):
        async with connect(app, "/small") as socket:
            socket.send("12345678")
            await until(lambda: got)
            socket.send(message)
            assert await socket.closed() == CloseCode.TOO_LARGE.number
        assert got == ["12345678"]
        got.clear()


async def test_more_messages_than_the_rate_allows_close_with_4529(app, endpoints, connect, until):
    got = []

    @endpoints.websocket("/calm", rate=RateLimit(per_second=0.001, burst=3))
    async def calm(connection):
        await collect(connection, got)

    async with connect(app, "/calm") as socket:
        for number in range(3):
            socket.send(str(number))
        await until(lambda: len(got) == 3)
        socket.send("one more")
        assert await socket.closed() == CloseCode.TOO_FAST.number
    assert got == ["0", "1", "2"]


async def test_reading_stops_while_the_handler_is_busy_so_that_the_browser_waits(
    app, endpoints, connect, until
):
    release = asyncio.Event()
    seen = []

    @endpoints.websocket("/slow", max_waiting=4)
    async def slow(connection):
        await release.wait()
        seen.append(connection.statistics())
        async for message in connection:
            await connection.send(message)

    async with connect(app, "/slow") as socket:
        for number in range(50):
            socket.send(str(number))
        await until(lambda: socket.unread <= 46)
        for _ in range(20):
            await asyncio.sleep(0)
        assert socket.unread == 46
        release.set()
        assert [await socket.receive() for _ in range(50)] == [str(n) for n in range(50)]
        assert seen[0].inbox == 4


async def test_a_handler_that_never_reads_is_ended_with_4529_when_the_browser_waits_too_long(
    app, endpoints, connect
):
    @endpoints.websocket("/deaf", max_waiting=2, stall_timeout=0.02, linger=0.01)
    async def deaf(connection):
        await asyncio.Event().wait()

    async with connect(app, "/deaf") as socket:
        for number in range(5):
            socket.send(str(number))
        assert await socket.closed() == CloseCode.TOO_FAST.number


async def test_a_browser_that_reads_nothing_makes_its_own_handler_wait_and_is_closed(
    app, endpoints, connect, monkeypatch
):
    monkeypatch.setattr("flash_ws.endpoints.websocket.CLOSE_TIMEOUT", 0.02)
    errors = []

    @endpoints.websocket("/feed", stall_timeout=0.02, linger=0.01)
    async def feed(connection):
        try:
            while True:
                await connection.send("x")
        except BaseException as error:
            errors.append(type(error))
            raise

    async with connect(app, "/feed") as socket:
        socket.taking.clear()
        await socket.over()
    assert errors == [asyncio.CancelledError]
    assert endpoints.statistics().closed == {CloseCode.TOO_SLOW.number: 1}


async def test_b4_a_stalled_reader_among_many_loses_its_connection_and_nobody_else_notices(
    app, endpoints, connect, monkeypatch, until
):
    monkeypatch.setattr("flash_ws.endpoints.websocket.CLOSE_TIMEOUT", 0.02)

    @endpoints.websocket("/room", max_outbox_bytes=1000, linger=0.01)
    async def room(connection):
        connection.join("room")
        async for _ in connection:
            pass

    async with connect(app, "/room") as stalled, connect(app, "/room") as well:
        group = endpoints.connections("room")
        await until(lambda: len(group) == 2)
        (member, _) = group
        stalled.taking.clear()
        for number in range(30):
            await group.send(f"{number:100}")
            assert await well.receive() == f"{number:100}"
            assert member.statistics().outbox_bytes <= 1000
        assert member.close_code == CloseCode.TOO_SLOW.number
        await stalled.over()
        assert len(group) == 1
        assert well.unread == 0


async def test_a_silent_connection_closes_with_4508_where_asked_for(app, endpoints, connect):
    @endpoints.websocket("/idle", idle_timeout=0.02)
    async def idle(connection):
        async for _ in connection:
            pass

    async with connect(app, "/idle") as socket:
        assert await socket.closed() == CloseCode.SILENT.number


async def test_a_heartbeat_is_sent_when_nothing_else_is(app, endpoints, connect):
    @endpoints.websocket("/beating", heartbeat=Heartbeat(every=0.01, message={"beat": 1}))
    async def beating(connection):
        async for _ in connection:
            pass

    async with connect(app, "/beating") as socket:
        assert [await socket.receive() for _ in range(3)] == ['{"beat":1}'] * 3


async def test_a_connection_can_be_in_many_groups_but_not_in_endlessly_many(
    app, endpoints, connect
):
    @endpoints.websocket("/joiner")
    async def joiner(connection):
        for number in range(MAX_GROUPS):
            connection.join(f"g{number}")
            connection.join(endpoints.connections(f"g{number}"))
        with pytest.raises(ValueError, match="leave one first"):
            connection.join("one more")
        connection.leave("g0")
        connection.leave("never joined")
        connection.join("one more")
        await connection.send(endpoints.statistics().groups)

    async with connect(app, "/joiner") as socket:
        assert await socket.receive() == str(MAX_GROUPS)
    assert endpoints.statistics().groups == 0


def test_what_waits_for_a_handler_is_bounded_in_bytes_too():
    inbox = Inbox(
        max_message_bytes=10, rate=RateLimit(per_second=1, burst=100), max_waiting=1000, now=0.0
    )
    for _ in range(4):
        assert not inbox.is_full
        assert inbox.put("0123456789", 0.0) is None
    assert inbox.is_full
    inbox.take()
    assert not inbox.is_full


# -- order


async def test_what_a_group_sent_before_comes_before_what_the_handler_sends(
    app, endpoints, connect
):
    @endpoints.websocket("/mixed")
    async def mixed(connection):
        connection.join("all")
        group = endpoints.connections("all")
        for number in range(0, 300, 3):
            await group.send(str(number))
            await group.send(str(number + 1))
            await connection.send(str(number + 2))

    async with connect(app, "/mixed") as socket:
        assert [await socket.receive() for _ in range(300)] == [str(n) for n in range(300)]


async def test_a_send_that_is_given_up_while_it_waits_is_not_sent(app, endpoints, connect):
    waiting = asyncio.Event()

    @endpoints.websocket("/impatient")
    async def impatient(connection):
        first = asyncio.create_task(connection.send("first"))
        await asyncio.sleep(0)
        second = asyncio.create_task(connection.send("second"))
        third = asyncio.create_task(connection.send("third"))
        await asyncio.sleep(0)
        second.cancel()
        waiting.set()
        await asyncio.gather(first, third)

    async with connect(app, "/impatient") as socket:
        socket.taking.clear()
        await waiting.wait()
        socket.taking.set()
        assert [await socket.receive(), await socket.receive()] == ["first", "third"]
        assert await socket.closed() == 1000


# -- what a handler sees


async def test_the_handshake_is_at_hand_from_the_connection_and_from_quart(app, endpoints, connect):
    serializer = app.server.session_interface.get_signing_serializer(app.server)
    cookie = f"theme=dark; session={serializer.dumps({'user': 'ada'})}"

    @endpoints.websocket("/room/<name>")
    async def room(connection):
        await connection.send_json(
            [
                connection.path,
                connection.path_params,
                connection.query["x"],
                connection.headers["User-Agent"],
                connection.cookies["theme"],
                connection.session,
                connection.remote_address,
                connection.user,
                connection.subprotocol,
            ]
        )
        await connection.send_json(
            [quart.request.cookies["theme"], quart.session["user"], quart.request.args["x"]]
        )
        assert "/room/blue" in repr(connection)

    headers = [("cookie", cookie), ("user-agent", "Test")]
    async with connect(app, "/room/blue?x=1", headers=headers) as socket:
        assert json.loads(await socket.receive()) == [
            *("/room/blue", {"name": "blue"}, "1", "Test", "dark"),
            *({"user": "ada"}, "127.0.0.1", None, None),
        ]
        assert json.loads(await socket.receive()) == ["dark", "ada", "1"]


async def test_the_first_of_the_endpoints_subprotocols_that_the_browser_knows_is_spoken(
    app, endpoints, connect
):
    @endpoints.websocket("/talk", subprotocols=("v2", "v1"))
    async def talk(connection):
        await connection.send(connection.subprotocol)

    async with connect(app, "/talk", subprotocols=["v1", "v2", "v3"]) as socket:
        assert socket.subprotocol == "v2"
        assert await socket.receive() == "v2"
    async with connect(app, "/talk") as socket:
        assert socket.subprotocol is None
