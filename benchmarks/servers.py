"""Servers under test: each in its own process, on loopback, on a core of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0

# The cores this run may use; the generator takes the first, servers the last.
_CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]

ServerName = Literal["hypercorn", "uvicorn"]


class ServerError(Exception):
    """A server under test did not start; the text ends with what it wrote."""


@dataclass(frozen=True, slots=True)
class App:
    """An application under test: what the table calls it, and its import string."""

    name: str
    target: str


FLASH = App("Flash", "apps.flash_app:app")
FLASH_ON_QUART = App("Flash without Flask's names", "apps.flash_quart:app")
FLASH_TRACED = App("Flash with OpenTelemetry", "apps.flash_traced:app")
DASH_QUART = App("Dash Quart", "apps.dash_quart:server")
DASH_FASTAPI = App("Dash FastAPI", "apps.dash_fastapi:server")
BARE_QUART = App("bare Quart", "apps.bare_quart:app")
REPLAY = App("bare ASGI, Flash's bytes", "apps.replay:app")
BARE_ASGI = App("bare ASGI", "apps.bare_asgi:app")


@dataclass(frozen=True, slots=True)
class Subject:
    """An application on a server."""

    app: App
    server: ServerName

    def __str__(self) -> str:
        return f"{self.app.name}, {self.server}"

    def command(self, port: int) -> list[str]:
        """The command that serves it with one process and without an access log."""
        if self.server == "hypercorn":
            options = ["--workers", "0", "--bind", f"127.0.0.1:{port}", "--log-level", "WARNING"]
        else:
            options = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
            options.append("--no-access-log")
        return [sys.executable, "-m", self.server, *options, self.app.target]


@dataclass(frozen=True, slots=True)
class Installed(Subject):
    """An application as ``flash run`` serves it, with one worker."""

    def __str__(self) -> str:
        return f"{self.app.name}, flash run"

    def command(self, port: int) -> list[str]:
        options = ["--bind", f"127.0.0.1:{port}", "--server", self.server, "--no-access-log"]
        options += ["--log-level", "warning"]
        return [sys.executable, "-m", "flash.cli", "run", *options, self.app.target]


@dataclass(frozen=True, slots=True)
class OverRedis(Subject):
    """A subject that is told where its Redis is."""

    url: str
    python: str = sys.executable
    variables: tuple[str, ...] = ()

    def command(self, port: int) -> list[str]:
        # Zero arguments: a dataclass with slots is another class than the one `super()` means.
        _, *rest = Subject.command(self, port)
        return ["env", f"FLASH_BROKER_URL={self.url}", *self.variables, self.python, *rest]


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    subject: Subject
    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Processor time used so far, threads included."""
        if sys.platform == "linux":
            # The processor clock of another process (clock_getcpuclockid), in nanoseconds; what
            # psutil reads has ticks of 10 ms, about as long as a whole page load takes.
            return time.clock_gettime((~self.pid << 3) | 2)
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system


def pin_generator() -> None:
    """Keep this process off the core that servers are measured on, where there are two."""
    _pin(os.getpid(), _CORES[0])


@contextlib.contextmanager
def on_all_cores() -> Generator[None]:
    """Let what this thread starts meanwhile have every core: it is no generator and no server."""
    thread_id = threading.get_native_id()
    before = os.sched_getaffinity(thread_id) if sys.platform == "linux" else _CORES
    _pin(thread_id, *_CORES)
    try:
        yield
    finally:
        _pin(thread_id, *before)


@contextlib.asynccontextmanager
async def serve(subject: Subject) -> AsyncGenerator[Server]:
    """Start ``subject``, wait until it accepts connections, and stop it in the end."""
    with tempfile.TemporaryFile() as output:
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            *subject.command(port),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=Path(__file__).parent,
        )
        try:
            # All cores for the start; the threads that it leaves move with the main one.
            _pin(process.pid, *_CORES)
            try:
                async with asyncio.timeout(_START_SECONDS):
                    await _accepting(process, port)
            except (TimeoutError, ServerError) as error:
                output.seek(0)
                text = output.read().decode(errors="replace")[-4000:]
                raise ServerError(f"{subject} did not start:\n{text}") from error
            for thread in psutil.Process(process.pid).threads():
                _pin(thread.id, _CORES[-1])
            yield Server(subject, port, process.pid)
        finally:
            await _stop(process)


async def serve_all(stack: contextlib.AsyncExitStack, *subjects: Subject) -> list[Server]:
    """Start every subject, at the same time; ``stack`` stops them."""
    return list(
        await asyncio.gather(*(stack.enter_async_context(serve(subject)) for subject in subjects))
    )


async def _accepting(process: asyncio.subprocess.Process, port: int) -> None:
    while process.returncode is None:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise ServerError(f"exited with {process.returncode}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _pin(thread_id: int, *cores: int) -> None:
    if sys.platform == "linux":
        os.sched_setaffinity(thread_id, cores)


def free_port() -> int:
    """Return a port of the loopback address that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
