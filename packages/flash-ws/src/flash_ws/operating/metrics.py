"""The Prometheus export of metrics: on a guarded route of the app, or on a local port.

Each worker exports its own metrics, with its process id as the label ``worker``.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import importlib.util
import logging
import os
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flash import ConfigurationError
from flash.access.admission import Admission, Authorize, expect_http, refuse, send_response
from flash.access.opening_request import OpeningRequest
from flash.access.refusal import Refused

if TYPE_CHECKING:
    from prometheus_client.core import Metric as PrometheusMetric

    from flash.callbacks.execution import WorkerPool
    from flash.http.gateway import Receive, Scope, Send
    from flash_ws.operating.statistics import Metric

logger = logging.getLogger(__name__)

# False: disabled. True: on `PORT`. int: on that port. str: for requests with that token. Function:
# for requests that it allows.
MetricsAccess = bool | int | str | Authorize

# The port of ``metrics=True``, on the loopback address. Further workers use the ports after it.
PORT = 9464
MAX_WORKERS = 64

HOST = "127.0.0.1"

# Characters of a token, at least, so that it cannot be guessed.
MIN_TOKEN_LENGTH = 16

# The seconds and bytes that a request to a port may take.
REQUEST_TIMEOUT = 5.0
MAX_HEAD_BYTES = 8192

ReadMetrics = Callable[[], Iterable["Metric"]]


class Exposition:
    """Writes metrics in Prometheus' text format, plus prometheus_client's registry.

    Raises `ConfigurationError` if prometheus_client is not installed.
    """

    def __init__(self, read: ReadMetrics) -> None:
        if importlib.util.find_spec("prometheus_client") is None:
            raise ConfigurationError(
                "Live(metrics=…) needs prometheus_client: pip install flash-ws[metrics]"
            )
        from prometheus_client import CONTENT_TYPE_LATEST

        self._read = read
        self.content_type = CONTENT_TYPE_LATEST
        # The threads that write the text; set before `text` is called.
        self.pool: WorkerPool | None = None

    async def text(self) -> bytes:
        """Return the text; written in a thread, since process metrics are read from files."""
        assert self.pool is not None
        return await self.pool.run(self._write, tuple(self._read()))

    def _write(self, metrics: tuple[Metric, ...]) -> bytes:
        from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(metrics))
        return generate_latest(registry) + generate_latest(REGISTRY)


class _Collector:
    """A collector for prometheus_client; metrics of one name are one family."""

    def __init__(self, metrics: tuple[Metric, ...]) -> None:
        self._metrics = metrics
        self._worker = str(os.getpid())

    def collect(self) -> Iterable[PrometheusMetric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        families: dict[str, Any] = {}
        for metric in self._metrics:
            family = families.get(metric.name)
            if family is None:
                make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                labels = ["worker", *metric.labels]
                family = families[metric.name] = make(metric.name, metric.meaning, labels=labels)
            family.add_metric([self._worker, *metric.labels.values()], metric.value)
        return families.values()


def bearer(token: str) -> Authorize:
    """Return a guard that allows requests with ``Authorization: Bearer <token>``."""
    if len(token) < MIN_TOKEN_LENGTH:
        raise ConfigurationError(
            f"metrics={token!r} is a token of {len(token)} characters; make it "
            f"{MIN_TOKEN_LENGTH} or more, such as secrets.token_urlsafe()"
        )
    expected = f"Bearer {token}".encode()

    async def shows_token(request: OpeningRequest) -> bool:
        shown = request.headers.get("Authorization", "")
        return hmac.compare_digest(shown.encode("latin-1", errors="replace"), expected)

    return shows_token


class MetricsEndpoint:
    """The route ``_flash/metrics``, for requests that ``admission`` authorises.

    The app's ``before_request`` functions are not called, since a scraper does not log in.
    """

    def __init__(self, exposition: Exposition, admission: Admission) -> None:
        self._exposition = exposition
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            await expect_http(scope, receive, "GET")
            await self._admission.authorize(scope, OpeningRequest(scope))
        except Refused as refused:
            await refuse(scope, receive, send, refused)
            return
        text = await self._exposition.text()
        headers = [
            (b"content-type", self._exposition.content_type.encode()),
            (b"content-length", str(len(text)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send_response(send, HTTPStatus.OK, headers, text)


async def metrics_disabled(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse with 404 because metrics are disabled; without this route Dash would send a page."""
    if scope["type"] != "http":
        await receive()  # websocket.connect
    reason = "metrics are disabled; see Live(metrics=…)"
    await refuse(scope, receive, send, Refused(HTTPStatus.NOT_FOUND, reason))


class MetricsPort:
    """Serves metrics on a loopback port: the first free one of `MAX_WORKERS` ports from ``port``.

    So each of several workers has a port. 0 takes any free port.
    """

    def __init__(self, exposition: Exposition, port: int) -> None:
        if not 0 <= port <= 65535:
            raise ConfigurationError(f"metrics={port} is not a port; use 1 to 65535")
        self._exposition = exposition
        self._wanted = port
        self._server: asyncio.Server | None = None
        # The port that it listens on; None while it does not listen.
        self.port: int | None = None

    async def start(self) -> None:
        """Start to listen; raises ``OSError`` if no port is free."""
        for port in range(self._wanted, min(self._wanted + MAX_WORKERS, 65536)):
            try:
                self._server = await asyncio.start_server(
                    self._serve, HOST, port, limit=MAX_HEAD_BYTES, reuse_address=True
                )
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                self.port = self._server.sockets[0].getsockname()[1]
                logger.info("metrics of worker %d: http://%s:%d", os.getpid(), HOST, self.port)
                return
        raise OSError(
            errno.EADDRINUSE, f"no port from {self._wanted} on is free for Live(metrics=…)"
        )

    async def stop(self) -> None:
        """Stop listening."""
        server, self._server, self.port = self._server, None, None
        if server is not None:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = await self._respond(head.decode("latin-1"))
                writer.write(
                    f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            logger.debug("a request for metrics was cut off")
        finally:
            writer.close()

    async def _respond(self, head: str) -> tuple[HTTPStatus, str, bytes]:
        request, *fields = head.split("\r\n")
        method, _, rest = request.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if not _is_local(fields):
            # Refuse DNS rebinding: a web page whose host name resolves to this machine.
            return HTTPStatus.FORBIDDEN, "text/plain", b"use the address 127.0.0.1\n"
        if path not in ("/", "/metrics", "/_flash/metrics"):
            return HTTPStatus.NOT_FOUND, "text/plain", b"metrics are at /metrics\n"
        if method != "GET":
            return HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"this path takes only GET\n"
        return HTTPStatus.OK, self._exposition.content_type, await self._exposition.text()


def _is_local(fields: list[str]) -> bool:
    for each in fields:
        name, _, value = each.partition(":")
        if name.lower() == "host":
            return value.strip().rpartition(":")[0] in (HOST, "localhost")
    # Without a Host header it is not a browser.
    return True
