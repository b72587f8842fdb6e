"""Pages of the live link and of Dash's own socket, and what comes to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from browser import get_request
from load import Connection
from sockets import Crowd, Socket

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from typing import Any

    from rounds import Effort
    from servers import Server

LINK, DASH_SOCKET = "/_flash/link", "/_dash-ws-callback"

HELLO = json.dumps([{"t": "hello", "v": 1, "page": None, "at": {}, "path": "/"}]).encode()
BEAT = b'[{"t":"beat"}]'


@dataclass(slots=True)
class Arrivals:
    """What came to pages: how old each message was."""

    ages: list[float] = field(default_factory=list)

    def take(self, socket: Socket, message: bytes, now: float) -> None:
        """Read the stamps of a message, of which there are several where it is a batch."""
        if BEAT[1:-1] in message:
            # As pages do; one that says nothing for two heartbeats is taken for gone.
            socket.send(BEAT)
        at = message.find(b'"@')
        while at >= 0:
            end = message.index(b" ", at)
            self.ages.append(now - float(message[at + 2 : end]))
            at = message.find(b'"@', end)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time in which a server delivered."""

    deliveries: int
    cpu_seconds: float
    seconds: float
    ages: Sequence[float]

    @property
    def cost(self) -> float:
        """Processor time of one delivery."""
        return self.cpu_seconds / max(self.deliveries, 1)


@contextlib.asynccontextmanager
async def open_pages(
    server: Server, count: int, arrivals: Arrivals | None = None
) -> AsyncGenerator[tuple[Crowd, Arrivals]]:
    """Open that many pages of ``server``, and close them in the end."""
    arrivals = arrivals or Arrivals()
    if "_dash:" in server.subject.app.target:
        crowd, hello = Crowd(server.port, DASH_SOCKET), await dash_call(server.port, "go")
    else:
        crowd, hello = Crowd(server.port, LINK), HELLO
    try:
        await crowd.grow(count, hello, arrivals.take)
        yield crowd, arrivals
    finally:
        crowd.close()
        # The server takes note of it in its own time, not in that of the next one to be measured.
        await asyncio.sleep(0.3)


async def dash_call(port: int, triggered_by: str, value: object = 1) -> bytes:
    """The message with which Dash's page calls the callback that this component triggers."""
    [callback] = await dependencies(port, triggered_by)
    changed = callback["inputs"][0]
    component, _, prop = callback["output"].partition(".")
    payload = {
        "output": callback["output"],
        "outputs": [] if callback.get("no_output") else {"id": component, "property": prop},
        "inputs": [{**changed, "value": value}],
        "changedPropIds": [f"{changed['id']}.{changed['property']}"],
    }
    message = {"type": "callback_request", "requestId": "1", "rendererId": "r", "payload": payload}
    return json.dumps(message).encode()


async def listen(server: Server, arrivals: Arrivals, seconds: float) -> Stretch:
    """Count what comes for some seconds, and what the server uses meanwhile."""
    arrivals.ages.clear()
    start, cpu = time.perf_counter(), server.cpu_seconds()
    await asyncio.sleep(seconds)
    ages = tuple(arrivals.ages)
    return Stretch(len(ages), server.cpu_seconds() - cpu, time.perf_counter() - start, ages)


def long_seconds(effort: Effort) -> float:
    """How long to listen: ten pushes at least."""
    return max(1.0, effort.seconds)


def delivery_rate(stretches: Sequence[Stretch]) -> str:
    """How many deliveries a second there were, for a note."""
    return f"{statistics.median(each.deliveries / each.seconds for each in stretches):,.0f}"


async def dependencies(port: int, triggered_by: str) -> list[dict[str, Any]]:
    """What the page is told of the callbacks that this component triggers."""
    connection = await Connection.open(port)
    try:
        answer = await connection.fetch(get_request("/_dash-dependencies"))
    finally:
        connection.close()
    return [each for each in json.loads(answer.body) if each["inputs"][0]["id"] == triggered_by]
