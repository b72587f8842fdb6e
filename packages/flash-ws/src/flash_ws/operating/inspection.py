"""The page ``_flash/inspect``: readiness, pages and metrics of one worker, for operators.

A request with ``Accept: application/json`` gets the same as JSON; ``flash top`` reads that.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from dataclasses import asdict, dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Template

from flash.access.admission import Admission, expect_http, refuse, send_response
from flash.access.opening_request import OpeningRequest
from flash.access.refusal import Refused
from flash.top.sample import METRICS
from flash_ws.operating.readiness import OK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flash.http.gateway import Receive, Scope, Send
    from flash_ws.operating.readiness import Readiness
    from flash_ws.operating.statistics import Metric

# Pages listed, at most: those with the most bytes waiting.
MAX_PAGES = 200

# Seconds after which the browser reloads the page.
REFRESH_INTERVAL = 2

LOCAL = ("127.0.0.1", "::1")
LOCAL_NAMES = ("127.0.0.1", "[::1]", "localhost")


@dataclass(frozen=True, slots=True)
class PageRow:
    """One row of the table of pages."""

    id: str
    user: str | None
    path: str
    is_connected: bool
    groups: tuple[str, ...]
    # In its outbox now.
    frames_waiting: int
    bytes_waiting: int
    # Over its current connection; conflated frames were replaced by later ones.
    frames_sent: int
    frames_conflated: int


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """The state of one worker at one moment."""

    worker: int
    # The result of each readiness check: ``"ok"`` or the reason for failing.
    checks: Mapping[str, str]
    pages: tuple[PageRow, ...]
    metrics: tuple[Metric, ...]


class Inspection:
    """Serves the page to requests that the app's guards and then ``admission`` allow.

    Without an admission it is served only to requests from this machine while ``is_developing()``.
    ``pages`` and ``metrics`` are called on the event loop and return at once.
    """

    def __init__(
        self,
        admission: Admission | None,
        is_developing: Callable[[], bool],
        readiness: Readiness,
        pages: Callable[[], Iterable[PageRow]],
        metrics: Callable[[], Iterable[Metric]],
    ) -> None:
        self._admission = admission
        self._is_developing = is_developing
        self._readiness = readiness
        self._pages = pages
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            await expect_http(scope, receive, "GET", "HEAD")
            await self._check(scope)
        except Refused as refused:
            await refuse(scope, receive, send, refused)
            return
        snapshot = await self._snapshot()
        wants_json = b"application/json" in dict(scope["headers"]).get(b"accept", b"")
        write, kind = (
            (as_json, b"application/json") if wants_json else (render, b"text/html; charset=utf-8")
        )
        # In a thread: all that an application and its browsers have sent is written.
        body = (await asyncio.to_thread(write, snapshot)).encode()
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            # The page shows text that browsers have sent.
            (
                b"content-security-policy",
                b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            ),
        ]
        shown = b"" if scope["method"] == "HEAD" else body
        await send_response(send, HTTPStatus.OK, headers, shown)

    async def sample(self) -> bytes:
        """Return what `flash top --redis` reads of this worker; see `as_sample`."""
        return await asyncio.to_thread(as_sample, await self._snapshot())

    async def _snapshot(self) -> WorkerSnapshot:
        return WorkerSnapshot(
            os.getpid(),
            await self._readiness.report(),
            tuple(self._pages()),
            tuple(self._metrics()),
        )

    async def _check(self, scope: Scope) -> None:
        if self._admission is not None:
            await self._admission.check_guards(scope)
            await self._admission.authorize(scope, OpeningRequest(scope))
        elif not self._is_developing() or not _is_local(scope):
            raise Refused(
                HTTPStatus.NOT_FOUND, "the inspection page is disabled; see Live(inspect=…)"
            )


def _is_local(scope: Scope) -> bool:
    """Return whether a request comes from this machine and names it by a local host name."""
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return (scope.get("client") or ("",))[0] in LOCAL and name.lower() in LOCAL_NAMES


def process_usage() -> tuple[float, int | None]:
    """Return the processor time of this process in seconds, and its memory in bytes if known."""
    usage = os.times()
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return usage.user + usage.system, None
    return usage.user + usage.system, pages * os.sysconf("SC_PAGE_SIZE")


def as_sample(snapshot: WorkerSnapshot) -> bytes:
    """Return what `flash top --redis` reads of the snapshot, as `as_json` writes it.

    Some hundred bytes: without pages, users, labels and reasons, since these quote the application
    and its visitors. Reads a file of the system.
    """
    cpu_seconds, memory_bytes = process_usage()
    totals: dict[str, float] = {}
    for each in snapshot.metrics:
        name = full_name(each)
        if name in METRICS:
            totals[name] = totals.get(name, 0.0) + each.value
    return json.dumps(
        {
            "worker": snapshot.worker,
            "host": socket.gethostname(),
            "checks": {
                name: OK if result == OK else "failing" for name, result in snapshot.checks.items()
            },
            "page_count": len(snapshot.pages),
            "metrics": [{"name": name, "value": value} for name, value in totals.items()],
            "cpu_seconds": cpu_seconds,
            "memory_bytes": memory_bytes,
        }
    ).encode()


def full_name(metric: Metric) -> str:
    """Return the name under which Prometheus shows a metric."""
    return metric.name + ("_total" if metric.kind == "counter" else "")


def as_json(snapshot: WorkerSnapshot) -> str:
    """Return the snapshot as JSON: the pages with most bytes waiting, all metrics by full name.

    Reads a file of the system.
    """
    cpu_seconds, memory_bytes = process_usage()
    slowest = sorted(snapshot.pages, key=lambda each: each.bytes_waiting, reverse=True)
    return json.dumps(
        {
            "worker": snapshot.worker,
            "host": socket.gethostname(),
            "checks": dict(snapshot.checks),
            "page_count": len(snapshot.pages),
            "pages": [asdict(page) for page in slowest[:MAX_PAGES]],
            "metrics": [
                {
                    "name": full_name(each),
                    "labels": dict(each.labels),
                    "value": each.value,
                }
                for each in snapshot.metrics
            ],
            "cpu_seconds": cpu_seconds,
            "memory_bytes": memory_bytes,
        },
        ensure_ascii=False,
    )


def render(snapshot: WorkerSnapshot) -> str:
    """Return the page; reads its template when first called."""
    slowest = sorted(snapshot.pages, key=lambda each: each.bytes_waiting, reverse=True)
    pages, more = slowest[:MAX_PAGES], len(slowest[MAX_PAGES:])
    return _template().render(snapshot=snapshot, pages=pages, more=more, refresh=REFRESH_INTERVAL)


@cache
def _template() -> Template:
    source = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    return Template(source, autoescape=True, trim_blocks=True)
