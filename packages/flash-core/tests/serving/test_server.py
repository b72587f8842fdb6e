"""Serving, with real processes on free loopback ports."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from flash.errors import ConfigurationError
from flash.serving import ServeOptions, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

SERVERS = ("hypercorn", "uvicorn", "granian")
# What the first line of the log says of each.
WHY = {
    "hypercorn": "chosen by server='hypercorn'",
    "uvicorn": "the default, with httptools and uvloop",
    "granian": "chosen by server='granian'; granian holds up to 16 MiB of each unfinished "
    "WebSocket frame in memory",
}

# Generous, since all of this may share two cores with other work.
PATIENCE = 120

APP = """
import asyncio, logging, os, threading, time

from quart import Quart, request, websocket

app = Quart(__name__)
arrived = []

@app.get("/")
async def index():
    return {"pid": os.getpid(), "scheme": request.scheme, "root": request.root_path}

@app.get("/until-stop")
async def until_stop():
    arrived.append("until-stop")
    await request.scope["state"]["flash.draining"].wait()
    return "finished"

@app.get("/endless")
async def endless():
    arrived.append("endless")
    await asyncio.Event().wait()

@app.get("/stuck")
async def stuck():
    arrived.append("stuck")
    threading.Thread(target=threading.Event().wait).start()
    time.sleep(3600)

@app.get("/stream")
async def stream():
    async def chunks():
        while True:
            yield b"x" * 65536

    return chunks()

@app.get("/arrived")
async def who():
    return arrived

@app.websocket("/echo")
async def echo():
    await websocket.send(await websocket.receive())

@app.after_serving
async def closed():
    print("closed", flush=True)

def make():
    return app
"""

OBJECT_SCRIPT = """
import sys
from web import app
from flash.serving import ServeOptions, serve

