"""What a browser with a Dash page asks for."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import brotli
import zstandard
from load import Answer, Connection, LoadError, http_request

if TYPE_CHECKING:
    from collections.abc import Iterable

# As few headers as a load generator usually sends: what a server spends on parsing headers would
# only hide the difference between two applications on it.
_CALL_HEADERS = {
    "Host": "127.0.0.1",
    "User-Agent": "flash-benchmarks",
    "Accept": "application/json",
    "Content-Type": "application/json",
}

# Chromium 140 opening a page on this machine.
_PAGE_HEADERS = {
    "Host": "127.0.0.1",
    "Connection": "keep-alive",
    "User-Agent": (
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/140.0.0.0 Safari/537.36"
    ),
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-US,en;q=0.9",
    "Sec-Fetch-Site": "same-origin",
}

# Browsers open at most six connections to one HTTP/1.1 server.
_CONNECTIONS = 6

# The chunks that dash_core_components loads for a Graph and a Dropdown, after the layout came:
# with these names, without a fingerprint, relative to the page's prefix.
_CHUNKS = (
    "/_dash-component-suites/dash/dcc/async-dropdown.js",
    "/_dash-component-suites/dash/dcc/async-graph.js",
    "/_dash-component-suites/plotly/package_data/plotly.min.js",
)


def callback_request(output: str, *, value: str = "benchmark") -> bytes:
    """The request that Dash's page sends when the property ``word.value`` changed."""
    component_id, _, prop = output.partition(".")
    body = {
        "output": output,
        "outputs": {"id": component_id, "property": prop},
        "inputs": [{"id": "word", "property": "value", "value": value}],
        "changedPropIds": ["word.value"],
        "parsedChangedPropsIds": ["word.value"],
    }
    content = json.dumps(body, separators=(",", ":")).encode()
    return http_request("POST", "/_dash-update-component", _CALL_HEADERS, content)


def get_request(path: str) -> bytes:
    """A plain GET, with as few headers as a callback's."""
    return http_request("GET", path, _CALL_HEADERS)


@dataclass(frozen=True, slots=True)
class PageLoad:
    """A page opened with an empty cache."""

    # Bytes that came over the sockets.
    wire_bytes: int
    # The path of everything fetched, in order of asking.
    paths: tuple[str, ...]


async def cold_load(port: int) -> PageLoad:
    """Open the page as a browser with an empty cache does, over fresh connections.

    The index; then what it names (scripts, styles, the icon, the worker of Dash's own socket);
    then the layout and the dependencies; then the chunks that the layout's components load.
    The browser does not decompress or run anything here, so this measures the server alone.
    """
    page = _Page(port)
    try:
        [index] = await page.fetch(["/"])
        parts = _read_index(_decoded(index))
        await page.fetch(parts.files)
        await page.fetch([*parts.worker, "/_dash-layout", "/_dash-dependencies"])
        await page.fetch(_CHUNKS)
    finally:
        page.close()
    return PageLoad(page.wire_bytes, tuple(page.paths))


class _Page:
    """Six connections and what came over them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Connection] = []
        self._limit = asyncio.Semaphore(_CONNECTIONS)
        self.wire_bytes = 0
        self.paths: list[str] = []

    async def fetch(self, paths: Iterable[str]) -> list[Answer]:
        """Fetch all of ``paths``, six at a time."""
        async with asyncio.TaskGroup() as fetches:
            tasks = [fetches.create_task(self._fetch(path)) for path in paths]
        return [task.result() for task in tasks]

    async def _fetch(self, path: str) -> Answer:
        self.paths.append(path)
        async with self._limit:
            connection = self._idle.pop() if self._idle else await Connection.open(self._port)
            answer = await connection.fetch(http_request("GET", path, _PAGE_HEADERS))
            if connection.is_open:
                self._idle.append(connection)
        if answer.status != 200:
            raise LoadError(f"{path} answered {answer.status}: {answer.body[:300]!r}")
        self.wire_bytes += answer.wire_bytes
        return answer

    def close(self) -> None:
        for connection in self._idle:
            connection.close()


@dataclass(frozen=True, slots=True)
class _Index:
    """What an index page makes a browser fetch."""

    # Scripts, styles and the icon.
    files: tuple[str, ...]
    # The worker that holds Dash's own socket, when the page is told to open one.
    worker: tuple[str, ...]


_FILE = re.compile(r'<(?:script|link)\b[^>]*\b(?:src|href)="([^"]+)"')
_CONFIG = re.compile(r'<script id="_dash-config"[^>]*>(.*?)</script>', re.DOTALL)


def _read_index(html: str) -> _Index:
    config = _CONFIG.search(html)
    if config is None:
        raise LoadError(f"not the index of a Dash app: {html[:300]!r}")
    socket = json.loads(config[1]).get("websocket") or {}
    # Dash's renderer starts the worker for either; it does not need callbacks that use it.
    opens = socket.get("worker_url") and (socket.get("enabled") or socket.get("url"))
    return _Index(tuple(_FILE.findall(html)), (socket["worker_url"],) if opens else ())


def _decoded(answer: Answer) -> str:
    encoding = re.search(rb"\r\ncontent-encoding: *(\w+)", answer.head)
    body = answer.body
    match encoding[1] if encoding else b"":
        case b"br":
            body = brotli.decompress(body)
        case b"zstd":
            body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
        case b"gzip":
            body = gzip.decompress(body)
        case _:
            pass
    return body.decode()
