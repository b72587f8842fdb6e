"""Pages in rooms, as tests open them on workers of a `World`."""

import asyncio
import secrets
from contextlib import AsyncExitStack, asynccontextmanager

from flash_pubsub.channels.subscription import sign


class Memory:
    """Workers around the memory of this process."""

    def __init__(self):
        self.settings = {}

    async def flush(self, world):
        world.store.flush()


class Redis:
    """Workers around a Redis, under a prefix of their own."""

    def __init__(self, server):
        self._server = server
        prefix = f"rooms{secrets.token_hex(4)}"
        self.settings = {"url": f"{server.url}?prefix={prefix}&probe_interval=0.2"}

    async def flush(self, world):
        await asyncio.to_thread(self._server.flush)


async def until_frame(page, fits, *, record=None):
    """Return the first frame for which a function returns true."""
    while True:
        frame = await page.frame()
        if record is not None:
            record.append(frame)
        if fits(frame):
            return frame


def ask(page, room, token, wants=("room",), **more):
    """Ask for a room as a `Room` or a `Present` does."""
    page.send({"t": "subscribe", "channel": room, "token": token, "with": list(wants), **more})


async def answer_of(page, room):
    """Return the next answer about a room."""
    return await until_frame(page, lambda f: f["t"] == "subscription" and f["channel"] == room)


async def frame_of(page, room, kind="shared"):
    """Return the next frame of a room's state."""
    return await until_frame(page, lambda f: f.get("c") == f"{kind}:{room}")


async def enter(page, world, room, worker=0):
    """Enter a room as a `Room` does, and return its snapshot."""
    ask(page, room, sign(world.apps[worker], room))
    found = {}
    # With Redis the snapshot may come before the answer.
    while len(found) < 2:
        frame = await page.frame()
        if frame["t"] == "subscription":
            assert frame["status"] == "subscribed", frame
            found["answer"] = frame
        elif frame.get("c") == f"shared:{room}":
            found["snapshot"] = frame
    return found["snapshot"]


@asynccontextmanager
async def inside(world, *places):
    """Pages that are in rooms: pairs of worker and room."""
    async with AsyncExitStack() as stack:
        opened = []
        for worker, room in places:
            page = await world.page(worker)
            stack.push_async_callback(page.leave)
            await enter(page, world, room, worker)
            opened.append(page)
        yield opened


async def silence(page, world, worker=0):
    """Return everything that a page gets until a marker that is pushed now."""
    seen = []
    await world.pubsubs[worker].live.push("marker", {"title": "end"})
    await until_frame(page, lambda f: f.get("u") == [["marker", {"title": "end"}]], record=seen)
    return seen


async def absent(world, page, room):
    """Tell whether a page is no member of a room."""
    return page.welcome["id"] not in {each.id for each in await world.pubsubs[0].who(room)}
