"""Readiness checks of a worker, and the health and readiness routes for load balancers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flash import ConfigurationError
from flash.access.admission import send_response
from flash.access.opening_request import draining_event
from flash.log_limit import limited_logger
from flash.serialize import dumps
from flash.supervision import supervised

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flash.callbacks.execution import WorkerPool
    from flash.http.gateway import Receive, Scope, Send

logger = limited_logger(__name__)

Check = Callable[[], Any]

# Seconds that a check may take, and seconds for which a report is reused: the route is public.
CHECK_TIMEOUT = 5.0
MAX_AGE = 1.0

# The result of a check that passes.
OK = "ok"


class Readiness:
    """The checks that have to pass for a worker to be ready: ``live.readiness``."""

    def __init__(self) -> None:
        # The threads for plain checks; set before the first report.
        self.pool: WorkerPool | None = None
        # The threads that must not be full; set before the first report.
        self.pools: tuple[WorkerPool, ...] = ()
        self._checks: dict[str, Check] = {}
        self._latest: dict[str, str] | None = None
        self._latest_at = 0.0
        self._running: asyncio.Task[dict[str, str]] | None = None

    def add(self, name: str, check: Check) -> None:
        """Add ``check``, async or plain: None or True passes, False or one line of text fails.

        A check that raises is logged and reported as "failed". The text is public to everybody who
        can reach the app. Raises `ConfigurationError` if ``name`` is in use.
        """
        if name in self._checks or name in (_SERVING_CHECK, _TASKS_CHECK, _THREADS_CHECK):
            raise ConfigurationError(
                f"a readiness check {name!r} exists already; choose another name"
            )
        self._checks[name] = check

    async def report(self) -> Mapping[str, str]:
        """Return each check's result, ``"ok"`` or a reason; checks run once a second at most."""
        loop = asyncio.get_running_loop()
        if self._latest is not None and loop.time() - self._latest_at < MAX_AGE:
            return self._latest
        if self._running is None:
            self._running = loop.create_task(self._run_checks())
            self._running.add_done_callback(self._on_report)
        return await asyncio.shield(self._running)

    def _on_report(self, task: asyncio.Task[dict[str, str]]) -> None:
        self._running = None
        if not task.cancelled() and task.exception() is None:
            self._latest = task.result()
            self._latest_at = asyncio.get_running_loop().time()

    async def _run_checks(self) -> dict[str, str]:
        results = await asyncio.gather(
            *(self._run_check(name, check) for name, check in self._checks.items())
        )
        report = dict(zip(self._checks, results, strict=True))
        # Without names and reasons, since they quote the application and the route is public.
        if ended := sum(task.failure is not None for task in supervised()):
            report[_TASKS_CHECK] = f"{ended} ended lately; the log says which and why"
        if any(pool.is_full for pool in self.pools):
            report[_THREADS_CHECK] = "all threads are busy, and as many calls wait as may"
        return report

    async def _run_check(self, name: str, check: Check) -> str:
        assert self.pool is not None
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                verdict = await self.pool.call(check)
        except TimeoutError:
            return f"no answer within {CHECK_TIMEOUT:g} s"
        except Exception:  # an application's function
            logger.exception("the readiness check %r failed", name)
            return "failed"
        if verdict is None or verdict is True:
            return OK
        return verdict if isinstance(verdict, str) and verdict else "not ready"


_SERVING_CHECK = "serving"
# Listed only while a supervised task fails.
_TASKS_CHECK = "tasks"
# Listed only while further calls are refused.
_THREADS_CHECK = "threads"


class Probes:
    """The routes ``_flash/health`` and ``_flash/ready``.

    They are public, since load balancers do not log in. ``is_serving`` returns whether the app has
    started and not stopped.
    """

    def __init__(self, readiness: Readiness, is_serving: Callable[[], bool]) -> None:
        self._readiness = readiness
        self._is_serving = is_serving

    async def health(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with 200 as long as the event loop runs."""
        await respond_json(scope, receive, send, HTTPStatus.OK, {"alive": True})

    async def ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with 200 if every check passes and the worker is not stopping, else 503."""
        checks = {_SERVING_CHECK: self._serving(scope)}
        if checks[_SERVING_CHECK] == OK:
            checks.update(await self._readiness.report())
        is_ready = all(each == OK for each in checks.values())
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        await respond_json(scope, receive, send, status, {"ready": is_ready, "checks": checks})

    def _serving(self, scope: Scope) -> str:
        draining = draining_event(scope)
        if draining is not None and draining.is_set():
            return "about to stop"
        return OK if self._is_serving() else "not started"


async def respond_json(
    scope: Scope, receive: Receive, send: Send, status: HTTPStatus, value: dict[str, Any]
) -> None:
    """Respond to GET or HEAD with JSON that includes the worker's process id; refuse the rest."""
    if scope["type"] != "http":
        await receive()  # websocket.connect
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    if scope["method"] not in ("GET", "HEAD"):
        status, value = HTTPStatus.METHOD_NOT_ALLOWED, {"error": "this path takes only GET"}
        headers.append((b"allow", b"GET, HEAD"))
    body = dumps({**value, "worker": os.getpid()}) + b"\n"
    headers.append((b"content-length", str(len(body)).encode()))
    await send_response(send, status, headers, b"" if scope["method"] == "HEAD" else body)
