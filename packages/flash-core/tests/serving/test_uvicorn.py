"""What Flash changes in uvicorn's protocols: responses, quiet connections, short messages."""

import asyncio
import json
import re
import socket
import struct

import pytest
import uvicorn
import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from flash import Flash, Input, Output, html
from flash.serving._uvicorn_http import FlashHTTP, _Answering
from flash.serving._uvicorn_socket import LimitedWebSocket

KEEP_ALIVE = 0.3
# More characters than are written in one piece with the head.
LONG = 200_000


async def reached(check):
    for _ in range(1000):
        if check():
            return
        await asyncio.sleep(0.01)
    pytest.fail("not reached within 10 s")


@pytest.fixture
async def served():
    """Return a function that serves an app by uvicorn with a protocol, and returns the port."""
    running = []

    async def serve(app, http=FlashHTTP, **options):
        server = uvicorn.Server(
            uvicorn.Config(
                app, http=http, ws=LimitedWebSocket, log_config=None, access_log=False, **options
            )
        )
        listener = socket.create_server(("127.0.0.1", 0))
        running.append((server, asyncio.create_task(server.serve(sockets=[listener]))))
        await reached(lambda: server.started)
        return listener.getsockname()[1]

    yield serve
    for server, task in running:
        server.should_exit = True
        await task


@pytest.fixture
def app():
    app = Flash(__name__)
    app.layout = html.Div([html.P(id="in"), html.P(id="out")])
    began, ended = app.began, app.ended = [], []

    @app.callback(Output("out", "children"), Input("in", "children"))
    async def answer(text):
        began.append(text)
        try:
            await asyncio.sleep(text)
        finally:
            ended.append(text)
        return f"after {text} s" if text >= 0 else "x" * LONG

    @app.server.get("/streamed")
    async def streamed():
        async def parts():
            yield b"one "
            yield b"two"

        return parts()

    return app


def call(seconds=0, *, method="POST", version="1.1", **headers):
    body = json.dumps(
        {
            "output": "out.children",
            "outputs": {"id": "out", "property": "children"},
            "inputs": [{"id": "in", "property": "children", "value": seconds}],
            "changedPropIds": ["in.children"],
        }
    ).encode()
    lines = [
        f"{method} /_dash-update-component HTTP/{version}",
        "host: x",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def exchange(port, *requests, until=b"", wait=5.0):
    """Send requests at once; return what comes until the connection ends or has ``until``."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(requests))
    answer = b""
    try:
        async with asyncio.timeout(wait):
            while data := await reader.read(65536):
                answer += data
                if until and until in answer:
                    break
    finally:
        writer.close()
    # The time of the response is all that may differ.
    return re.sub(rb"date: [^\r]+", b"date: now", answer)


class TestResponse:
    @pytest.mark.parametrize(
        "requests",
        [
            (call(),),
            (call(-1),),
            (call(connection="close"),),
            (call(version="1.0"),),
            (call(0.05), call(0.01), call(0)),
            (call(expect="100-continue"),),
            # Refusals and other views.
            (call(method="PUT"),),
            (b"GET /_dash-dependencies HTTP/1.1\r\nhost: x\r\n\r\n",),
            (b"HEAD /_dash-layout HTTP/1.1\r\nhost: x\r\n\r\n",),
            (b"GET /streamed HTTP/1.1\r\nhost: x\r\n\r\n",),
        ],
        ids=[
            "one",
            "long",
            "close",
            "http10",
            "pipeline",
            "expect",
            "put",
            "get",
            "head",
            "stream",
        ],
    )
    async def test_it_has_the_bytes_that_uvicorn_itself_sends(self, app, served, requests):
        # A last request ends the connection.
        last = b"GET /_dash-layout HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        answers = []
        for protocol in (FlashHTTP, "httptools"):
            port = await served(app.server, protocol)
            answers.append(await exchange(port, *requests, last))
        assert answers[0] == answers[1]
        assert answers[0].startswith(b"HTTP/1.1 ")

    async def test_one_write_has_head_and_body(self, app, served, monkeypatch):
        written = []
        write = FlashHTTP.connection_made

        def note(self, transport):
            write(self, transport)
            inner = self.transport

            class Noting:
                def __getattr__(self, name):
                    return getattr(inner, name)

                def write(self, data):
                    written.append(bytes(data))
                    inner.write(data)

            self.transport = Noting()

        monkeypatch.setattr(FlashHTTP, "connection_made", note)
        port = await served(app.server)
        await exchange(port, call(), until=b"after 0 s")
        assert len(written) == 1
        assert b"content-length" in written[0]

    async def test_middleware_around_the_app_sees_every_event(self, app, served):
        seen = []

        async def middleware(scope, receive, send):
            async def note(message):
                seen.append(message["type"])
                await send(message)

            await app.server(scope, receive, note)

        port = await served(middleware)
        await exchange(port, call(), until=b"after 0 s")
        assert seen[-2:] == ["http.response.start", "http.response.body"]

    async def test_a_client_that_has_left_costs_nothing(self, app, served, caplog):
        port = await served(app.server)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(call(30))
        await reached(lambda: app.began)
        writer.close()
        # It is cancelled.
        await reached(lambda: app.ended)
        assert b"after 0 s" in await exchange(port, call(), until=b"after 0 s")
        assert not caplog.records


def split(request, at):
    """Return the part of a request before a byte of its body, and the rest."""
    body = request.index(b"\r\n\r\n") + 4
    return request[: body + at], request[body + at :]


async def send_in_parts(port, first, rest, asked, until):
    """Send a request's rest when the app has asked for its body; return the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    async with asyncio.timeout(10):
        writer.write(first)
        await reached(lambda: asked)
        writer.write(rest)
        while until not in answer:
            answer += await reader.read(65536)
    writer.close()
    return answer


class TestBody:
    @pytest.fixture
    def asked(self, app):
        """Return how the bodies of callbacks were received: True as a whole, False by events."""
        asked = []
        take = _Answering.take_body

        def note(answering, receive, limit):
            body = take(answering, receive, limit)
            asked.append(body is not None)
            return body

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_Answering, "take_body", note)
            yield asked

    async def test_one_that_came_with_its_head_is_taken(self, app, served, asked):
        port = await served(app.server)
        assert b"after 0 s" in await exchange(port, call(), until=b"after 0 s")
        assert asked == [True]

    @pytest.mark.parametrize("at", [0, 10])
    async def test_one_that_comes_later_is_waited_for(self, app, served, asked, at):
        port = await served(app.server)
        answer = await send_in_parts(port, *split(call(), at), asked, until=b"after 0 s")
        assert b"200 OK" in answer
        assert asked == [False]

    async def test_a_client_that_asks_first_is_told_to_send_it(self, app, served, asked):
        port = await served(app.server)
        parts = split(call(expect="100-continue"), 0)
        answer = await send_in_parts(port, *parts, asked, until=b"after 0 s")
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
        assert asked == [False]

    async def test_one_that_is_too_long_is_refused(self, app, served, asked):
        app.server.config["MAX_CONTENT_LENGTH"] = 50
        port = await served(app.server)
        assert b" 413 " in await exchange(port, call(), until=b"\r\n\r\n")
        assert asked == [False]

    async def test_middleware_that_receives_gets_the_events(self, app, served, asked):
        seen = []

        async def middleware(scope, receive, send):
            async def note():
                seen.append(await receive())
                return seen[-1]

            await app.server(scope, note if scope["type"] == "http" else receive, send)

        port = await served(middleware)
        assert b"after 0 s" in await exchange(port, call(), until=b"after 0 s")
        assert [message["more_body"] for message in seen] == [False]
        assert asked == [False]

    async def test_a_client_that_leaves_after_it_was_taken_cancels(self, app, served, asked):
        port = await served(app.server)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(call(30))
        await reached(lambda: app.began)
        writer.close()
        await reached(lambda: app.ended)
        assert asked == [True]


