"""The end of serving, without a server."""

from __future__ import annotations

import asyncio

import pytest

from flash.serving.drain import DRAINING, Drain

HTTP = {"type": "http", "http_version": "1.1", "path": "/", "headers": []}


class Client:
    """The server's side of one connection: messages for the app, and what it sent."""

    def __init__(self, *messages):
        self.incoming = asyncio.Queue()
        self.sent = []
        for message in messages:
            self.incoming.put_nowait(message)

    async def send(self, message):
        self.sent.append(message)

    async def talk(self, app, scope):
        await app(dict(scope), self.incoming.get, self.send)


async def patient(coroutine):
    async with asyncio.timeout(10):
        return await coroutine


async def test_a_waiting_app_sees_its_client_leave_when_the_grace_period_is_over():
    seen = asyncio.Event()
    received = []

    async def app(scope, receive, send):
        seen.set()
        received.append(await receive())

    drain, client = Drain(app, grace_period=0), Client()
    request = asyncio.create_task(client.talk(drain, HTTP))
    await patient(seen.wait())
    drain.begin()
    await patient(request)
    assert received == [{"type": "http.disconnect"}]
    assert [message.get("status") for message in client.sent] == [503, None]


async def test_an_app_that_ignores_it_is_cancelled():
    seen, ended = asyncio.Event(), []

    async def app(scope, receive, send):
        seen.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    drain, client = Drain(app, grace_period=0), Client()
    request = asyncio.create_task(client.talk(drain, HTTP))
    await patient(seen.wait())
    drain.begin()
    await patient(request)
    assert ended == [True]
    assert client.sent[0]["status"] == 503


async def test_a_second_signal_ends_the_grace_period():
    async def app(scope, receive, send):
        await receive()

    drain, client = Drain(app, grace_period=3600), Client()
    request = asyncio.create_task(client.talk(drain, {"type": "websocket"}))
    await asyncio.sleep(0)
    drain.begin()
    drain.begin()
    await patient(request)
    assert client.sent == [{"type": "websocket.close", "code": 1012, "reason": "server restarts"}]


async def test_cancelling_a_request_before_that_is_not_swallowed():
    async def app(scope, receive, send):
        await receive()

    drain = Drain(app, grace_period=3600)
    request = asyncio.create_task(Client().talk(drain, HTTP))
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await patient(request)


async def test_while_draining_an_http_1_response_closes_its_connection():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})

    drain, client = Drain(app, grace_period=3600), Client()
    drain.begin()
    await client.talk(drain, HTTP)
    await client.talk(drain, HTTP | {"http_version": "2"})
    drain.close()
    assert [message["headers"] for message in client.sent] == [
        [(b"a", b"b"), (b"connection", b"close")],
        [(b"a", b"b")],
    ]


async def test_an_app_without_lifespan_starts_and_stops():
    async def app(scope, receive, send):
        raise AssertionError("only http")

    started = []
    drain = Drain(app, grace_period=0, on_startup=started.append)
    client = Client({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    await patient(client.talk(drain, {"type": "lifespan"}))
    assert [message["type"] for message in client.sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert started == [None]


async def test_shutdown_functions_run_after_every_request():
    order = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            assert not scope["state"][DRAINING].is_set()
            for stage in ("startup", "shutdown"):
                assert (await receive())["type"] == f"lifespan.{stage}"
                order.append(stage)
                await send({"type": f"lifespan.{stage}.complete"})
            return
        await receive()
        order.append("request")

    drain, server = Drain(app, grace_period=3600), Client({"type": "lifespan.startup"})
    lifespan = asyncio.create_task(server.talk(drain, {"type": "lifespan"}))
    request = asyncio.create_task(Client().talk(drain, HTTP))
    await asyncio.sleep(0)
    server.incoming.put_nowait({"type": "lifespan.shutdown"})
    await patient(lifespan)
    await patient(request)
    assert order == ["startup", "request", "shutdown"]


async def test_a_server_can_wait_until_the_app_has_closed_its_websockets():
    closed = asyncio.Event()

    async def app(scope, receive, send):
        await closed.wait()

    drain = Drain(app, grace_period=5)
    # Nothing to wait for, a request that is no WebSocket included.
    request = asyncio.create_task(Client().talk(drain, HTTP))
    await asyncio.sleep(0)
    await patient(drain.websockets_closed(5))
    socket = asyncio.create_task(Client().talk(drain, {**HTTP, "type": "websocket"}))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(drain.websockets_closed(5))
    await asyncio.sleep(0)
    assert not waiting.done()
    closed.set()
    await patient(asyncio.gather(socket, request, waiting))


async def test_a_server_waits_for_websockets_only_so_long():
    async def app(scope, receive, send):
        await asyncio.Event().wait()

    drain = Drain(app, grace_period=5)
    socket = asyncio.create_task(Client().talk(drain, {**HTTP, "type": "websocket"}))
    await asyncio.sleep(0)
    await patient(drain.websockets_closed(0.01))
    assert not socket.done()
    socket.cancel()
