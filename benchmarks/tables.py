"""Tables: what a change of a row costs a server for each page that shows the table.

Alone: ``uv run python benchmarks/tables.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from apps.table_work import CHANGES_PER_SECOND, ROWS
from browser import get_request
from live_pages import Arrivals, long_seconds, open_pages
from load import Connection, LoadError
from report import Row, Spread, Target, compare, render
from rounds import FULL, Effort, take_turns
from servers import App, Server, ServerName, Subject, pin_generator, serve_all
from sockets import Socket, allow_sockets

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGES = 50

_FLASH = App("Flash", "apps.table_flash:app")
_BARE = App("bare ASGI, a message per change", "apps.table_bare:app")

# Seconds within which every page must have the whole table.
_LOAD_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Turn:
    """A stretch of time in which rows changed under pages."""

    changes: int
    cpu_seconds: float
    seconds: float
    messages: int

    @property
    def cost(self) -> float:
        """Processor time for one change and one page."""
        return self.cpu_seconds / max(self.changes * PAGES, 1)


@dataclass(slots=True)
class _Messages(Arrivals):
    """Counts messages."""

    count: int = 0
    expected: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, socket: Socket, message: bytes, now: float) -> None:
        """Count a message."""
        del socket, message, now
        self.count += 1
        if self.count == self.expected:
            self.done.set()


async def measure(effort: Effort) -> list[Row]:
    """10,000 rows, 5,000 changes a second, 50 pages, against one message for each change."""
    allow_sockets(PAGES)
    return [*await _race("hypercorn", effort), *await _race("uvicorn", effort)]


async def _race(server: ServerName, effort: Effort) -> list[Row]:
    subjects = [Subject(app, server) for app in (_FLASH, _BARE)]

    async def turn(server: Server) -> _Turn:
        return await _follow(server, effort)

    async with contextlib.AsyncExitStack() as stack:
        running = await serve_all(stack, *subjects)
        flash, bare = await take_turns(running, max(2, effort.long_rounds), turn)
    return [
        compare(
            f"a table of {ROWS:,} rows, {CHANGES_PER_SECOND:,} changes a second, {PAGES} pages: "
            "server CPU per change and page",
            str(subjects[1]),
            Spread.of((each.cost for each in flash), "s"),
            Spread.of((each.cost for each in bare), "s"),
            target=Target(1 / 3, "at most"),
            notes=(
                f"changes a second {_rate(flash, 'changes')} against {_rate(bare, 'changes')}",
                f"messages to all pages a second {_rate(flash, 'messages')} against "
                f"{_rate(bare, 'messages')}",
            ),
        )
    ]


async def _follow(server: Server, effort: Effort) -> _Turn:
    # The whole table is some messages, then those of changes.
    messages = _Messages(expected=40 * PAGES)
    async with open_pages(server, PAGES, messages) as (crowd, _):
        if server.subject.app is _FLASH:
            request = json.dumps([{"t": "table", "table": "orders", "token": await _token(server)}])
            for socket in crowd.sockets:
                socket.send(request.encode())
        async with asyncio.timeout(_LOAD_SECONDS):
            await messages.done.wait()
        await asyncio.sleep(effort.warm_up_seconds)
        messages.count = 0
        before, start, cpu = await _changes(server), time.perf_counter(), server.cpu_seconds()
        await asyncio.sleep(2 * long_seconds(effort))
        seconds, used = time.perf_counter() - start, server.cpu_seconds() - cpu
        changes = await _changes(server) - before
        if not messages.count:
            raise LoadError(f"{server.subject}: no changes come to pages")
        return _Turn(changes, used, seconds, messages.count)


async def _token(server: Server) -> str:
    """The signature of the page's TableFeed."""
    layout = (await _get(server, "/_dash-layout")).decode()
    found = re.search(r'"token": ?"([^"]+)"', layout)
    if found is None:
        raise LoadError(f"{server.subject}: the layout has no TableFeed")
    return found[1]


async def _changes(server: Server) -> int:
    """How many changes the server has made."""
    return int(await _get(server, "/changes"))


async def _get(server: Server, path: str) -> bytes:
    connection = await Connection.open(server.port)
    try:
        return (await connection.fetch(get_request(path))).body
    finally:
        connection.close()


def _rate(turns: Sequence[_Turn], what: str) -> str:
    rates = sorted(getattr(each, what) / each.seconds for each in turns)
    return f"{rates[len(rates) // 2]:,.0f}"


if __name__ == "__main__":
    pin_generator()
    print(render(asyncio.run(measure(FULL))))
