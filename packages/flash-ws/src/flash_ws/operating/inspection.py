"""A page for whoever operates a worker: its readiness, its pages, its metrics at this moment."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from jinja2 import Template

from flash.access.admission import Admission, refuse
from flash.access.opening_request import OpeningRequest
from flash.access.refusal import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flash.http.gateway import Receive, Scope, Send
    from flash_ws.operating.readiness import Readiness
    from flash_ws.operating.statistics import Metric
    from flash_ws.protocol.outbox import Outbox

# Pages that are listed: those with the most bytes waiting.
MAX_PAGES = 200

# Seconds between two looks of a browser that is left open.
REFRESH_INTERVAL = 2

LOCAL = ("127.0.0.1", "::1")
LOCAL_NAMES = ("127.0.0.1", "[::1]", "localhost")


class PageLink(Protocol):
    """What the inspection page shows of a page's connection."""

    outbox: Outbox


class Page(Protocol):
    """What the inspection page shows of a page: a `Client`."""

    groups: set[str]

    @property
    def id(self) -> str:
        """The page's public name."""
        ...

    @property
    def user(self) -> str | None:
        """Who uses it."""
        ...

    @property
    def path(self) -> str:
        """The path of its location."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether it has a connection at this moment."""
        ...

    @property
    def link(self) -> PageLink | None:
        """Its connection; None while it is away."""
        ...


@dataclass(frozen=True, slots=True)
class PageRow:
    """One page, as the worker knows it."""

    id: str
    user: str | None
    path: str
    is_connected: bool
    groups: tuple[str, ...]
    # In its outbox at this moment.
    frames_waiting: int
    bytes_waiting: int
    # Over its connection so far; conflated ones were replaced by later ones.
    frames_sent: int
    frames_conflated: int

    @classmethod
    def of(cls, client: Page) -> PageRow:
        """Return how a page is."""
        passed = client.link.outbox.statistics() if client.link else None
        return cls(
            client.id,
            client.user,
            client.path,
            client.is_connected,
            tuple(sorted(client.groups)),
            passed.frames_waiting if passed else 0,
            passed.bytes_waiting if passed else 0,
            passed.sent if passed else 0,
            passed.conflated if passed else 0,
        )


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """One worker at one moment."""

    worker: int
    # What each readiness check says, ``"ok"`` or why not.
    checks: Mapping[str, str]
    pages: tuple[PageRow, ...]
    metrics: tuple[Metric, ...]


class Inspection:
    """Serves the page to whom ``admission`` lets in, after the app's own guards.

    Without an admission it is there for a developer: on this machine, while ``is_developing()``.
    ``clients`` and ``metrics`` are asked on the loop and return at once.
    """

    def __init__(
        self,
        admission: Admission | None,
        is_developing: Callable[[], bool],
        readiness: Readiness,
        clients: Callable[[], Iterable[Page]],
        metrics: Callable[[], Iterable[Metric]],
    ) -> None:
        self._admission = admission
        self._is_developing = is_developing
        self._readiness = readiness
        self._clients = clients
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            if scope["type"] != "http":
                await receive()  # websocket.connect
                raise Refused(HTTPStatus.BAD_REQUEST, "this path speaks HTTP")
            if scope["method"] not in ("GET", "HEAD"):
                allow = (b"allow", b"GET, HEAD")
                raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "this path takes GET", allow)
            await self._check(scope)
        except Refused as refused:
            await refuse(scope, receive, send, refused)
            return
        snapshot = WorkerSnapshot(
            os.getpid(),
            await self._readiness.report(),
            tuple(PageRow.of(client) for client in self._clients()),
            tuple(self._metrics()),
        )
        # In a thread: all that an application and its browsers have sent is written.
        body = (await asyncio.to_thread(render, snapshot)).encode()
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            # It shows what browsers have sent.
            (
                b"content-security-policy",
                b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            ),
        ]
        status = int(HTTPStatus.OK)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send(
            {"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body}
        )

    async def _check(self, scope: Scope) -> None:
        if self._admission is not None:
            await self._admission.check_guards(scope)
            await self._admission.authorize(scope, OpeningRequest(scope))
        elif not self._is_developing() or not _is_local(scope):
            raise Refused(HTTPStatus.NOT_FOUND, "nothing to see here: see Live(inspect=…)")


def _is_local(scope: Scope) -> bool:
    """Tell whether a request comes from this machine, and not by way of another site's name."""
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return (scope.get("client") or ("",))[0] in LOCAL and name.lower() in LOCAL_NAMES


def render(snapshot: WorkerSnapshot) -> str:
    """Return the page; reads its template when first called."""
    slowest = sorted(snapshot.pages, key=lambda each: each.bytes_waiting, reverse=True)
    pages, more = slowest[:MAX_PAGES], len(slowest[MAX_PAGES:])
    return _template().render(snapshot=snapshot, pages=pages, more=more, refresh=REFRESH_INTERVAL)


@cache
def _template() -> Template:
    source = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    return Template(source, autoescape=True, trim_blocks=True)