serve(app, ServeOptions(bind="localhost:0", server=sys.argv[1], access_log=True))
print("after serve")
"""


class Served:
    """A process that serves, its address and what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def ready(self) -> int:
        """Wait for the ready line; the port in it."""
        line = await self.line_with("Flash is running on")
        return int(line.split("://", 1)[1].split("/", 1)[0].rsplit(":", 1)[1])

    async def line_with(self, text: str) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            async for raw in self.process.stdout:
                self.lines.append(raw.decode().rstrip())
                if text in self.lines[-1]:
                    return self.lines[-1]
        raise AssertionError(f"ended without {text!r}: {self.lines} {await self.errors()}")

    async def errors(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> tuple[int, str]:
        """The exit code, and what was written to standard error."""
        async with asyncio.timeout(PATIENCE):
            out, err = await self.process.communicate()
        self.lines += out.decode().splitlines()
        assert self.process.returncode is not None
        return self.process.returncode, err.decode()


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Served]]:
    """Start Python with arguments in a directory that holds the app above as ``web``."""
    (tmp_path / "web.py").write_text(APP)

    @asynccontextmanager
    async def run(*arguments: str, **environment: str) -> AsyncIterator[Served]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield Served(process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    return run


def flash(*arguments: str, bind: str = "127.0.0.1:0") -> tuple[str, ...]:
    return ("-m", "flash.cli", "run", *arguments, "--bind", bind)


async def get(port: int, path: str, **headers: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    return await exchange(reader, writer, path, **headers)


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, **headers: str
) -> tuple[int, str]:
    """One request on a connection that ends with it; the status and the body."""
    fields = {"host": "localhost", "connection": "close"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
    try:
        async with asyncio.timeout(PATIENCE):
            status = int((await reader.readline()).split()[1])
            raw = await reader.readuntil(b"\r\n\r\n")
            body = b"" if status == 101 else await reader.read()
    finally:
        writer.close()
    if b"chunked" in raw.lower():
        body = b"".join(body.split(b"\r\n")[1::2])
    return status, body.decode()


async def eventually(check: Callable[[], Awaitable[object]]) -> None:
    """Wait until a coroutine function returns something true."""
    async with asyncio.timeout(PATIENCE):
        while not await check():  # noqa: ASYNC110 — another process cannot set an event here.
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("server", SERVERS)
async def test_on_sigterm_requests_finish_within_the_grace_period_and_others_are_cut(
    start, server, workers
):
    arguments = flash("web", "--server", server, "--workers", str(workers), "--grace-period", "1")
    async with start(*arguments) as served:
        port = await served.ready()
        expected = f"({server}, {workers} worker{'s' * (workers > 1)}): {WHY[server]}"
        assert served.lines[-1] == f"Flash is running on http://127.0.0.1:{port}/ {expected}"

        finishing = asyncio.create_task(get(port, "/until-stop"))
        endless = asyncio.create_task(get(port, "/endless"))
        seen: set[str] = set()

        async def both_arrived() -> bool:
            seen.update(
                (await get(port, "/arrived"))[1].strip('[]"\n ').replace('"', "").split(",")
            )
            return {"until-stop", "endless"} <= seen

        await eventually(both_arrived)
        code, errors = await served.stop()

        assert await finishing == (200, "finished")
        assert await endless == (503, "the server is restarting\n")
        assert code == 0
        assert "Traceback" not in errors
        assert served.lines.count("closed") == workers
        with pytest.raises(ConnectionRefusedError):
            await get(port, "/")


@pytest.mark.parametrize("server", SERVERS)
async def test_13_g_streams_that_nobody_reads_end_at_sigterm_without_a_traceback(start, server):
    async with start(*flash("web", "--server", server, "--grace-period", "1")) as served:
        port = await served.ready()
        readers = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            # Nothing more is read: the server's writes wait.
            writer.transport.pause_reading()
            readers.append(writer)
        await asyncio.sleep(0.5)
        code, errors = await served.stop()
        for writer in readers:
            writer.close()
    assert code == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize("server", SERVERS)
async def test_an_object_is_served_and_serve_returns_after_ctrl_c(start, tmp_path, server):
    (tmp_path / "script.py").write_text(OBJECT_SCRIPT)
    async with start("script.py", server) as served:
        port = await served.ready()
        assert (await get(port, "/"))[0] == 200
        upgrade = {
            "connection": "upgrade",
            "upgrade": "websocket",
            "sec_websocket_version": "13",
            "sec_websocket_key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        assert (await get(port, "/echo", **upgrade))[0] == 101

        code, errors = await served.stop(signal.SIGINT)

        assert (code, served.lines[-2:]) == (0, ["closed", "after serve"])
        assert "INFO flash.access: 127.0.0.1 GET / 200" in errors
        assert "Traceback" not in errors


@pytest.mark.parametrize("server", SERVERS)
async def test_an_app_that_does_not_start_is_one_line_and_exit_code_1(start, tmp_path, server):
    (tmp_path / "failing.py").write_text(
        "from quart import Quart\n"
        "app = Quart(__name__)\n"
        "app.log_exception = lambda error: None\n"
        "@app.before_serving\n"
        "async def connect():\n"
        "    raise RuntimeError('no database')\n"
    )
    async with start(*flash("failing", "--server", server)) as served:
        code, errors = await served.ended()

        assert (code, served.lines) == (1, [])
        assert "flash: the app did not start: no database\n" in errors
        assert "Traceback" not in errors


@pytest.mark.parametrize("server", ["hypercorn", "granian"])
async def test_a_killed_worker_is_replaced(start, server):
    async with start(*flash("web", "--workers", "2", "--server", server)) as served:
        port = await served.ready()

        async def pid() -> int:
            return int((await get(port, "/"))[1].split('"pid":')[1].split(",")[0])

        pids = {await pid()}
        os.kill(next(iter(pids)), signal.SIGKILL)

        async def others_answer() -> bool:
            try:
                pids.add(await pid())
            except (OSError, asyncio.IncompleteReadError, IndexError):
                return False
            return len(pids) == 3

        await eventually(others_answer)
        code, errors = await served.stop()
        assert code == 0
        assert "Traceback" not in errors


async def test_workers_end_when_their_parent_is_killed(start):
    async with start(*flash("web", "--workers", "2")) as served:
        port = await served.ready()
        served.process.kill()
        await served.process.wait()

        async def refused() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return True
            writer.close()
            return False

        await eventually(refused)


async def test_a_blocked_loop_and_a_stuck_thread_do_not_keep_the_process(start):
    async with start(*flash("web", "--grace-period", "0")) as served:
        port = await served.ready()
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /stuck HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await writer.drain()

        async def blocked() -> bool:
            try:
                async with asyncio.timeout(0.5):
                    await get(port, "/arrived")
            except TimeoutError:
                return True
            return False

        await eventually(blocked)
        code, errors = await served.stop()
        writer.close()

        assert code == 0
        assert "a function still runs and cannot be stopped" in errors
        assert "Traceback" not in errors


@pytest.mark.parametrize("server", SERVERS)
async def test_a_unix_socket_is_served_and_removed(start, tmp_path, server):
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with start(*flash("web", "--server", server, bind=f"unix:{path}")) as served:
        await served.line_with(
            f"Flash is running on unix:{path} ({server}, 1 worker): {WHY[server]}"
        )
        reader, writer = await asyncio.open_unix_connection(str(path))
        assert (await exchange(reader, writer, "/"))[0] == 200
        assert (await served.stop())[0] == 0
    assert not path.exists()


async def test_a_socket_that_somebody_else_opened_is_served(start, tmp_path):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.set_inheritable(True)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *flash("web", bind=f"fd://{sock.fileno()}"),
            cwd=tmp_path,
            pass_fds=[sock.fileno()],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        served = Served(process)
        (tmp_path / "web.py").write_text(APP)
        await served.line_with("Flash is running on fd://")
        assert (await get(sock.getsockname()[1], "/"))[0] == 200
        assert (await served.stop())[0] == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
@pytest.mark.parametrize("server", SERVERS)
async def test_tls_is_served(start, tmp_path, server):
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    made = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-subj", "/CN=localhost", "-keyout", key, "-out", cert),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await made.wait() == 0
    options = ("--server", server, "--certfile", cert, "--keyfile", key, "--root-path", "/shown")
    async with start(*flash("web", *options)) as served:
        port = await served.ready()
        assert f"https://127.0.0.1:{port}/" in served.lines[-1]
        fetched = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", HTTPS_CLIENT, f"https://localhost:{port}/shown/", cert),
            stdout=asyncio.subprocess.PIPE,
        )
        body, _ = await fetched.communicate()
        assert b'"scheme":"https"' in body.replace(b" ", b"")
        assert b'"root":"/shown"' in body.replace(b" ", b"")
        assert (await served.stop())[0] == 0


HTTPS_CLIENT = """
import ssl, sys, urllib.request
context = ssl.create_default_context(cafile=sys.argv[2])
context.check_hostname = False
print(urllib.request.urlopen(sys.argv[1], context=context).read().decode())
"""


@pytest.mark.parametrize("server", SERVERS)
async def test_an_address_in_use_is_one_line_and_exit_code_2(start, server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        async with start(*flash("web", "--server", server, bind=bind)) as served:
            code, errors = await served.ended()
    assert code == 2
    assert errors == (
        f"flash: cannot listen on {bind}: address already in use; "
        "stop the other server or choose another address\n"
    )


async def test_flash_log_level_silences_the_access_log(start):
    async with start(*flash("web", "--access-log"), FLASH_LOG_LEVEL="warning") as served:
        await get(await served.ready(), "/")
        assert await served.stop() == (0, "")


async def asgi_app(scope, receive, send):
    """An application that is never called."""


def test_an_object_cannot_be_served_by_several_workers():
    with pytest.raises(ConfigurationError, match="flash run module:app --workers 3"):
        serve(asgi_app, ServeOptions(workers=3))


def test_granian_refuses_a_descriptor():
    with pytest.raises(ConfigurationError, match="use hypercorn or uvicorn"):
        serve(asgi_app, ServeOptions(bind="fd://7", server="granian"))


def test_a_server_that_is_not_installed_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "granian", None)
    with pytest.raises(ConfigurationError, match=r"pip install flash-core\[granian\]"):
        serve(asgi_app, ServeOptions(server="granian"))
