"""The server's side of the components: the same for a Flash app and for a DashProxy."""

import asyncio
import os

import quart

from flash_ws import Live, RateLimit, ServerSentEvent

live = Live()

# What the handlers have noted: looked at by tests of servers.
notes = []


@live.websocket("/ticker")
async def ticker(connection):
    async for message in connection:
        await connection.send(message.upper())


@live.websocket("/talk", subprotocols=["v2", "v1"])
async def talk(connection):
    await connection.send(connection.subprotocol)
    async for message in connection:
        await connection.send(message)


@live.websocket("/burst")
async def burst(connection):
    async for count in connection:
        for number in range(1, int(count) + 1):
            await connection.send(number)


@live.websocket("/room/<name>")
async def room(connection):
    name = connection.path_params["name"]
    connection.join(name)
    async for message in connection:
        await live.connections(name).send(message)


@live.websocket(
    "/strict", max_message_bytes=1000, rate=RateLimit(per_second=1, burst=20), linger=0.1
)
async def strict(connection):
    try:
        async for message in connection:
            if message == "raise":
                raise RuntimeError("as it was asked to")
            if message == "return":
                return
    finally:
        notes.append("strict ended")


@live.websocket("/feed", max_outbox_bytes=300_000, stall_timeout=1, linger=0.1)
async def feed(connection):
    connection.join("feed")
    async for _ in connection:
        pass


@live.websocket("/members-only")
async def members_only(connection):
    await connection.send(quart.session["user"])


@live.sse("/answer")
async def answer(request):
    prompt = (await request.get_json())["prompt"]
    for word in prompt.split():
        yield f"{word} "
        await asyncio.sleep(0)


@live.sse("/lines")
async def lines(request):
    yield "one\ntwo"
    yield "three"


@live.sse("/latest", keep_alive=0.1)
async def latest(request):
    yield "first"
    yield {"last": True}
    await asyncio.sleep(0.5)


@live.sse("/breaking")
async def breaking(request):
    yield "so far"
    raise RuntimeError("as it was asked to")


@live.sse("/endless", linger=0.1)
async def endless(request):
    try:
        number = 0
        while True:
            yield ServerSentEvent(number, id=str(number))
            number += 1
            await asyncio.sleep(0.05)
    finally:
        notes.append("endless closed")


@live.sse("/resumed", retry=50)
async def resumed(request):
    begin = int(request.last_event_id or 0)
    for number in range(begin + 1, begin + 4):
        if number > 7:
            return
        yield ServerSentEvent(number, id=str(number))
    # Breaks off, as a connection through a bad network does.
    raise ConnectionError("broken off")


async def broadcast(size, times):
    """Fill the feed's outboxes; how many members took each message."""
    taken = []
    for _ in range(times):
        taken.append(await live.connections("feed").send("x" * size))
        await asyncio.sleep(0)
    return taken


def serve_figures(server):
    """Let a test look inside, and fill the feed."""

    @server.get("/figures")
    async def figures():
        tasks = [repr(task) for task in asyncio.all_tasks()]
        # One waits, from the start, for the server to stop.
        running = [task for task in tasks if "flash_ws" in task and "Hub._drain" not in task]
        statistics = live.endpoints.statistics()
        return {
            "pid": os.getpid(),
            "tasks": running,
            "notes": notes,
            "connections": statistics.connections,
            "streams": statistics.streams,
            "closed": statistics.closed,
        }

    @server.post("/broadcast/<int:size>/<int:times>")
    async def fill(size, times):
        return await broadcast(size, times)

    @server.get("/login/<user>")
    async def login(user):
        quart.session["user"] = user
        return "in"

    @server.before_request
    async def guard():
        if quart.request.path == "/members-only" and "user" not in quart.session:
            return "log in first", 401
        return None
