"""Several worker processes on one socket: starts, watches, replaces and stops them."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from .drain import CANCEL_DELAY, SHUTDOWN_TIMEOUT
from .target import FAILURE_EXIT, Target
from .watch import HEARTBEAT_INTERVAL, Alive, Heartbeats, Restarts
from .worker import STOP_SIGNALS, Failed, Listening, run_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from multiprocessing.process import BaseProcess
    from types import FrameType

    from .options import ServeOptions

logger = logging.getLogger("flash.serving")


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    # Receives the worker's reports; the worker stops when it is closed.
    pipe: Connection
    # The time of its start, on time.monotonic().
    started: float
    listening: bool = False
    failure: Failed | None = None


class Supervisor:
    """Keeps ``options.workers`` processes serving one bound socket.

    A worker that ends is replaced, after a backoff if it has lived for a short time only. One that
    is stopped or hangs, so that it sends no heartbeats, is killed. If one ends before any worker
    has listened, the app itself does not work: all workers are stopped, and ``run`` returns that
    worker's failure.
    """

    def __init__(
        self,
        target: Target,
        sock: socket.socket,
        options: ServeOptions,
        *,
        listening: Callable[[], None],
    ) -> None:
        self._target = target
        self._socket = sock
        self._options = options
        # Called once, when all workers listen for the first time.
        self._on_listening = listening
        self._announced = False
        # Whether any worker ever listened.
        self._has_served = False
        # A new interpreter for each worker: a fork would copy held locks and running loops.
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        # The number of stop signals received.
        self._stops = 0
        self._woken, self._wake = socket.socketpair()
        # The earliest time of the next start of a worker, on time.monotonic().
        self._not_before = 0.0
        self._restarts = Restarts()
        self._heartbeats = Heartbeats()

    def run(self) -> Failed | None:
        """Serve until a signal stops it; return the failure that prevented serving, if any."""
        with self._woken, self._wake, self._signals():
            failure: Failed | None = None
            while not self._stops and failure is None:
                if time.monotonic() >= self._not_before:
                    while len(self._workers) < self._options.workers:
                        self._workers.append(self._start())
                until_start = max(0.0, self._not_before - time.monotonic()) or HEARTBEAT_INTERVAL
                self._wait(min(until_start, HEARTBEAT_INTERVAL))
                failure = self._collect()
                self._kill_silent()
            self._stop()
            return failure

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=run_worker, args=(self._target, self._socket, self._options, theirs)
        )
        # The child inherits this, so Ctrl-C during its start prints no traceback.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        theirs.close()
        return _Worker(process, ours, time.monotonic())

    def _wait(self, timeout: float | None) -> None:
        """Wait until a worker reports or ends, or a signal arrives."""
        ready = wait(
            [
                self._woken,
                *(worker.process.sentinel for worker in self._workers),
                *(worker.pipe for worker in self._workers if not worker.pipe.closed),
            ],
            timeout,
        )
        if self._woken in ready:
            self._woken.recv(64)
        for worker in self._workers:
            if worker.pipe in ready:
                self._read(worker)

    def _read(self, worker: _Worker) -> None:
        try:
            report = worker.pipe.recv()
        except (EOFError, OSError):
            worker.pipe.close()
            return
        if isinstance(report, Listening):
            worker.listening = self._has_served = True
            everyone = [w for w in self._workers if w.listening]
            if len(everyone) == self._options.workers and not self._announced:
                self._announced = True
                self._on_listening()
        elif isinstance(report, Failed):
            worker.failure = report
        elif isinstance(report, Alive):
            self._heartbeats.heard(report.pid, time.monotonic())

    def _kill_silent(self) -> None:
        silent = self._heartbeats.silent(time.monotonic())
        for worker in self._workers:
            if worker.process.pid in silent:
                logger.error(
                    "worker %s does not run: it is stopped or hangs; it is killed and replaced",
                    worker.process.pid,
                )
                worker.process.kill()

    def _collect(self) -> Failed | None:
        """Remove the workers that ended; return a failure if the app cannot be served at all."""
        for worker in [w for w in self._workers if w.process.exitcode is not None]:
            while not worker.pipe.closed and worker.pipe.poll():
                self._read(worker)
            worker.pipe.close()
            self._workers.remove(worker)
            self._heartbeats.forget(worker.process.pid or 0)
            code = worker.process.exitcode
            failure = worker.failure or Failed(
                f"flash: a worker ended during its start (exit code {code})\n", FAILURE_EXIT
            )
            if self._stops:
                continue
            if not self._has_served:
                return failure
            now = time.monotonic()
            delay = self._restarts.delay_after(now - worker.started, has_listened=worker.listening)
            self._not_before = now + delay
            if worker.listening:
                logger.warning(
                    "worker %s ended with exit code %s; starting another%s",
                    worker.process.pid,
                    code,
                    f" in {delay:g} s" if delay else "",
                )
            else:
                logger.error(
                    "a new worker did not start; trying again in %g s\n%s", delay, failure.text
                )
        return None

    def _stop(self) -> None:
        # A second signal is passed on, too, and ends the workers' grace period.
        self._stops = max(self._stops, 1)
        passed_on = 0
        deadline = (
            time.monotonic() + self._options.grace_period + CANCEL_DELAY + 2 * SHUTDOWN_TIMEOUT
        )
        while self._workers and time.monotonic() < deadline:
            if passed_on < self._stops:
                passed_on = self._stops
                for worker in self._workers:
                    worker.process.terminate()
            self._wait(max(0.0, deadline - time.monotonic()))
            self._collect()
        for worker in self._workers:
            logger.warning("killing worker %s, which did not end in time", worker.process.pid)
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()

    @contextmanager
    def _signals(self) -> Generator[None]:
        def note(_number: int, _frame: FrameType | None) -> None:
            self._stops += 1
            self._wake.send(b"!")

        before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
