"""What stays in a server after many callbacks, connections, and callers who vanish.

Run ``python benchmarks/leaks.py [hypercorn] [uvicorn] [granian]``. It prints memory, tasks, threads
and file descriptors of the server before and after each step, once everything has settled, and
fails if tasks or descriptors are left.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from websockets.asyncio.client import connect

from flash.testing import AppProcess

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

APP = Path(__file__).parent / "apps" / "leaks.py"
SERVERS = ("hypercorn", "uvicorn", "granian")
CALLBACKS, CONNECTS, VANISHING = 20_000, 10_000, 600
# Tasks and descriptors beyond those of before that a server may keep, such as one of a timer.
TOLERANCE = 5


def request(output: str, prop: str = "children") -> bytes:
    """Return a callback request as bytes."""
    body = json.dumps(
        {
            "output": f"{output}.{prop}",
            "outputs": {"id": output, "property": prop},
            "inputs": [{"id": "in", "property": "value", "value": "x"}],
            "changedPropIds": ["in.value"],
        }
    ).encode()
    head = (
        "POST /_dash-update-component HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def read_response(reader: asyncio.StreamReader) -> bytes:
    """Read one response and return its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.split()[1] == b"200", head
    headers = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    return await reader.readexactly(int(headers[b"content-length"]))


async def figures(port: int) -> dict[str, float]:
    """Ask the app what it has."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /figures HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    found = json.loads(await read_response(reader))
    writer.close()
    return found


async def settled(port: int, before: dict[str, float] | None = None) -> dict[str, float]:
    """Return the figures once clients, tasks and descriptors have gone back, or after 30 s."""
    for _ in range(60):
        found = await figures(port)
        still = before is not None and any(
            found[name] > before[name] + TOLERANCE for name in ("tasks", "descriptors")
        )
        if not found["clients"] and not still:
            break
        await asyncio.sleep(0.5)
    return found


async def callbacks(port: int, count: int = CALLBACKS) -> None:
    """Send callbacks over ten connections, half to the loop and half to threads."""
    bodies = (request("out"), request("plain"))

    async def send(share: int) -> None:
        # A new connection after so many: Hypercorn closes one after 1,000 requests.
        for start in range(0, share, 500):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for number in range(start, min(start + 500, share)):
                writer.write(bodies[number % 2])
                await read_response(reader)
            writer.close()

    await asyncio.gather(*(send(count // 10) for _ in range(10)))


async def connects(port: int, count: int = CONNECTS) -> None:
    """Open links and leave them, each after its welcome; twenty at a time."""
    places = asyncio.Semaphore(20)

    async def visit() -> None:
        async with places, connect(f"ws://127.0.0.1:{port}/_flash/link", proxy=None) as link:
            await link.send('[{"t":"hello","v":1}]')
            await link.recv()

    await asyncio.gather(*(visit() for _ in range(count)))


async def vanishing(port: int, count: int = VANISHING) -> None:
    """Send slow calls, and links, and break off without a goodbye (a TCP reset)."""
    kinds = (request("slow"), request("in", "placeholder"))
    for number in range(count):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await asyncio.to_thread(connection.sendall, kinds[number % 2])
        await asyncio.sleep(0.005)
        connection.close()


STEPS: dict[str, Callable[[int], Awaitable[None]]] = {
    f"{CALLBACKS:,} callbacks": callbacks,
    f"{CONNECTS:,} connects": connects,
    # What grows again was not freed; what grew once may be room that the process keeps.
    f"{CONNECTS:,} more": connects,
    f"{VANISHING} who vanish": vanishing,
}


async def measure(port: int, server: str) -> bool:
    """Print the figures of one server; return whether nothing is left."""
    # What is allocated once: threads, caches, imports.
    await callbacks(port, 2_000)
    await connects(port, 500)
    first = before = await settled(port)
    print(f"\n{server:24} {'MiB':>8} {'tasks':>6} {'threads':>8} {'descriptors':>12}")
    is_clean = True
    for name, step in {"at first": None, **STEPS}.items():
        if step is not None:
            await step(port)
            before = await settled(port, first)
        print(
            f"{name:24} {before['rss']:8.1f} {before['tasks']:6.0f} {before['threads']:8.0f} "
            f"{before['descriptors']:12.0f}",
            flush=True,
        )
        is_clean = is_clean and all(
            before[each] <= first[each] + TOLERANCE for each in ("tasks", "descriptors")
        )
    return is_clean


def main() -> int:
    """Measure the servers that were named, or all; returns the exit code."""
    is_clean = True
    for server in sys.argv[1:] or SERVERS:
        with AppProcess(APP, server=server) as process:
            is_clean = asyncio.run(measure(process.port, server)) and is_clean
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