class TestQuietConnection:
    async def test_it_ends_after_the_time_that_uvicorn_allows(self, app, served):
        port = await served(app.server, timeout_keep_alive=KEEP_ALIVE)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        answer = await exchange(port, call())
        assert answer.endswith(b'"after 0 s"}}}')
        assert loop.time() - begin >= KEEP_ALIVE

    async def test_a_slow_request_and_one_after_another_keep_it_open(self, app, served):
        port = await served(app.server, timeout_keep_alive=KEEP_ALIVE)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for seconds in (2 * KEEP_ALIVE, 0, 0, 0):
            writer.write(call(seconds))
            answer = b""
            while f"after {seconds} s".encode() not in answer:
                data = await reader.read(65536)
                assert data, "the connection was closed"
                answer += data
            await asyncio.sleep(KEEP_ALIVE / 2)
        async with asyncio.timeout(5):
            assert await reader.read(1) == b""
        writer.close()


async def echo(scope, receive, send):
    """Send back each message."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await receive()
    await send({"type": "websocket.accept", "flash.max_message_bytes": 1 << 20})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


LENGTHS = [0, 1, 125, 126, 127, 1023, 1024, 65535, 65536, 100_000]


class TestMessage:
    @pytest.mark.parametrize("compression", [None, "deflate"])
    @pytest.mark.parametrize("letter", ["x", "é", "😀"])
    async def test_text_of_each_length_arrives(self, served, compression, letter):
        port = await served(echo)
        async with websockets.connect(
            f"ws://127.0.0.1:{port}/", compression=compression, max_size=None
        ) as client:
            for length in LENGTHS:
                await client.send(letter * length)
                assert await client.recv() == letter * length

    async def test_short_ones_are_not_compressed_and_long_ones_are(self, served):
        port = await served(echo)
        async with websockets.connect(
            f"ws://127.0.0.1:{port}/", extensions=[ClientPerMessageDeflateFactory()]
        ) as client:
            heads = []
            receive = client.data_received

            def note(data):
                heads.append(bytes(data[:2]))
                receive(data)

            client.transport.set_protocol(client)
            client.data_received = note
            for text in ("short", "x" * 5000, "short"):
                await client.send(text)
                assert await client.recv() == text
        # The bit after "final" says that a frame is compressed.
        compressed = [struct.unpack("B", head[:1])[0] & 0x40 != 0 for head in heads[:3]]
        assert compressed == [False, True, False]

    async def test_after_its_close_the_app_may_not_send(self, served):
        errors = []

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                await echo(scope, receive, send)
                return
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 4000})
            try:
                await send({"type": "websocket.send", "text": "late"})
            except RuntimeError as error:
                errors.append(str(error))

        port = await served(app)
        async with websockets.connect(f"ws://127.0.0.1:{port}/") as client:
            with pytest.raises(websockets.ConnectionClosed):
                await client.recv()
        await reached(lambda: errors)
        assert len(errors) == 1
        assert client.protocol.close_code == 4000
